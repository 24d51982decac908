"""SASRec against a loop in plain numpy; positions, normalisations, and scores as events come."""

import dataclasses
import functools
import math
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.models.sasrec import SASRec, SASRecConfig
from rec_jax.models.sequence import latest
from tests.models.sequences import compiled, dense, drawn
from tests.models.sequences import norm as normalised
from tests.models.sequences import query as histories

N_ITEMS, T = 11, 9
CONFIG = SASRecConfig(width=6, blocks=2, heads=2, dropout=0.3, max_length=T)


query = functools.partial(histories, width=T)
norm = functools.partial(normalised, epsilon=1e-8)


def made(**changes: Any) -> tuple[SASRec, Any]:
    module = SASRec(dataclasses.replace(CONFIG, **changes), 3, N_ITEMS)
    return module, drawn(module, T)


def by_loops(params: Any, row: list[int], config: SASRecConfig) -> np.ndarray:
    """The states of one history, a position and a head at a time."""
    p = params["params"]
    first = 0 if config.positions == "first" else T - len(row)
    embed, place = (np.asarray(p["embed"][name]["embedding"]) for name in ("item", "position"))
    x = [math.sqrt(6) * embed[item] + place[first + t] for t, item in enumerate(row)]
    for block in range(config.blocks):
        of = p[f"layers_{block}"]
        asked = x if config.norm == "post" else [norm(v, of["norms_0"]) for v in x]
        keys = x if config.norm == "original" else asked
        q, k, v = (
            [dense(vector, of["attention"][name]) for vector in source]
            for name, source in (("query", asked), ("key", keys), ("value", keys))
        )
        found = []
        for t in range(len(row)):
            heads = []
            for part in (slice(0, 3), slice(3, 6)):
                raised = [math.exp(float(q[t][part] @ k[s][part]) / math.sqrt(3)) for s in range(t + 1)]
                heads.append(sum(w / sum(raised) * v[s][part] for s, w in enumerate(raised)))
            found.append(np.concatenate(heads))
        if config.norm != "original":
            found = [dense(vector, of["attention"]["out"]) for vector in found]

        def feed(vector: np.ndarray, of: Any = of["feed"]) -> np.ndarray:
            return dense(np.maximum(dense(vector, of["Dense_0"]), 0), of["Dense_1"])

        if config.norm == "original":
            middle = [norm(a + f, of["norms_1"]) for a, f in zip(asked, found)]
            x = [m + feed(m) for m in middle]
        elif config.norm == "pre":
            middle = [a + f for a, f in zip(x, found)]
            x = [m + feed(norm(m, of["norms_1"])) for m in middle]
        else:
            middle = [norm(a + f, of["norms_0"]) for a, f in zip(x, found)]
            x = [norm(m + feed(m), of["norms_1"]) for m in middle]
    return np.stack(x if config.norm == "post" else [norm(v, p["norm"]) for v in x])


@pytest.mark.parametrize("norm", ["original", "pre", "post"])
@pytest.mark.parametrize("positions", ["first", "last"])
def test_states_are_the_loop_s(norm: Literal["original"], positions: Literal["first"]) -> None:
    module, params = made(norm=norm, positions=positions)
    rows = [[3, 1, 4, 1, 5], [9, 2, 6, 5, 3, 5, 8, 9, 7]]
    states = module.apply(params, query(rows), method="states")
    for row, found in zip(rows, np.asarray(states)):
        np.testing.assert_allclose(found[: len(row)], by_loops(params, row, module.config), rtol=2e-4, atol=2e-5)


def test_of_a_long_history_the_last_events_are_read() -> None:
    module, params = made(positions="last")
    row = np.random.default_rng(4).integers(0, N_ITEMS, 14).tolist()
    found = module.apply(params, query([row, row[:3]], width=16), method="last")
    short = module.apply(params, query([row[-T:], row[:3]]), method="last")
    np.testing.assert_allclose(found, short, rtol=1e-5, atol=1e-6)
    assert latest(query([row], width=16), 20).history.shape == (1, 16)


@pytest.mark.parametrize("norm", ["original", "pre", "post"])
def test_an_event_more_is_what_reading_all_again_gives(norm: Literal["original"]) -> None:
    module, params = made(norm=norm)
    row = [3, 1, 4, 1, 5, 9]
    memory = module.apply(params, 1, method="begin")
    observe, last = (compiled(module, of) for of in ("observe", "last"))
    for t, item in enumerate(row):
        memory, state = observe(params, memory, query([[item]], width=1), jnp.int32(t))
        again = last(params, query([row[: t + 1]]))
        np.testing.assert_allclose(state, again, rtol=1e-4, atol=1e-5)


def test_heads_must_share_the_width() -> None:
    with pytest.raises(InputError, match="--heads 4: --width 6 cannot be shared evenly"):
        made(heads=4)
