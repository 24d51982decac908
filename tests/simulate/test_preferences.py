"""Factorisation and ordered logit against scikit-learn, plain Python, and worlds drawn from the model itself."""

import math
from itertools import pairwise

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError
from rec_jax.simulate.preferences import Factorisation, factorise, levels_of, ordered_logit, ridge


def log_of(user: np.ndarray, item: np.ndarray, rating: np.ndarray) -> Interactions:
    time = np.arange(1, len(user) + 1, dtype=np.int64)
    return Interactions(user.astype(np.int32), item.astype(np.int32), rating.astype(np.float32), time)


def test_a_ridge_regression_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 3)), rng.normal(size=9)
    # The bias as a column of its own, scaled so that one penalty fits all.
    scaled = np.concatenate([x, np.full((9, 1), math.sqrt(4.0 / 2.0))], axis=1)
    theirs = Ridge(alpha=4.0, fit_intercept=False).fit(scaled, y).coef_
    ours = ridge(x, y, np.diag([4.0, 4.0, 4.0, 2.0]))
    np.testing.assert_allclose(ours, [*theirs[:3], theirs[3] * math.sqrt(2)], rtol=1e-9)


def test_scores_of_a_world_are_found_and_users_are_white() -> None:
    rng = np.random.default_rng(1)
    users, items, d = 80, 60, 2
    p, q = rng.normal(size=(users, d)), rng.normal(size=(items, d)) * 0.6
    a, b = rng.normal(size=users) * 0.4, rng.normal(size=items) * 0.4
    truth = 3.5 + a[:, None] + b + p @ q.T
    at = np.argwhere(rng.random((users, items)) < 0.6)
    user, item = at.T
    noisy = truth[user, item] + rng.normal(0, 0.2, len(at))
    found = factorise(log_of(user, item, noisy), users + 1, items, Factorisation(d, l2=0.3, l2_bias=0.3, sweeps=20))
    everyone = np.indices((users, items)).reshape(2, -1)
    error = found.scores(*everyone) - truth.ravel()
    assert np.sqrt((error**2).mean()) < 0.1  # the noise of one rating is .2
    np.testing.assert_allclose(found.user[:users].mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(np.cov(found.user[:users], rowvar=False, bias=True), np.eye(d), atol=1e-9)
    assert not found.user[users].any()  # without a rating
    assert found.user_bias[users] == 0


def test_at_the_end_no_row_can_be_better() -> None:
    """The objective, written out, does not fall where a bias is moved either way."""
    rng = np.random.default_rng(2)
    user, item = np.repeat(np.arange(6), 5), np.tile(np.arange(5), 6)
    rating = rng.integers(1, 6, 30).astype(float)
    how = Factorisation(1, l2=1.0, l2_bias=2.0, sweeps=300)
    found = factorise(log_of(user, item, rating), 6, 5, how)
    products = found.user @ found.item.T

    def objective(shift: float, which: int) -> float:
        bias = found.user_bias.copy()
        bias[which] += shift
        error = [
            r - (found.mean + bias[u] + found.item_bias[i] + products[u, i]) for u, i, r in zip(user, item, rating)
        ]
        return sum(e * e for e in error) + 2.0 * sum(x * x for x in bias)

    # Whitening moves the mean of users' vectors into items' biases: the users' are left as they were fitted.
    for which in range(6):
        assert objective(0, which) <= min(objective(0.01, which), objective(-0.01, which))


def test_the_thresholds_of_a_world_are_found_and_the_chances_are_the_formula() -> None:
    rng = np.random.default_rng(3)
    slope, cuts, levels = 1.7, [3.0, 4.5, 6.0, 8.0], np.arange(1.0, 6.0)
    score = rng.normal(3.5, 0.6, 40_000)
    below = 1 / (1 + np.exp(slope * score[:, None] - np.array(cuts)))
    rating = 1 + (rng.random(len(score))[:, None] > below).sum(axis=1)
    found = ordered_logit(score, rating, 4.0, levels)
    assert found.slope == pytest.approx(slope, abs=0.06)
    np.testing.assert_allclose(found.cuts, cuts, atol=0.2)
    np.testing.assert_allclose(found.chances(score).mean(axis=0), np.bincount(rating)[1:] / len(score), atol=0.003)
    for s in (1.0, 3.3, 5.0):
        edges = [0.0, *(1 / (1 + math.exp(found.slope * s - c)) for c in found.cuts), 1.0]
        by_hand = [b - a for a, b in pairwise(edges)]
        np.testing.assert_allclose(found.chances(np.array([s]))[0], by_hand, rtol=1e-9)
        assert found.like(np.array([s]))[0] == pytest.approx(by_hand[3] + by_hand[4])


def test_a_level_that_validation_lacks_keeps_a_chance() -> None:
    found = ordered_logit(np.linspace(2, 5, 50), np.repeat([2.0, 5.0], 25), 4.0, np.arange(1.0, 6.0))
    assert (found.chances(np.array([3.0])) > 1e-4).all()
    assert (np.diff(found.cuts) > 0).all()


def test_ratings_without_variety_are_refused() -> None:
    ids = np.arange(30)
    with pytest.raises(InputError, match="own log: every rating is 1; users can only be fitted"):
        levels_of(log_of(ids, ids, np.ones(30)), 4.0, "own log")
    with pytest.raises(InputError, match="30 different ratings; at most 20"):
        levels_of(log_of(ids, ids, ids / 7), 2.0, "own log")
    with pytest.raises(InputError, match="like_from 6: ratings of own log run from 1 to 5"):
        levels_of(log_of(ids, ids, ids % 5 + 1), 6.0, "own log")
    with pytest.raises(InputError, match="factors 0"):
        Factorisation(0)
