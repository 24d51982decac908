"""What baselines are made of: the log as a sparse matrix, and scoring by item weights or by factors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float, Int

from rec_jax.data.interactions import Interactions
from rec_jax.data.splits import Split
from rec_jax.models.base import Query, Scorer


def matrix(log: Interactions, n_users: int, n_items: int) -> sp.csr_matrix:
    """[n_users, n_items] with 1 where a user has an event with an item, however many."""
    found = sp.csr_matrix((np.ones(len(log), np.float32), (log.user, log.item)), shape=(n_users, n_items))
    found.sum_duplicates()
    found.data[:] = 1.0
    return found


def train_matrix(split: Split) -> sp.csr_matrix:
    """The train events as a binary matrix."""
    return matrix(split.train, split.dataset.n_users, split.dataset.n_items)


def from_item_weights(name: str, history: sp.csr_matrix, weights: Any) -> Scorer:
    """score(u, i) = sum of weights[j, i] over the items j of the user's history.

    `weights` is dense [n, n], or sparse, which is stored densely: rows of it are summed by one matrix product.
    """
    dense = weights.toarray() if sp.issparse(weights) else weights
    width = int(np.diff(history.indptr).max(initial=1))
    items = np.concatenate([history.indices, np.zeros(width, np.int32)])  # so that a slice never runs over the end
    cache = {
        "weights": jnp.asarray(dense, jnp.float32),
        "start": jnp.asarray(history.indptr, jnp.int32),
        "items": jnp.asarray(items, jnp.int32),
        "place": jnp.arange(width),
    }
    return Scorer(name, cache, _by_weights, _by_weights_candidates)


def from_factors(name: str, users: np.ndarray, items: np.ndarray) -> Scorer:
    """score(u, i) = <users[u], items[i]>."""
    cache = {"users": jnp.asarray(users, jnp.float32), "items": jnp.asarray(items, jnp.float32)}
    return Scorer(name, cache, _by_factors, _by_factors_candidates)


def _by_weights(cache: dict[str, Array], query: Query) -> Float[Array, "b n"]:
    n = len(cache["weights"])
    start, end = cache["start"][query.user], cache["start"][query.user + 1]
    at = start[:, None] + cache["place"]
    items = jnp.where(at < end[:, None], cache["items"][at], n)
    rows = jnp.zeros((len(query.user), n)).at[jnp.arange(len(query.user))[:, None], items].set(1.0, mode="drop")
    return jnp.matmul(rows, cache["weights"], precision=jax.lax.Precision.HIGHEST)


def _by_weights_candidates(cache: dict[str, Array], query: Query, ids: Int[Array, "b k"]) -> Float[Array, "b k"]:
    return jnp.take_along_axis(_by_weights(cache, query), ids, axis=1)


def _by_factors(cache: dict[str, Array], query: Query) -> Float[Array, "b n"]:
    return cache["users"][query.user] @ cache["items"].T


def _by_factors_candidates(cache: dict[str, Array], query: Query, ids: Int[Array, "b k"]) -> Float[Array, "b k"]:
    return jnp.einsum("bd,bkd->bk", cache["users"][query.user], cache["items"][ids])
