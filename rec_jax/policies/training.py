"""A policy's training, some steps at a time: looked at, saved and gone on with.

Checked on a training that is a count (tests/policies/test_training.py).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from rec_jax.config import short_hash, to_json
from rec_jax.errors import Diverged
from rec_jax.fields import hashed
from rec_jax.policies.networks import finite
from rec_jax.train.checkpoints import Checkpoints

Chunk = Callable[[Any, Key[Array, "..."], Int[Array, ""]], Any]
"""(state, key, steps) -> the state after so many steps more; how a training is cut into chunks changes nothing."""


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
    Diverged: a parameter is not finite. InputError: all that is saved is damaged.
    """
    state = first
    if store is not None and (found := store.restore(jax.device_get(state))) is not None:
        state = put(found)
    while (done := step_of(state)) < steps:
        state = chunk(state, key, jnp.int32(min(steps - done, every or -(-steps // 10))))
        if not finite(state.params):
            raise Diverged(f"a parameter became NaN or infinite by step {step_of(state):,}; try a lower learning rate")
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
