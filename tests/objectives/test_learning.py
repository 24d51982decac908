"""Targets against the formulas in plain Python."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.objectives import learning

RNG = np.random.default_rng(0)
Q, OTHER = RNG.normal(size=(2, 6, 4)).astype(np.float32)
ACTION = np.array([0, 3, 2, 1, 1, 0])


def test_n_step_is_the_nested_sum_and_of_one_step_the_other() -> None:
    rewards, discounts = RNG.normal(size=(2, 6, 3)).astype(np.float32)
    values = Q[:, 0]
    found = learning.n_step(*map(jnp.asarray, (rewards, discounts, values)))
    for r, d, v, x in zip(rewards.tolist(), discounts.tolist(), values.tolist(), found.tolist()):
        assert x == pytest.approx(r[0] + d[0] * (r[1] + d[1] * (r[2] + d[2] * v)), rel=1e-5)
    single = learning.one_step(*map(jnp.asarray, (rewards[:, 0], discounts[:, 0], values)))
    np.testing.assert_allclose(single, rewards[:, 0] + discounts[:, 0] * values, rtol=1e-6)


def test_a_step_that_ends_the_session_counts_no_further() -> None:
    found = learning.n_step(jnp.array([[1.0, 10.0]]), jnp.array([[0.0, 0.9]]), jnp.array([100.0]))
    assert found.tolist() == [1.0]


def test_values_of_the_next_state() -> None:
    q, other, action = jnp.asarray(Q), jnp.asarray(OTHER), jnp.asarray(ACTION)
    for row, of_other, a, sarsa, most, twice, kept in zip(
        Q.tolist(),
        OTHER.tolist(),
        ACTION.tolist(),
        learning.of_actions(q, action).tolist(),
        learning.greatest(q).tolist(),
        learning.double(q, other).tolist(),
        learning.conservative(q, action).tolist(),
    ):
        assert sarsa == row[a]
        assert most == max(row)
        assert twice == of_other[row.index(max(row))]
        assert kept == pytest.approx(math.log(sum(map(math.exp, row))) - row[a], rel=1e-5)


def test_huber_is_quadratic_and_then_linear() -> None:
    found = learning.huber(jnp.array([0.5, -1.0, 3.0, -3.0]), delta=1.0).tolist()
    assert found == pytest.approx([0.125, 0.5, 2.5, 2.5])


def test_a_target_network_is_copied_now_and_then_or_follows_slowly() -> None:
    old, new = {"w": jnp.array([0.0])}, {"w": jnp.array([8.0])}
    follow = jax.jit(learning.followed, static_argnums=(3, 4))
    assert follow(old, new, jnp.int32(7), 5, 1.0)["w"].tolist() == [0.0]
    assert follow(old, new, jnp.int32(10), 5, 1.0)["w"].tolist() == [8.0]
    assert follow(old, new, jnp.int32(7), 1, 0.25)["w"].tolist() == [2.0]
