"""Neural-linear: the posterior in NumPy, counted draws, retraining by the formula, and a reward that is not linear."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.policies import bandits
from rec_jax.policies.neural_linear import Belief, Features, State, drawn, neural_linear

KEY = jax.random.key(0)
N = 20_000


def test_weights_are_drawn_from_the_posterior() -> None:
    rng = np.random.default_rng(0)
    z, theta = rng.normal(size=(30, 2)), np.array([1.0, -0.5])
    r, l2, (a0, b0) = z @ theta + rng.normal(0, 0.5, 30), 0.25, (6.0, 6.0)
    precision = z.T @ z + l2 * np.eye(2)
    mean = np.linalg.inv(precision) @ z.T @ r
    a, b = a0 + 15, b0 + (r @ r - mean @ precision @ mean) / 2
    one = Belief(jnp.asarray(z.T @ z), jnp.asarray(z.T @ r), jnp.asarray(r @ r), jnp.asarray(30.0))
    belief = Belief(*(jnp.tile(jnp.asarray(x, jnp.float32), (N, *[1] * x.ndim)) for x in one))
    found = np.asarray(drawn(belief, KEY, l2, (a0, b0)))
    covariance = b / (a - 1) * np.linalg.inv(precision)  # the mean of the inverse gamma
    np.testing.assert_allclose(found.mean(axis=0), mean, atol=4 * (covariance.diagonal().max() / N) ** 0.5)
    np.testing.assert_allclose(np.cov(found.T), covariance, rtol=0.06, atol=0.06 * covariance.max())


def numpy_features(params: Any, x: np.ndarray) -> np.ndarray:
    layers = params["params"]
    for i in range(len(layers) - 1):
        x = np.maximum(x @ np.asarray(layers[f"Dense_{i}"]["kernel"]) + np.asarray(layers[f"Dense_{i}"]["bias"]), 0)
    return x


def test_the_regression_is_of_the_features_before_and_after_retraining() -> None:
    bandit = neural_linear(3, (5, 4), every=6, steps=4, batch=8, capacity=8)
    update, rng = jax.jit(bandit.update), np.random.default_rng(0)
    state, seen = bandit.init(2), list[tuple[np.ndarray, np.ndarray]]()
    first = state.params
    for pull in range(1, 14):
        context = rng.normal(size=(2, 4, 3)).astype(np.float32)
        arm, reward = rng.integers(0, 4, 2).astype(np.int32), rng.random(2).astype(np.float32)
        before = state
        state = update(state, jnp.asarray(arm), jnp.asarray(reward), jnp.asarray(context))
        seen.append((context[np.arange(2), arm], reward))
        for run in range(2):
            params = jax.tree.map(lambda x, run=run: x[run], state.params)
            if pull % 6 == 0:  # made anew from the last 8 events
                rows = seen[-8:]
                z = numpy_features(params, np.stack([x[run] for x, _ in rows]))
                r = np.array([y[run] for _, y in rows])
                zz, count = z.T @ z, len(rows)
                assert (
                    np.asarray(jax.tree.leaves(state.params)[0]) != np.asarray(jax.tree.leaves(before.params)[0])
                ).any()
            else:
                z = numpy_features(params, seen[-1][0][run])
                zz = np.asarray(before.belief.zz[run]) + np.outer(z, z)
                count = int(before.belief.events[run]) + 1
                r, z = seen[-1][1][run : run + 1], z[None]
                assert float(state.belief.rr[run] - before.belief.rr[run]) == pytest.approx(float(r[0] ** 2), abs=1e-5)
            np.testing.assert_allclose(state.belief.zz[run], zz, rtol=1e-4, atol=1e-5)
            assert int(state.belief.events[run]) == count
            if pull % 6 == 0:
                np.testing.assert_allclose(state.belief.rz[run], z.T @ r, rtol=1e-4, atol=1e-5)
    assert state.seen.tolist() == [13, 13]
    assert (np.asarray(jax.tree.leaves(first)[1]) != np.asarray(jax.tree.leaves(state.params)[1])).any()


def test_retraining_lowers_the_error_of_the_prediction() -> None:
    bandit = neural_linear(2, (16, 16), every=200, steps=300, capacity=200)
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, size=(200, 1, 1, 2)).astype(np.float32)
    reward = np.abs(x[:, 0, :, 0])

    def step(state: State, of: tuple[jax.Array, jax.Array]) -> tuple[State, None]:
        return bandit.update(state, jnp.zeros(1, jnp.int32), of[1], of[0]), None

    state, _ = jax.lax.scan(step, bandit.init(1), (jnp.asarray(x), jnp.asarray(reward)))
    params = jax.tree.map(lambda leaf: leaf[0], state.params)
    _, predicted = Features((16, 16)).apply(params, jnp.asarray(x[:, 0, 0]))
    assert float(np.square(np.asarray(predicted) - reward[:, 0]).mean()) < 0.1 * float(reward.var())


def test_it_learns_what_no_linear_rule_can() -> None:
    """Arms are numbers; what pays is to be far from 0, on either side."""
    n, steps = 16, 400
    places = jnp.array([-1.0, -0.3, 0.05, 0.4])
    context = jnp.tile(jnp.stack([places, jnp.ones(4)], axis=1), (n, 1, 1))

    def pays(key: jax.Array, arm: jax.Array) -> jax.Array:
        return (jax.random.uniform(key, arm.shape) < jnp.array([0.9, 0.2, 0.1, 0.5])[arm]).astype(jnp.float32)

    late = {}
    rules = {
        "neural": neural_linear(2, (16, 8), every=50, steps=40, capacity=400),
        "random": bandits.epsilon_greedy(4, 1.0),
    }
    for name, bandit in rules.items():
        found = jax.jit(lambda key, bandit=bandit: bandits.play(bandit, pays, context, key, steps))(KEY)
        late[name] = float(found.reward[:, -100:].mean())
    assert late["neural"] > 0.8
    assert late["random"] < 0.55


def test_runs_are_retrained_by_draws_of_their_own() -> None:
    """Two runs that start alike and live through the same: as one they would stay alike."""
    bandit = neural_linear(3, (4,), every=8, steps=3, batch=2)
    state, rng, update = bandit.init(2), np.random.default_rng(0), jax.jit(bandit.update)
    state = state._replace(params=jax.tree.map(lambda x: jnp.stack([x[0], x[0]]), state.params))
    for _ in range(8):
        context = jnp.tile(jnp.asarray(rng.normal(size=(1, 2, 3)), jnp.float32), (2, 1, 1))
        state = update(state, jnp.zeros(2, jnp.int32), jnp.full(2, rng.normal(), jnp.float32), context)
    np.testing.assert_array_equal(state.x[0], state.x[1])
    kernel = jax.tree.leaves(state.params)[-1]
    assert not np.array_equal(kernel[0], kernel[1])


def test_bad_settings_are_refused() -> None:
    for changes in ({"every": 0}, {"l2": 0.0}, {"hidden": ()}, {"prior": (0.0, 1.0)}, {"l2": float("nan")}):
        with pytest.raises(InputError, match="expected finite numbers above 0, and a layer"):
            neural_linear(3, **{"hidden": (4,), **changes})
