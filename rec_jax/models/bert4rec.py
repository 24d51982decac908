"""BERT4Rec: a bidirectional transformer that fills in masked items. Sun et al., CIKM 2019.

Its score of the next item is that of a mask put after the history. Differences from the authors' code: (1) weights
start from Glorot's normal distribution, embeddings from N(0, .02^2), not cut off at two deviations; (2) which items
are masked is drawn anew each epoch, where the authors make ten copies of each sequence beforehand; (3) positions are
counted from the first event that is read, by default.

Checked against a loop in plain numpy (tests/models/test_bert4rec.py).
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rec_jax.errors import InputError
from rec_jax.fields import added
from rec_jax.models.attention import MultiHead
from rec_jax.models.base import Query
from rec_jax.models.layers import Dense, Dropout, FeedForward
from rec_jax.models.sequence import ItemsAndPlaces, Positions, SequenceModel, check_heads, latest, own_vectors

EPSILON = 1e-12
gelu = partial(nn.gelu, approximate=False)


@dataclass(frozen=True)
class BERT4RecConfig:
    """BERT4Rec's hyper-parameters."""

    width: int = 64
    """Width of embeddings and states."""
    blocks: int = 2
    """Blocks of attention and feed-forward layers."""
    heads: int = 2
    """Attention heads."""
    inner: int = 4
    """Width of the feed-forward layers' inner one, as a multiple."""
    dropout: float = 0.2
    """Dropout of embeddings, attention weights and both parts of a block."""
    max_length: int = 200
    """Events of a history that are read, the last ones, the mask after them included."""
    positions: Positions = added("first")
    """Where positions are counted from: the first event read, or back from the last one (the original); or none."""
    norm: Literal["pre", "post"] = added("post")
    """Layer normalisation before each part of a block and after the last, or after each part (the original)."""
    tied: bool = added(True)
    """The items' vectors in the scores are those of the input."""


class BERT4Rec(SequenceModel):
    """score(i | history) = gelu(h_t W + b) . E_i + b_i (Eq. 7, with a normalisation), h_t the state at the mask."""

    config: BERT4RecConfig

    def setup(self) -> None:
        c = self.config
        check_heads(c.width, c.heads)
        if c.max_length < 2:
            raise InputError(f"--max-length {c.max_length}: expected at least 2, an event and the mask after it")
        self.embed = ItemsAndPlaces(self.n_items + 1, c.width, c.max_length, c.positions, 0.0, scaled=False)
        self.embed_norm, self.embed_drop = nn.LayerNorm(epsilon=EPSILON), Dropout(c.dropout)
        self.layers = [Block(c) for _ in range(c.blocks)]
        self.transform, self.norm = Dense(c.width), nn.LayerNorm(epsilon=EPSILON)
        self.bias = self.param("bias", nn.initializers.zeros, (self.n_items,))
        if c.norm == "pre":
            self.last_norm = nn.LayerNorm(epsilon=EPSILON)
        self.output = own_vectors(c.tied, self.n_items, c.width)

    @property
    def mask(self) -> int:
        """The number that stands in a history for an item that is to be found."""
        return int(self.n_items)

    def states(self, query: Query) -> Float[Array, "b t d"]:
        """The state at every position, an entry of 1 after it, which meets the items' biases."""
        items = latest(query, self.config.max_length).history
        x = self.embed_drop(self.embed_norm(self.embed(items)))
        for layer in self.layers:
            x = layer(x, items >= 0)
        if self.config.norm == "pre":
            x = self.last_norm(x)
        x = self.norm(gelu(self.transform(x)))
        return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)

    def item_vectors(self) -> Float[Array, "n d"]:
        """Of the input, or their own, and the items' biases."""
        table = self.output or self.embed.item
        return jnp.concatenate([table.embedding[: self.n_items], self.bias[:, None]], axis=1)

    def last(self, query: Query) -> Float[Array, "b d"]:
        """The state at a mask after the last event."""
        query = latest(query, self.config.max_length - 1)
        history = jnp.pad(query.history, ((0, 0), (0, 1)), constant_values=-1)
        count = (query.history >= 0).sum(axis=1)
        places = jnp.arange(history.shape[1])
        states = self.states(query.replace(history=jnp.where(places == count[:, None], self.mask, history)))  # type: ignore[attr-defined]
        return jnp.take_along_axis(states, count[:, None, None], axis=1)[:, 0]


class Block(nn.Module):
    """Attention over all positions, then the feed-forward layers, each added to its input and normalised (Eq. 3); or
    with its input normalised instead."""

    config: BERT4RecConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], real: Bool[Array, "b t"]) -> Float[Array, "b t d"]:
        """All positions; those that are not `real` are seen by none."""
        c = self.config
        drop = Dropout(c.dropout)
        attention = MultiHead(c.width, c.heads, c.dropout, causal=False, name="attention")
        feed = FeedForward(c.inner * c.width, c.dropout, gelu, name="feed")
        norms = [nn.LayerNorm(epsilon=EPSILON, name=f"{of}_norm") for of in ("attention", "feed")]
        if c.norm == "pre":
            asked = norms[0](x)
            x = x + drop(attention(asked, asked, real))
            return x + drop(feed(norms[1](x)))
        x = norms[0](x + drop(attention(x, x, real)))
        return norms[1](x + drop(feed(x)))
