"""Replay against a loop in plain Python, and against live play where the truth is known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.evaluate.replay import Kept, Stream, curve, over_passes, replay, stream
from rec_jax.policies import bandits

KEY = jax.random.key(0)
PAYS = np.array([0.2, 0.5, 0.7])


def log(m: int, chances: list[float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    action = rng.choice(3, m, p=chances)
    return action, (rng.random(m) < PAYS[action]).astype(float)


def nothing(row: jax.Array) -> jax.Array:
    return jnp.zeros((len(row), 3, 0))


def test_only_rounds_that_match_are_counted_and_learnt_from() -> None:
    action, reward = log(60, [1 / 3] * 3)
    of = stream(action, reward, np.full(3, 1 / 3), np.random.default_rng(1), 2, 60)
    assert np.asarray(of.usable).all()
    found = replay(bandits.ucb1(3), of, nothing, KEY)
    rule = bandits.ucb1(3)
    state: Any = rule.init(2)
    for t in range(60):
        arm = np.asarray(rule.choose(state, jax.random.fold_in(KEY, t), nothing(of.row[:, t])))
        pulls, total = (np.array(x) for x in state)
        for run in range(2):
            a, r = int(of.action[run, t]), float(of.reward[run, t])
            assert found.matched[run, t] == (arm[run] == a)
            assert found.reward[run, t] == (r if arm[run] == a else 0)
            if arm[run] == a:
                pulls[run, a] += 1
                total[run, a] += r
        state = bandits.Pulls(jnp.asarray(pulls), jnp.asarray(total))


@pytest.mark.parametrize("chances", [[1 / 3, 1 / 3, 1 / 3], [0.2, 0.3, 0.5]])
def test_replay_is_as_if_the_rule_had_acted_itself(chances: list[float]) -> None:
    """A rule that learns, on a uniform log and on one made uniform: the same curve as in live play."""
    action, reward = log(60_000, chances)
    of = stream(action, reward, np.array(chances), np.random.default_rng(2), 300, 700)
    shares = np.bincount(np.asarray(of.action)[np.asarray(of.usable)], minlength=3) / of.usable.sum()
    np.testing.assert_allclose(shares, 1 / 3, atol=0.01)
    rule, marks = bandits.epsilon_greedy(3, 0.2), np.array([10, 40, 80])
    kept = curve(replay(rule, of, nothing, KEY), marks)

    def pays(key: jax.Array, arm: jax.Array) -> jax.Array:
        return (jax.random.uniform(key, arm.shape) < jnp.asarray(PAYS)[arm]).astype(jnp.float32)

    live = bandits.play(rule, pays, jnp.zeros((2000, 3, 0)), KEY, 80)
    expected = np.cumsum(np.asarray(live.reward), axis=1)[:, marks - 1]
    error = np.sqrt(kept.var(axis=0) / 300 + expected.var(axis=0) / 2000)
    assert (np.abs(kept.mean(axis=0) - expected.mean(axis=0)) < 4 * error).all()


def test_without_rejection_an_uneven_log_is_not_the_truth() -> None:
    """Clicks that depend on when an item was shown: the log prefers item 2, and rejection alone evens that out."""
    action, reward = log(60_000, [0.2, 0.3, 0.5])
    of = stream(action, reward, np.array([0.2, 0.3, 0.5]), np.random.default_rng(3), 50, 2000)
    kept = replay(bandits.epsilon_greedy(3, 1.0), of, nothing, KEY)
    assert kept.reward.sum() / kept.matched.sum() == pytest.approx(PAYS.mean(), abs=0.02)
    uneven = of._replace(usable=jnp.ones_like(of.usable))
    kept = replay(bandits.epsilon_greedy(3, 1.0), uneven, nothing, KEY)
    assert kept.reward.sum() / kept.matched.sum() == pytest.approx(PAYS @ [0.2, 0.3, 0.5], abs=0.02)


def test_curves_count_rounds_kept() -> None:
    kept = Kept(np.array([[True, False, True, True]]), np.array([[1.0, 0.0, 0.0, 1.0]]))
    assert curve(kept, np.array([1, 2, 3])).tolist() == [[1, 1, 2]]
    with pytest.raises(InputError, match="a pass kept 3 rounds: 4 are asked for"):
        curve(kept, np.array([4]))
    with pytest.raises(InputError, match="mark 0: expected counts of rounds, at least 1"):
        curve(kept, np.array([0, 1]))
    (of,) = over_passes(np.arange(101.0)[:, None])
    assert (of.mean, of.low, of.high) == (50, 2.5, 97.5)


@pytest.mark.parametrize(
    ("action", "chances", "message"),
    [
        ([0, 3], [0.5, 0.5, 0.5], "actions from 0 to 3: there are chances of 3"),
        ([0, 1], [0.5, 0.0, 0.5], "action 1: chance 0.0: expected one above 0"),
        ([], [0.5], "0 rounds"),
    ],
)
def test_bad_logs_are_refused(action: list[int], chances: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        stream(np.array(action, int), np.zeros(len(action)), np.array(chances), np.random.default_rng(0), 1, 5)


def test_a_stream_is_of_the_log_s_rows() -> None:
    action, reward = log(50, [1 / 3] * 3)
    of: Stream = stream(action, reward, np.full(3, 1 / 3), np.random.default_rng(0), 2, 100)
    assert np.asarray(of.action).tolist() == action[np.asarray(of.row)].tolist()
    np.testing.assert_array_equal(np.asarray(of.reward), reward[np.asarray(of.row)])


def test_rewards_that_the_rule_is_not_made_for_are_refused() -> None:
    action, _ = log(20, [0.3, 0.3, 0.4])
    of = stream(action, np.full(20, 4.0), np.array([0.3, 0.3, 0.4]), np.random.default_rng(0), 2, 10)
    with pytest.raises(InputError, match="reward 4, one of 20 not from 0 to 1"):
        replay(bandits.thompson(3), of, nothing, KEY)
