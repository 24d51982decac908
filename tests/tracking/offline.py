"""Reading W&B's offline runs back from their files."""

import json
import time
from pathlib import Path
from typing import Any


def records(path: Path) -> list[Any]:
    """The protocol buffers of a .wandb file: LevelDB's log format, blocks of 32 KiB with 7-byte headers."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, found, pending, at = path.read_bytes(), [], b"", 7  # the file begins with a header of 7 bytes
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        if kind == 0:
            break
        pending += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or last part
            record = Record()
            record.ParseFromString(pending)
            found.append(record)
            pending = b""
    return found


def complete(path: Path) -> list[Any]:
    """The records once the last one is there: W&B's own process may still be writing after a run was finished."""
    for _ in range(300):
        found = records(path)
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path}: not finished after 30 s: {[r.WhichOneof('record_type') for r in found]}")


def history(found: list[Any]) -> list[dict[str, Any]]:
    """What was logged, a row each time, of a run's records."""
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in found
        if record.WhichOneof("record_type") == "history"
    ]
