"""Boosting: item weights fitted to what a first recommender leaves of train.

Checked against stages of normal equations, one item at a time, and against EASE (tests/fusion/test_boosting.py).
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float

from rec_jax.baselines.base import from_item_weights, gram, train_matrix
from rec_jax.baselines.ease import regularised_inverse
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.evaluate.metrics import parse
from rec_jax.evaluate.protocol import Questions
from rec_jax.evaluate.ranking import check_shape, in_blocks
from rec_jax.evaluate.report import validation
from rec_jax.fusion.base import check_finite, fold_all
from rec_jax.models.base import Query, Scorer


@dataclass(frozen=True)
class BoostingConfig:
    """Item weights fitted to what the first recommender leaves."""

    l2: float = 500.0
    """Penalty on the squared item weights."""
    stages: int = 5
    """At most this many stages; validation chooses how many are kept."""
    shrinkage: float = 0.5
    """What each stage is multiplied by, above 0 and up to 1."""
    metric: str = "ndcg@10"
    """Validation metric that chooses the number of stages."""


def fuse_boosting(first: Scorer, split: Split, questions: Questions, config: BoostingConfig) -> Scorer:
    """Stage-wise fitting of residuals (Friedman, Annals of Statistics 2001, Algorithm 1) by item-item regression.

    F_0 = a + b S: the first recommender's scores on the scale of the binary train matrix X, by least squares over the
    users of train (a ranks nothing, and is left out of the final scores). Stage m fits what is left:
    B = argmin |X - F_m-1 - X B|^2 + l2 |B|^2 under diag(B) = 0, and F_m = F_m-1 + shrinkage X B. With S = 0 and one
    whole stage this is EASE. The stages are linear in X, so their sum is one matrix of item weights, and only
    X^T (X - F) is ever held. The best number of stages on the validation is kept, none included: the validation
    metric never falls below the first recommender's. A first recommender that has fitted train
    closely leaves less there than on new data. UndefinedScore: a score is NaN or infinite. InputError: a number out
    of range, scores that do not rise with the train events, or a first recommender that reads histories.
    """
    parse(config.metric)
    if not (config.l2 > 0 and 0 < config.shrinkage <= 1 and config.stages >= 1):
        raise InputError(f"{config}: expected a positive l2, shrinkage above 0 and up to 1, at least 1 stage")
    if split.fold_in is not None:
        raise InputError("boosting is fitted and validated on users of train; choose another --split than 'users'")
    if first.reads:
        raise InputError(f"{first.name} reads what users did: it has seen the train events that it would be boosted on")
    check_shape(first, len(questions.excluded))
    history = train_matrix(split)
    common = gram(history).astype(np.float64)
    scale, target = _residual(first, history, common)
    inverse = regularised_inverse(common, config.l2)
    total = np.zeros_like(common)
    kept = dataclasses.replace(first, name=f"boosted({first.name}; 0 stages)")
    best = validation(first, questions, config.metric)
    for stage in range(1, config.stages + 1):
        weights = residual_weights(inverse, target)
        target -= config.shrinkage * common @ weights
        total += config.shrinkage * weights
        grown = _boosted(first, history, scale, total, stage)
        if (value := validation(grown, questions, config.metric)) > best:
            kept, best = grown, value
    return kept


def residual_weights(inverse: Float[np.ndarray, "n n"], target: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """argmin over B of |R - X B|^2 + l2 |B|^2 under diag(B) = 0, from (X^T X + l2 I)^-1 and X^T R.

    Lagrange multipliers on the diagonal give B = P X^T R - P diag(diag(P X^T R) / diag(P)).
    """
    free = inverse @ target
    weights = free - inverse * (np.diag(free) / np.diag(inverse))
    np.fill_diagonal(weights, 0.0)
    return weights


def _residual(
    first: Scorer, history: sp.csr_matrix, common: Float[np.ndarray, "n n"]
) -> tuple[float, Float[np.ndarray, "n n"]]:
    """(b, X^T (X - a - b S)) over the users of train, whose contexts are unknown; `common` is X^T X."""
    users, n = np.flatnonzero(np.diff(history.indptr)).astype(np.int32), history.shape[1]
    cross, mean, square = np.zeros((n, n)), 0.0, 0.0

    def query(rows: np.ndarray) -> Query:
        return Query.at(users[rows], np.zeros(len(rows), np.int64))

    for rows, block in in_blocks(first.scores, first.cache, query, len(users), n):
        scores = block.astype(np.float64)
        check_finite([first], users[rows], scores[None])
        cross += history[users[rows]].T @ scores
        mean, square = mean + scores.sum() / (len(users) * n), square + (scores**2).sum() / (len(users) * n)
    events, variance = history.sum() / (len(users) * n), square - mean**2
    covariance = float(np.trace(cross)) / (len(users) * n) - mean * events
    if not (variance > 1e-12 * square and covariance > 0):
        raise InputError(
            f"{first.name}: its scores are not higher for train events than elsewhere, so they have no scale"
        )
    b = float(covariance / variance)
    counts = np.asarray(history.sum(axis=0), np.float64).T
    return b, common - (events - b * mean) * counts - b * cross


def _boosted(first: Scorer, history: sp.csr_matrix, scale: float, weights: np.ndarray, stages: int) -> Scorer:
    second = from_item_weights("residual", history, weights)
    return _sum(f"boosted({first.name}; {stages} stage{'s' * (stages > 1)})", first, second, scale)


def _sum(name: str, first: Scorer, second: Scorer, scale: float) -> Scorer:
    cache = {"first": first.cache, "second": second.cache, "scale": jnp.asarray(scale, jnp.float32)}
    functions = _sum_functions(first.scores, first.score_candidates, second.scores, second.score_candidates)
    return Scorer(
        name, cache, *functions, fold_all([first, second], lambda parts: _sum(name, parts[0], parts[1], scale))
    )


@functools.lru_cache(maxsize=128)
def _sum_functions(*functions: Callable[..., Array]) -> tuple[Callable[..., Array], Callable[..., Array]]:
    first, first_candidates, second, second_candidates = functions

    def scores(cache: Any, query: Query) -> Array:
        return cache["scale"] * first(cache["first"], query) + second(cache["second"], query)

    def score_candidates(cache: Any, query: Query, ids: Array) -> Array:
        return cache["scale"] * first_candidates(cache["first"], query, ids) + second_candidates(
            cache["second"], query, ids
        )

    return scores, score_candidates
