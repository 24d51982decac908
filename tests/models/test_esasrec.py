"""eSASRec against a loop in plain numpy, with either normalisation."""

import dataclasses
import math
from typing import Any, Literal

import numpy as np
import pytest

from rec_jax.models.esasrec import ESASRec, ESASRecConfig
from tests.models.sequences import dense, drawn, norm, query

N_ITEMS, T, D = 7, 9, 6
CONFIG = ESASRecConfig(width=D, blocks=2, heads=2, inner=3, dropout=0.3, max_length=T)
EPSILON = 1e-5


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def by_loops(params: Any, row: list[int], pre: bool) -> np.ndarray:
    """The states of one history, a position and a head at a time."""
    p = params["params"]
    embed, place = (np.asarray(p["embed"][name]["embedding"]) for name in ("item", "position"))
    x = [math.sqrt(D) * embed[item] + place[t] for t, item in enumerate(row)]

    def before(v: np.ndarray, of: Any) -> np.ndarray:
        return norm(v, of, EPSILON) if pre else v

    def after_sum(v: np.ndarray, of: Any) -> np.ndarray:
        return v if pre else norm(v, of, EPSILON)

    for block in range(CONFIG.blocks):
        of = p[f"layers_{block}"]
        asked = [before(v, of["norms_0"]) for v in x]
        q, k, v = ([dense(a, of["attention"][name]) for a in asked] for name in ("query", "key", "value"))
        after = []
        for t in range(len(row)):
            heads = []
            for part in (slice(0, 3), slice(3, 6)):
                raised = [math.exp(float(q[t][part] @ k[s][part]) / math.sqrt(3)) for s in range(t + 1)]
                heads.append(sum(w / sum(raised) * v[s][part] for s, w in enumerate(raised)))
            found = dense(np.concatenate(heads), of["attention"]["out"])
            middle = after_sum(x[t] + sigmoid(dense(x[t], of["gates_0"])) * found, of["norms_0"])
            both = dense(before(middle, of["norms_1"]), of["feed"]["Dense_0"])
            inner = both[:18] * sigmoid(both[:18]) * both[18:]
            fed = middle + sigmoid(dense(middle, of["gates_1"])) * dense(inner, of["feed"]["Dense_1"])
            after.append(after_sum(fed, of["norms_1"]))
        x = after
    return np.stack([norm(v, p["norm"], EPSILON) for v in x] if pre else x)


@pytest.mark.parametrize("place", ["pre", "post"])
def test_states_are_the_loop_s(place: Literal["pre", "post"]) -> None:
    module = ESASRec(dataclasses.replace(CONFIG, norm=place), 3, N_ITEMS)
    params = drawn(module)
    rows = [[3, 1, 4, 1, 5], [6, 2, 6, 5, 3, 5, 0, 1, 2]]
    states = module.apply(params, query(rows, T), method="states")
    for row, found in zip(rows, np.asarray(states)):
        np.testing.assert_allclose(found[: len(row)], by_loops(params, row, place == "pre"), rtol=2e-4, atol=2e-5)
