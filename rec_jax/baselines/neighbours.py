"""Neighbourhood recommenders: ItemKNN and UserKNN. Ferrari Dacrema et al., "A Troubling Analysis of Reproducibility
and Progress in Recommender Systems Research", TOIS 2021, Sec. 3.3 (definitions and hyper-parameters).

Checked against the formulas in plain Python (tests/baselines/test_item_weights.py).
"""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float, Int

from rec_jax.baselines.base import from_item_weights, train_matrix
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.models.base import Query, Scorer


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
    """Asymmetric cosine: the exponent of the neighbour's own norm (0.5 is the cosine)."""


@dataclass(frozen=True)
class UserKNNConfig(ItemKNNConfig):
    """UserKNN's hyper-parameters: those of ItemKNN, between users."""


def fit_item_knn(split: Split, config: ItemKNNConfig) -> Scorer:
    """score(u, i) = sum, over the items j of u's history among i's neighbours, of their similarity to i."""
    history = train_matrix(split)
    return from_item_weights("itemknn", history, similarities(history, config))


def fit_user_knn(split: Split, config: UserKNNConfig) -> Scorer:
    """score(u, i) = sum, over u's neighbours v who have i, of v's similarity to u."""
    history = train_matrix(split)
    cache = {
        "weights": jnp.asarray(similarities(history.T.tocsr(), config).T.toarray(), jnp.float32),
        "history": jnp.asarray(history.toarray(), jnp.float32),
    }
    return Scorer("userknn", cache, _by_users, _by_users_candidates)


def similarities(history: sp.csr_matrix, config: ItemKNNConfig) -> sp.csr_matrix:
    """[j, i]: the similarity of column j to column i, kept for the most similar j of each i, 0 on the diagonal.

    |j and i| / (|j|^alpha |i|^(1 - alpha) + shrink), where |.| counts users; alpha = 0.5 is the cosine.
    InputError: a number out of range.
    """
    alpha = config.alpha if config.similarity == "asymmetric" else 0.5
    if config.neighbours < 1 or config.shrink < 0 or not 0 <= alpha <= 1:
        raise InputError(f"{config}: expected neighbours of at least 1, shrink of at least 0, alpha from 0 to 1")
    common = (history.T @ history).tocoo()
    counts = np.asarray(history.sum(axis=0)).ravel().astype(np.float64)
    off = common.row != common.col
    row, col, data = common.row[off], common.col[off], common.data[off]
    data = data / (counts[row] ** alpha * counts[col] ** (1 - alpha) + config.shrink + 1e-6)
    return top_of_columns(sp.csc_matrix((data, (row, col)), shape=common.shape), config.neighbours)


def top_of_columns(weights: sp.csc_matrix, k: int) -> sp.csr_matrix:
    """The k largest entries of each column; equal ones in the order of their rows."""
    rows, cols, data = [], [], []
    for col in range(weights.shape[1]):
        part = slice(weights.indptr[col], weights.indptr[col + 1])
        order = np.argsort(-weights.data[part], kind="stable")[:k]
        rows.append(weights.indices[part][order])
        data.append(weights.data[part][order])
        cols.append(np.full(len(order), col))
    kept = (np.concatenate(data), (np.concatenate(rows), np.concatenate(cols)))
    return sp.csr_matrix(kept, shape=weights.shape)


def _by_users(cache: dict[str, Array], query: Query) -> Float[Array, "b n"]:
    return cache["weights"][query.user] @ cache["history"]


def _by_users_candidates(cache: dict[str, Array], query: Query, ids: Int[Array, "b k"]) -> Float[Array, "b k"]:
    return jnp.take_along_axis(_by_users(cache, query), ids, axis=1)
