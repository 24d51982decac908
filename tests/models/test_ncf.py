"""GMF, MLP and NeuMF against the paper's equations in plain Python, and the gluing of Eq. 13."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.models.base import Query
from rec_jax.models.ncf import GMF, MLP, GMFConfig, MLPConfig, NeuMF, NeuMFConfig, glue

U, N = 4, 6


def randomised(module: Any, seed: int = 0) -> Any:
    """Parameters with every entry drawn, biases too."""
    params = module.init(jax.random.key(0), Query(jnp.zeros(1, int)), jnp.zeros((1, 1), int))["params"]
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.5, x.shape), jnp.float32), params)


def gmf(p: Any, u: int, i: int) -> list[float]:
    return [float(a * b) for a, b in zip(p["user"]["embedding"][u], p["item"]["embedding"][i])]


def tower(p: Any, u: int, i: int, depth: int) -> list[float]:
    """[p_u, q_i] through the hidden layers, one dot product at a time (Eq. 10)."""
    z = [float(v) for v in (*p["user"]["embedding"][u], *p["item"]["embedding"][i])]
    layers = [(p["kernel"], p["bias"])] if depth else []
    layers += [(p[f"hidden_{x}"]["kernel"], p[f"hidden_{x}"]["bias"]) for x in range(depth - 1)]
    for kernel, bias in layers:
        z = [
            max(0.0, sum(z[r] * float(kernel[r, c]) for r in range(len(z))) + float(bias[c])) for c in range(len(bias))
        ]
    return z


def predict(p: Any, features: list[float]) -> float:
    return sum(f * float(h) for f, h in zip(features, p["kernel"])) + float(p["bias"])


CASES = [
    (GMF(GMFConfig(3), U, N), lambda p, u, i: predict(p["prediction"], gmf(p, u, i))),
    *(
        (MLP(MLPConfig(2, d), U, N), lambda p, u, i, d=d: predict(p["prediction"], tower(p["tower"], u, i, d)))
        for d in (0, 1, 3)
    ),
    *(
        (
            NeuMF(NeuMFConfig(2, d), U, N),
            lambda p, u, i, d=d: predict(p["prediction"], gmf(p, u, i) + tower(p["tower"], u, i, d)),
        )
        for d in (0, 3)
    ),
]


@pytest.mark.parametrize(("module", "formula"), CASES)
def test_scores_equal_the_paper_s_equations(module: Any, formula: Any) -> None:
    params = randomised(module)
    plain = jax.tree.map(np.asarray, params)  # JAX's arrays are slow one by one
    expected = np.array([[formula(plain, u, i) for i in range(N)] for u in range(U)])
    query = Query(jnp.arange(U))
    items = jnp.broadcast_to(jnp.arange(N), (U, N))
    given = module.apply({"params": params}, query, items)
    cache = module.apply({"params": params}, method="prepare")
    full = module.apply({"params": params}, cache, query, method="scores")
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(full, expected, rtol=1e-4, atol=1e-5)


def test_widths_follow_the_authors_code() -> None:
    """8 factors and 3 layers: embeddings of 32, hidden layers 32, 16, 8 ([64,32,16,8] in their code)."""
    params = randomised(NeuMF(NeuMFConfig(8, 3), U, N))
    shapes = jax.tree.map(lambda x: x.shape, params)
    assert shapes["tower"]["user"]["embedding"] == (U, 32)
    assert shapes["tower"]["kernel"] == (64, 32)
    assert shapes["tower"]["hidden_0"]["kernel"] == (32, 16)
    assert shapes["tower"]["hidden_1"]["kernel"] == (16, 8)
    assert shapes["prediction"]["kernel"] == (16,)


def test_initial_values_have_the_paper_s_spread() -> None:
    module = NeuMF(NeuMFConfig(8, 3), 2000, N)
    params = module.init(jax.random.key(1), Query(jnp.zeros(1, int)), jnp.zeros((1, 1), int))["params"]
    assert float(params["tower"]["user"]["embedding"].std()) == pytest.approx(0.01, rel=0.02)
    limit = math.sqrt(6 / (64 + 32))
    assert float(jnp.abs(params["tower"]["kernel"]).max()) == pytest.approx(limit, rel=0.02)
    assert float(jnp.abs(params["prediction"]["kernel"]).max()) < math.sqrt(3 / 16)


@pytest.mark.parametrize("alpha", [0.5, 0.3])
def test_glued_neumf_scores_the_weighted_sum(alpha: float) -> None:
    """With the prediction layers weighted, NeuMF's logit is alpha GMF + (1 - alpha) MLP."""
    one, two, both = GMF(GMFConfig(2), U, N), MLP(MLPConfig(2, 3), U, N), NeuMF(NeuMFConfig(2, 3), U, N)
    a, b = randomised(one, 1), randomised(two, 2)
    query, items = Query(jnp.arange(U)), jnp.broadcast_to(jnp.arange(N), (U, N))
    expected = alpha * one.apply({"params": a}, query, items) + (1 - alpha) * two.apply({"params": b}, query, items)
    np.testing.assert_allclose(both.apply({"params": glue(a, b, alpha)}, query, items), expected, rtol=1e-5, atol=1e-6)


def test_squared_norms_are_of_the_vectors_looked_up() -> None:
    module = NeuMF(NeuMFConfig(2, 3), U, N)
    p = randomised(module)
    _, sown = module.apply({"params": p}, Query(jnp.array([2])), jnp.array([[5]]), mutable=["losses"])
    tables = [(p["user"], 2), (p["item"], 5), (p["tower"]["user"], 2), (p["tower"]["item"], 5)]
    expected = sum(float(v) ** 2 for table, row in tables for v in np.asarray(table["embedding"][row]))
    found = float(sown["losses"]["l2_user"][0][0]) + float(sown["losses"]["l2_item"][0][0, 0])
    assert found == pytest.approx(expected, rel=1e-5)
