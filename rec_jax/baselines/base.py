"""What baselines are made of: the log as a sparse matrix, and scoring by item weights or by factors."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Bool, Float, Int

from rec_jax.data.interactions import Interactions
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.models.base import Query, Scorer, one_by_one

# X^T X of a dense X runs on all cores, several times as fast as of a sparse one; 2^28 numbers are 1 GB.
DENSE_NUMBERS = 2**28
# Columns whose largest entries are looked for at once: copies of 2^24 numbers are 64 MB.
COLUMN_NUMBERS = 2**24
# Where users have on average less than a 32nd of all items, reading their items' weights takes less than a product with
# all weights does on a CPU: on Amazon Beauty (7 of 12,101 items) seconds instead of minutes.
SHORT = 32
# Neighbours of an item whose scores are added to at once.
TOGETHER = 64


def matrix(log: Interactions, n_users: int, n_items: int) -> sp.csr_matrix:
    """[n_users, n_items] with 1 where a user has an event with an item, however many.

    InputError: the log names a user or an item beyond these.
    """
    for name, ids, n in (("user", log.user, n_users), ("item", log.item, n_items)):
        if len(ids) and not 0 <= ids.min() <= ids.max() < n:
            wrong = int(ids.max()) if ids.max() >= n else int(ids.min())
            raise InputError(f"the log has an event of {name} {wrong}: expected ids from 0 to {n - 1}")
    found = sp.csr_matrix((np.ones(len(log), np.float32), (log.user, log.item)), shape=(n_users, n_items))
    found.sum_duplicates()
    found.data[:] = 1.0
    return found


def train_matrix(split: Split) -> sp.csr_matrix:
    """The train events as a binary matrix."""
    return matrix(split.train, split.dataset.n_users, split.dataset.n_items)


def gram(x: sp.csr_matrix) -> Float[np.ndarray, "n n"]:
    """X^T X, dense, in float32: exact for counts below 2^24."""
    if x.shape[0] * x.shape[1] > DENSE_NUMBERS:
        return (x.T @ x).toarray().astype(np.float32)
    dense = x.toarray().astype(np.float32)
    return dense.T @ dense


def top_of_columns(weights: Float[np.ndarray, "m n"], k: int) -> Float[np.ndarray, "m n"]:
    """`weights` with only the k largest entries of each column, 0 elsewhere; equal ones in the order of their rows."""
    m, n = weights.shape
    if k >= m:
        return weights
    kept = np.zeros_like(weights)
    width = max(1, COLUMN_NUMBERS // m)
    for start in range(0, n, width):
        part = np.ascontiguousarray(weights[:, start : start + width].T)
        kept[:, start : start + width] = np.where(largest(part, k), part, 0).T
    return kept


def largest(values: Float[np.ndarray, "*b m"], k: int) -> Bool[np.ndarray, "*b m"]:
    """Which are the k largest along the last axis; equal ones in their order."""
    m = values.shape[-1]
    if k >= m:
        return np.ones(values.shape, bool)
    bound = np.partition(values, m - k)[..., m - k, None]
    above, at = values > bound, values == bound
    return above | (at & (at.cumsum(axis=-1) <= k - above.sum(axis=-1, keepdims=True)))


def from_item_weights(
    name: str,
    history: sp.csr_matrix,
    weights: Any,
    represent: Callable[[sp.csr_matrix], sp.csr_matrix] = lambda history: history,
) -> Scorer:
    """score(u, i) = sum over the items j of the user's history of x[u, j] weights[j, i], x = represent(history).

    `history` is binary; `represent` gives each of its entries its value (1 unless given), and leaves none out.
    `weights` is dense [n, n], or sparse, which is stored densely: rows of it are summed by one matrix product, or, of
    short histories on a CPU, one by one.
    Unseen users fold in by their own histories.
    """
    dense = jnp.asarray(weights.toarray() if sp.issparse(weights) else weights, jnp.float32)
    cache = {"weights": dense, **_rows_of(represent(history).tocsr())}

    def fold_in(log: Interactions, n_users: int) -> Scorer:
        return from_item_weights(name, matrix(log, n_users, len(dense)), dense, represent)

    few = jax.default_backend() == "cpu" and SHORT * history.nnz < history.shape[0] * len(dense)
    functions = (_by_own_weights, _by_own_weights_candidates) if few else (_by_weights, _by_weights_candidates)
    return Scorer(name, cache, *functions, fold_in)


def from_neighbours(
    name: str,
    history: sp.csr_matrix,
    weights: sp.csr_matrix,
    represent: Callable[[sp.csr_matrix], sp.csr_matrix] = lambda history: history,
) -> Scorer:
    """`from_item_weights` where [n, n] numbers are too many: only those that are not 0 are held.

    A user's scores cost an addition for each of them in the rows of the user's items.
    """
    n = weights.shape[1]
    end = np.zeros(TOGETHER, np.int32)  # so that a slice never runs over the end
    shared = {
        "first": jnp.asarray(weights.indptr, jnp.int32),
        "neighbours": jnp.asarray(np.concatenate([weights.indices, end]), jnp.int32),
        "similarities": jnp.asarray(np.concatenate([weights.data, end]), jnp.float32),
    }

    def scorer(histories: sp.csr_matrix) -> Scorer:
        cache = shared | _rows_of(represent(histories).tocsr())
        return Scorer(name, cache, _by_neighbours, _by_neighbours_candidates, fold_in)

    def fold_in(log: Interactions, n_users: int) -> Scorer:
        return scorer(matrix(log, n_users, n))

    return scorer(history)


def from_factors(
    name: str, users: np.ndarray, items: np.ndarray, fold_in: Callable[[Interactions, int], Scorer] | None = None
) -> Scorer:
    """score(u, i) = <users[u], items[i]>."""
    cache = {"users": jnp.asarray(users, jnp.float32), "items": jnp.asarray(items, jnp.float32)}
    return Scorer(name, cache, _by_factors, _by_factors_candidates, fold_in)


def from_encoder(
    name: str, history: sp.csr_matrix, encode: Callable[[sp.csr_matrix], np.ndarray], items: Float[np.ndarray, "n d"]
) -> Scorer:
    """score(u, i) = <encode(history)[u], items[i]>: unseen users are encoded by their own histories."""

    def fold_in(log: Interactions, n_users: int) -> Scorer:
        return from_encoder(name, matrix(log, n_users, len(items)), encode, items)

    return from_factors(name, encode(history), items, fold_in)


def among_candidates(
    scores: Callable[[dict[str, Array], Query], Float[Array, "b n"]],
) -> Callable[[dict[str, Array], Query, Int[Array, "b k"]], Float[Array, "b k"]]:
    """Scores of some items, taken from those of the whole catalogue."""

    def of(cache: dict[str, Array], query: Query, ids: Int[Array, "b k"]) -> Float[Array, "b k"]:
        return jnp.take_along_axis(scores(cache, query), ids, axis=1)

    return of


def _rows_of(x: sp.csr_matrix) -> dict[str, Array]:
    """A sparse matrix as `_read` reads it."""
    width = int(np.diff(x.indptr).max(initial=1))
    end = np.zeros(width, np.int32)  # so that a slice never runs over the end
    return {
        "start": jnp.asarray(x.indptr, jnp.int32),
        "items": jnp.asarray(np.concatenate([x.indices, end]), jnp.int32),
        "values": jnp.asarray(np.concatenate([x.data, end]), jnp.float32),
        "place": jnp.arange(width),
    }


def _read(cache: dict[str, Array], query: Query, n: int) -> Float[Array, "b n"]:
    """The rows of the query's users, dense."""
    start, end = cache["start"][query.user], cache["start"][query.user + 1]
    at = start[:, None] + cache["place"]
    items = jnp.where(at < end[:, None], cache["items"][at], n)
    places = jnp.arange(len(query.user))[:, None], items
    return jnp.zeros((len(query.user), n)).at[places].set(cache["values"][at], mode="drop")


