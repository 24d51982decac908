"""The ring of what was lived through: what it keeps, and how often each entry is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rec_jax.policies import replay
from rec_jax.policies.replay import Replay

LENGTH, N, B = 5, 3, 20_000


def written(steps: int) -> Replay:
    """Entry (t, user) holds 10 t + user."""
    ring = replay.empty({"x": jnp.zeros(N)}, LENGTH)
    for t in range(steps):
        ring = replay.add(ring, {"x": 10.0 * t + jnp.arange(N)})
    return ring


@pytest.mark.parametrize("steps", [3, 5, 12])
@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_all_that_is_kept_and_nothing_else_is_drawn_evenly(steps: int, exponent: float) -> None:
    ring, ahead = written(steps), 1
    drawn = replay.sample(jax.random.key(steps), ring, B, ahead, exponent)
    now, then = (np.asarray(replay.at(ring, drawn, j)["x"]) for j in (0, 1))
    np.testing.assert_array_equal(then, now + 10)
    kept = range(max(0, steps - LENGTH), steps - ahead)
    wanted = [10 * t + user for t in kept for user in range(N)]
    values, counts = np.unique(now, return_counts=True)
    assert values.tolist() == wanted
    assert stats.chisquare(counts).pvalue > 1e-3
    np.testing.assert_allclose(drawn.odds, 1, rtol=1e-5)


def test_priorities_set_the_chances_and_the_weights_make_up_for_them() -> None:
    ring = written(7)
    every = replay.sample(jax.random.key(0), ring, 500, 0)
    wish = 1.0 + every.time * N + every.user  # a priority for each place
    ring = replay.prioritised(ring, every, wish - 1e-3)
    drawn = replay.sample(jax.random.key(1), ring, B, 0, exponent=0.5)
    chances = (1.0 + np.arange(LENGTH * N)) ** 0.5
    chances /= chances.sum()
    counts = np.bincount(np.asarray(drawn.time) * N + np.asarray(drawn.user), minlength=LENGTH * N)
    assert stats.chisquare(counts, chances * B).pvalue > 1e-3
    odds = chances[np.asarray(drawn.time) * N + np.asarray(drawn.user)] * LENGTH * N
    np.testing.assert_allclose(drawn.odds, odds, rtol=1e-4)
    weights = np.asarray(replay.importance(drawn.odds, 1.0), np.float64)
    x = np.asarray(replay.at(ring, drawn, 0)["x"], np.float64)
    mean = np.asarray(ring.entries["x"], np.float64).mean()
    assert (weights * x).sum() / weights.sum() == pytest.approx(mean, rel=0.02)
    assert abs(x.mean() - mean) > 0.02 * mean  # which they would not, left out


@pytest.mark.parametrize("first", [0.0, 0.4, 1.0])
def test_the_exponent_rises_in_a_straight_line_and_stays_at_one(first: float) -> None:
    """Schaul et al., Sec. 3.4: from beta_0 at the beginning to 1 at the end."""
    rise = jax.jit(lambda step: replay.annealed(first, 200, step))
    for step in (0, 1, 50, 199, 200, 10_000):
        wanted = first + (1 - first) * (step / 200 if step < 200 else 1)
        assert float(rise(jnp.int32(step))) == pytest.approx(wanted, rel=1e-6)
    assert replay.annealed(first, 0, jnp.int32(50)) is first


def test_the_weights_are_their_formula_at_every_exponent() -> None:
    """(1 / (N P(i)))^beta over the largest of them (Algorithm 1, line 10)."""
    chances, n = [0.1, 0.25, 0.5, 0.15], 4
    for step in (0, 30, 100):
        beta = 0.4 + 0.6 * step / 100
        raw = [(1 / (n * p)) ** beta for p in chances]
        found = replay.importance(n * jnp.array(chances), replay.annealed(0.4, 100, jnp.int32(step)))
        np.testing.assert_allclose(found, [w / max(raw) for w in raw], rtol=1e-5)


def test_entries_that_teach_nothing_are_nobody_s_largest_weight() -> None:
    odds = jnp.array([0.5, jnp.inf, 2.0])
    np.testing.assert_allclose(replay.importance(odds, 0.5), [1.0, 0.0, 0.5], rtol=1e-6)
    assert replay.importance(jnp.array([jnp.inf, jnp.inf]), 1.0).tolist() == [0, 0]


def test_a_new_entry_has_the_highest_priority() -> None:
    ring = written(2)
    ring = replay.prioritised(ring, replay.Sample(jnp.array([1]), jnp.array([2]), jnp.ones(1)), jnp.array([6.999]))
    ring = replay.add(ring, {"x": jnp.zeros(N)})
    np.testing.assert_allclose(ring.priority[2], 7.0)
