"""HSTU: pointwise aggregated attention over a user's last events. Zhai et al., "Actions Speak Louder than Words",
ICML 2024, Sec. 3.

Differences from the authors' code: (1) the time bias of a query is of the time that has gone by since each earlier
event at its own event, not at the one that is to be found, whose time is known only where the request's is; (2)
weights are divided by `max_length`, however long the batch's histories are, so that padding has no say.

Checked against a loop in plain numpy (tests/models/test_hstu.py).
"""

from collections.abc import Callable
from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from rec_jax.fields import added
from rec_jax.models.attention import Cache, attend, attend_last, written
from rec_jax.models.base import Leaf, Query
from rec_jax.models.layers import Dense, Dropout
from rec_jax.models.sequence import NORMAL, ItemsAndPlaces, Positions, SequenceModel, check_heads, latest, own_vectors

EPSILON = 1e-6
BUCKETS = 128
"""Of the time between two events, each exp(.301) = 1.35 times as long as the one before."""
SCALE = 0.301


@dataclass(frozen=True)
class HSTUConfig:
    """HSTU's hyper-parameters."""

    width: int = 50
    """Width of embeddings and states."""
    blocks: int = 2
    """Layers."""
    heads: int = 1
    """Attention heads."""
    dropout: float = 0.2
    """Dropout of embeddings and of each layer's output."""
    max_length: int = 200
    """Events of a history that are read, the last ones."""
    positions: Positions = "first"
    """Where the embedded positions are counted from: the first event read, or back from the last one; or none."""
    position_bias: bool = True
    """Add a bias by the distance of two events to their attention."""
    time_bias: bool = False
    """Add a bias by the time between two events, where both have one. The log has to have times."""
    tied: bool = added(True)
    """The items' vectors in the scores are those of the input."""


@struct.dataclass
class Memory:
    """What is remembered of users: each layer's keys and values, and when their events were."""

    layers: tuple[Cache, ...]
    times: Leaf  # int32 [b t]


