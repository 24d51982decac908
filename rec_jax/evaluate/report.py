"""One fitted recommender under one candidate rule: values by user, their means, and intervals of these."""

from dataclasses import dataclass

import numpy as np

from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError
from rec_jax.evaluate.metrics import ERRORS, all_names, per_user
from rec_jax.evaluate.protocol import Questions
from rec_jax.evaluate.ranking import rank
from rec_jax.evaluate.ratings import mae, rating_errors, rmse
from rec_jax.evaluate.resampling import sums
from rec_jax.models.base import Scorer
from rec_jax.randomness import host_rng


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % percentile bootstrap interval."""

    mean: float
    low: float
    high: float


def evaluate(scorer: Scorer, questions: Questions, ks: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Every accuracy metric at every cut-off, one value a user, by name.

    InputError: a cut-off is larger than the catalogue.
    """
    check_cut_offs(ks, len(questions.excluded))
    return per_user(rank(scorer, questions), all_names(ks))


def check_cut_offs(ks: tuple[int, ...], n_items: int) -> None:
    """InputError: a cut-off is larger than the catalogue."""
    if max(ks) > n_items:
        raise InputError(f"--k {max(ks)} is larger than the catalogue of {n_items:,} items")


def validation(scorer: Scorer, questions: Questions, metric: str) -> float:
    """The mean of one ranking metric."""
    return float(np.nanmean(per_user(rank(scorer, questions), [metric])[metric]))


def evaluate_ratings(scorer: Scorer, events: Interactions, resamples: int) -> dict[str, Estimate]:
    """RMSE and MAE over events; the bootstrap draws users, whose events go together."""
    error = rating_errors(scorer, events)
    _, user = np.unique(events.user, return_inverse=True)
    totals = np.stack(
        [np.bincount(user, weights) for weights in (error**2, np.abs(error), np.ones(len(error)))], axis=1
    )
    drawn = sums(host_rng(0, "bootstrap"), totals, resamples)
    squared, absolute = drawn[:, 0] / drawn[:, 2], drawn[:, 1] / drawn[:, 2]
    means = {"rmse": rmse(error), "mae": mae(error)}
    return {name: _estimate(means[name], d) for name, d in zip(ERRORS, (np.sqrt(squared), absolute))}


def intervals(values: dict[str, np.ndarray], resamples: int) -> dict[str, Estimate]:
    """Means over users with percentile bootstrap intervals, all metrics on the same resamples.

    Where a metric is undefined for a user (NaN: AUC without other candidates), it is averaged over the others.
    """
    table = np.stack(list(values.values()), axis=1)
    defined = ~np.isnan(table)
    both = np.concatenate([np.where(defined, table, 0.0), defined], axis=1)
    above, below = np.split(sums(host_rng(0, "bootstrap"), both, resamples), 2, axis=1)
    with np.errstate(invalid="ignore"):
        drawn = above / below
    means = np.where(defined, table, 0.0).sum(axis=0) / defined.sum(axis=0)
    return {name: _estimate(float(mean), drawn[:, i]) for i, (name, mean) in enumerate(zip(values, means))}


def _estimate(mean: float, drawn: np.ndarray) -> Estimate:
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Estimate(mean, float(low), float(high))
