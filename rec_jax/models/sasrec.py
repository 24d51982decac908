"""SASRec: self-attention over a user's last events. Kang and McAuley, "Self-Attentive Sequential Recommendation",
ICDM 2018.

Differences from the authors' code: (1) weights start from Glorot's normal distribution and embeddings from N(0, .02^2),
as in the port to PyTorch; (2) positions can be counted from the first event that is read, which keeps a position's
meaning while a history grows (needed to score as events come); 'last' is the authors' way.

Checked against a loop in plain numpy (tests/models/test_sasrec.py).
"""

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float, Int

from rec_jax.models.attention import Cache, MultiHead
from rec_jax.models.layers import Dropout, FeedForward
from rec_jax.models.sequence import ItemsAndPlaces, Positions, check_heads, own_vectors
from rec_jax.models.transformer import CausalTransformer

EPSILON = 1e-8


@dataclass(frozen=True)
class SASRecConfig:
    """SASRec's hyper-parameters."""

    width: int = 50
    """Width of embeddings and states."""
    blocks: int = 2
    """Blocks of attention and feed-forward layers."""
    heads: int = 1
    """Attention heads."""
    inner: int = 1
    """Width of the feed-forward layers' inner one, as a multiple."""
    dropout: float = 0.2
    """Dropout of embeddings, attention weights and feed-forward layers."""
    max_length: int = 200
    """Events of a history that are read, the last ones."""
    positions: Positions = "first"
    """Where positions are counted from: the first event read, or back from the last one (the original); or none."""
    norm: Literal["original", "pre", "post"] = "original"
    """Layer normalisation: of the queries and of the feed-forward layers' input, each also the residual (original);
    before each part; or after each."""
    tied: bool = True
    """The items' vectors in the scores are those of the input."""


class SASRec(CausalTransformer):
    """score(i | history) = F_t . M_i (Eq. 6), F_t the last block's state."""

    config: SASRecConfig

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
    """Attention, then the feed-forward layers, each with its residual (Secs. III-B and III-C)."""

    config: SASRecConfig

    def setup(self) -> None:
        c = self.config
        self.attention = MultiHead(c.width, c.heads, c.dropout, causal=True, project=c.norm != "original")
        self.feed = FeedForward(c.inner * c.width, c.dropout)
        self.norms = [nn.LayerNorm(epsilon=EPSILON) for _ in range(2)]
        self.drop = Dropout(c.dropout)

    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        """All positions."""
        return self._after(x, self.attention(*self._asked(x)))

    def step(self, x: Float[Array, "b 1 d"], cache: Cache, place: Int[Array, ""]) -> tuple[Array, Cache]:
        """One position more."""
        found, cache = self.attention.step(*self._asked(x), cache, place)
        return self._after(x, found), cache

    def _asked(self, x: Array) -> tuple[Array, Array]:
        """What queries are made of, and what keys and values are."""
        match self.config.norm:
            case "original":
                return self.norms[0](x), x
            case "pre":
                x = self.norms[0](x)
        return x, x

    def _after(self, x: Array, found: Array) -> Array:
        """The block's output, from its input and what attention found."""
        match self.config.norm:
            case "original":
                x = self.norms[1](self.norms[0](x) + found)
                return x + self.drop(self.feed(x))
            case "pre":
                x = x + self.drop(found)
                return x + self.drop(self.feed(self.norms[1](x)))
        x = self.norms[0](x + self.drop(found))
        return self.norms[1](x + self.drop(self.feed(x)))
