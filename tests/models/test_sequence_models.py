"""Every model of sequences: the future and the padding have no say, and an event more equals reading all again."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.models.sequence import SequenceModel
from rec_jax.registry import MODELS, OBJECTIVES, experiment
from tests.models.sequences import compiled, drawn, query

N_ITEMS, T = 11, 40  # longer than a block of attention
ROWS = [name for name, row in MODELS.items() if issubclass(row.module, SequenceModel)]  # type: ignore[arg-type]
CAUSAL = [name for name in ROWS if name != "bert4rec"]
STREAMED = [name for name in CAUSAL if hasattr(MODELS[name].module, "observe")]
ROW = np.random.default_rng(3).integers(0, N_ITEMS, T).tolist()


@functools.cache
def made(name: str, **changes: Any) -> tuple[SequenceModel, Any]:
    of = dataclasses.replace(experiment(name).architecture, max_length=T, width=8, **changes)
    module = MODELS[name].module(of, 3, N_ITEMS)
    return module, drawn(module)  # type: ignore[arg-type, return-value]


def untrained(name: str, **changes: Any) -> tuple[Any, Any]:
    """The same with standard normal parameters, without compiling the draw of the first ones."""
    of = dataclasses.replace(experiment(name).architecture, max_length=T, width=8, **changes)
    module = MODELS[name].module(of, 3, N_ITEMS)
    asked = query([ROW[:2]], 2)
    shapes: Any = jax.eval_shape(
        lambda key: module.init(key, method=lambda m: (m.states(asked), m.item_vectors())), jax.random.key(0)
    )
    rng = np.random.default_rng(0)
    return module, jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), shapes)


def test_the_rows_are_those_of_objectives_over_sequences() -> None:
    assert {name for name, row in MODELS.items() if OBJECTIVES[row.objective].sequences} >= set(ROWS) > {"sasrec"}


@pytest.mark.parametrize("name", CAUSAL)
def test_the_future_has_no_say(name: str) -> None:
    module, params = made(name)
    states = compiled(module, "states")
    for now in (12, 36):
        changed = [*ROW[:now], *[(item + 3) % N_ITEMS for item in ROW[now:]]]
        one, other = (states(params, query([row], T)) for row in (ROW, changed))
        np.testing.assert_allclose(one[:, :now], other[:, :now], rtol=1e-5, atol=1e-6)
        assert np.abs(one[:, now] - other[:, now]).max() > 1e-3


@pytest.mark.parametrize("name", ROWS)
def test_the_padding_has_no_say(name: str) -> None:
    module, params = made(name)
    last = compiled(module, "last")
    for row in (ROW[:5], ROW[:1], ROW):
        long, short = (last(params, query([row], width)) for width in (64, len(row)))
        np.testing.assert_allclose(long, short, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ROWS)
def test_of_a_long_history_the_last_events_are_read(name: str) -> None:
    module, params = made(name)
    read = T - 1 if name == "bert4rec" else T
    last = compiled(module, "last")
    long, short = (last(params, query([row], 64)) for row in (ROW[:8] + ROW, ROW[-read:]))
    np.testing.assert_allclose(long, short, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ROWS)
def test_items_have_vectors_of_their_own_where_they_are_not_tied(name: str) -> None:
    """BERT4Rec's and Caser's have a bias behind them."""
    for tied in (True, False):
        module, params = untrained(name, tied=tied)
        inner = params["params"].get("embed", params["params"])
        read = inner["item"]["embedding"][:N_ITEMS]
        scored = read if tied else params["params"]["output"]["embedding"]
        assert ("output" in params["params"]) != tied
        found = module.apply(params, method="item_vectors")
        np.testing.assert_array_equal(found[:, :8], scored)
        assert tied or np.abs(found[:, :8] - read).max() > 0.1


@pytest.mark.parametrize("name", STREAMED)
def test_an_event_more_is_what_reading_all_again_gives(name: str) -> None:
    module, params = made(name, **({"time_bias": True} if name == "hstu" else {}))
    times = np.cumsum(np.random.default_rng(5).integers(1, 10**6, T)).tolist()
    observe, last = compiled(module, "observe"), compiled(module, "last")
    memory = module.apply(params, 1, method="begin")
    for t, item in enumerate(ROW):
        one = query([[item]], 1, [[times[t]]])
        memory, state = observe(params, memory, one, jnp.int32(t))
        again = last(params, query([ROW[: t + 1]], T, [times[: t + 1]]))
        np.testing.assert_allclose(state, again, rtol=2e-4, atol=2e-5)
