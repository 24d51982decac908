"""Checkpoints with Orbax: asynchronous, the last two kept, each with a digest of what it holds.

Process 0 alone writes and reads; the others take part in nothing but the broadcast of what was read.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rec_jax.errors import InputError
from rec_jax.files import make_folder

log = logging.getLogger(__name__)


def digest(tree: Any) -> str:
    """SHA-256 over the leaves' names, types, shapes and bytes."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        sha.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode() + array.tobytes())
    return sha.hexdigest()


class Checkpoints:
    """The checkpoints of one run, by step."""

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        import orbax.checkpoint as ocp
        from orbax.checkpoint.options import MultiprocessingOptions

        self._ocp = ocp
        alone = MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix="rec_jax")
        self._manager = ocp.CheckpointManager(
            folder.absolute() if read_only else make_folder(folder.absolute()),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=2,
                create=False,
                read_only=read_only,
                enable_async_checkpointing=not read_only,
                multiprocessing_options=alone if jax.process_count() > 1 else MultiprocessingOptions(),
            ),
            item_names=("state", "meta"),
        )
        self.folder, self._read_only = folder, read_only

    @property
    def latest(self) -> int | None:
        """The newest step that is, or is being, saved."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Begin to save a state given as host arrays; returns before it is on disk."""
        if step == self.latest:
            return
        state = _stored(state)
        items = self._ocp.args.Composite(
            state=self._ocp.args.StandardSave(state), meta=self._ocp.args.JsonSave({"digest": digest(state)})
        )
        self._manager.save(step, args=items, force=True)

    def restore(self, like: Any) -> Any | None:
        """The newest undamaged state, in the shape of `like`; None where there is no checkpoint at all.

        A damaged one is named in the log and the one before it is taken. InputError: all are damaged.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        failures = []
        for step in steps:
            try:
                state = self._read(step, like)
            except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file
                failures.append(f"checkpoint {step} in {self.folder} is damaged ({_first_line(error)})")
                log.warning("%s; trying the one before", failures[-1])
                continue
            for damaged in (s for s in steps if s > step and not self._read_only):
                self._manager.delete(damaged)
            return state
        if failures:
            raise InputError("; ".join(failures) + "; none is left: start anew without --resume in another folder")
        return None

    def _read(self, step: int, like: Any) -> Any:
        args = self._ocp.args
        found = self._manager.restore(
            step, args=args.Composite(state=args.StandardRestore(_stored(like)), meta=args.JsonRestore())
        )
        if digest(found["state"]) != found["meta"]["digest"]:
            raise ValueError("its digest differs")
        return jax.tree.map(lambda of, wanted: of if np.size(wanted) else wanted, found["state"], like)

    def close(self) -> None:
        """Wait until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()


def _stored(state: Any) -> Any:
    """With one number for each array of none, which Orbax does not save."""
    return jax.tree.map(lambda x: x if np.size(x) else np.zeros(1, x.dtype), state)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
