"""What each user did, in order: a log read by user, for recommenders that read sequences."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64

from rec_jax.data.interactions import Interactions


@dataclass(frozen=True, eq=False)
class Histories:
    """Every user's events in the log's order: user u owns places start[u] to start[u + 1] of the log."""

    log: Interactions
    start: Int64[np.ndarray, "n_users_plus_1"]

    @classmethod
    def of(cls, log: Interactions, n_users: int) -> "Histories":
        """The histories in a log, which is sorted by user."""
        return cls(log, log.by_user(n_users))

    def lengths(self, users: Int32[np.ndarray, "b"]) -> Int64[np.ndarray, "b"]:
        """How many events each has."""
        return self.start[users + 1] - self.start[users]

    def last(
        self, users: Int32[np.ndarray, "b"], width: int
    ) -> tuple[Int32[np.ndarray, "b w"], Int32[np.ndarray, "b w"]]:
        """(items, times) of the last `width` events of each, the earliest first, -1 and 0 past the end.

        Times are in seconds since 1970, as far as 32 bits reach (the year 2038).
        """
        place, inside = last_places(np, self.start, users, width)
        items, times = np.full(place.shape, -1, np.int32), np.zeros(place.shape, np.int32)
        items[inside], times[inside] = self.log.item[place[inside]], seconds32(self.log.time[place[inside]])
        return items, times


def last_places(xp: Any, start: Any, users: Any, width: int, end: Any = None) -> tuple[Any, Any]:
    """(places in a log [b w], whether there is such an event [b w]) of the last `width` events of each user, the
    earliest first, or of their first `end` [b]; `xp` is numpy or jax.numpy, whichever the arrays are of.
    """
    last = start[users + 1] if end is None else start[users] + end
    count = xp.minimum(last - start[users], width)
    inside = xp.arange(width) < count[:, None]
    return xp.where(inside, (last - count)[:, None] + xp.arange(width), 0), inside


def seconds32(time: Int64[np.ndarray, "m"]) -> Int32[np.ndarray, "m"]:
    """Times in 32 bits, cut off where these end."""
    return np.clip(time, -(2**31), 2**31 - 1).astype(np.int32)
