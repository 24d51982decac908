"""Bandits against formulas in plain Python, brute force and counted draws; and what they earn."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from rec_jax.errors import InputError
from rec_jax.policies import bandits
from rec_jax.policies.bandits import Bandit, Linear, Pulls
from rec_jax.policies.neural_linear import neural_linear

COUNT = [[3.0, 10.0, 7.0], [1.0, 1.0, 30.0]]
TOTAL = [[1.0, 6.0, 5.0], [1.0, 0.0, 15.0]]
STATE = Pulls(jnp.array(COUNT), jnp.array(TOTAL))
EMPTY = jnp.zeros((2, 3, 0))
KEY = jax.random.key(0)
N = 20_000


def many(state: Pulls, row: int) -> Pulls:
    return Pulls(*(jnp.tile(of[row], (N, 1)) for of in state))


def shares(bandit: Bandit, row: int) -> np.ndarray:
    """How often each arm is chosen in the same state."""
    arm = bandit.choose(many(STATE, row), KEY, jnp.zeros((N, 3, 0)))
    return np.bincount(np.asarray(arm), minlength=3) / N


def test_ucb1_is_its_formula() -> None:
    found = bandits.ucb1(3).choose(STATE, KEY, EMPTY).tolist()
    for count, total, arm in zip(COUNT, TOTAL, found):
        bounds = [x / n + math.sqrt(2 * math.log(sum(count)) / n) for n, x in zip(count, total)]
        assert arm == bounds.index(max(bounds))


def test_kl_ucb_is_the_largest_likely_mean() -> None:
    grid = np.linspace(0, 1, 20_001)[1:-1]
    most = np.array([[0.05, 0.3, 1.0]])
    mean = np.array([[0.0, 0.4, 0.99]])
    found = np.asarray(bandits.kl_bound(jnp.asarray(mean, jnp.float32), jnp.asarray(most, jnp.float32)))
    for p, limit, q in zip(mean[0], most[0], found[0]):
        with np.errstate(divide="ignore", invalid="ignore"):
            kl = np.nan_to_num(p * np.log(p / grid)) + (1 - p) * np.log((1 - p) / (1 - grid))
        assert q == pytest.approx(grid[(kl <= limit) & (grid >= p)].max(), abs=1e-4)
    for count, total, arm in zip(COUNT, TOTAL, bandits.kl_ucb(3).choose(STATE, KEY, EMPTY).tolist()):
        bounds = []
        for n, x in zip(count, total):
            p = x / n
            with np.errstate(divide="ignore", invalid="ignore"):
                kl = np.nan_to_num(p * np.log(p / grid)) + np.nan_to_num((1 - p) * np.log((1 - p) / (1 - grid)))
            bounds.append(grid[(n * kl <= math.log(sum(count))) & (grid >= p)].max(initial=p))
        assert arm == int(np.argmax(bounds))


def test_epsilon_greedy_explores_as_often_as_said() -> None:
    # Row 0: the last arm is best. A tenth of all pulls is at random, a third of which is the best arm too.
    found = shares(bandits.epsilon_greedy(3, 0.1), 0)
    np.testing.assert_allclose(found, [0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3], atol=0.006)
    chance = 1.5 * 3 / 21  # decayed: after 20 pulls
    np.testing.assert_allclose(shares(bandits.epsilon_greedy(3, 1.0, decay=1.5), 0)[:2], chance / 3, atol=0.01)


def test_thompson_draws_from_the_beliefs() -> None:
    rng = np.random.default_rng(0)
    for row in (0, 1):
        count, total = np.array(COUNT[row]), np.array(TOTAL[row])
        drawn = rng.beta(1 + total, 1 + count - total, size=(200_000, 3))
        wanted = np.bincount(drawn.argmax(axis=1), minlength=3) / 200_000
        np.testing.assert_allclose(shares(bandits.thompson(3), row), wanted, atol=0.015)


def test_ties_are_broken_at_random_and_new_arms_come_first() -> None:
    nothing = bandits.ucb1(3).init(N)
    arm = bandits.ucb1(3).choose(nothing, KEY, jnp.zeros((N, 3, 0)))
    np.testing.assert_allclose(np.bincount(np.asarray(arm)) / N, 1 / 3, atol=0.015)
    known = Pulls(jnp.array([[5.0, 0.0, 5.0]]), jnp.array([[5.0, 0.0, 5.0]]))
    for of in (bandits.ucb1(3), bandits.kl_ucb(3)):
        assert of.choose(known, KEY, EMPTY[:1]).tolist() == [1]


def learned(steps: int, d: int = 4, l2: float = 0.5) -> tuple[Linear, np.ndarray, np.ndarray]:
    """(state after some events, their features, their rewards) of one run."""
    rng = np.random.default_rng(0)
    of, x, r = bandits.lin_ucb(d, l2=l2), rng.normal(size=(steps, d)), rng.normal(size=steps)
    state = of.init(1)
    for row, reward in zip(x, r):
        context = jnp.asarray(np.stack([np.zeros(d), row])[None], jnp.float32)
        state = of.update(state, jnp.array([1]), jnp.asarray([reward], jnp.float32), context)
    return state, x, r


def test_linear_bandits_know_what_ridge_regression_does() -> None:
    state, x, r = learned(30)
    a = 0.5 * np.eye(4) + x.T @ x
    np.testing.assert_allclose(state.inverse[0], np.linalg.inv(a), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(state.weights[0], np.linalg.solve(a, x.T @ r), rtol=1e-3, atol=1e-5)
    arms = np.random.default_rng(1).normal(size=(5, 4))
    bounds = [row @ np.linalg.solve(a, x.T @ r) + 2 * math.sqrt(row @ np.linalg.inv(a) @ row) for row in arms]
    found = bandits.lin_ucb(4, alpha=2.0).choose(state, KEY, jnp.asarray(arms[None], jnp.float32))
    assert found.tolist() == [int(np.argmax(bounds))]


def test_linear_thompson_draws_from_the_beliefs() -> None:
    state, x, r = learned(6)
    a = 0.5 * np.eye(4) + x.T @ x
    arms = np.random.default_rng(2).normal(size=(3, 4))
    rng = np.random.default_rng(3)
    drawn = rng.multivariate_normal(np.linalg.solve(a, x.T @ r), 0.25 * np.linalg.inv(a), size=200_000)
    wanted = np.bincount((drawn @ arms.T).argmax(axis=1), minlength=3) / 200_000
    many_runs = Linear(*(jnp.tile(of, (N, *[1] * (of.ndim - 1))) for of in state))
    context = jnp.tile(jnp.asarray(arms[None], jnp.float32), (N, 1, 1))
    arm = bandits.lin_ts(4, scale=0.5).choose(many_runs, KEY, context)
    np.testing.assert_allclose(np.bincount(np.asarray(arm), minlength=3) / N, wanted, atol=0.015)


MEANS = (0.2, 0.5, 0.4)
ALL: dict[str, Callable[[], Bandit]] = {
    "epsilon-greedy": lambda: bandits.epsilon_greedy(3, 0.1),
    "decayed": lambda: bandits.epsilon_greedy(3, 1.0, decay=5.0),
    "ucb1": lambda: bandits.ucb1(3),
    "kl-ucb": lambda: bandits.kl_ucb(3),
    "thompson": lambda: bandits.thompson(3),
    "lin-ucb": lambda: bandits.lin_ucb(3),
    "lin-ts": lambda: bandits.lin_ts(3, scale=0.5),
}


def regret(bandit: Bandit, steps: int = 1500, runs: int = 64) -> np.ndarray:
    """Mean over runs of what was lost up to each pull, in expectation over the rewards."""
    means = jnp.array(MEANS)

    def pays(key: Array, arm: Array) -> Array:
        return (jax.random.uniform(key, arm.shape) < means[arm]).astype(jnp.float32)

    context = jnp.tile(jnp.eye(3), (runs, 1, 1))
    found = jax.jit(lambda key: bandits.play(bandit, pays, context, key, steps))(jax.random.key(1))
    assert found.reward.shape == (runs, steps)
    lost = max(MEANS) - np.asarray(means)[np.asarray(found.arm)]
    return lost.cumsum(axis=1).mean(axis=0)


@functools.cache
def lost_by(name: str) -> np.ndarray:
    """Played once for all tests."""
    return regret(ALL[name]())


@pytest.mark.parametrize("name", ALL)
def test_bandits_lose_less_and_less(name: str) -> None:
    lost = lost_by(name)
    at_random = max(MEANS) - sum(MEANS) / 3
    assert lost[-1] < 0.5 * at_random * len(lost)
    assert lost[-1] - lost[-500] < lost[499]  # the last third costs less than the first
    if name == "ucb1":  # Auer et al. 2002, Theorem 1
        gaps = [max(MEANS) - x for x in MEANS if x < max(MEANS)]
        assert lost[-1] <= 8 * sum(math.log(len(lost)) / g for g in gaps) + (1 + math.pi**2 / 3) * sum(gaps)


def test_thompson_and_kl_ucb_lose_less_than_ucb1() -> None:
    """As in Garivier and Cappé, Fig. 1, and Chapelle and Li, Fig. 1."""
    lost = {name: lost_by(name)[-1] for name in ("ucb1", "kl-ucb", "thompson")}
    assert lost["kl-ucb"] < 0.8 * lost["ucb1"]
    assert lost["thompson"] < 0.8 * lost["ucb1"]


def asked(bandit: Bandit) -> Bandit:
    """After one choice among four arms with two features."""
    bandit.choose(bandit.init(1), jax.random.key(0), jnp.ones((1, 4, 2)))
    return bandit


@pytest.mark.parametrize(
    ("made", "part"),
    [
        (lambda: bandits.ucb1(0), "arms 0"),
        (lambda: bandits.epsilon_greedy(2, 1.5), "epsilon 1.5"),
        (lambda: bandits.epsilon_greedy(2, 0.1, -1.0), "decay -1.0: expected an amount of exploration"),
        (lambda: bandits.ucb1(2, -1.0), "scale -1.0"),
        (lambda: bandits.kl_ucb(2, -1.0), "c -1.0"),
        (lambda: bandits.lin_ucb(2, -1.0), "alpha -1.0"),
        (lambda: bandits.lin_ts(2, -1.0), "scale -1.0"),
        (lambda: bandits.thompson(2, (0.0, 1.0)), "prior"),
        (lambda: bandits.thompson(2, (1.0, float("nan"))), "prior"),
        (lambda: bandits.lin_ucb(3, l2=0.0), "l2 0.0"),
        (lambda: bandits.lin_ts(3, l2=float("nan")), "l2 nan"),
        (lambda: bandits.lin_ucb(3, l2=float("inf")), "l2 inf"),
        (lambda: asked(bandits.lin_ucb(3)), "context of width 2: the rule was made for features of width 3"),
        (lambda: asked(bandits.lin_ts(3)), "context of width 2: the rule was made for features of width 3"),
        (lambda: asked(neural_linear(3)), "context of width 2: the rule was made for features of width 3"),
    ],
)
def test_impossible_settings_are_refused(made: Callable[[], Bandit], part: str) -> None:
    with pytest.raises(InputError, match=part):
        made()


@pytest.mark.parametrize("rule", [bandits.ucb1(2), bandits.kl_ucb(2), bandits.thompson(2)])
@pytest.mark.parametrize("reward", [1.5, -0.1, float("nan")])
def test_rewards_that_a_bound_does_not_hold_for_are_refused(rule: Bandit, reward: float) -> None:
    rule.check(np.array([0.0, 1.0]))
    with pytest.raises(InputError, match="one of 1 not from 0 to 1"):
        rule.check(np.array([0.0, reward]))


def test_play_refuses_rewards_out_of_range_and_other_rules_take_them() -> None:
    def pays(key: Array, arm: Array) -> Array:
        return jnp.full(arm.shape, 5.0)

    with pytest.raises(InputError, match="reward 5, one of 6 not from 0 to 1"):
        bandits.play(bandits.ucb1(2), pays, jnp.zeros((2, 2, 0)), jax.random.key(0), 3)
    with pytest.raises(InputError, match="reward nan: expected finite numbers"):
        bandits.epsilon_greedy(2, 0.1).check(np.array([1.0, np.nan]))
    assert (
        bandits.play(bandits.epsilon_greedy(2, 0.1), pays, jnp.zeros((2, 2, 0)), jax.random.key(0), 3).reward.sum()
        == 30
    )
