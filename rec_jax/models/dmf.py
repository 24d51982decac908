"""Deep matrix factorisation. Xue et al., "Deep Matrix Factorization Models for Recommender Systems", IJCAI 2017.

Two towers read what is known: the user's row of ratings and the item's column; the score is the cosine of their last
layers (Eqs. 8-12). Ratings are held sparse, in memory in proportion to their number; rows become dense where a tower
reads them, a block at a time. A step that asks for more users (or items) than there are runs each tower once on all.

The score is the logit of the cosine, cut off at 1e-6 as in the paper (Eq. 13): the cross-entropy of its sigmoid is
then the paper's loss on the cosine, and the order of items is the same. Weights start from N(0, .01^2), as the
authors' code does; every layer, the last one too, is rectified.

Checked against the formulas in plain Python (tests/models/test_dmf.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rec_jax.errors import InputError
from rec_jax.models.base import Query

SMALLEST = 1e-6
BLOCK = 512
"""Rows that are dense at a time where a tower runs on all."""


@dataclass(frozen=True)
class DMFConfig:
    """Deep matrix factorisation's hyper-parameters."""

    user_layers: tuple[int, ...] = (512, 64)
    """Widths of the user tower."""
    item_layers: tuple[int, ...] = (1024, 64)
    """Widths of the item tower; the last is that of the user tower."""
    init_sd: float = 0.01
    """Standard deviation of the initial weights."""


class DMF(nn.Module):
    """score(u, i) = logit(max(cos(f(Y_u*), g(Y_*i)), 1e-6))."""

    config: DMFConfig
    n_users: int
    n_items: int

    @staticmethod
    def fixed(data: Any) -> dict[str, Any]:
        """What the towers read, from `objectives.base.TrainData`: rows and columns of ratings, each sparse."""
        user, item, rating = (np.asarray(x) for x in (data.user, data.item, data.rating))
        rows = _sparse(user, item, rating, data.n_users)
        columns = _sparse(item, user, rating, data.n_items)
        return {"ratings": {"user_tower": {"rows": rows}, "item_tower": {"rows": columns}}}

    def setup(self) -> None:
        layers = self.config.user_layers, self.config.item_layers
        if not all(of and min(of) > 0 for of in layers) or layers[0][-1] != layers[1][-1]:
            raise InputError(
                f"--user-layers {layers[0]} --item-layers {layers[1]}: expected widths above 0, "
                "and the last widths must be equal"
            )
        self.user_tower = ReadingTower(layers[0], self.n_users, self.n_items, self.config.init_sd)
        self.item_tower = ReadingTower(layers[1], self.n_items, self.n_users, self.config.init_sd)

    def __call__(self, query: Query, items: Int[Array, "b k"]) -> Float[Array, "b k"]:
        """Logits of `items` for each user."""
        user, item = self.user_tower(query.user), self.item_tower(items.reshape(-1)).reshape(*items.shape, -1)
        # No row of these towers belongs to one user or item: there is nothing to penalise by pair.
        self.sow("losses", "l2_user", jnp.zeros(len(query.user)))
        self.sow("losses", "l2_item", jnp.zeros(items.shape))
        return logit(jnp.einsum("bd,bkd->bk", user, item))

    def prepare(self) -> dict[str, Float[Array, "_ d"]]:
        """Both towers' unit vectors."""
        return {"user": self.user_tower.everyone(), "item": self.item_tower.everyone()}

    def scores(self, cache: dict[str, Any], query: Query) -> Float[Array, "b n"]:
        """Logits of the whole catalogue."""
        return logit(cache["user"][query.user] @ cache["item"].T)

    def candidates(self, cache: dict[str, Any], query: Query, items: Int[Array, "b k"]) -> Float[Array, "b k"]:
        """Logits of `items` for each user."""
        return logit(jnp.einsum("bd,bkd->bk", cache["user"][query.user], cache["item"][items]))


