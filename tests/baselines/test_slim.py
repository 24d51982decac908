"""SLIM against scikit-learn's elastic net on small data, and against the conditions of optimality on a real log."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet

from rec_jax.baselines import slim
from rec_jax.baselines.base import gram, train_matrix
from rec_jax.baselines.slim import SLIMConfig, fit_slim, slim_weights
from rec_jax.data.interactions import Dataset
from rec_jax.data.splits import leave_one_out
from rec_jax.errors import InputError

# Fits run for long, and their programs are made once for all tests of a file.
pytestmark = pytest.mark.many_steps


@pytest.mark.parametrize(("penalty", "l1_ratio"), [(0.01, 0.1), (0.05, 0.5), (0.02, 0.0), (0.02, 1.0)])
def test_weights_equal_scikit_learns(
    small: Dataset, monkeypatch: pytest.MonkeyPatch, penalty: float, l1_ratio: float
) -> None:
    monkeypatch.setattr(slim, "NARROWEST", 2)  # columns leave in several steps
    monkeypatch.setattr(slim, "BLOCK", 8)
    slim._sweep.clear_cache()  # type: ignore[attr-defined]
    x = train_matrix(leave_one_out(small))
    config = SLIMConfig(penalty=penalty, l1_ratio=l1_ratio, tolerance=1e-6, rounds=1000)
    found, unfinished = slim_weights(gram(x) / np.float32(x.shape[0]), config)
    slim._sweep.clear_cache()  # type: ignore[attr-defined]
    assert unfinished == 0
    dense, expected = x.toarray().astype(np.float64), np.zeros(found.shape)
    for i in range(x.shape[1]):
        others = np.delete(np.arange(x.shape[1]), i)
        # scikit-learn's own descent refuses l1_ratio 0, where a number as good as 0 serves.
        net = ElasticNet(
            alpha=penalty, l1_ratio=max(l1_ratio, 1e-9), positive=True, fit_intercept=False, tol=1e-8, max_iter=10**5
        )
        expected[others, i] = net.fit(dense[:, others], dense[:, i]).coef_
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert 0 < (expected > 0).mean() < 0.9


def test_optimality_on_a_real_log(ml_100k: Dataset) -> None:
    """W = 0 where the gradient is positive, the gradient 0 elsewhere, to what the tolerance allows."""
    history = train_matrix(leave_one_out(ml_100k))
    config = SLIMConfig(penalty=0.5, l1_ratio=0.01, tolerance=1e-3)
    covariance = gram(history) / np.float32(history.shape[0])
    weights, unfinished = slim_weights(covariance, config)
    wide = covariance.astype(np.float64)
    gradient = wide @ weights - wide + 0.5 * 0.01 + 0.5 * 0.99 * weights
    violation = np.where(weights > 0, np.abs(gradient), np.maximum(-gradient, 0))
    np.fill_diagonal(violation, 0)
    assert unfinished == 0
    assert (np.diag(weights) == 0).all()
    assert weights.min() == 0
    assert 0.01 < (weights > 0).mean() < 0.5
    assert violation.max() < 5e-3  # the gradient at W = 0 reaches 0.4
    assert wide[~np.eye(len(wide), dtype=bool)].max() > 0.3


def test_rounds_are_a_limit(small: Dataset) -> None:
    x = train_matrix(leave_one_out(small))
    covariance = gram(x) / np.float32(x.shape[0])
    config = SLIMConfig(penalty=0.001, tolerance=1e-6)
    once, unfinished = slim_weights(covariance, dataclasses.replace(config, rounds=1))
    assert unfinished == x.shape[1]
    assert not np.allclose(once, slim_weights(covariance, dataclasses.replace(config, rounds=500))[0], atol=1e-3)


def test_only_the_largest_weights_score(small: Dataset) -> None:
    scorer = fit_slim(leave_one_out(small), SLIMConfig(penalty=0.001, neighbours=3))
    assert (np.asarray(scorer.cache["weights"]) > 0).sum(axis=0).max() == 3


def test_numbers_out_of_range(small: Dataset) -> None:
    for wrong in ({"penalty": 0.0}, {"l1_ratio": 1.5}, {"neighbours": 0}, {"rounds": 0}):
        with pytest.raises(InputError, match="a penalty above 0"):
            fit_slim(leave_one_out(small), SLIMConfig(**wrong))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tolerance = 0: expected a positive number"):
        fit_slim(leave_one_out(small), SLIMConfig(tolerance=0.0))
