"""The Q network against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.policies.networks import QNetwork


@pytest.mark.parametrize("dueling", [False, True])
def test_q_is_the_network_over_both_vectors_joined(dueling: bool) -> None:
    rng = np.random.default_rng(0)
    user, documents = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(3, 5, 2)).astype(np.float32)
    module = QNetwork((6, 3), dueling)
    params = module.init(jax.random.key(0), jnp.asarray(user), jnp.asarray(documents))
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), params)
    found = np.asarray(module.apply(params, jnp.asarray(user), jnp.asarray(documents)))
    p = jax.tree.map(np.asarray, params["params"])

    def dense(name: str, x: np.ndarray) -> np.ndarray:
        return x @ p[name]["kernel"] + p[name].get("bias", 0)

    for i in range(3):
        kernel = np.concatenate([p["Dense_0"]["kernel"], p["Dense_1"]["kernel"]])
        rows = np.concatenate([np.tile(user[i], (5, 1)), documents[i]], axis=1)
        hidden = np.maximum(rows @ kernel + p["Dense_0"]["bias"], 0)
        q = dense("Dense_3", np.maximum(dense("Dense_2", hidden), 0))[:, 0]
        if dueling:
            state = np.maximum(dense("Dense_5", np.maximum(dense("Dense_4", user[i]), 0)), 0)
            q = dense("Dense_6", state)[0] + q - q.mean()
        np.testing.assert_allclose(found[i], q, rtol=1e-4, atol=1e-5)
