"""Files that are either whole or absent: written beside their place, then renamed into it."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from rec_jax.errors import InputError


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` only if the block ends well; its folder is made where missing."""
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def make_folder(folder: Path) -> Path:
    """Create `folder` with its parents. InputError: it cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror}); name another folder") from error
    return folder


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """No other process is inside such a block of the same folder: who comes second waits. The lock lies beside it."""
    make_folder(path.parent)
    with FileLock(path.with_name(f"{path.name}.lock")):
        yield


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON (NaN is refused: it is not JSON), whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic(path) as file:
        file.write(text.encode())


def read_json(path: Path) -> Any:
    """Read a JSON file. InputError: missing, or not JSON (with the line)."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error})") from error


def append_line(path: Path, value: Any) -> None:
    """Add `value` as a line of JSON (NaN is refused: it is not JSON)."""
    with path.open("a") as file:
        file.write(json.dumps(value, allow_nan=False) + "\n")


def read_lines(path: Path) -> list[Any]:
    """The values of a file of JSON lines, none where it is missing; a last line cut off by a crash is passed over.

    InputError: another line that is not JSON.
    """
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_text().split("\n")[:-1], 1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise InputError(f"{path}, line {number}: is not JSON ({error}); mend or remove that line") from error
    return found


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Write `values` as lines of JSON, all or none."""
    with atomic(path) as file:
        file.write("".join(json.dumps(value, allow_nan=False) + "\n" for value in values).encode())


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
