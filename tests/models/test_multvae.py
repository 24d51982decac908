"""Mult-VAE's layers against plain Python; what it makes of a history."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.models.base import Query
from rec_jax.models.multvae import MultVAE, MultVAEConfig, multi_hot

N_ITEMS = 9
CONFIG = MultVAEConfig(hidden=(5, 4), latent=3, dropout=0.5)


def made(**changes: Any) -> tuple[MultVAE, Any]:
    module = MultVAE(dataclasses.replace(CONFIG, **changes), 2, N_ITEMS)
    params = jax.jit(module.init)(jax.random.key(1), jnp.zeros((1, N_ITEMS)))
    noise = iter(np.random.default_rng(0).normal(size=(20, 100)))
    return module, jax.tree.map(lambda x: x + 0.5 * next(noise)[: x.size].reshape(x.shape), params)


def layers(x: list[float], params: Any, name: str) -> list[float]:
    """Tanh between the three layers."""
    for i in range(3):
        kernel, bias = (np.asarray(params["params"][f"{name}_{i}"][of]).tolist() for of in ("kernel", "bias"))
        x = [sum(a * k[j] for a, k in zip(x, kernel)) + bias[j] for j in range(len(bias))]
        x = [math.tanh(a) for a in x] if i < 2 else x
    return x


def by_loops(items: list[int], params: Any, noise: list[float]) -> tuple[list[float], list[float], list[float]]:
    row = [1 / math.sqrt(len(items)) if i in items else 0.0 for i in range(N_ITEMS)]
    code = layers(row, params, "encoder")
    mu, log_variance = code[:3], code[3:]
    z = [m + math.exp(v / 2) * e for m, v, e in zip(mu, log_variance, noise)]
    return layers(z, params, "decoder"), mu, log_variance


def test_logits_and_code_are_the_loop_s() -> None:
    module, params = made()
    items, noise = [[1, 4, 7, 8], [0], []], [[0.3, -1.0, 2.0], [1.0, 0.0, -0.5], [0.1, 0.2, 0.3]]
    row = multi_hot(jnp.array([[1, 4, 7, 8], [0, -1, -1, -1], [-1] * 4]), N_ITEMS)
    found: Any = jax.jit(module.apply)(params, row, jnp.array(noise))
    for place, (one, by) in enumerate(zip(items, noise)):
        for part, expected in zip(found, by_loops(one, params, by)):
            np.testing.assert_allclose(part[place], expected, rtol=1e-4, atol=1e-5)


def test_scores_are_at_the_mean_of_the_code_whatever_the_order_and_the_repeats() -> None:
    module, params = made()
    history = jnp.array([[7, 1, 8, 4, -1, -1], [4, 8, 1, 7, 7, 1]])
    scores = module.apply(params, Query(jnp.arange(2), None, history), method="scores")
    expected = by_loops([1, 4, 7, 8], params, [0.0] * 3)[0]
    np.testing.assert_allclose(scores, [expected, expected], rtol=1e-4, atol=1e-5)


def test_dropout_hides_items_from_the_encoder_after_the_row_has_length_1() -> None:
    module, params = made()
    row = multi_hot(jnp.array([[1, 4, 7, 8]]), N_ITEMS)
    _, mu, _ = module.apply(params, row, rngs={"dropout": jax.random.key(3)})
    possible = []
    for hidden in range(16):  # an item that is left counts 1 / sqrt(4) / (1 - 0.5)
        left = {item for bit, item in enumerate([1, 4, 7, 8]) if not hidden >> bit & 1}
        possible.append(layers([1.0 if i in left else 0.0 for i in range(N_ITEMS)], params, "encoder")[:3])
    assert np.abs(np.array(possible) - mu).max(axis=1).min() < 1e-5
    assert np.abs(np.array(by_loops([1, 4, 7, 8], params, [0.0] * 3)[1]) - mu).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"latent": 0}, "--latent 0"), ({"hidden": (4, 0)}, "--hidden"), ({"dropout": 1.0}, "--dropout 1.0")],
)
def test_numbers_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(**changes)
