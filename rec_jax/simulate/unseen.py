"""Fitted users who are offered nothing twice: not what they have in the log, nor what they clicked in the session.

For policies that know what a user has had, as recommenders learnt from the log do: those were never asked for it and
rank it low, while `LoggedUsers` like it as ever, so that whoever shows it again would be held to be the better.

Checked by sessions in which no item may come back, and by frequencies of what is drawn against its chances among what
is left (tests/simulate/test_unseen.py).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key

from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError
from rec_jax.simulate.base import Around, Observation, Response
from rec_jax.simulate.draws import distinct_of_lines
from rec_jax.simulate.logged_users import LoggedUsers, Users

UNITS = 2**23
"""Chances are whole numbers of these: as fine as the draws themselves."""


class Offered(NamedTuple):
    """The users, and what each may still be offered."""

    users: Users
    ends: Int[Array, "n m"]
    """Running sums of the weights of items, 0 for those that a user has had."""


@dataclass(frozen=True, eq=False)
class Unseen(Around):
    """`simulator`, whose candidates are drawn by the same chances among what a user does not have in `log` and did not
    click in this session.

    InputError: users or items that the simulator does not have, or a user for whom not enough is left.
    """

    simulator: LoggedUsers
    log: Interactions

    def __post_init__(self) -> None:
        of, log = self.simulator.fitted, self.log
        users, items = len(of.user), len(of.item)
        for name, ids, size in (("user", log.user, users), ("item", log.item, items)):
            if len(ids) and ids.max() >= size:
                raise InputError(f"{name} {ids.max()} of the log: the simulator has {size:,} {name}s; give its own log")
        most = int(self.had.sum(axis=1).argmax())
        left, needed = items - int(self.had[most].sum()), self.simulator.candidates + self.simulator.budget
        if left < needed:
            raise InputError(
                f"user {most} has {items - left:,} of {items:,} items in the log: {left:,} are left, and a session may "
                f"need {needed:,}; make candidates ({self.simulator.candidates}) or budget ({self.simulator.budget}) "
                "smaller"
            )

    @cached_property
    def had(self) -> Bool[np.ndarray, "u m"]:
        """What users have in the log."""
        found = np.zeros((len(self.simulator.fitted.user), len(self.simulator.fitted.item)), bool)
        found[self.log.user, self.log.item] = True
        return found

    @property
    def weights(self) -> Int[np.ndarray, "m"]:
        """The simulator's chances in UNITS, at least one."""
        return np.maximum(self.simulator.chances.astype(np.float64) * UNITS, 1).astype(np.int32)

    def reset(self, key: Key[Array, ""], n: int) -> Offered:
        """The simulator's users, with candidates that they have not had."""
        users = self.simulator.reset(key, n)
        ends = jnp.cumsum(jnp.where(jnp.asarray(self.had)[users.who], 0, jnp.asarray(self.weights)), axis=1)
        return self._offer(key, users, ends)

    def observe(self, state: Offered) -> Observation:
        """As the simulator."""
        return self.simulator.observe(state.users)

    def step(self, key: Key[Array, ""], state: Offered, slates: Int[Array, "n k"]) -> tuple[Offered, Response]:
        """The simulator's step; what is clicked is not offered again."""
        after, response = self.simulator.step(key, state.users, slates)
        weights = jnp.asarray(self.weights)
        item = clicked_item(state.users, slates, response)
        gone = jnp.where(item >= 0, weights[item], 0)
        ends = state.ends - jnp.where(jnp.arange(len(weights)) >= item[:, None], gone[:, None], 0)
        return self._offer(key, after, ends), response

    def _offer(self, key: Key[Array, ""], users: Users, ends: Int[Array, "n m"]) -> Offered:
        # Not the words that the simulator has drawn of the same key.
        bits = jax.random.bits(jax.random.fold_in(key, 1), users.items.shape, jnp.uint32)
        return Offered(users._replace(items=distinct_of_lines(bits, ends)), ends)


def clicked_item(users: Users, slates: Int[Array, "n k"], response: Response) -> Int[Array, "n"]:
    """The item that each user clicked, -1 for none."""
    place = response.place(slates)
    item = jnp.take_along_axis(users.items, jnp.maximum(place, 0)[:, None], axis=1)[:, 0]
    return jnp.where(place >= 0, item, -1)
