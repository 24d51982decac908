"""Schedules, clipping and update rules against plain Python."""

import math

import jax.numpy as jnp
import pytest

from rec_jax.config import Optimization
from rec_jax.errors import InputError
from rec_jax.train.optimizer import optimizer, schedule


def test_warm_up_then_cosine() -> None:
    rate = schedule(Optimization(learning_rate=0.1, warmup_steps=4, decay="cosine", decay_epochs=2), steps_per_epoch=5)
    rise = [0.1 * (s + 1) / 4 for s in range(4)]
    fall = [0.1 * 0.5 * (1 + math.cos(math.pi * s / 10)) for s in range(11)]
    assert [float(rate(s)) for s in range(15)] == pytest.approx([*rise, *fall], abs=1e-8)


def test_linear_decay_and_none() -> None:
    rate = schedule(Optimization(learning_rate=0.1, decay="linear", decay_epochs=1), steps_per_epoch=4)
    assert [float(rate(s)) for s in range(6)] == pytest.approx([0.1, 0.075, 0.05, 0.025, 0.0, 0.0])
    assert float(schedule(Optimization(learning_rate=0.1), 4)(1000)) == pytest.approx(0.1)


def test_gradients_are_clipped_to_the_global_norm() -> None:
    tx = optimizer(Optimization(optimizer="sgd", learning_rate=1.0, clip_norm=1.0), 1)
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    updates, _ = tx.update({"a": jnp.array([3.0]), "b": jnp.array([4.0])}, tx.init(params), params)
    assert [float(updates["a"][0]), float(updates["b"][0])] == pytest.approx([-0.6, -0.8])


def test_adam_s_first_step_and_decoupled_decay() -> None:
    tx = optimizer(Optimization(optimizer="adamw", learning_rate=0.1, weight_decay=0.5), 1)
    params = {"a": jnp.array([2.0])}
    updates, _ = tx.update({"a": jnp.array([5.0])}, tx.init(params), params)
    assert float(updates["a"][0]) == pytest.approx(-0.1 * (1 + 0.5 * 2.0), rel=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        Optimization(learning_rate=0.0),
        Optimization(clip_norm=-1.0),
        Optimization(weight_decay=0.1),
        Optimization(decay="cosine"),
        Optimization(decay_epochs=3),
    ],
)
def test_options_that_cannot_be_meant(config: Optimization) -> None:
    with pytest.raises(InputError, match="--"):
        optimizer(config, 1)
