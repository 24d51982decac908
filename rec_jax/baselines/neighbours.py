"""Neighbourhood recommenders: ItemKNN and UserKNN. Ferrari Dacrema et al., "A Troubling Analysis of Reproducibility
and Progress in Recommender Systems Research", TOIS 2021, Sec. 3.3 (definitions and hyper-parameters).

The published UserKNN does what its code does, not what its formula says: it sums over the users who count the asking
user among their own most similar (`reverse`). On MovieLens-1M this is clearly better than the formula.

Checked against the formulas in plain Python (tests/baselines/test_neighbours.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float

from rec_jax.baselines.base import (
    DENSE_NUMBERS,
    among_candidates,
    from_item_weights,
    from_neighbours,
    gram,
    largest,
    matrix,
    top_of_columns,
    train_matrix,
)
from rec_jax.data.interactions import Interactions
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.models.base import Query, Scorer

# Items whose neighbours are looked for at once where they are held sparse: bounds the memory.
COLUMNS = 2**12
# BM25's saturation and length normalisation, as published.
BM25_K, BM25_B = 1.2, 0.75


@dataclass(frozen=True)
class ItemKNNConfig:
    """A neighbourhood's hyper-parameters."""

    neighbours: int = 100
    """How many of the most similar items (or users) count."""
    shrink: float = 0.0
    """Added to the denominator: trusts similarities of few common events less."""
    similarity: Literal["cosine", "asymmetric"] = "cosine"
    """Cosine, or its asymmetric form."""
    alpha: float = 0.5
    """Asymmetric cosine: the exponent of the squared norm of the item whose neighbours are sought (0.5: cosine)."""
    weighting: Literal["none", "tf-idf", "bm25"] = "none"
    """How events count: alike, or more for users with few events (tf-idf) and for items with few (bm25, both)."""


@dataclass(frozen=True)
class UserKNNConfig(ItemKNNConfig):
    """UserKNN's hyper-parameters: those of ItemKNN, between users."""

    reverse: bool = False
    """Sum over the users who have the asking one among their most similar, not over the asking one's own."""


def fit_item_knn(split: Split, config: ItemKNNConfig, seed: int = 0) -> Scorer:
    """score(u, i) = sum, over the items j of u's history among i's neighbours, of x[u, j] times similarity(j, i).

    x is the weighted train matrix (1 for every event unless `weighting` says otherwise). Of a large catalogue only the
    neighbours are held, not all similarities. InputError: a number out of range.
    """
    history = train_matrix(split)
    weigh = weigher(history, config.weighting)
    x = weigh(history)
    if x.shape[1] ** 2 > DENSE_NUMBERS:
        return from_neighbours("itemknn", history, sparse_similarities(x, config), weigh)
    return from_item_weights("itemknn", history, similarities(x, config), weigh)


def fit_user_knn(split: Split, config: UserKNNConfig, seed: int = 0) -> Scorer:
    """score(u, i) = sum, over u's neighbours v who have i, of similarity(v, u) times x[v, i].

    With `reverse` v is a neighbour where u is among the most similar to v. An unseen user's neighbours are train
    users, and it joins the neighbours of a train user v where it is at least as similar to v as the last of them.
    InputError: a number out of range.
    """
    history = train_matrix(split)
    weigh = weigher(history, config.weighting)
    x = weigh(history)
    near = similarities(x.T.tocsr(), config)  # [j, i]: j among the most similar to i
    dense = jnp.asarray(x.toarray(), jnp.float32)
    full = (near != 0).sum(axis=0) >= config.neighbours
    last = np.where(full, np.where(near != 0, near, np.inf).min(axis=0), 0.0)

    def fold_in(log: Interactions, n_users: int) -> Scorer:
        new = weigh(matrix(log, n_users, x.shape[1]))
        common, mine, theirs = (new @ x.T).toarray(), _squares(new.T), _squares(x.T)
        if config.reverse:
            found = _normalised(common, mine[:, None], theirs, config)
            found = np.where((found >= last) & (found > 0), found, 0.0)
        else:
            found = top_of_columns(_normalised(common.T, theirs[:, None], mine, config), config.neighbours).T
        return scorer(found)

    def scorer(weights: np.ndarray) -> Scorer:
        cache = {"weights": jnp.asarray(weights, jnp.float32), "history": dense}
        return Scorer("userknn", cache, _by_users, _by_users_candidates, fold_in)

    return scorer(near if config.reverse else near.T)


