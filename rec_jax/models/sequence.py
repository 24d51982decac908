"""What every model of sequences is: it reads a user's last events, and its states meet the items' vectors in a product.

A history stands at the left of its row, the earliest event first, and -1 fills the rest. A causal model's state at a
position is a function of the events up to there, so that one pass trains all positions, and padding at the end is
never seen.
"""

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rec_jax.errors import InputError
from rec_jax.models.base import Query
from rec_jax.models.layers import Dropout

Positions = Literal["first", "last", "none"]
NORMAL = nn.initializers.normal(0.02)


class SequenceModel(nn.Module):
    """States [b t d] of a history, and vectors [n d] of the items; a score is the product of the two.

    `config` has a field `max_length`: of a longer history only the last so many events are read.
    """

    config: Any
    n_users: int
    n_items: int

    if TYPE_CHECKING:  # made by setup; linen would take an annotation for an argument
        embed: "ItemsAndPlaces"
        output: nn.Embed | None

    user_tables: ClassVar[tuple[str, ...]] = ()
    """No parameter belongs to a user: unseen users are served by their histories."""
    recurrent: ClassVar[bool] = False
    """What is remembered of a user does not grow: events can be followed without end."""

    @property
    def reads(self) -> int:
        """How many of a user's last events are read."""
        return int(self.config.max_length)

    def states(self, query: Query) -> Float[Array, "b t d"]:
        """The state at every position of `query.history` [b t]; past its end, anything."""
        raise NotImplementedError

    def item_vectors(self) -> Float[Array, "n d"]:
        """What states are multiplied by: the input's vectors (`embed.item`), or the items' own (`output`)."""
        return (self.output or self.embed.item).embedding

    def last(self, query: Query) -> Float[Array, "b d"]:
        """The state after the last event."""
        query = latest(query, self.reads)
        states = self.states(query)
        at = jnp.maximum((query.history >= 0).sum(axis=1) - 1, 0)
        return jnp.take_along_axis(states, at[:, None, None], axis=1)[:, 0]


def own_vectors(tied: bool, n_items: int, width: int) -> nn.Embed | None:
    """The items' vectors in the scores, where they are not to be the input's."""
    return None if tied else nn.Embed(n_items, width, embedding_init=NORMAL)


def latest(query: Query, length: int) -> Query:
    """The query with at most the last `length` events of each history."""
    width = query.history.shape[1]
    if width <= length:
        return query
    count = (query.history >= 0).sum(axis=1)
    place = jnp.maximum(count - length, 0)[:, None] + jnp.arange(length)
    history, times = (
        None if of is None else jnp.take_along_axis(of, place, axis=1) for of in (query.history, query.times)
    )
    return query.replace(history=history, times=times)  # type: ignore[attr-defined]


def vectors_of(table: nn.Embed, query: Query, length: int) -> tuple[Float[Array, "b t d"], Bool[Array, "b t"]]:
    """(the vectors of the last `length` events of each history, whether there is such an event)."""
    history = latest(query, length).history
    return table(jnp.maximum(history, 0)), history >= 0


def check_heads(width: int, heads: int) -> None:
    """InputError: the width cannot be shared evenly by the heads."""
    if heads < 1 or width % heads:
        raise InputError(f"--heads {heads}: --width {width} cannot be shared evenly; take a divisor of it")


class ItemsAndPlaces(nn.Module):
    """A transformer's input: sqrt(d) times the item's embedding (Vaswani et al. 2017, Sec. 3.4), and its position's.

    Positions are counted from the history's first event that is read ('first'), or so that the last one always has
    the last position ('last', as the original SASRec's padding at the left does), or have no embedding ('none').
    Not `scaled`: the item's embedding is taken as it is.
    """

    n_items: int
    width: int
    max_length: int
    positions: Positions
    dropout: float
    scaled: bool = True

    def setup(self) -> None:
        self.item = nn.Embed(self.n_items, self.width, embedding_init=NORMAL)
        if self.positions != "none":
            self.position = nn.Embed(self.max_length, self.width, embedding_init=NORMAL)
        self.drop = Dropout(self.dropout)

    def __call__(self, items: Int[Array, "b t"]) -> Float[Array, "b t d"]:
        """The input at every position; 0 past the end."""
        real = items >= 0
        place = jnp.arange(items.shape[1])[None]
        if self.positions == "last":
            place = self.max_length - real.sum(axis=1, keepdims=True) + place
        return self._at(items, jnp.clip(place, 0, self.max_length - 1), real)

    def step(self, items: Int[Array, "b"], place: Int[Array, ""]) -> Float[Array, "b 1 d"]:
        """The input of one event more, at `place`, where positions are counted from the first."""
        return self._at(items[:, None], place[None, None], jnp.ones((1, 1), bool))

    def _at(
        self, items: Int[Array, "b t"], place: Int[Array, "#b t"], real: Bool[Array, "#b t"]
    ) -> Float[Array, "b t d"]:
        x = self.item(jnp.maximum(items, 0)) * (math.sqrt(self.width) if self.scaled else 1.0)
        if self.positions != "none":
            x = x + self.position(place)
        return self.drop(x) * real[..., None]
