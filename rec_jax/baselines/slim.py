"""SLIM, sparse linear methods with the elastic net. Ning & Karypis, ICDM 2011, Eq. 2-3; in the parametrisation of
Ferrari Dacrema et al., TOIS 2021, which is scikit-learn's `ElasticNet(positive=True, fit_intercept=False)`.

Each item's weights are a problem of their own, but all share X^T X. Cyclic coordinate descent (Friedman et al.,
"Regularization Paths for Generalized Linear Models via Coordinate Descent", JSS 2010, Sec. 2.2, covariance updates)
therefore runs for all items at once: the gradients of a block of rows are one matrix product, and columns leave as they
converge. Checked against scikit-learn on small data and against the conditions of optimality on MovieLens-100K
(tests/baselines/test_slim.py).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rec_jax.baselines.base import from_item_weights, gram, top_of_columns, train_matrix
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.models.base import Scorer

# Rows whose gradients are taken by one product: wide enough for the cores, narrow enough to stay in the cache.
BLOCK = 64
# The narrowest set of columns that is worth a compilation of its own.
NARROWEST = 128


@dataclass(frozen=True)
class SLIMConfig:
    """SLIM's hyper-parameters."""

    penalty: float = 0.1
    """Weight of the penalties on the item weights (scikit-learn's alpha)."""
    l1_ratio: float = 1e-3
    """Share of the penalty on the absolute item weights; the rest is on their squares."""
    neighbours: int = 500
    """How many weights of each item are kept: its largest."""
    rounds: int = 100
    """Passes over all weights, at most; items that have converged before drop out."""
    tolerance: float = 1e-3
    """An item has converged when a pass moves none of its weights by more than this."""


def fit_slim(split: Split, config: SLIMConfig, seed: int = 0) -> Scorer:
    """Fit on the binary train matrix; without chance. InputError: a number out of range.

    The weights minimise |X - XW|^2 / (2 users) + penalty (l1_ratio |W|_1 + (1 - l1_ratio) |W|^2 / 2) under W >= 0
    and diag(W) = 0.
    """
    if min(config.neighbours, config.rounds) < 1 or not (config.penalty > 0 and 0 <= config.l1_ratio <= 1):
        raise InputError(f"{config}: expected a penalty above 0, l1_ratio from 0 to 1, neighbours and rounds from 1")
    if config.tolerance <= 0:
        raise InputError(f"tolerance = {config.tolerance:g}: expected a positive number, as 0.001")
    history = train_matrix(split)
    weights, _ = slim_weights(gram(history) / np.float32(history.shape[0]), config)
    return from_item_weights("slim", history, top_of_columns(weights, config.neighbours))


def slim_weights(covariance: Float[np.ndarray, "n n"], config: SLIMConfig) -> tuple[Float[np.ndarray, "n n"], int]:
    """(W before the largest are kept, how many items had not converged after the last round), from X^T X / users."""
    n = len(covariance)
    l1, l2 = config.penalty * config.l1_ratio, config.penalty * (1 - config.l1_ratio)
    padded = np.zeros((-(-n // BLOCK) * BLOCK,) * 2, np.float32)
    order = np.argsort(-np.diag(covariance), kind="stable")  # popular items first: a fifth fewer passes
    padded[:n, :n] = covariance[np.ix_(order, order)]
    left = jnp.asarray(padded)
    weights = np.zeros((len(padded), n), np.float32)
    own, part = np.arange(n), jnp.zeros((len(padded), n), jnp.float32)

    def keep() -> None:
        weights[:, own[own >= 0]] = np.asarray(part)[:, : (own >= 0).sum()]  # the fill stands last

    for _ in range(config.rounds):
        part, moved = _sweep(part, left, jnp.asarray(own), l1, l2)
        moving = (np.asarray(moved) > config.tolerance) & (own >= 0)
        if moving.sum() <= len(own) // 2:
            keep()
            own = own[moving]
            if not len(own):
                part = part[:, :0]
                break
            # Widths halve from one compilation to the next; columns of fill have no item (-1) and stay 0.
            width = max(NARROWEST, 1 << (len(own) - 1).bit_length())
            own = np.concatenate([own, np.full(width - len(own), -1)])
            part = jnp.asarray(weights[:, own] * (own >= 0))
    keep()
    found = np.empty((n, n), np.float32)
    found[np.ix_(order, order)] = weights[:n]
    return found, int(moving.sum())


@jax.jit
def _sweep(
    weights: Float[Array, "m w"], left: Float[Array, "m m"], own: Int[Array, "w"], l1: float | Array, l2: float | Array
) -> tuple[Float[Array, "m w"], Float[Array, "w"]]:
    """(the weights after one pass over all rows, each column's largest move); `own` is each column's item, or -1."""
    m, width = weights.shape
    wanted = jnp.where(own >= 0, left[:, jnp.maximum(own, 0)], 0.0)

    def block(index: Int[Array, ""], carry: tuple[Array, Array]) -> tuple[Array, Array]:
        weights, moved = carry
        start = index * BLOCK
        rows = jax.lax.dynamic_slice(left, (start, 0), (BLOCK, m))
        square = jax.lax.dynamic_slice(rows, (0, start), (BLOCK, BLOCK))
        target = jax.lax.dynamic_slice(wanted, (start, 0), (BLOCK, width))
        residual = target - jnp.matmul(rows, weights, precision=jax.lax.Precision.HIGHEST)

        def row(j: Int[Array, ""], carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            mine, residual, moved = carry
            best = jnp.maximum((residual[j] + square[j, j] * mine[j] - l1) / (square[j, j] + l2), 0.0)
            move = jnp.where(own == start + j, 0.0, best) - mine[j]
            residual = residual - square[:, j, None] * move
            return mine.at[j].add(move), residual, jnp.maximum(moved, jnp.abs(move))

        mine = jax.lax.dynamic_slice(weights, (start, 0), (BLOCK, width))
        mine, _, moved = jax.lax.fori_loop(0, BLOCK, row, (mine, residual, moved))
        return jax.lax.dynamic_update_slice(weights, mine, (start, 0)), moved

    swept: tuple[Array, Array] = jax.lax.fori_loop(0, m // BLOCK, block, (weights, jnp.zeros(width)))
    return swept
