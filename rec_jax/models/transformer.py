"""What causal transformers over a user's last events share: all positions at once, or an event more by a cache."""

from typing import TYPE_CHECKING, Any

from jaxtyping import Array, Float, Int

from rec_jax.models.attention import Cache
from rec_jax.models.base import Query
from rec_jax.models.sequence import ItemsAndPlaces, SequenceModel, latest


class CausalTransformer(SequenceModel):
    """`setup` makes `embed`, `output`, and `layers` with `attention`, `__call__(x)` and `step(x, cache, place)`."""

    if TYPE_CHECKING:  # made by setup; linen would take an annotation for an argument
        embed: ItemsAndPlaces
        layers: list[Any]

    def finished(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        """The states, from the last layer's output."""
        raise NotImplementedError

    def states(self, query: Query) -> Float[Array, "b t d"]:
        """The state at every position."""
        x = self.embed(latest(query, self.config.max_length).history)
        for layer in self.layers:
            x = layer(x)
        return self.finished(x)

    def begin(self, b: int) -> tuple[Cache, ...]:
        """What is remembered of `b` users before their first event."""
        return tuple(layer.attention.blank(b, self.config.max_length) for layer in self.layers)

    def observe(
        self, memory: tuple[Cache, ...], query: Query, place: Int[Array, ""]
    ) -> tuple[tuple[Cache, ...], Float[Array, "b d"]]:
        """(what is remembered, the state) after the event `query.history` [b 1], the users' event number `place`.

        `place` is counted from 0 and below `max_length`, and positions from the first event.
        """
        x, kept = self.embed.step(query.history[:, 0], place), []
        for layer, cache in zip(self.layers, memory):
            x, cache = layer.step(x, cache, place)
            kept.append(cache)
        return tuple(kept), self.finished(x)[:, 0]
