"""Recommendations that follow a user's events as they come, without reading the history again.

A recurrent model keeps its state, and a causal transformer the keys and values of what it has read: an event costs one
position, not the whole history. A transformer follows as many events as it has positions; from then on each event has
the last of them read again, which is what positions counted from the first event read mean.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rec_jax.data.histories import seconds32
from rec_jax.errors import InputError
from rec_jax.models.base import Query
from rec_jax.recommend import Recommendation, Saved, best

# One compilation a model, however many users are followed.
_observe = jax.jit(lambda observe, *arguments: observe(*arguments), static_argnums=0)


class Follower:
    """One user, of whom nothing is known at first. InputError: the model of the run cannot follow events."""

    def __init__(self, saved: Saved) -> None:
        stream = saved.scorer.stream
        if stream is None:
            raise InputError(
                f"{saved.experiment.model} cannot follow events one by one; take a recurrent model, or causal "
                "attention with positions from the first event"
            )
        self._saved, self._stream = saved, stream
        self._items: list[int] = []
        self._times: list[int] = []
        self._memory: Any = None
        self._scores: np.ndarray | None = None

    def observe(self, item: str, time: int = 0) -> None:
        """The user's next event: an item (original id), at `time` in seconds since 1970 (0: unknown).

        InputError: no such item, or time runs backwards.
        """
        index = self._saved.problem.dataset.item_index(item)
        last = max(self._times, default=0)
        if time and time < last:
            raise InputError(f"time {time}: the last event was at {last}; give events in their order")
        self._items.append(index)
        self._times.append(time)
        longest, cache = self._stream.longest, self._saved.scorer.cache
        if longest is not None and len(self._items) > longest:
            self._memory, query = None, _query(self._items[-longest:], self._times[-longest:])
            self._scores = np.asarray(self._saved.scorer.scores(cache, query)[0])
            return
        if self._memory is None:
            self._memory = self._stream.begin(cache, 1)
        place, query = jnp.int32(len(self._items) - 1), _query([index], [time])
        self._memory, scores = _observe(self._stream.observe, cache, self._memory, query, place)
        self._scores = np.asarray(scores[0])

    def recommend(self, k: int = 10) -> list[Recommendation]:
        """The k best items that the user has not had. InputError: no event yet, or k below 1."""
        if self._scores is None:
            raise InputError("no event was observed yet: nothing is known of the user")
        return best(self._scores, self._saved.problem, np.array(self._items), k)


def _query(items: Sequence[int], times: Sequence[int]) -> Query:
    when = seconds32(np.array(times, np.int64))[None]
    return Query(jnp.zeros(1, jnp.int32), None, jnp.array([items], jnp.int32), jnp.asarray(when))
