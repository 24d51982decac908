"""A policy's training: where it runs, and some steps at a time, looked at, saved and gone on with.

Checked on a training that is a count (tests/policies/test_training.py).
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from rec_jax.config import short_hash, to_json
from rec_jax.errors import Diverged, InputError
from rec_jax.fields import hashed
from rec_jax.policies.networks import finite
from rec_jax.train.checkpoints import Checkpoints
from rec_jax.train.devices import AXIS, Devices, select

Chunk = Callable[[Any, Key[Array, "..."], Int[Array, ""]], Any]
"""(state, key, steps) -> the state after so many steps more; how a training is cut into chunks changes nothing."""

SHARED = ("users", "batch")
"""What devices share out among them, of an agent that has it."""


@runtime_checkable
class Made(Protocol):
    """An agent's functions, of SlateQ's or REINFORCE's."""

    @property
    def init(self) -> Callable[[Key[Array, ""]], Any]:
        """The state before the first step."""

    @property
    def chunk(self) -> Chunk:
        """Steps of training."""


M = TypeVar("M", bound=Made)


@dataclass(frozen=True)
class Placed(Generic[M]):
    """An agent's functions, compiled for one device or for several, whose states have an axis of devices first."""

    made: M
    init: Callable[[Key[Array, "..."]], Any]
    chunk: Chunk
    put: Callable[[Any], Any]
    """A state of the host's, back where it was."""
    one: Callable[[Any], Any]
    """The state, or one device's."""


def placed(agent: Any, make: Callable[..., M], devices: int = 1, *, seeds: bool = False) -> Placed[M]:
    """`make(agent, axis=...)` on `devices` devices, which share out the agent's users and batches.

    Gradients are averaged; each device has users of its own, so that another number of devices is another training of
    the same kind. `seeds`: keys and states have an axis of seeds, trained at once. Calling `chunk` uses its state up.
    InputError: there are not so many devices, or they cannot share users and batches evenly.
    """
    shared = select(devices, devices)
    part = {name: getattr(agent, name) for name in SHARED if hasattr(agent, name)}
    for name, total in part.items():
        if total % devices:
            raise InputError(f"{name} {total} cannot be shared evenly by {devices} devices; take a divisor of it")
    made = make(
        dataclasses.replace(agent, **{name: total // devices for name, total in part.items()}),
        axis=AXIS if devices > 1 else None,
    )
    init = jax.vmap(made.init) if seeds else made.init
    chunk = jax.vmap(made.chunk, in_axes=(0, 0, None)) if seeds else made.chunk
    if devices == 1:
        return Placed(made, jax.jit(init), jax.jit(chunk, donate_argnums=0), jax.device_put, lambda state: state)
    launched = shared.launch(chunk, replicated=(True, False, False), donate=(0,))
    put = shared.launch(lambda state: state, replicated=(True,))
    return Placed(made, partial(shared.begin, init), launched, put, Devices.one)


def train(
    first: Any,
    chunk: Chunk,
    key: Key[Array, "..."],
    steps: int,
    *,
    every: int | None = None,
    store: Checkpoints | None = None,
    put: Callable[[Any], Any] = jax.device_put,
    heard: Callable[[int, Any], None] = lambda step, state: None,
) -> Any:
    """The state after `steps` steps from `first`, or from what `store` holds.

    Every `every` steps (by default a tenth) it is looked at, shown to `heard` with its step, and saved. `first` has
    `step` and `params`; seeds or devices may lead their axes. `put` brings a state of the host's back where it was.
    Diverged: a parameter is not finite. InputError: no step at a time, or all that is saved is damaged.
    """
    if every is not None and every < 1:
        raise InputError(f"every {every}: expected at least 1 step")
    state = first
    if store is not None and (found := store.restore(jax.device_get(state))) is not None:
        state = put(found)
    while (done := step_of(state)) < steps:
        state = chunk(state, key, jnp.int32(min(steps - done, every or -(-steps // 10))))
        if not finite(state.params):
            raise Diverged(
                f"a parameter became NaN or infinite by step {step_of(state):,}; try a lower learning rate, and see "
                "that all signals of the reward stay in their declared ranges (`Rewarded.check` with more users)"
            )
        heard(step_of(state), state)
        if store is not None:
            store.save(step_of(state), jax.device_get(state))
    return state


def step_of(state: Any) -> int:
    """The steps behind a state, of one seed or several."""
    return int(np.asarray(jax.device_get(state.step)).flat[0])


def name_of(options: Any, *others: Any, without: tuple[str, ...] = ()) -> str:
    """A name for the trainings under these options, but for those `without` a say in them, and under all else that
    decides them: agents, worlds, the data's fingerprint."""
    told = {name: value for name, value in to_json(options, hashed).items() if name not in without}
    return short_hash({"options": told, "others": to_json(others, hashed)})