def logit(cosine: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log(p / (1 - p)) of the cosine, cut off near 0 (as in the paper) and near 1."""
    p = jnp.clip(cosine, SMALLEST, 1 - SMALLEST)
    return jnp.log(p) - jnp.log1p(-p)


class ReadingTower(nn.Module):
    """ReLU layers over rows of ratings, then length 1."""

    layers: tuple[int, ...]
    n: int
    width: int
    init_sd: float

    def setup(self) -> None:
        normal = nn.initializers.normal(self.init_sd)
        shapes = zip((self.width, *self.layers), self.layers)
        self.kernels = [self.param(f"kernel_{i}", normal, shape) for i, shape in enumerate(shapes)]
        self.biases = [self.param(f"bias_{i}", normal, (of,)) for i, of in enumerate(self.layers)]

    def __call__(self, ids: Int[Array, "b"]) -> Float[Array, "b d"]:
        """Unit vectors of `ids`; by way of everyone's where that is less work."""
        return self.everyone()[ids] if len(ids) >= self.n else self.read(ids)

    def everyone(self) -> Float[Array, "_ d"]:
        """Unit vectors of all, in blocks whose dense rows are made again for the gradient, and not kept."""
        first = jnp.arange(0, self.n, BLOCK)
        ratings: dict[str, Any] = self.get_variable("ratings", "rows")
        kernels, biases, width = self.kernels, self.biases, self.width
        # Products are kept for the gradient: to make them again would be half as much work once more.
        block_of = jax.checkpoint(
            lambda row: _forward(dense_block(ratings, row, width), kernels, biases),
            policy=jax.checkpoint_policies.dots_saveable,
        )
        found = jax.lax.map(block_of, first)
        return found.reshape(len(first) * BLOCK, -1)[: self.n]

    def read(self, ids: Int[Array, "b"]) -> Float[Array, "b d"]:
        """Unit vectors of `ids`."""
        return _forward(dense(self.get_variable("ratings", "rows"), ids, self.width), self.kernels, self.biases)


def _forward(x: Float[Array, "b _"], kernels: Sequence[Array], biases: Sequence[Array]) -> Float[Array, "b d"]:
    for kernel, bias in zip(kernels, biases):
        x = nn.relu(x @ kernel + bias)
    # A vector of zeros has no direction: its cosine is 0.
    return x / jnp.sqrt((x**2).sum(-1, keepdims=True) + 1e-12)


def _sparse(row: np.ndarray, column: np.ndarray, value: np.ndarray, n: int) -> dict[str, Any]:
    """Values ordered by row, and where each row starts; of a pair that comes twice the last counts.

    Of `places` and `block_places` the lengths alone are used: that of the longest row, and of the fullest block.
    """
    order = np.lexsort((np.arange(len(row)), column, row))
    row, column, value = row[order], column[order], value[order]
    last = np.append((np.diff(row) != 0) | (np.diff(column) != 0), True) if len(row) else np.zeros(0, bool)
    row, column, value = row[last], column[last], value[last]
    start = np.searchsorted(row, np.arange(n + 1))
    fullest = int(np.diff(start[np.append(np.arange(0, n, BLOCK), n)]).max(initial=1))
    return {
        "start": jnp.asarray(start, jnp.int32),
        "row": jnp.asarray(row, jnp.int32),
        "column": jnp.asarray(column, jnp.int32),
        "value": jnp.asarray(value, jnp.float32),
        "places": jnp.arange(int(np.diff(start).max(initial=1)), dtype=jnp.int32),
        "block_places": jnp.arange(fullest, dtype=jnp.int32),
    }


def dense(ratings: dict[str, Any], ids: Int[Array, "b"], width: int) -> Float[Array, "b w"]:
    """The rows `ids` of a sparse matrix, zeros filled in."""
    start, rows = ratings["start"], jnp.arange(len(ids))[:, None]
    place = start[ids][:, None] + ratings["places"]
    return _filled(ratings, place, start[ids + 1][:, None], rows, (len(ids), width))


def dense_block(ratings: dict[str, Any], first: Int[Array, ""], width: int) -> Float[Array, "_ w"]:
    """BLOCK rows of a sparse matrix from `first` on, zeros filled in; zeros past the last row.

    They stand side by side, so that only their own values are walked through; `dense` walks through a longest row for
    each, which on MovieLens-1M is six times as many.
    """
    start = ratings["start"]
    last = jnp.minimum(first + BLOCK, len(start) - 1)
    place = start[first] + ratings["block_places"]
    return _filled(ratings, place, start[last], ratings["row"][place] - first, (BLOCK, width))


def _filled(
    ratings: dict[str, Any],
    place: Int[Array, "*s"],
    end: Int[Array, "..."],
    row: Int[Array, "..."],
    shape: tuple[int, int],
) -> Float[Array, "_ w"]:
    """Zeros, and the values whose places are before `end`, each in its row; what `row` says of other places is lost."""
    inside = place < end
    place = jnp.minimum(place, len(ratings["column"]) - 1)
    column = jnp.where(inside, ratings["column"][place], shape[1])
    return jnp.zeros(shape).at[row, column].set(ratings["value"][place], mode="drop")
