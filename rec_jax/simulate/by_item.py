"""Fitted users shown to a policy as a recommender knows them: by their place in the log, their histories and item ids.

For policies that score items by their ids (`rec_jax.policies.trained`), as those learnt from the same log do. What a
user clicks in a session joins the history, as events join a log; what a user has had is no candidate (`Unseen`).

Checked against a list in Python (tests/simulate/test_by_item.py).
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from rec_jax.errors import InputError
from rec_jax.models.base import Query
from rec_jax.simulate.base import Around, Observation, Response
from rec_jax.simulate.history import joined
from rec_jax.simulate.unseen import Offered, Unseen, clicked_item


class Readers(NamedTuple):
    """The users, and what each has done."""

    offered: Offered
    items: Int[Array, "n t"]
    """The last items, the earliest first, -1 past the end."""


@dataclass(frozen=True, eq=False)
class ByItem(Around):
    """`simulator` whose users have the histories [u t] of the log it was fitted to, as `Histories.last` gives them.

    In observations ids are numbers: of the user and of each document one, and the history is [n t 1]. InputError:
    histories of other users.
    """

    simulator: Unseen
    histories: Int[np.ndarray, "u t"]

    def __post_init__(self) -> None:
        users = len(self.simulator.simulator.fitted.user)
        if len(self.histories) != users:
            raise InputError(f"histories of {len(self.histories):,} users: the simulator has {users:,}")

    @property
    def user_width(self) -> int:
        """The user's place in the log."""
        return 1

    @property
    def document_width(self) -> int:
        """The item's id."""
        return 1

    def reset(self, key: Key[Array, ""], n: int) -> Readers:
        """Users with their histories in the log."""
        offered = self.simulator.reset(key, n)
        return Readers(offered, jnp.asarray(self.histories)[offered.users.who])

    def observe(self, state: Readers) -> Observation:
        """Ids alone."""
        users = state.offered.users
        numbers = (of.astype(jnp.float32)[..., None] for of in (users.who, users.items, state.items))
        user, documents, history = numbers
        return Observation(user, documents, history, (state.items >= 0).sum(axis=1))

    def step(self, key: Key[Array, ""], state: Readers, slates: Int[Array, "n k"]) -> tuple[Readers, Response]:
        """The simulator's step; the clicked item joins the history, and the earliest leaves it where it is full."""
        after, response = self.simulator.step(key, state.offered, slates)
        item = clicked_item(state.offered.users, slates, response)
        items = joined(state.items, (state.items >= 0).sum(axis=1), item)
        return Readers(after, jnp.where(item[:, None] >= 0, items, state.items)), response


def read(seen: Observation) -> tuple[Query, Int[Array, "n c"]]:
    """(what a recommender is asked, the candidates' ids), of an observation of `ByItem`; times are unknown."""
    assert seen.history is not None
    history = seen.history[..., 0].astype(jnp.int32)
    query = Query(seen.user[:, 0].astype(jnp.int32), None, history, jnp.zeros_like(history))
    return query, seen.documents[..., 0].astype(jnp.int32)
