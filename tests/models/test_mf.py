"""Matrix factorisation against its formula in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.models.base import Query
from rec_jax.models.mf import MF, MFConfig

U, N = 3, 5


@pytest.mark.parametrize("biases", [True, False])
def test_scores_and_penalty(biases: bool) -> None:
    module = MF(MFConfig(factors=4, biases=biases), U, N)
    params = module.init(jax.random.key(0), Query(jnp.zeros(1, int)), jnp.zeros((1, 1), int))["params"]
    rng = np.random.default_rng(0)
    p = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), params)
    user, item = (np.asarray(p[name]["embedding"]) for name in ("user", "item"))  # JAX's arrays are slow one by one
    expected = [[sum(float(a * b) for a, b in zip(user[u], item[i])) for i in range(N)] for u in range(U)]
    norms = [[sum(float(v) ** 2 for v in (*user[u], *item[i])) for i in range(N)] for u in range(U)]
    if biases:
        for u in range(U):
            for i in range(N):
                b_u, b_i = float(p["user_bias"]["embedding"][u, 0]), float(p["item_bias"]["embedding"][i, 0])
                expected[u][i] += b_u + b_i + float(p["bias"])
                norms[u][i] += b_u**2 + b_i**2
    query, items = Query(jnp.arange(U)), jnp.broadcast_to(jnp.arange(N), (U, N))
    given, sown = module.apply({"params": p}, query, items, mutable=["losses"])
    cache = module.apply({"params": p}, method="prepare")
    np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        module.apply({"params": p}, cache, query, method="scores"), expected, rtol=1e-5, atol=1e-5
    )
    found = sown["losses"]["l2_user"][0][:, None] + sown["losses"]["l2_item"][0]
    np.testing.assert_allclose(found, norms, rtol=1e-5)
