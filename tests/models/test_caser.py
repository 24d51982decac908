"""Caser against numbers by hand and a loop in plain numpy; causality, padding, and the window alone."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.models.caser import Caser, CaserConfig
from tests.models.sequences import dense, query

N_ITEMS, T, D = 9, 7, 3
CONFIG = CaserConfig(width=D, window=3, horizontal=2, vertical=2, dropout=0.4, max_length=T)


def made(**changes: Any) -> tuple[Caser, Any]:
    module = Caser(dataclasses.replace(CONFIG, **changes), 1, N_ITEMS)
    both = functools.partial(module.init, method=lambda m: (m.states(query([[0, 1]], 2)), m.item_vectors()))
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(both, jax.random.key(0))
    return module, jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), shapes)


def read(module: Caser, params: Any, rows: list[list[int]], width: int, method: str = "states") -> np.ndarray:
    applied = jax.jit(functools.partial(module.apply, method=method))
    return np.asarray(applied(params, query(rows, width)))


def by_loops(params: Any, row: list[int], config: CaserConfig) -> np.ndarray:
    """The states of one history, a window, a filter and a place at a time."""
    p, window, found = jax.tree.map(np.asarray, params["params"]), config.window, []
    for t in range(len(row)):
        past = [p["item"]["embedding"][item] for item in row[max(0, t - window + 1) : t + 1]]
        rows = np.stack([np.zeros(D)] * (window - len(past)) + past)
        features = []
        for v in range(config.vertical):
            features += [sum(p["columns"][place, v] * rows[place, d] for place in range(window)) for d in range(D)]
        for h in range(1, window + 1) if config.horizontal else ():
            for f in range(config.horizontal):
                of, bias = p[f"height_{h}"][:, f].reshape(h, D), p["bias"][(h - 1) * config.horizontal + f]
                met = [float((rows[i : i + h] * of).sum() + bias) for i in range(window - h + 1)]
                features.append(max(max(x, 0.0) for x in met))
        found.append([*np.maximum(dense(np.array(features), p["full"]), 0), 1.0])
    return np.array(found)


def test_a_case_by_hand() -> None:
    """Vectors of one number: item 0 is 1, item 1 is -2, item 2 is 3; windows of two."""
    module = Caser(CaserConfig(width=1, window=2, horizontal=1, vertical=1, dropout=0.0, max_length=4), 1, 3)
    params = {
        "item": {"embedding": jnp.array([[1.0], [-2.0], [3.0]])},
        "height_1": jnp.array([[2.0]]),
        "height_2": jnp.array([[1.0], [-1.0]]),
        "bias": jnp.array([0.5, 1.0]),
        "columns": jnp.array([[10.0], [1.0]]),
        "full": {"kernel": jnp.array([[1.0], [3.0], [5.0]]), "bias": jnp.array([4.0])},
        "output": {"embedding": jnp.array([[1.0], [2.0], [-1.0]])},
        "output_bias": {"embedding": jnp.array([[0.1], [0.2], [0.3]])},
    }
    # Windows (0, 1), (1, -2), (-2, 3): vertical 1, 8, -17; height 1: max(2x + .5) = 2.5, 2.5, 6.5, height 2:
    # relu(x - y + 1) = 0, 4, 0. So z is 4 + 1 + 7.5, 4 + 8 + 7.5 + 20, 4 - 17 + 19.5.
    states = read(module, {"params": params}, [[0, 1, 2]], 4)
    np.testing.assert_allclose(states[0, :3], [[12.5, 1], [39.5, 1], [6.5, 1]], rtol=1e-6)
    scores = states[0, 0] @ module.apply({"params": params}, method="item_vectors").T
    np.testing.assert_allclose(scores, [12.6, 25.2, -12.2], rtol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"window": 1, "vertical": 0}, {"window": 8}, {"horizontal": 0}])
def test_states_are_the_loop_s(changes: dict[str, int]) -> None:
    module, params = made(**changes)
    rows = [[3, 1, 4, 1, 5], [8, 2, 6, 5, 3, 5, 7]]
    for row, found in zip(rows, read(module, params, rows, T)):
        np.testing.assert_allclose(found[: len(row)], by_loops(params, row, module.config), rtol=1e-4, atol=1e-4)


def test_the_future_and_the_padding_have_no_say() -> None:
    module, params = made()
    states, later = read(module, params, [[3, 1, 4, 1, 5], [3, 1, 4, 8, 2]], T)
    np.testing.assert_allclose(states[:3], later[:3], rtol=1e-6)
    assert np.abs(states[3] - later[3]).max() > 1e-3
    shorter = read(module, params, [[3, 1, 4, 1, 5]], 5)
    np.testing.assert_allclose(states[:5], shorter[0], rtol=1e-5, atol=1e-6)


def test_the_last_state_is_the_window_s() -> None:
    module, params = made()
    rows = [[4], [4, 2], [0, 1, 2, 3, 4, 5, 6], [8, 8, 0, 1, 2, 3, 4, 5, 6]]
    for row, last in zip(rows, read(module, params, rows, 12, "last")):
        np.testing.assert_allclose(last, by_loops(params, row, module.config)[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"window": 0}, "--window 0: at least 1"), ({"horizontal": 0, "vertical": 0}, "--horizontal 0 --vertical 0")],
)
def test_options_that_cannot_be_meant(changes: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(**changes)
