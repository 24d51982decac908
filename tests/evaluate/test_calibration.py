"""Calibration against scikit-learn and plain Python."""

import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as their_log_loss

from rec_jax.errors import InputError
from rec_jax.evaluate import calibration
from rec_jax.evaluate.calibration import Bin, auc, auc_by_user, brier, ece, log_loss, reliability, scores

RNG = np.random.default_rng(0)
CHANCE = RNG.random(400).round(2)  # with ties
CAME = (RNG.random(400) < CHANCE**1.5).astype(float)
USER = RNG.integers(0, 30, 400)


def test_scores_are_scikit_learns() -> None:
    assert brier(CHANCE, CAME).mean() == pytest.approx(brier_score_loss(CAME, CHANCE))
    inside = CHANCE.clip(0.01, 0.99)
    assert log_loss(inside, CAME).mean() == pytest.approx(their_log_loss(CAME, inside))
    assert auc(CHANCE, CAME) == pytest.approx(roc_auc_score(CAME, CHANCE))
    by_user = auc_by_user(CHANCE, CAME, USER)
    for value, user in zip(by_user, np.unique(USER)):
        at = user == USER
        assert value == pytest.approx(roc_auc_score(CAME[at], CHANCE[at]))
    assert math.isnan(auc(CHANCE, np.ones(400)))


def test_a_certain_miss_costs_much_but_not_everything() -> None:
    lost = log_loss(np.array([0.0, 1.0]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(lost, [-math.log(calibration.LEAST), 0], atol=1e-6)


def test_the_calibration_error_is_the_formula() -> None:
    """Sorted, cut into tenths (chances are distinct), and added up in plain Python."""
    chance = np.random.default_rng(1).permutation(np.linspace(0.01, 0.99, 200))
    came = (np.random.default_rng(2).random(200) < chance).astype(float)
    rows, total = sorted(zip(chance.tolist(), came.tolist())), 0.0
    for b in range(10):
        part = rows[20 * b : 20 * b + 20]
        total += len(part) / 200 * abs(sum(p for p, _ in part) / 20 - sum(y for _, y in part) / 20)
    assert ece(reliability(chance, came, 10)) == pytest.approx(total)


def test_equal_chances_are_never_parted() -> None:
    found = reliability(np.full(10, 0.25), np.array([1.0] * 4 + [0.0] * 6), 5)
    assert found == [Bin(10, 0.25, 0.4)]
    assert ece(found) == pytest.approx(0.15)


def test_intervals_are_those_of_users_drawn_anew() -> None:
    found = scores({"own": CHANCE, "constant": np.full(400, CAME.mean())}, CAME, USER, 5000)
    assert found["own"]["brier"].mean == pytest.approx(brier_score_loss(CAME, CHANCE))
    assert found["own"]["ece"].mean == pytest.approx(ece(reliability(CHANCE, CAME)))
    assert found["own"]["auc_user"].mean == pytest.approx(np.nanmean(auc_by_user(CHANCE, CAME, USER)))
    assert found["constant"]["auc_user"].mean == 0.5
    rng = np.random.default_rng(3)
    rows = [np.flatnonzero(u == USER) for u in range(30)]
    drawn = [np.concatenate([rows[u] for u in rng.integers(0, 30, 30)]) for _ in range(5000)]
    by_hand = np.percentile([brier(CHANCE[at], CAME[at]).mean() for at in drawn], [2.5, 97.5])
    of = found["own"]["brier"]
    np.testing.assert_allclose([of.low, of.high], by_hand, atol=0.004)


def test_bad_forecasts_are_refused() -> None:
    with pytest.raises(InputError, match="3 chances and 2 outcomes"):
        reliability(np.array([0.1, 0.2, 0.3]), np.array([0.0, 1.0]))
    with pytest.raises(InputError, match="outside 0 to 1"):
        reliability(np.array([0.1, 1.2]), np.array([0.0, 1.0]))
    with pytest.raises(InputError, match="neither 0 nor 1"):
        reliability(np.array([0.1, 0.2]), np.array([0.0, 0.5]))
    with pytest.raises(InputError, match="bins 0"):
        reliability(np.array([0.1]), np.array([0.0]), 0)
