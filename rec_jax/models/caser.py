"""Caser: convolutions over a user's last few events. Tang and Wang, "Personalized Top-N Sequential Recommendation via
Convolutional Sequence Embedding", WSDM 2018.

A state sees a window of the last L events. Windows overlap, and their convolutions are the same: each is computed once
over the whole history, one product for the rows of all filters, and then pooled window by window.

Differences from the authors' code: (1) the user's own vector P_u in the last layer is left out, so that a state is a
function of the events alone and unseen users are served by their histories; (2) every event is a target, and the next
one alone (their T = 1), windows before the first event filled with zeros; (3) vectors start from N(0, .02^2), which is
theirs at width 50, and filters from LeCun's normal distribution; (4) vertical filters have no bias, as in the paper:
what follows them is linear and has one.

Checked against numbers by hand and a loop in plain numpy (tests/models/test_caser.py).
"""

import functools
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rec_jax.errors import InputError
from rec_jax.fields import added
from rec_jax.models.base import Query
from rec_jax.models.layers import Dense, Dropout
from rec_jax.models.sequence import NORMAL, SequenceModel, latest, own_vectors


@dataclass(frozen=True)
class CaserConfig:
    """Caser's hyper-parameters."""

    width: int = 50
    """Width of embeddings and states."""
    window: int = 5
    """Events that a state sees, the last ones (L)."""
    horizontal: int = 16
    """Horizontal filters of each height from 1 to the window's."""
    vertical: int = 4
    """Vertical filters, as high as the window."""
    dropout: float = 0.5
    """Dropout of what the filters found."""
    max_length: int = 200
    """Events of a history that are trained on, the last ones."""
    tied: bool = added(False)
    """The items' vectors in the scores are those of the input; the authors' are not."""


class Caser(SequenceModel):
    """score(i | history) = W'_i z_t + b'_i, z_t = relu(W [o_v, o_h] + b) of the window that ends at t (Sec. 3.3).

    E are the window's vectors [L d]. o_h holds max_s relu(F_k . E_{s..s+h-1} + b_k) of every filter F_k [h d], h from 1
    to L, and o_v the weighted sums sum_l G_kl E_l of every G_k [L] (Sec. 3.2).
    """

    config: CaserConfig

    def setup(self) -> None:
        c = self.config
        if c.window < 1:
            raise InputError(f"--window {c.window}: at least 1 event is needed")
        if min(c.horizontal, c.vertical) < 0 or c.horizontal + c.vertical == 0:
            raise InputError(f"--horizontal {c.horizontal} --vertical {c.vertical}: at least 1 filter is needed")
        self.item = nn.Embed(self.n_items, c.width, embedding_init=NORMAL)
        lecun, heights = nn.initializers.lecun_normal(), range(1, c.window + 1)
        if c.horizontal:
            self.filters = [self.param(f"height_{h}", lecun, (h * c.width, c.horizontal)) for h in heights]
            self.bias = self.param("bias", nn.initializers.zeros, (c.window * c.horizontal,))
        if c.vertical:
            self.columns = self.param("columns", lecun, (c.window, c.vertical))
        self.drop = Dropout(c.dropout)
        self.full = Dense(c.width)
        self.output = own_vectors(c.tied, self.n_items, c.width)
        self.output_bias = nn.Embed(self.n_items, 1, embedding_init=nn.initializers.zeros)

    def states(self, query: Query) -> Float[Array, "b t d"]:
        """[z, 1] at every position: the 1 meets the items' biases."""
        items = latest(query, self.config.max_length).history
        x = self.item(jnp.maximum(items, 0)) * (items >= 0)[..., None]
        padded = jnp.pad(x, ((0, 0), (self.config.window - 1, 0), (0, 0)))
        parts = [self._vertical(padded)] if self.config.vertical else []
        parts += [self._horizontal(padded)] if self.config.horizontal else []
        z = nn.relu(self.full(self.drop(jnp.concatenate(parts, axis=-1))))
        return jnp.concatenate([z, jnp.ones_like(z[..., :1])], axis=-1)

    def item_vectors(self) -> Float[Array, "n d"]:
        """[W'_i, b'_i]; W' is E, where they are tied."""
        table = self.output or self.item
        return jnp.concatenate([table.embedding, self.output_bias.embedding], axis=-1)

    def last(self, query: Query) -> Float[Array, "b d"]:
        """The state after the last event, of the window alone."""
        return super().last(latest(query, min(self.config.window, self.reads)))

    def _horizontal(self, padded: Float[Array, "b s d"]) -> Float[Array, "b t h"]:
        """The maxima over each window. `padded` has window - 1 rows of zeros before the first event.

        The bias and the rectifier come after the maximum, which they leave in its place: there is less of it.
        """
        n, (b, s, d), window = self.config.horizontal, padded.shape, self.config.window
        t = s - window + 1
        # A filter's rows side by side: [d, n] for its first row, its second, ..., of the first height, the second, ...
        rows = [filters.reshape(h * d, n)[r * d : (r + 1) * d] for h, filters in self._heights() for r in range(h)]
        products = (padded.reshape(b * s, d) @ jnp.concatenate(rows, axis=1)).reshape(b, s, -1)
        met, found = iter(jnp.split(products, len(rows), axis=-1)), []
        for h, _ in self._heights():
            count = s - h + 1
            convolved: Any = sum(next(met)[:, r : r + count] for r in range(h))
            found.append(functools.reduce(jnp.maximum, (convolved[:, i : i + t] for i in range(window - h + 1))))
        return nn.relu(jnp.concatenate(found, axis=-1) + self.bias)

    def _heights(self) -> enumerate[Array]:
        return enumerate(self.filters, start=1)

    def _vertical(self, padded: Float[Array, "b s d"]) -> Float[Array, "b t v"]:
        """The weighted sums of each window's rows, filter by filter."""
        b, s, _ = padded.shape
        t = s - self.config.window + 1
        found: Any = sum(padded[:, place : place + t, None] * of[:, None] for place, of in enumerate(self.columns))
        return found.reshape(b, t, -1)
