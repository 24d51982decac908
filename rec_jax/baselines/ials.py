"""iALS, implicit alternating least squares. Hu et al., ICDM 2008; with the regularisation and unobserved weight of
Rendle et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022, Eqs. 1-5.

A row's problem is solved by a few conjugate-gradient steps from its last round's vector (Takacs et al., RecSys 2011),
whose matrix is never formed. Events are gathered in chunks of one length, chunks in blocks of whole rows: the vectors
of a block stay in the processor's cache for all steps, and one shape is compiled a side. XLA runs such a loop on one
core, so each core gets its share of the blocks; a row's result does not depend on how many there are.

Checked against dense solves in numpy (tests/baselines/test_ials.py).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from flax import struct
from jaxtyping import Array, Float, Int

from rec_jax.baselines.base import from_factors, matrix, train_matrix
from rec_jax.data.interactions import Interactions
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.models.base import Leaf, Scorer
from rec_jax.randomness import host_rng
from rec_jax.workers import workers

# 64 chunks of 64 events are 1 MB of vectors of width 64; shorter chunks cost more in calls than they save in padding.
CHUNK, CHUNKS = 64, 64


@dataclass(frozen=True)
class IALSConfig:
    """iALS' hyper-parameters."""

    factors: int = 64
    """Width of the user and item vectors."""
    iterations: int = 16
    """Rounds of solving all users, then all items."""
    unobserved_weight: float = 0.1
    """Weight of every (user, item) pair against that of an event (alpha_0)."""
    reg: float = 0.003
    """Penalty on the squared vectors (lambda)."""
    reg_exponent: float = 1.0
    """How the penalty grows with a row's events and its share of the unobserved (nu)."""
    init_sd: float = 0.1
    """Standard deviation of the initial vectors' norm: divided by the root of the width."""
    cg_steps: int = 3
    """Conjugate-gradient steps a row and round; as many as there are factors solve it exactly."""


@struct.dataclass
class Blocks:
    """The rows of a sparse matrix that have events, each wholly in one of `g` blocks of `c` chunks of `l` events."""

    row: Leaf  # int32 [g c]: the block's rows; the number of rows where there is none
    length: Leaf  # float32 [g c]: their events
    place: Leaf  # int32 [g c]: which of the block's rows a chunk belongs to
    columns: Leaf  # int32 [g c l]: the events' columns; the number of columns where there is none


def fit_ials(split: Split, config: IALSConfig, seed: int = 0) -> Scorer:
    """Fit on the binary train matrix; new users are folded in exactly. InputError: a number out of range."""
    users, items = ials_factors(train_matrix(split), config, seed)
    return scorer(users, items, config)


def scorer(users: np.ndarray, items: np.ndarray, config: IALSConfig) -> Scorer:
    """score(u, i) = <users[u], items[i]>; `fold_in` solves other users' vectors with the items as they are."""

    def fold_in(log: Interactions, n_users: int) -> Scorer:
        return scorer(solve_exactly(matrix(log, n_users, len(items)), items, config), items, config)

    return from_factors("ials", users, items, fold_in)