def similarities(x: sp.csr_matrix, config: ItemKNNConfig) -> Float[np.ndarray, "n n"]:
    """[j, i]: the similarity of column j to column i, kept for the most similar j of each i, 0 on the diagonal.

    <x_j, x_i> / (|x_j|^(2 - 2 alpha) |x_i|^(2 alpha) + shrink); alpha = 0.5 is the cosine. Aiolli, RecSys 2013, who
    has the asymmetric cosine from, calls 1 - alpha what is alpha here. InputError: a number out of range.
    """
    _check(config)
    common, squares = gram(x), _squares(x)
    np.fill_diagonal(common, 0.0)
    return top_of_columns(_normalised(common, squares[:, None], squares, config), config.neighbours)


def sparse_similarities(x: sp.csr_matrix, config: ItemKNNConfig) -> sp.csr_matrix:
    """`similarities` of the items that have users in common, some columns at a time. InputError: as there."""
    _check(config)
    x, squares, n = x.tocsc(), _squares(x), x.shape[1]
    rows, found = x.T.tocsr(), []
    for start in range(0, n, COLUMNS):
        columns = np.arange(start, min(start + COLUMNS, n))
        common = (rows @ x[:, columns]).tocsc()
        common.sort_indices()
        of_column = np.repeat(columns, np.diff(common.indptr))
        common.data = _normalised(common.data, squares[common.indices], squares[of_column], config)
        common.data[common.indices == of_column] = 0.0
        for first, last in pairwise(common.indptr):
            near = common.data[first:last]
            near[~largest(near, config.neighbours)] = 0.0
        common.eliminate_zeros()
        found.append(common)
    return sp.hstack(found, format="csr")


def _check(config: ItemKNNConfig) -> None:
    if config.neighbours < 1 or config.shrink < 0 or not 0 <= config.alpha <= 2:
        raise InputError(f"{config}: expected neighbours of at least 1, shrink of at least 0, alpha from 0 to 2")


def weigher(
    history: sp.csr_matrix, weighting: Literal["none", "tf-idf", "bm25"]
) -> Callable[[sp.csr_matrix], sp.csr_matrix]:
    """The function that weighs a binary matrix's events; what it knows of items comes from the train `history`.

    Items are the documents and users the terms: tf-idf log(n / (1 + |u|)); bm25 that times
    2.2 / (1.2 (0.25 + 0.75 |i| / average |i|) + 1), where n counts items and |.| events.
    """
    n_items = history.shape[1]
    lengths = np.asarray(history.sum(axis=0)).ravel()
    lengths = 1 - BM25_B + BM25_B * lengths / max(lengths.mean(), 1e-9)

    def weigh(binary: sp.csr_matrix) -> sp.csr_matrix:
        if weighting == "none":
            return binary
        counts = np.diff(binary.indptr)
        values = np.repeat(np.log(n_items / (1 + counts)), counts)
        if weighting == "bm25":
            values = values * (BM25_K + 1) / (BM25_K * lengths[binary.indices] + 1)
        return sp.csr_matrix((values.astype(np.float32), binary.indices, binary.indptr), shape=binary.shape)

    return weigh


def _squares(x: sp.spmatrix) -> Float[np.ndarray, "n"]:
    """Squared norms of the columns; 1 for an empty one, which has nothing in common with any."""
    found = np.asarray(x.multiply(x).sum(axis=0)).ravel()
    return np.where(found == 0, 1.0, found).astype(np.float32)


def _normalised(
    common: Float[np.ndarray, "*shape"],
    rows: Float[np.ndarray, "*#shape"],
    columns: Float[np.ndarray, "*#shape"],
    config: ItemKNNConfig,
) -> Float[np.ndarray, "*shape"]:
    """Dot products to similarities of the row to the column, given both sides' squared norms."""
    alpha = config.alpha if config.similarity == "asymmetric" else 0.5
    below = (rows ** (1 - alpha) * columns**alpha).astype(np.float32) + np.float32(config.shrink)
    return (common / below).astype(np.float32)


def _by_users(cache: dict[str, Array], query: Query) -> Float[Array, "b n"]:
    return jnp.matmul(cache["weights"][query.user], cache["history"], precision=jax.lax.Precision.HIGHEST)


_by_users_candidates = among_candidates(_by_users)
