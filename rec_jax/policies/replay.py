"""What was lived through, to learn from again: a ring of the last steps of n users side by side.

Entries stand in the order of time, so that what came after a step need not be kept twice, and n-step returns are
entries in a row. Uniform, or by priority (Schaul et al., ICLR 2016, Sec. 3.3, proportional).

Checked by counted draws, and against the formulas in plain Python (tests/policies/test_replay.py).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


class Replay(NamedTuple):
    """The ring: every leaf of `entries` is [t n …], `priority` [t n]; `written`: how many steps there have been."""

    entries: Any
    priority: Float[Array, "t n"]
    written: Int[Array, ""]


class Sample(NamedTuple):
    """Where in the ring b entries stand, and with which chance each was drawn, times the number to draw from."""

    time: Int[Array, "b"]
    user: Int[Array, "b"]
    odds: Float[Array, "b"]


def empty(like: Any, length: int) -> Replay:
    """A ring of `length` steps for entries shaped as `like`, whose leaves are [n …]."""
    entries = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), like)
    n = jax.tree.leaves(like)[0].shape[0]
    return Replay(entries, jnp.ones((length, n), jnp.float32), jnp.int32(0))


def add(replay: Replay, entry: Any) -> Replay:
    """The ring with a step more, in place of the oldest; it gets the highest priority there is."""
    place = replay.written % len(replay.priority)
    entries = jax.tree.map(lambda ring, new: ring.at[place].set(new), replay.entries, entry)
    priority = replay.priority.at[place].set(replay.priority.max())
    return Replay(entries, priority, replay.written + 1)


def sample(key: Key[Array, ""], replay: Replay, b: int, ahead: int, exponent: float = 0.0) -> Sample:
    """b entries that have `ahead` others after them, with replacement, in proportion to priority^exponent.

    At least `ahead` + 1 steps must have been written.
    """
    length, n = replay.priority.shape
    stored = jnp.minimum(replay.written, length)
    if exponent == 0:
        of_time, of_user = jax.random.split(key)
        back = ahead + jax.random.randint(of_time, (b,), 0, stored - ahead)
        time = (replay.written - 1 - back) % length
        return Sample(time, jax.random.randint(of_user, (b,), 0, n), jnp.ones(b))
    age = (replay.written - 1 - jnp.arange(length)) % length
    ready = (age >= ahead) & (age < stored)
    chance = jnp.where(ready[:, None], replay.priority**exponent, 0.0)
    # By time first, then among its users: sums of a few thousand numbers stay exact enough.
    of_time, of_user = jax.random.split(key)
    time = _drawn(jax.random.uniform(of_time, (b,)), jnp.cumsum(chance.sum(axis=1)))
    user = jax.vmap(_drawn)(jax.random.uniform(of_user, (b,)), jnp.cumsum(chance[time], axis=1))
    share = chance[time, user] / chance.sum()
    return Sample(time, user, share * n * (stored - ahead))


def _drawn(uniform: Float[Array, "*b"], steps: Float[Array, "t"]) -> Int[Array, "*b"]:
    # The mark is below the last step even where the product rounds up to it.
    mark = jnp.minimum(uniform * steps[-1], jnp.nextafter(steps[-1], jnp.float32(0)))
    return jnp.searchsorted(steps, mark, side="right").astype(jnp.int32)


def at(replay: Replay, sample: Sample, ahead: int) -> Any:
    """The entries `ahead` steps after those sampled: leaves [b …]."""
    time = (sample.time + ahead) % len(replay.priority)
    return jax.tree.map(lambda ring: ring[time, sample.user], replay.entries)


def annealed(first: float, steps: int, step: Int[Array, ""]) -> Float[Array, ""] | float:
    """The exponent of the weights at `step`: first + (1 - first) min(step / steps, 1), or `first` where `steps` is 0.

    Sec. 3.4: what the priorities distort matters most near convergence, so that it is made up for in full at the end.
    """
    if not steps:
        return first
    return first + (1 - first) * jnp.minimum(step / steps, 1.0)


def importance(odds: Float[Array, "b"], exponent: Float[Array, ""] | float) -> Float[Array, "b"]:
    """odds^-exponent over the largest of them: weights that make up for the priorities (Sec. 3.4). Entries that are not
    to be learnt from have odds of inf: they weigh nothing, and are nobody's largest."""
    weights = odds**-exponent
    return weights / jnp.maximum(weights.max(), jnp.finfo(weights.dtype).tiny)


def prioritised(replay: Replay, sample: Sample, priority: Float[Array, "b"]) -> Replay:
    """The ring with new priorities where it was sampled, none of them 0."""
    return replay._replace(priority=replay.priority.at[sample.time, sample.user].set(priority + 1e-3))
