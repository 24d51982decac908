"""Targets against the formulas in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.objectives import learning

RNG = np.random.default_rng(0)
Q = RNG.normal(size=(6, 4)).astype(np.float32)
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


def test_the_value_of_the_action_taken() -> None:
    found = learning.of_actions(jnp.asarray(Q), jnp.asarray(ACTION)).tolist()
    assert found == [row[a] for row, a in zip(Q.tolist(), ACTION.tolist())]


def test_a_target_network_is_copied_now_and_then_or_follows_slowly() -> None:
    old, new = {"w": jnp.array([0.0])}, {"w": jnp.array([8.0])}
    follow = jax.jit(learning.followed, static_argnums=(3, 4))
    assert follow(old, new, jnp.int32(7), 5, 1.0)["w"].tolist() == [0.0]
    assert follow(old, new, jnp.int32(10), 5, 1.0)["w"].tolist() == [8.0]
    assert follow(old, new, jnp.int32(7), 1, 0.25)["w"].tolist() == [2.0]
