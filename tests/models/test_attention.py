"""Attention against loops in plain numpy, and a step at a time against all at once; dropout by counting."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.models.attention import MultiHead, attend, softmax
from rec_jax.models.layers import Dropout

B, T, H, D = 2, 37, 2, 3


def by_loops(query: np.ndarray, key: np.ndarray, value: np.ndarray, causal: bool, real: np.ndarray) -> np.ndarray:
    out = np.zeros_like(value)
    for b in range(len(query)):
        for h in range(query.shape[2]):
            for t in range(query.shape[1]):
                keys = [s for s in range(query.shape[1]) if real[b, s] and (s <= t or not causal)]
                raised = [math.exp(float(query[b, t, h] @ key[b, s, h])) for s in keys]
                for s, weight in zip(keys, raised):
                    out[b, t, h] += weight / sum(raised) * value[b, s, h]
    return out


@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_the_loop_s(causal: bool) -> None:
    """37 positions are two blocks of queries, the last one shorter."""
    query, key, value = np.random.default_rng(0).normal(size=(3, B, T, H, D)).astype(np.float32)
    real = np.arange(T) < np.array([[T], [20]])
    found = attend(*map(jnp.asarray, (query, key, value)), softmax, causal=causal, real=jnp.asarray(real))
    np.testing.assert_allclose(found, by_loops(query, key, value, causal, real), rtol=2e-5, atol=2e-6)


def test_a_bias_is_added_to_the_scores() -> None:
    query, key, value = np.random.default_rng(1).normal(size=(3, 1, T, 1, D)).astype(np.float32)
    bias = np.random.default_rng(2).normal(size=(T, T)).astype(np.float32)
    wide = [np.concatenate([query, np.eye(T)[None, :, None]], -1), np.concatenate([key, bias.T[None, :, None]], -1)]
    expected = by_loops(*wide, np.pad(value, ((0, 0),) * 3 + ((0, T),)), True, np.ones((1, T), bool))[..., :D]
    found = attend(
        *map(jnp.asarray, (query, key, value)),
        softmax,
        causal=True,
        bias=lambda low, high: jnp.asarray(bias[None, None, low:high, :high]),
    )
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


def test_a_step_at_a_time_is_all_at_once() -> None:
    module = MultiHead(width=6, heads=2, dropout=0.0, causal=True)
    x = jnp.asarray(np.random.default_rng(3).normal(size=(B, 20, 6)), jnp.float32)
    params = module.init(jax.random.key(0), x, x)
    cache, at_once = module.apply(params, B, 20, method="blank"), module.apply(params, x, x)
    step = jax.jit(partial(module.apply, method="step"))
    for t in range(20):
        one, cache = step(params, x[:, t : t + 1], x[:, t : t + 1], cache, jnp.int32(t))
        np.testing.assert_allclose(one[:, 0], at_once[:, t], rtol=1e-4, atol=1e-6)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    x = jnp.ones((301, 999))
    found = [np.asarray(Dropout(0.2).apply({}, x, rngs={"dropout": jax.random.key(k)})) for k in (0, 0, 1)]
    assert set(np.unique(found[0]).tolist()) == {0.0, 1.25}
    sd = math.sqrt(0.2 * 0.8 / x.size)
    one, other = found[0] == 0, found[2] == 0
    for mask, share in ((one, 0.2), (other, 0.2), (one & other, 0.04)):
        assert abs(mask.mean() - share) < 5 * sd
    columns = (found[0] == 0).mean(axis=0)
    assert abs(columns.std() - math.sqrt(0.16 / 301)) < 0.1 * math.sqrt(0.16 / 301)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(Dropout(0.2).apply({}, x), x)
