"""Estimated logging policies against counts, and on logs whose policy is known."""

import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.evaluate.behaviour import by_context, by_share
from rec_jax.evaluate.off_policy import Log, estimate

ROUNDS, ACTIONS = 6000, 4
WEIGHTS = np.array([[1.0, -1.0, 0.5, 0.0], [0.0, 0.5, -1.0, 1.0]])
PAYS = np.array([0.1, 0.3, 0.5, 0.7])


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(contexts, chances [m a], actions) of a policy that looks at two numbers."""
    rng = np.random.default_rng(seed)
    context = rng.normal(size=(ROUNDS, 2))
    chances = np.exp(context @ WEIGHTS)
    chances /= chances.sum(axis=1, keepdims=True)
    action = (rng.random((ROUNDS, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    return context, chances, action


def test_shares_are_counts() -> None:
    action, group = np.array([0, 1, 1, 2, 1, 0]), np.array([0, 0, 0, 1, 1, 1])
    rows = list(zip(group.tolist(), action.tolist()))
    for smoothing in (0.0, 0.5):
        found = by_share(action, 3, group, smoothing)
        for chance, (g, a) in zip(found, rows):
            own = sum(of == g for of, _ in rows)
            assert chance == pytest.approx((rows.count((g, a)) + smoothing) / (own + 3 * smoothing))
    np.testing.assert_allclose(by_share(action, 3), [2 / 6, 3 / 6, 3 / 6, 1 / 6, 3 / 6, 2 / 6])


def test_a_policy_that_looks_at_the_context_is_found_and_weighs_as_its_own_chances_do() -> None:
    context, chances, action = drawn()
    true = chances[np.arange(ROUNDS), action]
    found = by_context(action, ACTIONS, context)
    assert np.abs(found - true).mean() < 0.015 < 0.1 < np.abs(by_share(action, ACTIONS) - true).mean()
    reward = (np.random.default_rng(1).random(ROUNDS) < PAYS[action]).astype(float)
    policy, model = np.tile([0.1, 0.2, 0.3, 0.4], (ROUNDS, 1)), np.zeros((ROUNDS, ACTIONS))
    worth = float(PAYS @ [0.1, 0.2, 0.3, 0.4])
    value = estimate(Log(action, reward, found, "estimated"), policy, model, resamples=50)["snips"]
    assert value.value == pytest.approx(worth, abs=0.03)
    assert value.warning == "propensities are estimated, not logged"
    other = estimate(Log(action, reward, by_share(action, ACTIONS), "estimated"), policy, model, resamples=50)["snips"]
    assert value.low < worth < value.high
    assert abs(other.value - worth) < 0.1  # rewards do not hang on the context: shares do for them


def test_a_round_is_not_in_the_fit_that_tells_its_chance() -> None:
    """Whatever it was: its chances of all actions are those of one and the same fit, and add up to 1."""
    context, _, action = drawn()
    chances = [by_context(np.append(a, action[1:]), ACTIONS, context)[0] for a in range(ACTIONS)]
    assert len(set(chances)) == ACTIONS
    assert sum(chances) == pytest.approx(1, abs=1e-12)


def test_an_action_that_the_other_folds_never_took_has_its_share() -> None:
    context, _, action = drawn()
    once = np.where(np.arange(ROUNDS) == 17, ACTIONS, action)
    assert by_context(once, ACTIONS + 1, context)[17] == pytest.approx(1 / ROUNDS)
    alone = np.zeros(10, np.int64)
    np.testing.assert_array_equal(by_context(alone, 2, np.zeros((10, 1))), np.ones(10))


def test_bad_logs_are_refused() -> None:
    with pytest.raises(InputError, match="round 1: action 3: expected 0 to 2"):
        by_share(np.array([0, 3]), 3)
    with pytest.raises(InputError, match="a log of no round"):
        by_share(np.array([], np.int64), 3)
    with pytest.raises(InputError, match="smoothing -1"):
        by_share(np.array([0]), 3, smoothing=-1.0)
    with pytest.raises(InputError, match="smoothing nan"):
        by_share(np.array([0]), 3, smoothing=float("nan"))
    with pytest.raises(InputError, match="round 1: group -1: expected at least 0"):
        by_share(np.array([0, 1]), 3, np.array([0, -1]))
    with pytest.raises(InputError, match="3 groups of 2 rounds: expected one a round"):
        by_share(np.array([0, 1]), 3, np.array([0, 1, 0]))
    with pytest.raises(InputError, match="folds 1"):
        by_context(np.array([0, 1]), 3, np.zeros((2, 1)), folds=1)
    with pytest.raises(InputError, match="3 contexts of 2 rounds"):
        by_context(np.array([0, 1]), 3, np.zeros((3, 1)), folds=2)