def ials_factors(history: sp.csr_matrix, config: IALSConfig, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(user vectors, item vectors) after the last round."""
    *_, (users, items) = rounds(history, config, seed)
    return np.asarray(users), np.asarray(items)


def rounds(
    history: sp.csr_matrix, config: IALSConfig, seed: int
) -> Iterator[tuple[Float[Array, "m d"], Float[Array, "n d"]]]:
    """(user vectors, item vectors) after each round. Vectors of rows without events are 0."""
    c = config
    if min(c.factors, c.iterations, c.cg_steps) < 1 or c.unobserved_weight < 0 or c.reg <= 0:
        raise InputError(
            f"{c}: expected factors, iterations and cg_steps of at least 1, a positive reg, no negative weight"
        )
    rng, transposed = host_rng(seed, "ials"), history.T.tocsr()
    sides = [
        jnp.asarray(rng.normal(0, c.init_sd / c.factors**0.5, (len(m), c.factors)) * m[:, None], jnp.float32)
        for m in (np.diff(history.indptr) > 0, np.diff(transposed.indptr) > 0)
    ]
    users, items = sides
    by_user, by_item = blocks(history, workers()), blocks(transposed, workers())
    numbers, steps = jnp.array([c.reg, c.unobserved_weight, c.reg_exponent]), jnp.int32(c.cg_steps)
    with ThreadPoolExecutor(workers()) as pool:

        def solve(side: Array, other: Array, parts: list[Blocks]) -> Array:
            def one(part: Blocks) -> Array:
                return jax.block_until_ready(_solve(side, other, part, numbers, steps))

            return _store(side, parts, list(pool.map(one, parts)))

        for _ in range(c.iterations):
            users = solve(users, items, by_user)
            items = solve(items, users, by_item)
            yield users, items


def blocks(rows: sp.csr_matrix, parts: int) -> list[Blocks]:
    """Pack the rows, longest first, each into the current block or, where it is full, into the next.

    The blocks are dealt out to `parts` of equal shape, some blocks at the end being empty.
    """
    (m, n), lengths = rows.shape, np.diff(rows.indptr)
    chunks = -(-lengths // CHUNK)
    c = max(CHUNKS, int(chunks.max(initial=1)))
    block, place, start = (np.zeros(m, np.int64) for _ in range(3))
    b, k, used = 0, 0, 0
    order = np.argsort(-chunks, kind="stable")[: np.count_nonzero(chunks)]
    for r, size in zip(order.tolist(), chunks[order].tolist()):
        if used + size > c:
            b, k, used = b + 1, 0, 0
        block[r], place[r], start[r] = b, k, used
        k, used = k + 1, used + size
    g = -(-(b + 1) // parts) * parts
    row, length = np.full((g, c), m, np.int32), np.zeros((g, c), np.float32)
    row[block[order], place[order]], length[block[order], place[order]] = order, lengths[order]
    # Events and chunks follow each other within a row, from the row's first chunk on.
    first = block * c + start
    chunk_at = np.repeat(first - np.cumsum(chunks) + chunks, chunks) + np.arange(chunks.sum())
    event_at = np.repeat(first * CHUNK - rows.indptr[:-1], lengths) + np.arange(rows.nnz)
    places, columns = np.zeros(g * c, np.int32), np.full(g * c * CHUNK, n, np.int32)
    places[chunk_at], columns[event_at] = np.repeat(place, chunks), rows.indices
    arrays = (row, length, places.reshape(-1, c), columns.reshape(-1, c, CHUNK))
    return [Blocks(*(jnp.asarray(a) for a in part)) for part in zip(*(np.split(a, parts) for a in arrays))]


@jax.jit
def _solve(
    side: Float[Array, "m d"],
    other: Float[Array, "n d"],
    groups: Blocks,
    numbers: Float[Array, "3"],
    steps: Int[Array, ""],
) -> Float[Array, "gc d"]:
    """The rows of `groups` after conjugate-gradient steps on each row's own convex problem (Eq. 4) given `other`."""
    reg, weight, exponent = numbers
    gram = weight * jnp.matmul(other.T, other, precision=jax.lax.Precision.HIGHEST)
    nothing = jnp.zeros((1, other.shape[1]))
    extended, before = jnp.concatenate([other, nothing]), jnp.concatenate([side, nothing])

    def block(part: Blocks) -> Float[Array, "c d"]:
        # Without the barrier the vectors would be gathered anew for each product.
        vectors = jax.lax.optimization_barrier(extended[part.columns])
        penalty = (reg * (part.length + weight * len(other)) ** exponent)[:, None]

        def weighted_sum(by_event: Float[Array, "c l"]) -> Float[Array, "c d"]:
            return jax.ops.segment_sum(jnp.einsum("cld,cl->cd", vectors, by_event), part.place, len(part.row))

        def scores(p: Float[Array, "c d"]) -> Float[Array, "c l"]:
            return jnp.einsum("cld,cd->cl", vectors, p[part.place])

        def times(p: Float[Array, "c d"]) -> Float[Array, "c d"]:
            return weighted_sum(scores(p)) + p @ gram + penalty * p

        def step(_: Any, carry: tuple[Array, ...]) -> tuple[Array, ...]:
            x, residual, direction, squared = carry
            image = times(direction)
            length = _ratio(squared, (direction * image).sum(axis=1, keepdims=True))
            residual = residual - length * image
            after = (residual**2).sum(axis=1, keepdims=True)
            return x + length * direction, residual, residual + _ratio(after, squared) * direction, after

        x = before[part.row]
        residual = weighted_sum(1 - scores(x)) - x @ gram - penalty * x
        start = (x, residual, residual, (residual**2).sum(axis=1, keepdims=True))
        solved: Array = jax.lax.fori_loop(0, steps, step, start)[0]
        return solved

    with jax.default_matmul_precision("highest"):
        return jax.lax.map(block, groups).reshape(-1, side.shape[1])


@jax.jit
def _store(side: Float[Array, "m d"], parts: list[Blocks], solved: list[Array]) -> Float[Array, "m d"]:
    """`side` with the solved rows in their places."""
    rows = jnp.concatenate([part.row.reshape(-1) for part in parts])
    return side.at[rows].set(jnp.concatenate(solved), mode="drop")


def _ratio(a: Array, b: Array) -> Array:
    """a / b, and 0 where a row is solved already and both vanish."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)


def solve_exactly(history: sp.csr_matrix, items: np.ndarray, config: IALSConfig) -> Float[np.ndarray, "m d"]:
    """The minimum of each row's problem (Eq. 4) given the items' vectors, in float64."""
    other = items.astype(np.float64)
    gram = config.unobserved_weight * other.T @ other
    found = np.zeros((history.shape[0], other.shape[1]))
    for row, (start, end) in enumerate(zip(history.indptr, history.indptr[1:])):
        vectors = other[history.indices[start:end]]
        penalty = config.reg * (len(vectors) + config.unobserved_weight * len(other)) ** config.reg_exponent
        left = gram + vectors.T @ vectors + penalty * np.eye(len(gram))
        found[row] = np.linalg.solve(left, vectors.sum(axis=0))
    return found
