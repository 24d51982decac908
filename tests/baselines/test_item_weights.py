"""ItemKNN, UserKNN, P3alpha, RP3beta and EASE against their formulas in plain Python."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

from rec_jax.baselines.base import from_item_weights, train_matrix
from rec_jax.baselines.ease import EASEConfig, ease_weights, fit_ease
from rec_jax.baselines.graph import walk_weights
from rec_jax.baselines.neighbours import ItemKNNConfig, UserKNNConfig, fit_user_knn, similarities
from rec_jax.data.interactions import Dataset
from rec_jax.data.splits import leave_one_out
from rec_jax.errors import InputError
from rec_jax.models.base import Query


@pytest.fixture
def history(small: Dataset) -> sp.csr_matrix:
    return train_matrix(leave_one_out(small))


def largest(column: dict[int, float], k: int) -> dict[int, float]:
    kept = sorted(column, key=lambda j: (-column[j], j))[:k]
    return {j: column[j] for j in kept if column[j] > 0}


@pytest.mark.parametrize(("similarity", "alpha"), [("cosine", 0.9), ("asymmetric", 0.3)])
def test_similarities_equal_the_formula(history: sp.csr_matrix, similarity: str, alpha: float) -> None:
    config = ItemKNNConfig(neighbours=4, shrink=2.0, similarity=similarity, alpha=alpha)  # type: ignore[arg-type]
    found = similarities(history, config).toarray()
    owners = [set(history[:, [i]].nonzero()[0].tolist()) for i in range(history.shape[1])]
    a = alpha if similarity == "asymmetric" else 0.5
    for i, mine in enumerate(owners):
        column = {
            j: len(mine & theirs) / (len(theirs) ** a * len(mine) ** (1 - a) + 2.0)
            for j, theirs in enumerate(owners)
            if j != i
        }
        expected = largest(column, 4)
        got = {int(j): found[j, i] for j in np.flatnonzero(found[:, i])}
        assert sorted(got.values()) == pytest.approx(sorted(expected.values()), rel=1e-5)
        assert all(got[j] == pytest.approx(column[j], rel=1e-5) for j in got)


@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_walks_equal_the_formula(history: sp.csr_matrix, beta: float) -> None:
    found = walk_weights(history, 0.8, beta, 1000).toarray()
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


def test_scores_are_sums_over_the_history(history: sp.csr_matrix) -> None:
    weights = np.random.default_rng(0).normal(size=(history.shape[1],) * 2)
    scorer = from_item_weights("w", history, weights)
    users = jnp.array([0, 29, 7])
    expected = history.toarray()[np.asarray(users)] @ weights
    np.testing.assert_allclose(scorer.scores(scorer.cache, Query(users)), expected, rtol=1e-4, atol=1e-5)
    ids = jnp.array([[1, 2], [3, 4], [19, 0]])
    given = scorer.score_candidates(scorer.cache, Query(users), ids)
    np.testing.assert_allclose(given, np.take_along_axis(expected, np.asarray(ids), 1), rtol=1e-4, atol=1e-5)


def test_user_knn_equals_the_formula(small: Dataset, history: sp.csr_matrix) -> None:
    scorer = fit_user_knn(leave_one_out(small), UserKNNConfig(neighbours=1000))
    x = history.toarray()
    found = np.asarray(scorer.scores(scorer.cache, Query(jnp.arange(len(x)))))
    for u in range(len(x)):
        cosine = [x[u] @ x[v] / math.sqrt(x[u].sum() * x[v].sum()) if u != v else 0.0 for v in range(len(x))]
        np.testing.assert_allclose(found[u], cosine @ x, rtol=1e-4, atol=1e-5)


def test_numbers_out_of_range(small: Dataset, history: sp.csr_matrix) -> None:
    with pytest.raises(InputError, match="positive penalty"):
        fit_ease(leave_one_out(small), EASEConfig(l2=0.0))
    with pytest.raises(InputError, match="neighbours of at least 1"):
        similarities(history, ItemKNNConfig(neighbours=0))
    with pytest.raises(InputError, match="expected 1 or more"):
        walk_weights(history, 1.0, -1.0, 5)