class HSTU(SequenceModel):
    """score(i | history) = h_t . E_i, h_t the last layer's output."""

    config: HSTUConfig

    def setup(self) -> None:
        c = self.config
        check_heads(c.width, c.heads)
        self.embed = ItemsAndPlaces(self.n_items, c.width, c.max_length, c.positions, c.dropout)
        self.layers = [Layer(c) for _ in range(c.blocks)]
        self.output = own_vectors(c.tied, self.n_items, c.width)

    def states(self, query: Query) -> Float[Array, "b t d"]:
        """The state at every position."""
        query = latest(query, self.config.max_length)
        x = self.embed(query.history)
        for layer in self.layers:
            x = layer(x, query.times)
        return x

    def begin(self, b: int) -> Memory:
        """What is remembered of `b` users before their first event."""
        c = self.config
        zeros = jnp.zeros((b, c.max_length, c.heads, c.width // c.heads))
        return Memory(tuple(Cache(zeros, zeros) for _ in self.layers), jnp.zeros((b, c.max_length), jnp.int32))

    def observe(self, memory: Memory, query: Query, place: Int[Array, ""]) -> tuple[Memory, Float[Array, "b d"]]:
        """(what is remembered, the state) after the event `query.history` [b 1], the users' event number `place`.

        `place` is counted from 0 and below `max_length`, and positions from the first event.
        """
        x, kept, times = self.embed.step(query.history[:, 0], place), [], memory.times
        if query.times is not None:
            times = times.at[:, place].set(query.times[:, 0])
        for layer, cache in zip(self.layers, memory.layers):
            x, cache = layer.step(x, cache, times, place)
            kept.append(cache)
        return Memory(tuple(kept), times), x[:, 0]


class Layer(nn.Module):
    """X + drop(norm(A V) * U) W, with U, V, Q, K = silu(norm(X) W') and A = silu(Q K^T + bias) / N (Eqs. 1-3)."""

    config: HSTUConfig

    def setup(self) -> None:
        c = self.config
        self.norms = [nn.LayerNorm(epsilon=EPSILON, use_bias=False, use_scale=False) for _ in range(2)]
        self.parts = Dense(4 * c.width, bias=False, kernel_init=NORMAL)
        self.out = Dense(c.width)
        self.drop = Dropout(c.dropout)
        if c.position_bias:
            self.by_distance = self.param("by_distance", NORMAL, (c.max_length, c.heads))
        if c.time_bias:
            self.by_time = self.param("by_time", NORMAL, (BUCKETS + 1, c.heads))

    def __call__(self, x: Float[Array, "b t d"], times: Int[Array, "b t"] | None) -> Float[Array, "b t d"]:
        """All positions."""
        gate, query, key, value = self._parts(x)
        found = attend(query, key, value, self._weights, causal=True, bias=self._bias(times))
        return self._after(x, gate, found)

    def step(
        self, x: Float[Array, "b 1 d"], cache: Cache, times: Int[Array, "b t"], place: Int[Array, ""]
    ) -> tuple[Float[Array, "b 1 d"], Cache]:
        """One position more."""
        gate, query, key, value = self._parts(x)
        cache, c, bias = written(cache, place, key, value), self.config, None
        if c.position_bias:
            distance = jnp.clip(place - jnp.arange(c.max_length), 0, c.max_length - 1)
            bias = self.by_distance[distance].T[None, :, None]
        if c.time_bias:
            of_time = self._between(times[:, place][:, None], times).transpose(0, 2, 1)[:, :, None]
            bias = of_time if bias is None else bias + of_time
        return self._after(x, gate, attend_last(query, cache, place, self._weights, bias)), cache

    def _bias(self, times: Int[Array, "b t"] | None) -> Callable[[int, int], Array] | None:
        c = self.config
        if not (c.position_bias or c.time_bias):
            return None

        def bias(low: int, high: int) -> Array:
            found: Array = jnp.zeros((1, 1, 1, 1))
            if c.position_bias:
                distance = jnp.arange(low, high)[:, None] - jnp.arange(high)
                found = found + self.by_distance[jnp.clip(distance, 0, c.max_length - 1)].transpose(2, 0, 1)[None]
            if c.time_bias and times is not None:
                found = found + self._between(times[:, low:high, None], times[:, None, :high]).transpose(0, 3, 1, 2)
            return found

        return bias

    def _between(self, one: Int[Array, "..."], other: Int[Array, "..."]) -> Float[Array, "... h"]:
        """The bias by the time between two events; 0 where one of them has none (a time of 0)."""
        return jnp.where(((one != 0) & (other != 0))[..., None], self.by_time[bucket(one - other)], 0.0)

    def _parts(self, x: Array) -> tuple[Array, Array, Array, Array]:
        c = self.config
        gate, value, query, key = jnp.split(nn.silu(self.parts(self.norms[0](x))), 4, axis=-1)
        query, key, value = (of.reshape(*of.shape[:-1], c.heads, c.width // c.heads) for of in (query, key, value))
        return gate, query, key, value

    def _weights(self, scores: Array, seen: Bool[Array, "#b 1 #q k"]) -> Array:
        return jnp.where(seen, nn.silu(scores), 0.0) / self.config.max_length

    def _after(self, x: Array, gate: Array, found: Array) -> Array:
        found = found.reshape(*found.shape[:-2], self.config.width)
        return x + self.out(self.drop(self.norms[1](found) * gate))


def bucket(seconds: Int[Array, "*s"]) -> Int[Array, "*s"]:
    """floor(log(max(1, |seconds|)) / .301), at most `BUCKETS`."""
    size = jnp.log(jnp.maximum(jnp.abs(seconds), 1).astype(jnp.float32)) / SCALE
    return jnp.clip(jnp.floor(size), 0, BUCKETS).astype(jnp.int32)
