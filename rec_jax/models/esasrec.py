"""eSASRec: SASRec's task with LiGR's blocks, trained by sampled softmax. Tikhonovich et al., "eSASRec", RecSys 2025;
blocks by Borisyuk et al., "From Features to Transformers: Redefining Ranking for Scalable Impact" (LiGR), 2025, Sec. 3.

Differences from the authors' code: (1) a last normalisation follows the blocks, as in SASRec; (2) the feed-forward
layers' gate and inner layer are one product.

Checked against a loop in plain numpy (tests/models/test_esasrec.py).
"""

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rec_jax.fields import added
from rec_jax.models.attention import Cache, MultiHead
from rec_jax.models.layers import Dense, Dropout
from rec_jax.models.sequence import ItemsAndPlaces, Positions, check_heads, own_vectors
from rec_jax.models.transformer import CausalTransformer

EPSILON = 1e-5


@dataclass(frozen=True)
class ESASRecConfig:
    """eSASRec's hyper-parameters."""

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
    """Events of a history that are read, the last ones."""
    positions: Positions = "first"
    """Where positions are counted from: the first event read, or back from the last one; or none."""
    norm: Literal["pre", "post"] = added("pre")
    """Layer normalisation before each part of a block (the authors'), or after each."""
    tied: bool = added(True)
    """The items' vectors in the scores are those of the input."""


class ESASRec(CausalTransformer):
    """score(i | history) = h_t . E_i, h_t the last block's state."""

    config: ESASRecConfig

    def setup(self) -> None:
        c = self.config
        check_heads(c.width, c.heads)
        self.embed = ItemsAndPlaces(self.n_items, c.width, c.max_length, c.positions, c.dropout)
        self.layers = [Block(c) for _ in range(c.blocks)]
        self.norm = nn.LayerNorm(epsilon=EPSILON)
        self.output = own_vectors(c.tied, self.n_items, c.width)

    def finished(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        """Normalised, where the blocks' own normalisations are not at their ends."""
        return x if self.config.norm == "post" else self.norm(x)


class Block(nn.Module):
    """x + s(x W_g) * drop(attention(norm x)), then the same with the feed-forward layers (LiGR, Eqs. 1 and 2); or
    normalised after each sum instead."""

    config: ESASRecConfig

    def setup(self) -> None:
        c = self.config
        self.attention = MultiHead(c.width, c.heads, c.dropout, causal=True)
        self.feed = SwiGLU(c.inner * c.width, c.dropout)
        self.norms = [nn.LayerNorm(epsilon=EPSILON) for _ in range(2)]
        self.gates = [Dense(c.width) for _ in range(2)]
        self.drop = Dropout(c.dropout)

    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        """All positions."""
        asked = self._asked(x)
        return self._after(x, self.attention(asked, asked))

    def step(self, x: Float[Array, "b 1 d"], cache: Cache, place: Int[Array, ""]) -> tuple[Array, Cache]:
        """One position more."""
        asked = self._asked(x)
        found, cache = self.attention.step(asked, asked, cache, place)
        return self._after(x, found), cache

    def _asked(self, x: Array) -> Array:
        return x if self.config.norm == "post" else self.norms[0](x)

    def _after(self, x: Array, found: Array) -> Array:
        x = x + nn.sigmoid(self.gates[0](x)) * self.drop(found)
        if self.config.norm == "post":
            x = self.norms[0](x)
            return self.norms[1](x + nn.sigmoid(self.gates[1](x)) * self.drop(self.feed(x)))
        return x + nn.sigmoid(self.gates[1](x)) * self.drop(self.feed(self.norms[1](x)))


class SwiGLU(nn.Module):
    """drop(silu(x W_1) * (x W_2)) W_3, without biases. Shazeer, "GLU Variants Improve Transformer", 2020, Eq. 6."""

    inner: int
    dropout: float

    @nn.compact
    def __call__(self, x: Float[Array, "*s d"]) -> Float[Array, "*s d"]:
        """The last layer's output."""
        gate, value = jnp.split(Dense(2 * self.inner, bias=False)(x), 2, axis=-1)
        return Dense(x.shape[-1], bias=False)(Dropout(self.dropout)(nn.silu(gate) * value))
