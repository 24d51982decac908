"""Memories and logits against loops, a general optimiser with a column a user, and worlds with known coefficients."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError
from rec_jax.simulate.effects import PENALTY, Effect, bootstrap, fixed_logit, others, remembered
from rec_jax.simulate.preferences import Ratings


def ten_events(rng: np.random.Generator) -> tuple[Interactions, np.ndarray, np.ndarray, np.ndarray]:
    user = np.array([0, 0, 0, 0, 1, 2, 2, 2, 2, 2], np.int32)
    time = np.array([5, 5, 7, 9, 3, 0, 0, 4, 4, 8], np.int64)
    log = Interactions(user, np.arange(10, dtype=np.int32), np.ones(10, np.float32), time)
    return log, rng.normal(size=(10, 2)), rng.random(10) < 0.6, np.array([0, 4, 5, 10])


def test_memories_are_running_means_of_earlier_moments() -> None:
    log, rows, counts, starts = ten_events(np.random.default_rng(0))
    """Each weighs 1/4, and 3/4 of that for every event between it and the moment, whether that one counts or not."""
    found = remembered(log, rows, counts, starts, 4.0)
    for at in range(10):
        own = range(starts[log.user[at]], at)
        known = [j for j in own if log.time[j] == 0 or log.time[j] < log.time[at]]
        held = sum((0.25 * 0.75 ** sum(k > j for k in known) * rows[j] for j in known if counts[j]), np.zeros(2))
        np.testing.assert_allclose(found[at], held, atol=1e-12)
    assert not found[[0, 1, 4, 5]].any()


def test_others_are_all_events_of_the_user_but_the_own() -> None:
    log, rows, counts, starts = ten_events(np.random.default_rng(1))
    found = others(rows, counts, starts)
    for at in range(10):
        rest = [rows[i] for i in range(10) if log.user[i] == log.user[at] and i != at and counts[i]]
        np.testing.assert_allclose(found[at], np.mean(rest, axis=0) if rest else np.zeros(2), atol=1e-12)


SCALE = Ratings((1.0, 2.0, 3.0), (-1.0, 1.5), 1.5, 3.0)


def rated(users: int, seed: int, theta: tuple[float, ...] = (0.5, -0.8)) -> tuple[np.ndarray, ...]:
    """(columns, score, rating, starts) of users with constants of their own."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(rng.integers(5, 30, users))])
    owner = np.repeat(np.arange(users), np.diff(starts))
    x, score = rng.normal(size=(len(owner), len(theta))), rng.normal(size=len(owner))
    eta = SCALE.slope * (score + x @ np.array(theta)) + rng.normal(0, 0.7, users)[owner]
    edges = 1 / (1 + np.exp(eta[:, None] - np.array(SCALE.cuts)))
    return x, score, 1.0 + (rng.random(len(owner))[:, None] > edges).sum(axis=1), starts


def test_ratings_that_follow_from_a_column_without_any_chance_are_refused() -> None:
    x, score, rating, starts = rated(6, 0)
    with pytest.raises(InputError, match="without any chance"):
        fixed_logit(np.stack([x[:, 0], rating - 2], axis=1), 0 * score, rating, starts, SCALE)


def test_the_logit_is_the_one_of_largest_likelihood() -> None:
    """All coefficients at once, a column a user among them, by a general optimiser on the likelihood written out."""
    x, score, rating, starts = rated(6, 0)
    owner = np.repeat(np.arange(6), np.diff(starts))

    def lost(found: np.ndarray) -> float:
        total = PENALTY / 2 * float((found[2:] ** 2).sum())
        for row, s, r, user in zip(x, score, rating, owner):
            eta = 1.5 * (s + row @ found[:2]) + found[2 + user]
            edges = [0.0, *(1 / (1 + math.exp(eta - cut)) for cut in SCALE.cuts), 1.0]
            total -= math.log(edges[int(r)] - edges[int(r) - 1])
        return total

    found, newton = fixed_logit(x, score, rating, starts, SCALE)
    np.testing.assert_allclose(found, minimize(lost, np.zeros(8), tol=1e-10).x[:2], atol=1e-4)
    np.testing.assert_allclose(newton.gradient.sum(axis=0), 0, atol=1e-6)


def test_intervals_hold_the_truth_and_are_as_wide_as_the_information_says() -> None:
    x, score, rating, starts = rated(400, 1)
    found, newton = fixed_logit(x, score, rating, starts, SCALE)
    low, high = bootstrap(found, newton, 500)
    assert (low < [0.5, -0.8]).all()
    assert (high > [0.5, -0.8]).all()
    error = np.sqrt(np.diag(np.linalg.inv(newton.information.sum(axis=0))))
    np.testing.assert_allclose((high - low) / 3.92, error, rtol=0.2)


def test_a_column_that_says_nothing_gets_nothing_and_a_constant_user_does_no_harm() -> None:
    x, score, rating, starts = rated(30, 2)
    rating[: starts[1]] = 3.0
    x = np.concatenate([x * [1.0, 1e-3], np.zeros((len(x), 1))], axis=1)
    found, newton = fixed_logit(x, score, rating, starts, SCALE)
    low, high = bootstrap(found, newton, 50)
    assert found[2] == low[2] == high[2] == 0
    assert found[0] == pytest.approx(0.5, abs=0.25)
    assert found[1] == pytest.approx(-800, abs=250)  # its unit is another


def test_the_logs_is_used_where_it_is_above_nothing() -> None:
    assert Effect.of(0.3, 0.1, 0.5, 9.0) == Effect(0.3, 0.1, 0.5, 0.3, "log")
    assert Effect.of(0.3, -0.1, 0.5, 9.0) == Effect(0.3, -0.1, 0.5, 9.0, "declared")
    assert Effect.of(-0.3, -0.5, -0.1, 9.0).source == "declared"
