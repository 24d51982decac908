"""The one place that knows how many devices there are: launching by `jax.pmap`, and agreeing between processes.

Embedding tables split over devices will come in behind the same functions, by `jit` over a mesh.
"""

import functools
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rec_jax.errors import InputError

AXIS = "data"


@dataclass(frozen=True)
class Devices:
    """The devices of a run: `local` of this process, `count` of all processes."""

    local: tuple[jax.Device, ...]
    count: int

    def launch(self, function: Callable[..., Any], *, replicated: Sequence[bool], donate: tuple[int, ...] = ()) -> Any:
        """`function` on every device, with the axis "data"; arguments are replicated, or given to all as they are.

        The last few are kept: the same function, launched again, is not traced again.
        """
        return _launched(self, function, tuple(replicated), donate)

    def begin(self, function: Callable[..., Any], *given: Any) -> Any:
        """What `function` makes of the same arguments on every device, laid out as the results of `launch` are (or
        the first launch compiles twice)."""
        # pmap wants an argument that is mapped.
        made = self._mapped(lambda _, *given: function(*given), (True, *(False for _ in given)), ())
        return made(np.zeros(len(self.local), np.int32), *given)

    def replicate(self, tree: Any) -> Any:
        """One copy a local device."""
        return self.launch(_second, replicated=(True, False))(np.zeros(len(self.local), np.int32), tree)

    @staticmethod
    def one(tree: Any) -> Any:
        """The first local device's copy (an array that spans processes cannot be indexed, so its shard is taken)."""
        return _unstacked(jax.tree.map(lambda x: x.addressable_data(0), tree))

    @staticmethod
    def host(tree: Any) -> Any:
        """The same in the host's memory, which no launch can give away."""
        return jax.tree.map(lambda x: np.array(np.asarray(x.addressable_data(0))[0]), tree)

    def _mapped(self, function: Callable[..., Any], replicated: tuple[bool, ...], donate: tuple[int, ...]) -> Any:
        axes = tuple(0 if is_replicated else None for is_replicated in replicated)
        # pmap over several processes takes all devices, and wants them unnamed.
        devices = None if jax.process_count() > 1 else self.local
        return jax.pmap(function, axis_name=AXIS, in_axes=axes, devices=devices, donate_argnums=donate)


@functools.lru_cache(maxsize=10)  # two of them every training has, `settle` and what replicates
def _launched(
    devices: Devices, function: Callable[..., Any], replicated: tuple[bool, ...], donate: tuple[int, ...]
) -> Any:
    return devices._mapped(function, replicated, donate)


def _second(_: Any, tree: Any) -> Any:
    return tree


@jax.jit
def _unstacked(tree: Any) -> Any:
    # One program a tree, not one a leaf.
    return jax.tree.map(lambda x: x.reshape(x.shape[1:]), tree)


def connect(coordinator: str | None, processes: int, process_id: int) -> None:
    """Join the other processes of a run; must come before jax is used. InputError: no coordinator for several."""
    if coordinator == "auto":
        jax.distributed.initialize()
    elif processes > 1:
        if coordinator is None:
            raise InputError(f"--processes {processes} needs --coordinator HOST:PORT, the address of process 0")
        jax.distributed.initialize(coordinator, processes, process_id)


def share_cores(count: int) -> None:
    """Make `count` devices of a CPU; must come before jax is used. Where it was used, or XLA_FLAGS says how many, or
    there is an accelerator, nothing happens. InputError: the count is below 1.

    Most products of a small network are too short to be shared by two cores; a batch is not.
    """
    if count < 1:
        raise InputError(f"--devices {count}: expected at least 1")
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    with suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", count)


def select(count: int | None, batch_size: int) -> Devices:
    """The first `count` devices (default: all). InputError: too few there, or the batch cannot be shared evenly."""
    available = jax.local_devices()
    if count is not None and jax.process_count() > 1:
        raise InputError("--devices is for one process; several processes train on all devices of each")
    if count is not None and not 1 <= count <= len(available):
        raise InputError(f"--devices {count}: this process has {len(available)} device(s)")
    local = tuple(available[:count])
    total = len(local) * jax.process_count()
    if batch_size % total:
        near = max(total, round(batch_size / total) * total)
        raise InputError(f"--batch-size {batch_size} cannot be shared evenly by {total} devices; take {near}")
    return Devices(local, total)


def is_writer() -> bool:
    """Whether this process is the one that writes files and prints."""
    return jax.process_index() == 0


def agree(value: float | int | bool) -> np.ndarray:
    """Process 0's value, in every process: decisions that steer the run must not differ by a rounding."""
    if jax.process_count() == 1:
        return np.asarray(value)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(jnp.asarray(value)))


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.asarray(multihost_utils.process_allgather(jnp.asarray(flag))).any())


def agree_tree(tree: Any) -> Any:
    """Process 0's arrays, in every process."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(tree)