def _by_weights(cache: dict[str, Array], query: Query) -> Float[Array, "b n"]:
    rows = _read(cache, query, len(cache["weights"]))
    return jnp.matmul(rows, cache["weights"], precision=jax.lax.Precision.HIGHEST)


def _by_own_weights(cache: dict[str, Array], query: Query) -> Float[Array, "b n"]:
    """The rows of `weights` of the events of one user after the other."""

    def add(total: Float[Array, "n"], item: Int[Array, ""], value: Float[Array, ""]) -> Float[Array, "n"]:
        return total + value * cache["weights"][item]

    return _over_events(cache, query, add, len(cache["weights"]))


def _by_neighbours(cache: dict[str, Array], query: Query) -> Float[Array, "b n"]:
    """The entries of the rows of `weights` of the events of one user after the other, TOGETHER at once."""

    def add(total: Float[Array, "n"], item: Int[Array, ""], value: Float[Array, ""]) -> Float[Array, "n"]:
        first, last = cache["first"][item], cache["first"][item + 1]

        def some(number: Int[Array, ""], total: Float[Array, "n"]) -> Float[Array, "n"]:
            at = first + number * TOGETHER
            ids, similarities = (
                jax.lax.dynamic_slice(cache[of], (at,), (TOGETHER,)) for of in ("neighbours", "similarities")
            )
            own = at + jnp.arange(TOGETHER) < last
            return total.at[ids].add(jnp.where(own, value * similarities, 0.0))

        return jax.lax.fori_loop(0, (last - first + TOGETHER - 1) // TOGETHER, some, total)

    return _over_events(cache, query, add, len(cache["first"]) - 1)


def _over_events(
    cache: dict[str, Array], query: Query, add: Callable[[Array, Array, Array], Array], n: int
) -> Float[Array, "b n"]:
    """For each user of the query, add(total, item, value) over its events, beginning with n zeros."""

    def of_user(user: Int[Array, ""]) -> Float[Array, "n"]:
        def event(at: Int[Array, ""], total: Float[Array, "n"]) -> Float[Array, "n"]:
            return add(total, cache["items"][at], cache["values"][at])

        return jax.lax.fori_loop(cache["start"][user], cache["start"][user + 1], event, jnp.zeros(n))

    return one_by_one(of_user, query.user)


# Made once, for programs are compiled once a function.
_by_weights_candidates, _by_own_weights_candidates, _by_neighbours_candidates = map(
    among_candidates, (_by_weights, _by_own_weights, _by_neighbours)
)


def _by_factors(cache: dict[str, Array], query: Query) -> Float[Array, "b n"]:
    return cache["users"][query.user] @ cache["items"].T


def _by_factors_candidates(cache: dict[str, Array], query: Query, ids: Int[Array, "b k"]) -> Float[Array, "b k"]:
    return jnp.einsum("bd,bkd->bk", cache["users"][query.user], cache["items"][ids])
