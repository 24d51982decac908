"""The Q network against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.policies.networks import History, QNetwork, Torso, check_sizes


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


@pytest.mark.parametrize("dueling", [False, True])
def test_where_nothing_is_known_of_users_documents_alone_count(dueling: bool) -> None:
    documents = jnp.arange(12.0).reshape(2, 3, 2)
    module = QNetwork((6, 3), dueling)
    params = module.init(jax.random.key(0), jnp.zeros((2, 0)), documents)
    found = np.asarray(module.apply(params, jnp.zeros((2, 0)), documents))
    as_known = np.asarray(module.apply(params, jnp.ones((2, 1)), documents))
    np.testing.assert_array_equal(found, as_known)
    assert len(np.unique(found)) == 6


@pytest.mark.parametrize("kind", ["dnn", "gru", "transformer"])
def test_torsos_read_the_real_events_alone_in_their_order(kind: Torso) -> None:
    rng = np.random.default_rng(1)
    history = rng.normal(size=(4, 6, 3)).astype(np.float32)
    events = jnp.array([0, 2, 6, 2])
    module = History(kind, width=8)
    params = module.init(jax.random.key(0), jnp.asarray(history), events)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), params)
    read = jax.jit(module.apply)
    found = np.asarray(read(params, jnp.asarray(history), events))
    assert found.shape == (4, 8)
    assert not found[0].any()  # nothing was done
    assert found[1].any()
    other = history.copy()
    other[1, 2:] = 99.0  # past the end
    np.testing.assert_allclose(read(params, jnp.asarray(other), events), found, rtol=1e-5, atol=1e-6)
    swapped = history.copy()
    swapped[2, [0, 1]] = swapped[2, [1, 0]]
    assert np.abs(np.asarray(read(params, jnp.asarray(swapped), events))[2] - found[2]).max() > 1e-3


def test_the_gru_torso_is_the_recurrence() -> None:
    rng = np.random.default_rng(2)
    history, events = jnp.asarray(rng.normal(size=(1, 4, 2)), jnp.float32), jnp.array([3])
    module = History("gru", width=3)
    params = module.init(jax.random.key(0), history, events)
    p = jax.tree.map(np.asarray, params["params"]["GRU_0"])
    state = np.zeros(3)
    for row in np.asarray(history)[0, :3]:
        r, z, n = np.split(row @ p["inputs"]["kernel"] + p["inputs"]["bias"], 3)
        of = [state @ p[f"kernel_{gate}"] for gate in "rzn"]
        r, z = (1 / (1 + np.exp(-x)) for x in (r + of[0], z + of[1]))
        state = (1 - z) * np.tanh(n + r * (of[2] + p["bias"])) + z * state
    np.testing.assert_allclose(module.apply(params, history, events)[0], state, rtol=1e-5, atol=1e-6)


def test_an_unknown_torso_is_told() -> None:
    with pytest.raises(InputError, match="no torso 'gruu': did you mean gru"):
        check_sizes((4,), "gruu", 4)


def test_a_torso_without_a_history_is_told() -> None:
    with pytest.raises(ValueError, match="give history and events"):
        QNetwork(torso="gru").init(jax.random.key(0), jnp.zeros((1, 2)), jnp.zeros((1, 3, 2)))
