"""iALS, implicit alternating least squares. Hu et al., ICDM 2008; with the regularisation and unobserved weight of
Rendle et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022, Eqs. 1-5.

Rows are solved on the device in batches of like length, each batch by one Gram product and one Cholesky
factorisation a row. Checked against a dense solve of every row in numpy (tests/baselines/test_ials.py).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float, Int

from rec_jax.baselines.base import from_factors, train_matrix
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.models.base import Scorer
from rec_jax.randomness import host_rng

# 2^24 numbers are 64 MB: the vectors gathered for one batch of rows.
NUMBERS_PER_BATCH = 2**24
SHORTEST = 32


@dataclass(frozen=True)
class IALSConfig:
    """iALS' hyper-parameters."""

    factors: int = 64
    """Width of the user and item vectors."""
    epochs: int = 16
    """Rounds of solving all users, then all items."""
    unobserved_weight: float = 0.1
    """Weight of every (user, item) pair against that of an event (alpha_0)."""
    reg: float = 0.003
    """Penalty on the squared vectors (lambda)."""
    reg_exponent: float = 1.0
    """How the penalty grows with a row's events and its share of the unobserved (nu)."""
    init_sd: float = 0.1
    """Standard deviation of the initial vectors' norm: divided by the root of the width."""
    seed: int = 1
    """Seed of the initial vectors."""


def fit_ials(split: Split, config: IALSConfig) -> Scorer:
    """Fit on the binary train matrix. InputError: a number out of range."""
    users, items = ials_factors(train_matrix(split), config)
    return from_factors("ials", users, items)


def ials_factors(history: sp.csr_matrix, config: IALSConfig) -> tuple[np.ndarray, np.ndarray]:
    """(user vectors, item vectors) after the last round."""
    if min(config.factors, config.epochs) < 1 or config.unobserved_weight < 0 or config.reg <= 0:
        raise InputError(f"{config}: expected factors and epochs of at least 1, a positive reg, no negative weight")
    rng = host_rng(config.seed, "ials")
    shapes = [(n, config.factors) for n in history.shape]
    users, items = (
        jnp.asarray(rng.normal(0, config.init_sd / config.factors**0.5, shape), jnp.float32) for shape in shapes
    )
    by_user, by_item = batches(history, config.factors), batches(history.T.tocsr(), config.factors)
    for _ in range(config.epochs):
        users = _solve_side(users, items, by_user, config)
        items = _solve_side(items, users, by_item, config)
    return np.asarray(users), np.asarray(items)


def batches(rows: sp.csr_matrix, factors: int) -> list[tuple[Int[Array, "b"], Int[Array, "b l"]]]:
    """(row ids, their columns padded with -1), rows of like length together; unused places have row id -1."""
    lengths = np.diff(rows.indptr)
    wanted = np.maximum(SHORTEST, 1 << np.ceil(np.log2(np.maximum(lengths, 1))).astype(int))
    found = []
    for width in np.unique(wanted):
        members = np.flatnonzero(wanted == width)
        b = min(len(members), max(1, NUMBERS_PER_BATCH // (int(width) * factors)))
        for start in range(0, len(members), b):
            ids, columns = np.full(b, -1, np.int32), np.full((b, width), -1, np.int32)
            for place, row in enumerate(members[start : start + b]):
                ids[place] = row
                columns[place, : lengths[row]] = rows.indices[rows.indptr[row] : rows.indptr[row + 1]]
            found.append((jnp.asarray(ids), jnp.asarray(columns)))
    return found


def _solve_side(side: Array, other: Array, groups: list[tuple[Array, Array]], config: IALSConfig) -> Array:
    weight, exponent = config.unobserved_weight, config.reg_exponent
    gram = weight * other.T @ other
    for ids, columns in groups:
        side = _solve(side, other, gram, ids, columns, config.reg, weight, exponent)
    return side


@jax.jit
def _solve(
    side: Float[Array, "m d"],
    other: Float[Array, "n d"],
    gram: Float[Array, "d d"],
    ids: Int[Array, "b"],
    columns: Int[Array, "b l"],
    reg: float | Array,
    weight: float | Array,
    exponent: float | Array,
) -> Float[Array, "m d"]:
    """The rows `ids` of `side`, each the minimum of its own convex problem (Eq. 4) given `other`."""
    real = columns >= 0
    vectors = other[jnp.maximum(columns, 0)] * real[..., None]
    penalty = reg * (real.sum(axis=1) + weight * len(other)) ** exponent
    left = jnp.einsum("bld,ble->bde", vectors, vectors) + gram + penalty[:, None, None] * jnp.eye(other.shape[1])
    factor = jax.scipy.linalg.cho_factor(left)
    solved = jax.scipy.linalg.cho_solve(factor, vectors.sum(axis=1)[..., None])[..., 0]
    return side.at[jnp.where(ids < 0, len(side), ids)].set(solved, mode="drop")
