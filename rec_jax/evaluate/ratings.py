"""Errors of predicted ratings. Checked against the formula in plain Python (tests/evaluate/test_report.py)."""

import jax.numpy as jnp
import numpy as np

from rec_jax.data.interactions import Interactions
from rec_jax.errors import UndefinedScore
from rec_jax.models.base import Query, Scorer

_ROWS = 2**16


def rating_errors(scorer: Scorer, events: Interactions) -> np.ndarray:
    """prediction - rating, one an event. UndefinedScore: a prediction is NaN."""
    predicted = []
    for start in range(0, len(events), _ROWS):
        rows = np.arange(start, start + min(_ROWS, len(events))) % len(events)  # the last block wraps: one shape
        ids = jnp.asarray(events.item[rows])[:, None]
        query = Query.at(events.user[rows], events.time[rows])
        predicted.append(np.asarray(scorer.score_candidates(scorer.cache, query, ids)))
    error = np.concatenate(predicted)[: len(events), 0].astype(np.float64) - events.rating
    if np.isnan(error).any():
        raise UndefinedScore(f"{scorer.name}: a predicted rating is NaN")
    return error


def rmse(error: np.ndarray) -> float:
    """Root of the mean squared error, over events."""
    return float(np.sqrt((error**2).mean()))


def mae(error: np.ndarray) -> float:
    """Mean absolute error, over events."""
    return float(np.abs(error).mean())
