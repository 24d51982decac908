"""NAIS against a loop in plain numpy: the three ways to score, the smoothed softmax, histories without events."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.models.base import Query
from rec_jax.models.nais import NAIS, NAISConfig, smoothed
from tests.models.sequences import normal, query

N_ITEMS, T, D = 8, 5, 3
CONFIG = NAISConfig(factors=D, attention=4, max_length=T)
ROWS = [[3, 1, 4, 1], [], [5], [2, 6, 5, 3, 7]]
ALL = jnp.tile(jnp.arange(N_ITEMS), (len(ROWS), 1))


def made(**changes: Any) -> tuple[NAIS, Any]:
    module = NAIS(dataclasses.replace(CONFIG, **changes), 1, N_ITEMS)
    return module, normal(module, query(ROWS, T), ALL)


def by_loops(params: Any, row: list[int], item: int, beta: float) -> float:
    """One score, an event at a time."""
    p = {name: np.asarray(of["embedding"] if isinstance(of, dict) else of) for name, of in params["params"].items()}
    candidate, raised = p["item"][item], []
    for event in row:
        hidden = np.maximum((candidate * p["past"][event]) @ p["kernel"] + p["bias"], 0)
        raised.append(math.exp(float(hidden @ p["output"])))
    shares = [r / sum(raised) ** beta for r in raised]
    return float(p["item_bias"][item, 0]) + sum(a * float(candidate @ p["past"][e]) for a, e in zip(shares, row))


def full(module: NAIS, params: Any, asked: Query) -> np.ndarray:
    @jax.jit
    def scores(params: Any, asked: Query) -> Any:
        return module.apply(params, module.apply(params, method="prepare"), asked, method="scores")

    return np.asarray(scores(params, asked))


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_every_way_to_score_is_the_loop_s(beta: float) -> None:
    module, params = made(beta=beta)
    expected = [[by_loops(params, row, item, beta) for item in range(N_ITEMS)] for row in ROWS]
    asked, cache = query(ROWS, T), module.apply(params, method="prepare")
    np.testing.assert_allclose(jax.jit(module.apply)(params, asked, ALL), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(full(module, params, asked), expected, rtol=1e-4, atol=1e-5)
    some = jnp.array([[1, 7, 1], [0, 2, 5], [6, 5, 4], [3, 3, 0]])
    of_some = jax.jit(functools.partial(module.apply, method="candidates"))
    candidates = of_some(params, cache, asked, some)
    np.testing.assert_allclose(candidates, np.take_along_axis(np.array(expected), some, 1), rtol=1e-4, atol=1e-5)


def test_neither_order_nor_padding_has_a_say_and_the_last_events_are_read() -> None:
    module, params = made()
    found = full(module, params, query(ROWS, T))
    turned = full(module, params, query([row[::-1] for row in ROWS], 16))
    np.testing.assert_allclose(found, turned, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        full(module, params, query([[0, 1, 1, *ROWS[3]]], 8)), full(module, params, query([ROWS[3]], T)), rtol=1e-5
    )


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_a_history_without_events_has_a_gradient(beta: float) -> None:
    """0 to the power beta has none; here the score is the item's bias, and what is not read does not move."""
    module, params = made(beta=beta)
    score = jax.jit(lambda p: module.apply(p, query([[]], T), jnp.array([[2, 4]])).sum())
    gradient = jax.grad(score)(params)["params"]
    assert np.asarray(gradient["item_bias"]["embedding"])[:, 0].tolist() == [0, 0, 1, 0, 1, 0, 0, 0]
    assert all(not np.asarray(gradient[name]).any() for name in ("kernel", "bias", "output"))


def test_large_scores_are_not_raised_alone() -> None:
    """exp(100) does not fit in 32 bits; exp(100) over the root of twice that does."""
    found = smoothed(jnp.array([100.0, 100.0, 7.0]), jnp.array([True, True, False]), 0.5)
    np.testing.assert_allclose(found, [math.exp(50) / math.sqrt(2)] * 2 + [0], rtol=1e-4)


def test_squared_norms_are_of_the_vectors_looked_up() -> None:
    module, params = made()
    _, sown = jax.jit(functools.partial(module.apply, mutable=["losses"]))(params, query(ROWS, T), ALL)
    item, past, bias = (
        (np.asarray(params["params"][name]["embedding"]) ** 2).sum(axis=1) for name in ("item", "past", "item_bias")
    )
    expected = [past[row].mean() if row else 0.0 for row in ROWS]
    np.testing.assert_allclose(sown["losses"]["l2_user"][0], expected, rtol=1e-5)
    np.testing.assert_allclose(sown["losses"]["l2_item"][0], (item + bias)[np.asarray(ALL)], rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": 1.5}, "--beta 1.5: expected a number from 0 to 1"),
        ({"attention": 0}, "--attention 0: at least 1"),
        ({"max_length": 0}, "--max-length 0: at least 1"),
    ],
)
def test_options_that_cannot_be_meant(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(**changes)
