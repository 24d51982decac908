"""Means, intervals and rating errors."""

import math

import numpy as np
import pytest

from rec_jax.data.interactions import Interactions
from rec_jax.evaluate.ratings import mae, rating_errors, rmse
from rec_jax.evaluate.report import evaluate_ratings, intervals
from tests.evaluate.test_metrics import scorer


def test_interval_covers_as_the_normal_theory_says() -> None:
    values = np.random.default_rng(0).normal(0.3, 0.2, 4000)
    found = intervals({"x": values}, 4000)["x"]
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.low == pytest.approx(values.mean() - half, abs=half * 0.1)
    assert found.high == pytest.approx(values.mean() + half, abs=half * 0.1)


def test_undefined_values_are_left_out() -> None:
    found = intervals({"x": np.array([1.0, math.nan, 3.0]), "y": np.array([1.0, 1.0, 1.0])}, 500)
    assert found["x"].mean == 2.0
    assert found["y"].low == found["y"].high == 1.0


def test_rating_errors_equal_the_formula() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(3, 1, (6, 5)).astype(np.float32)
    user, item = np.repeat(np.arange(6, dtype=np.int32), 3), rng.integers(0, 5, 18).astype(np.int32)
    rating = rng.integers(1, 6, 18).astype(np.float32)
    events = Interactions(user, item, rating, np.zeros(18, np.int64))
    errors = [float(table[u, i]) - float(r) for u, i, r in zip(user, item, rating)]
    found = rating_errors(scorer(table), events)
    assert rmse(found) == pytest.approx(math.sqrt(sum(e * e for e in errors) / 18), rel=1e-6)
    assert mae(found) == pytest.approx(sum(abs(e) for e in errors) / 18, rel=1e-6)
    estimates = evaluate_ratings(scorer(table), events, 300)
    assert estimates["rmse"].mean == pytest.approx(rmse(found))
    assert estimates["rmse"].low < estimates["rmse"].mean < estimates["rmse"].high
