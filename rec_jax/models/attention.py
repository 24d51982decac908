"""Attention over a sequence, all of it at once or one step at a time. Vaswani et al., NeurIPS 2017, Sec. 3.2.

Causal attention is computed in blocks of queries, each over no more keys than it may see: at 200 positions that is
5/8 of the square. Checked against loops in plain numpy, and a step at a time against all at once
(tests/models/test_attention.py).
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from rec_jax.models.base import Leaf
from rec_jax.models.layers import Dense, Dropout

BLOCKS = 4
"""Blocks of queries in causal attention: 2 leave 3/4 of the square, 4 leave 5/8, more are too short."""
SHORTEST = 32
"""Queries in a block, at least: shorter ones take longer to compile than they save."""


@struct.dataclass
class Cache:
    """Keys and values of the positions so far, of [b t h d] each, the rest unset."""

    key: Leaf
    value: Leaf


Weights = Callable[[Float[Array, "b h q k"], Bool[Array, "#b 1 #q k"]], Float[Array, "b h q k"]]
"""What makes weights of scores, given which keys may be seen; they need not sum to 1."""


def softmax(scores: Float[Array, "b h q k"], seen: Bool[Array, "#b 1 #q k"]) -> Float[Array, "b h q k"]:
    """exp(score) over its sum, over the keys that are seen; 0 where none is."""
    scores = jnp.where(seen, scores, -1e9)
    top = jax.lax.stop_gradient(scores.max(-1, keepdims=True))
    raised = jnp.where(seen, jnp.exp(scores - top), 0.0)
    return raised / jnp.maximum(raised.sum(-1, keepdims=True), 1e-30)


def attend(
    query: Float[Array, "b t h d"],
    key: Float[Array, "b t h d"],
    value: Float[Array, "b t h e"],
    weights: Weights,
    *,
    causal: bool,
    real: Bool[Array, "b t"] | None = None,
    bias: Callable[[int, int], Float[Array, "#b h q k"]] | None = None,
) -> Float[Array, "b t h e"]:
    """weights(query key^T + bias) value. `causal`: no key after the query; `real`: keys that are there at all.

    `bias(low, high)` is that of the queries low to high with the keys up to high (with all keys, if not causal).
    """
    t = query.shape[1]
    step = max(SHORTEST, -(-t // BLOCKS)) if causal else t
    found = []
    for low in range(0, t, step):
        high = min(t, low + step)
        keys = high if causal else t
        scores = jnp.einsum("bqhd,bkhd->bhqk", query[:, low:high], key[:, :keys])
        if bias is not None:
            scores += bias(low, high)
        seen = jnp.ones((1, 1, high - low, keys), bool)
        if causal:
            seen = (jnp.arange(low, high)[:, None] >= jnp.arange(keys))[None, None]
        if real is not None:
            seen = seen & real[:, None, None, :keys]
        found.append(jnp.einsum("bhqk,bkhe->bqhe", weights(scores, seen), value[:, :keys]))
    return found[0] if len(found) == 1 else jnp.concatenate(found, axis=1)


def attend_last(
    query: Float[Array, "b 1 h d"],
    cache: Cache,
    place: Int[Array, ""],
    weights: Weights,
    bias: Float[Array, "#b h 1 k"] | None = None,
) -> Float[Array, "b 1 h e"]:
    """The same, causal, for one query, at `place`, over the keys of the cache up to there; `bias` with all of them."""
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, cache.key)
    scores = scores if bias is None else scores + bias
    seen = (jnp.arange(cache.key.shape[1]) <= place)[None, None, None]
    return jnp.einsum("bhqk,bkhe->bqhe", weights(scores, seen), cache.value)


def written(cache: Cache, place: Int[Array, ""], key: Array, value: Array) -> Cache:
    """The cache with one more position, [b 1 h d] each."""
    put = jax.lax.dynamic_update_slice_in_dim
    return Cache(put(cache.key, key, place, axis=1), put(cache.value, value, place, axis=1))


class MultiHead(nn.Module):
    """softmax(Q K^T / sqrt(d)) V in `heads` parts, with dropout on the weights; Q of `x`, K and V of `y`."""

    width: int
    heads: int
    dropout: float
    causal: bool
    project: bool = True
    """A last product over all heads (the original SASRec has none)."""

    def setup(self) -> None:
        # A bias of the keys would add the same to all of a query's scores, and cancel; under Adam, which scales up
        # the rounding errors that its gradient consists of, it would wander.
        self.query, self.key, self.value = (Dense(self.width, bias=name != "key") for name in ("query", "key", "value"))
        self.drop = Dropout(self.dropout)
        if self.project:
            self.out = Dense(self.width)

    def __call__(
        self, x: Float[Array, "b t d"], y: Float[Array, "b t d"], real: Bool[Array, "b t"] | None = None
    ) -> Float[Array, "b t d"]:
        """All positions."""
        query, key, value = self._parts(x, y)
        return self._joined(attend(query, key, value, self._weights, causal=self.causal, real=real))

    def step(
        self, x: Float[Array, "b 1 d"], y: Float[Array, "b 1 d"], cache: Cache, place: Int[Array, ""]
    ) -> tuple[Float[Array, "b 1 d"], Cache]:
        """One position more, at `place`."""
        query, key, value = self._parts(x, y)
        cache = written(cache, place, key, value)
        return self._joined(attend_last(query, cache, place, self._weights)), cache

    def blank(self, b: int, t: int) -> Cache:
        """The cache before the first of `t` positions."""
        zeros = jnp.zeros((b, t, self.heads, self.width // self.heads))
        return Cache(zeros, zeros)

    def _weights(self, scores: Array, seen: Array) -> Array:
        return self.drop(softmax(scores, seen))

    def _parts(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        each = self.width // self.heads
        query, key, value = (
            part.reshape(*part.shape[:-1], self.heads, each) for part in (self.query(x), self.key(y), self.value(y))
        )
        return query * each**-0.5, key, value

    def _joined(self, parts: Array) -> Array:
        found = parts.reshape(*parts.shape[:-2], self.width)
        return self.out(found) if self.project else found
