"""GRU4Rec against a loop in plain Python, and two layers as events come."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.models.base import Query
from rec_jax.models.gru4rec import GRU4Rec, GRU4RecConfig
from tests.models.sequences import compiled

N_ITEMS, T, D = 7, 6, 3


def query(row: list[int], width: int = T) -> Query:
    history = np.full((1, width), -1, np.int32)
    history[0, : len(row)] = row
    return Query(jnp.zeros(1, jnp.int32), None, jnp.asarray(history), jnp.zeros_like(history))


def made(layers: int) -> tuple[GRU4Rec, Any]:
    module = GRU4Rec(GRU4RecConfig(width=D, layers=layers, dropout=0.4, max_length=T), 1, N_ITEMS)
    params = module.init(jax.random.key(1), query([0]), method="states")
    noise = iter(np.random.default_rng(0).normal(size=(99, 64)))
    return module, jax.tree.map(lambda x: x + next(noise)[: x.size].reshape(x.shape), params)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def times(x: list[float], kernel: Any) -> list[float]:
    return [sum(x[i] * float(kernel[i, j]) for i in range(len(x))) for j in range(kernel.shape[1])]


def by_loops(params: Any, row: list[int], layers: int) -> list[list[float]]:
    """The states, one number at a time."""
    p = jax.tree.map(np.asarray, params["params"])
    inputs = [p["item"]["embedding"][item].tolist() for item in row]
    for layer in range(layers):
        of, h, states = p[f"layers_{layer}"], [0.0] * D, []
        w, b = of["inputs"]["kernel"], of["inputs"]["bias"]
        for x in inputs:
            share = [a + c for a, c in zip(times(x, w), b)]
            r = [sigmoid(a + c) for a, c in zip(share[:D], times(h, of["kernel_r"]))]
            z = [sigmoid(a + c) for a, c in zip(share[D : 2 * D], times(h, of["kernel_z"]))]
            of_new = [a + c for a, c in zip(times(h, of["kernel_n"]), of["bias"])]
            n = [math.tanh(a + q * c) for a, q, c in zip(share[2 * D :], r, of_new)]
            h = [(1 - u) * new + u * old for u, new, old in zip(z, n, h)]
            states.append(h)
        inputs = states
    return inputs


@pytest.mark.parametrize("layers", [1, 2])
def test_states_are_the_loop_s(layers: int) -> None:
    module, params = made(layers)
    row = [3, 1, 4, 1, 5]
    states = module.apply(params, query(row), method="states")
    np.testing.assert_allclose(states[0, :5], by_loops(params, row, layers), rtol=1e-4, atol=1e-6)


def test_no_event_is_not_item_0_and_a_layer_is_needed() -> None:
    module, params = made(1)
    nothing, item_0 = (module.apply(params, query(row), method="last") for row in ([], [0]))
    assert np.abs(nothing - item_0).max() > 0.01
    with pytest.raises(InputError, match="--layers 0: expected at least 1"):
        made(0)


def test_an_event_more_is_what_reading_all_again_gives() -> None:
    module, params = made(2)
    row = [3, 1, 4, 1, 5, 2]
    memory = module.apply(params, 1, method="begin")
    observe, last = (compiled(module, of) for of in ("observe", "last"))
    for t, item in enumerate(row):
        memory, state = observe(params, memory, query([item], width=1), jnp.int32(t))
        again = last(params, query(row[: t + 1]))
        np.testing.assert_allclose(state, again, rtol=1e-4, atol=1e-5)
