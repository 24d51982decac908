"""Losses against their formulas in plain Python."""

import math

import jax.numpy as jnp
import pytest

from rec_jax.objectives.losses import binary_cross_entropy, bpr, squared_error

VALUES = [-30.0, -2.5, -0.1, 0.0, 0.3, 4.0, 25.0]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("x", VALUES)
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_binary_cross_entropy(x: float, y: float) -> None:
    p = sigmoid(x)
    expected = -math.log(p) if y else -math.log(1 - p) if p < 1 else x
    assert float(binary_cross_entropy(jnp.array([x]), jnp.array([y]))[0]) == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("positive", VALUES)
@pytest.mark.parametrize("negative", [-1.0, 0.0, 2.0])
def test_bpr(positive: float, negative: float) -> None:
    expected = -math.log(sigmoid(positive - negative))
    found = float(bpr(jnp.array([positive]), jnp.array([negative]))[0])
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_squared_error() -> None:
    assert float(squared_error(jnp.array([3.5]), jnp.array([5.0]))[0]) == 2.25


def test_extreme_logits_stay_finite() -> None:
    x = jnp.array([-1e4, 1e4])
    assert bool(jnp.isfinite(binary_cross_entropy(x, jnp.array([1.0, 0.0]))).all())
    assert bool(jnp.isfinite(bpr(x, -x)).all())
