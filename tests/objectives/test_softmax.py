"""Cross-entropy over the catalogue against the formula in plain Python, its gradient against the plain one's, and the
best item against a loop."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.objectives import softmax
from rec_jax.objectives.softmax import best_items, softmax_cross_entropy

M, N, D = 23, 17, 5


def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    states, vectors = rng.normal(size=(M, D)).astype(np.float32), rng.normal(size=(N, D)).astype(np.float32)
    weight = np.where(np.arange(M) % 4 == 0, 0, rng.random(M)).astype(np.float32)
    return states, vectors, rng.integers(0, N, M).astype(np.int32), weight


def plain(states: jax.Array, vectors: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    """With all logits at once."""
    logits = states @ vectors.T
    return (weight * (jax.nn.logsumexp(logits, axis=1) - logits[jnp.arange(len(states)), target])).sum()


@pytest.mark.parametrize("at_once", [1, 5 * N, 2**19])
def test_the_value_is_the_formula_s(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of 1 and 5 rows (the last one padded), and in one."""
    monkeypatch.setattr(softmax, "LOGITS_AT_ONCE", at_once)
    states, vectors, target, weight = drawn()
    expected = 0.0
    for h, t, w in zip(states.tolist(), target.tolist(), weight.tolist()):
        scores = [math.fsum(a * b for a, b in zip(h, e)) for e in vectors.tolist()]
        expected += w * (math.log(math.fsum(map(math.exp, scores))) - scores[t])
    found = softmax_cross_entropy(*map(jnp.asarray, (states, vectors, target, weight)))
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("at_once", [5 * N, 2**19])
def test_the_gradient_is_the_plain_one_s(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "LOGITS_AT_ONCE", at_once)
    states, vectors, target, weight = map(jnp.asarray, drawn())
    expected = jax.grad(lambda s, v: 3 * plain(s, v, target, weight), argnums=(0, 1))(states, vectors)
    found = jax.grad(lambda s, v: 3 * softmax_cross_entropy(s, v, target, weight), argnums=(0, 1))(states, vectors)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_rounded_to_bfloat16_it_is_the_formula_s_of_rounded_numbers() -> None:
    """The target's own score is not rounded; the shares in the gradient are, by at most 2^-8 of each."""
    states, vectors, target, weight = drawn()
    expected, of_states = 0.0, np.zeros((M, D))
    items = np.asarray(jnp.asarray(vectors, jnp.bfloat16), np.float64)
    rounded = np.asarray(jnp.asarray(states, jnp.bfloat16), np.float64)
    for r, (t, w) in enumerate(zip(target, weight.tolist())):
        scores = [math.fsum(a * b for a, b in zip(rounded[r], e)) for e in items]
        total = math.fsum(map(math.exp, scores))
        expected += w * (math.log(total) - float(states[r].astype(np.float64) @ vectors[t].astype(np.float64)))
        of_states[r] = w * sum(math.exp(s) / total * e for s, e in zip(scores, items)) - w * vectors[t]
    arguments = [jnp.asarray(x) for x in (target, weight)]

    def found(states: jax.Array) -> jax.Array:
        return softmax_cross_entropy(states, jnp.asarray(vectors), *arguments, True)

    value, gradient = jax.value_and_grad(found)(jnp.asarray(states))
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert (np.abs(gradient - of_states) <= 2**-8 * weight[:, None] * np.abs(items).max() + 1e-6).all()
    unrounded = softmax_cross_entropy(jnp.asarray(states), jnp.asarray(vectors), *arguments)
    assert float(value) != float(unrounded)


@pytest.mark.parametrize("at_once", [1, 5 * N, 2**19])
def test_the_best_item_is_the_loop_s(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two equal items the first."""
    monkeypatch.setattr(softmax, "LOGITS_AT_ONCE", at_once)
    states, vectors, *_ = drawn()
    vectors[9] = vectors[2]
    found = best_items(jnp.asarray(states), jnp.asarray(vectors)).tolist()
    for h, item in zip(states.tolist(), found, strict=True):
        scores = [math.fsum(a * b for a, b in zip(h, e)) for e in vectors.tolist()]
        assert item == scores.index(max(scores))


def test_its_memory_does_not_grow_with_rows_times_items() -> None:
    """What XLA sets aside, beyond what comes and goes: linear in either, where the plain one's is their product."""

    def numbers(function: Any, m: int, n: int) -> float:
        """Held at once, by the gradient."""
        shapes = ((m, D), jnp.float32), ((n, D), jnp.float32), ((m,), jnp.int32), ((m,), jnp.float32)
        given = [jax.ShapeDtypeStruct(*of) for of in shapes]
        made = jax.jit(jax.value_and_grad(function, argnums=(0, 1))).lower(*given).compile()
        return made.memory_analysis().temp_size_in_bytes / 4

    for m, n in ((4000, 8000), (16_000, 8000)):
        assert numbers(plain, m, n) > m * n
        assert numbers(softmax_cross_entropy, m, n) < 2 * softmax.LOGITS_AT_ONCE + 8 * D * (m + n)
