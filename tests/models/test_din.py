"""DIN against a loop in plain numpy: the three ways to score, the order of a history and its padding."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.models import base
from rec_jax.models.base import Query
from rec_jax.models.din import DIN, DINConfig
from tests.models.sequences import dense, normal, query

N_ITEMS, T, D = 8, 5, 3
CONFIG = DINConfig(width=D, attention_layers=(4,), layers=(5, 2), max_length=T)
ROWS = [[3, 1, 4, 1], [], [5], [2, 6, 5, 3, 7]]
ALL = jnp.tile(jnp.arange(N_ITEMS), (len(ROWS), 1))


def made(**changes: Any) -> tuple[DIN, Any]:
    module = DIN(dataclasses.replace(CONFIG, **changes), 1, N_ITEMS)
    return module, normal(module, query(ROWS, T), ALL)


def perceptron(x: np.ndarray, of: dict[str, Any], depth: int) -> float:
    for n in range(depth):
        x = dense(x, {"kernel": of[f"kernel_{n}"], "bias": of[f"bias_{n}"]})
        x = np.array([v if v > 0 else a * v for v, a in zip(x, of[f"slope_{n}"])])
    return float(dense(x, {"kernel": of[f"kernel_{depth}"], "bias": of[f"bias_{depth}"]})[0])


def by_loops(params: Any, row: list[int], item: int, config: DINConfig) -> float:
    """One score, an event at a time."""
    p = jax.tree.map(np.asarray, params["params"])
    table, pooled = p["item"]["embedding"], np.zeros(D)
    c = table[item]
    for event in row:
        e = table[event]
        pooled += perceptron(np.concatenate([e, c, e - c, e * c]), p["unit"], len(config.attention_layers)) * e
    return perceptron(np.concatenate([pooled, c]), p["above"], len(config.layers))


def full(module: DIN, params: Any, asked: Query) -> np.ndarray:
    @jax.jit
    def scores(params: Any, asked: Query) -> Any:
        return module.apply(params, module.apply(params, method="prepare"), asked, method="scores")

    return np.asarray(scores(params, asked))


@pytest.mark.parametrize("changes", [{}, {"attention_layers": (4, 3), "layers": (2,)}])
def test_every_way_to_score_is_the_loop_s(changes: dict[str, Any]) -> None:
    module, params = made(**changes)
    expected = [[by_loops(params, row, item, module.config) for item in range(N_ITEMS)] for row in ROWS]
    asked, cache = query(ROWS, T), module.apply(params, method="prepare")
    np.testing.assert_allclose(jax.jit(module.apply)(params, asked, ALL), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(full(module, params, asked), expected, rtol=1e-4, atol=1e-5)
    some = jnp.array([[1, 7, 1], [0, 2, 5], [6, 5, 4], [3, 3, 0]])
    of_some = jax.jit(functools.partial(module.apply, method="candidates"))
    candidates = of_some(params, cache, asked, some)
    np.testing.assert_allclose(candidates, np.take_along_axis(np.array(expected), some, 1), rtol=1e-4, atol=1e-5)


def test_groups_have_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does making the layers again for the gradient."""
    module, params = made()
    asked = query(ROWS, T)

    def found(group: int) -> Any:
        monkeypatch.setattr(base, "GROUP", group)
        return jax.jit(jax.value_and_grad(lambda p: (module.apply(p, asked, ALL) ** 2).sum()))(params)

    for one, other in zip(*(jax.tree.leaves(found(group)) for group in (2, 3)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_neither_order_nor_padding_has_a_say_and_the_last_events_are_read() -> None:
    module, params = made()
    found = full(module, params, query(ROWS, T))
    turned = full(module, params, query([row[::-1] for row in ROWS], 16))
    np.testing.assert_allclose(found, turned, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        full(module, params, query([[0, 1, 1, *ROWS[3]]], 8)), full(module, params, query([ROWS[3]], T)), rtol=1e-5
    )


def test_weights_are_not_normalised() -> None:
    """The same event twice is pooled to twice the vector, where a softmax would leave it as it is."""
    module, params = made()
    assert np.abs(full(module, params, query([[4]], T)) - full(module, params, query([[4, 4]], T))).max() > 1e-2


def test_squared_norms_are_of_the_vectors_looked_up() -> None:
    module, params = made()
    _, sown = jax.jit(functools.partial(module.apply, mutable=["losses"]))(params, query(ROWS, T), ALL)
    squared = (np.asarray(params["params"]["item"]["embedding"]) ** 2).sum(axis=1)
    expected = [squared[row].mean() if row else 0.0 for row in ROWS]
    np.testing.assert_allclose(sown["losses"]["l2_user"][0], expected, rtol=1e-5)
    np.testing.assert_allclose(sown["losses"]["l2_item"][0], squared[np.asarray(ALL)], rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_layers": ()}, r"--attention-layers \(\): expected at least one"),
        ({"layers": (8, 0)}, r"--layers \(8, 0\): expected at least one"),
        ({"max_length": 0}, "--max-length 0: at least 1"),
    ],
)
def test_options_that_cannot_be_meant(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(**changes)
