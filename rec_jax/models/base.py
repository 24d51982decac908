"""What models and baselines share: the query they answer and the functions that evaluation calls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from rec_jax.data.histories import Histories
from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError

Leaf: TypeAlias = Any
"""A field of a pytree: an array of the shape that stands behind it, or what a transformation puts in its place."""
GROUP = 8
"""Users of a batch whose pairs of a candidate and an event are scored together on a CPU."""


@struct.dataclass
class Query:
    """Who is asking, and when: one entry a user of the batch."""

    user: Leaf  # int32 [b]
    context: Leaf = None  # int32 [b 2]: hour of the day (UTC), day of the week (0 is Monday); -1 unknown. Or None.
    history: Leaf = None  # int32 [b t]: the user's last items, the earliest first, -1 past the end. Or None.
    times: Leaf = None  # int32 [b t]: when that was, in seconds since 1970; 0 unknown. Or None.

    @classmethod
    def at(cls, user: np.ndarray, time: np.ndarray, known: Histories | None = None, reads: int = 0) -> "Query":
        """The query of `user` [b] at `time` [b], in seconds since 1970 (0: unknown).

        With `reads` it brings the last so many events of each user, out of `known`, padded to a power of two, so that
        few shapes are compiled. InputError: what users did is not known.
        """
        if reads == 0:
            return jax.device_put(cls(user, context_of(time)))
        if known is None:
            raise InputError("the recommender reads what users did before, and that is not known here")
        longest = int(known.lengths(user).max(initial=1))
        items, times = known.last(user, min(reads, power_of_two(longest)))
        return jax.device_put(cls(user, context_of(time), items, times))


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << (max(1, n) - 1).bit_length()


def context_of(time: np.ndarray) -> np.ndarray:
    """[b, 2]: hour and weekday of `time` [b], in seconds since 1970; -1 where the time is unknown (0)."""
    days = time // 86400
    found = np.stack([time % 86400 // 3600, (days + 3) % 7], axis=1)  # 1 January 1970 was a Thursday
    return np.where((time == 0)[:, None], -1, found).astype(np.int32)


def one_by_one(function: Callable[[Any], Array], users: Any) -> Array:
    """`function` of each entry of `users` along their first axis, stacked; never all at once on a CPU.

    There the layers of one user over the catalogue, [n, h], stay in the processor's cache; those of a batch do not,
    and take twice the time.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.map(function, users)
    return jax.vmap(function)(users)


def in_groups(function: Callable[..., Array], *users: Any) -> Array:
    """`function` of arrays, or pytrees of them, whose first axis is that of users, a few users at a time on a CPU.

    There the layers over their pairs of a candidate and an event, or over their events, which are made again for the
    gradient, stay in the processor's cache: those of a whole batch take up to five times the time.
    """
    b = len(jax.tree.leaves(users)[0])
    if jax.default_backend() != "cpu" or b % GROUP:
        return function(*users)
    groups = jax.tree.map(lambda of: of.reshape(b // GROUP, GROUP, *of.shape[1:]), users)
    found = jax.lax.map(jax.checkpoint(lambda group: function(*group)), groups)
    return found.reshape(b, *found.shape[2:])


@dataclass(frozen=True)
class Stream:
    """Scores as events come, without reading a history again: pure functions, a user's event at a time.

    - `begin(cache, b) -> memory`: what is remembered of b users before their first event;
    - `observe(cache, memory, query, place) -> (memory, scores [b n])`: after the event `query.history` [b 1], each
      user's event number `place`, counted from 0.
    """

    begin: Callable[[Any, int], Any]
    observe: Callable[[Any, Any, Query, Int[Array, ""]], tuple[Any, Float[Array, "b n"]]]
    longest: int | None
    """Events that can be followed; None: any number."""


@dataclass(frozen=True)
class Scorer:
    """A fitted recommender as evaluation sees it: two pure functions over a cache, whoever made them.

    Higher scores rank earlier. The functions are compared by identity: make them once a model, and give every
    new set of parameters as a new cache, so that nothing is compiled again. `fold_in(log, n_users)`, where the
    recommender has it, is the scorer of `n_users` other users, whose histories are the events of `log`. `reads`: how
    many of a user's last events `query.history` has to bring (0: the recommender does not look at it). `stream`: how
    scores follow events as they come, where the recommender can.
    """

    name: str
    cache: Any
    scores: Callable[[Any, Query], Float[Array, "b n"]]
    score_candidates: Callable[[Any, Query, Int[Array, "b k"]], Float[Array, "b k"]]
    fold_in: Callable[[Interactions, int], "Scorer"] | None = None
    reads: int = 0
    stream: Stream | None = None
