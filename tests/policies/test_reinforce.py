"""REINFORCE with corrections: gradients in plain Python, and the paper's anchor."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rec_jax.errors import InputError
from rec_jax.policies import reinforce

RNG = np.random.default_rng(0)
B, A = 12, 5
LOGITS = RNG.normal(size=(B, A))
ACTION = RNG.integers(0, A, B)
RETURN = RNG.normal(size=B)
BETA = RNG.uniform(0.05, 0.5, B)


def softmax(row: list[float]) -> list[float]:
    top = sum(math.exp(x) for x in row)
    return [math.exp(x) / top for x in row]


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("cap", [math.inf, 1.2])
def test_the_gradient_is_the_papers(k: int, cap: float) -> None:
    def of(logits: jax.Array) -> jax.Array:
        return reinforce.loss(
            logits,
            jnp.asarray(ACTION),
            jnp.asarray(RETURN, jnp.float32),
            jnp.log(jnp.asarray(BETA, jnp.float32)),
            k,
            cap,
        )

    found = np.asarray(jax.grad(of)(jnp.asarray(LOGITS, jnp.float32)))
    for i in range(B):
        pi = softmax(LOGITS[i].tolist())
        chosen = pi[ACTION[i]]
        factor = min(chosen / BETA[i], cap) * k * (1 - chosen) ** (k - 1) * RETURN[i]
        for a in range(A):
            score = (a == ACTION[i]) - pi[a]  # d log pi(action) / d logit a
            assert found[i, a] == pytest.approx(-factor * score / B, abs=1e-6)


def test_without_a_log_of_chances_the_actions_are_the_policys_own() -> None:
    own = jnp.asarray(LOGITS, jnp.float32)
    log_pi = jnp.take_along_axis(jax.nn.log_softmax(own), jnp.asarray(ACTION)[:, None], axis=1)[:, 0]
    given = jnp.asarray(RETURN, jnp.float32)
    one = reinforce.loss(own, jnp.asarray(ACTION), given)
    assert float(one) == pytest.approx(float(reinforce.loss(own, jnp.asarray(ACTION), given, log_pi)), rel=1e-5)
    assert float(one) == pytest.approx(-float((given * log_pi).mean()), rel=1e-5)


def trained(k: int, corrected: bool) -> np.ndarray:
    """A softmax over six documents, trained in expectation over a uniform behaviour policy."""
    rewards, n = jnp.array([1.0, 0.9, 0.8, 0.3, 0.2, 0.1]), 6
    optimizer = optax.adam(0.05)

    def of(logits: jax.Array) -> jax.Array:
        log_beta = jnp.full(n, -math.log(n)) if corrected else None
        return reinforce.loss(jnp.tile(logits, (n, 1)), jnp.arange(n), rewards, log_beta, k)

    def step(_: jax.Array, state: tuple[jax.Array, optax.OptState]) -> tuple[jax.Array, optax.OptState]:
        updates, opt = optimizer.update(jax.grad(of)(state[0]), state[1])
        return state[0] + updates, opt

    start = jnp.zeros(n)
    logits, _ = jax.jit(lambda s: jax.lax.fori_loop(0, 4000, step, s))((start, optimizer.init(start)))
    return np.asarray(jax.nn.softmax(logits))


def test_the_anchor_of_the_paper() -> None:
    """Sec. 6.1: the corrected policy is on the best document, top-K on the K best; the naive one follows rewards."""
    assert trained(1, True)[0] > 0.95
    spread = trained(3, True)
    assert (spread[:3] > 0.1).all()
    assert spread[:3].sum() > 0.9
    naive = trained(1, False)
    np.testing.assert_allclose(naive, np.array([1.0, 0.9, 0.8, 0.3, 0.2, 0.1]) / 3.3, atol=0.02)


def test_returns_weights_and_entropy() -> None:
    rewards = [[1.0, 0.0, 2.0], [0.5, 0.5, 0.5]]
    found = reinforce.returns(jnp.array(rewards), 0.9)
    for row, of in zip(rewards, found.tolist()):
        assert of == pytest.approx([row[0] + 0.9 * row[1] + 0.81 * row[2], row[1] + 0.9 * row[2], row[2]])
    weights = reinforce.importance(jnp.log(jnp.array([0.5, 0.1])), jnp.log(jnp.array([0.1, 0.2])), cap=3.0)
    assert weights.tolist() == pytest.approx([3.0, 0.5])
    assert reinforce.importance(
        jnp.zeros(2), jnp.log(jnp.array([0.5, 0.25])), normalised=True
    ).tolist() == pytest.approx([2 / 3, 4 / 3])
    flat = reinforce.loss(jnp.zeros((1, 4)), jnp.array([0]), jnp.zeros(1), entropy=0.5)
    assert float(flat) == pytest.approx(-0.5 * math.log(4))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(InputError, match="k 0"):
        reinforce.top_k_factor(jnp.zeros(1), 0)
    with pytest.raises(InputError, match="cap 0"):
        reinforce.importance(jnp.zeros(1), jnp.zeros(1), cap=0.0)
    for never in (-jnp.inf, jnp.nan):
        with pytest.raises(InputError, match="action 1: log_beta"):
            reinforce.loss(jnp.zeros((2, 3)), jnp.array([0, 1]), jnp.ones(2), jnp.array([-1.0, never]))
