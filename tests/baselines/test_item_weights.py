"""P3alpha, RP3beta, EASE, the choice of the largest weights and the sums over a history, against plain Python."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

from rec_jax.baselines import base
from rec_jax.baselines.base import COLUMN_NUMBERS, from_item_weights, gram, matrix, top_of_columns, train_matrix
from rec_jax.baselines.ease import EASEConfig, ease_weights, fit_ease
from rec_jax.baselines.graph import walk_weights
from rec_jax.data.interactions import Dataset
from rec_jax.data.splits import leave_one_out
from rec_jax.errors import InputError
from rec_jax.models.base import Query


@pytest.fixture
def history(small: Dataset) -> sp.csr_matrix:
    return train_matrix(leave_one_out(small))


def test_the_largest_of_each_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against sorting; equal entries count in the order of their rows; in several parts as in one."""
    weights = np.random.default_rng(0).integers(-2, 4, (30, 17)).astype(np.float32)
    for numbers in (COLUMN_NUMBERS, 30 * 5):
        monkeypatch.setattr("rec_jax.baselines.base.COLUMN_NUMBERS", numbers)
        for k in (1, 7, 29, 30, 99):
            found = top_of_columns(weights, k)
            for column in range(17):
                order = sorted(range(30), key=lambda row: (-weights[row, column], row))[:k]
                expected = [float(weights[row, column]) if row in order else 0.0 for row in range(30)]
                assert found[:, column].tolist() == expected


def test_common_events_are_counted_exactly(history: sp.csr_matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    x = history.toarray().astype(int)
    expected = [[sum(a and b for a, b in zip(x[:, i], x[:, j])) for j in range(x.shape[1])] for i in range(x.shape[1])]
    assert gram(history).tolist() == expected
    monkeypatch.setattr("rec_jax.baselines.base.DENSE_NUMBERS", 10)
    assert gram(history).tolist() == expected


def test_a_log_beyond_the_matrix_is_refused(small: Dataset) -> None:
    with pytest.raises(InputError, match="user 29: expected ids from 0 to 28"):
        matrix(small.interactions, 29, 20)
    with pytest.raises(InputError, match="item 19: expected ids from 0 to 18"):
        matrix(small.interactions, 30, 19)


@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_walks_equal_the_formula(history: sp.csr_matrix, beta: float) -> None:
    found = walk_weights(history, 0.8, beta, 1000)
    x = history.toarray()
    for i in range(x.shape[1]):
        for j in range(x.shape[1]):
            walks = sum(
                (1 / x[:, j].sum()) ** 0.8 * (1 / x[u].sum()) ** 0.8 for u in range(len(x)) if x[u, i] and x[u, j]
            )
            expected = 0.0 if i == j else walks / x[:, i].sum() ** beta
            assert found[j, i] == pytest.approx(expected, rel=1e-5)


def test_ease_is_a_ridge_regression_of_each_item_on_the_others(history: sp.csr_matrix) -> None:
    x, l2 = history.toarray().astype(np.float64), 3.0
    found = ease_weights(x.T @ x, l2)
    for i in range(x.shape[1]):
        others = np.delete(np.arange(x.shape[1]), i)
        a = x[:, others]
        expected = np.linalg.solve(a.T @ a + l2 * np.eye(len(others)), a.T @ x[:, i])
        np.testing.assert_allclose(found[others, i], expected, rtol=1e-6, atol=1e-9)
        assert found[i, i] == 0


@pytest.mark.parametrize("short", [0, 10**9], ids=["an event after the other", "one product"])
def test_scores_are_sums_over_the_history(history: sp.csr_matrix, short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "SHORT", short)
    weights = np.random.default_rng(0).normal(size=(history.shape[1],) * 2)
    scorer = from_item_weights("w", history, weights)
    users = jnp.array([0, 29, 7])
    expected = history.toarray()[np.asarray(users)] @ weights
    np.testing.assert_allclose(scorer.scores(scorer.cache, Query(users)), expected, rtol=1e-4, atol=1e-5)
    ids = jnp.array([[1, 2], [3, 4], [19, 0]])
    given = scorer.score_candidates(scorer.cache, Query(users), ids)
    np.testing.assert_allclose(given, np.take_along_axis(expected, np.asarray(ids), 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("short", [0, 10**9], ids=["an event after the other", "one product"])
def test_a_history_may_be_weighted(history: sp.csr_matrix, short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "SHORT", short)
    weights = np.random.default_rng(0).normal(size=(history.shape[1],) * 2)
    scale = sp.diags(np.arange(1.0, history.shape[0] + 1))
    scorer = from_item_weights("w", history, weights, lambda x: (scale @ x).tocsr())
    expected = (np.arange(1.0, history.shape[0] + 1)[:, None] * history.toarray()) @ weights
    found = scorer.scores(scorer.cache, Query(jnp.arange(history.shape[0])))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_numbers_out_of_range(small: Dataset, history: sp.csr_matrix) -> None:
    with pytest.raises(InputError, match="positive penalty"):
        fit_ease(leave_one_out(small), EASEConfig(l2=0.0))
    with pytest.raises(InputError, match="expected 1 or more"):
        walk_weights(history, 1.0, -1.0, 5)
