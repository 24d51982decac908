"""BERT4Rec against a loop in plain numpy: both directions, the mask after the history, the items' biases, fields."""

import dataclasses
import math
from typing import Any, Literal

import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.models.bert4rec import BERT4Rec, BERT4RecConfig
from tests.models.sequences import dense, drawn, norm, query

N_ITEMS, T, D = 7, 9, 6
CONFIG = BERT4RecConfig(width=D, blocks=2, heads=2, inner=2, dropout=0.3, max_length=T)
EPSILON = 1e-12


def gelu(x: np.ndarray) -> np.ndarray:
    return np.array([v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x])


def by_loops(params: Any, row: list[int], config: BERT4RecConfig = CONFIG) -> np.ndarray:
    """The states of one history, a position and a head at a time."""
    p, pre, first = params["params"], config.norm == "pre", T - len(row) if config.positions == "last" else 0

    def before(v: np.ndarray, of: Any) -> np.ndarray:
        return norm(v, of, EPSILON) if pre else v

    def after_sum(v: np.ndarray, of: Any) -> np.ndarray:
        return v if pre else norm(v, of, EPSILON)

    embed, place = (np.asarray(p["embed"][name]["embedding"]) for name in ("item", "position"))
    x = [norm(embed[item] + place[first + t], p["embed_norm"], EPSILON) for t, item in enumerate(row)]
    for block in range(CONFIG.blocks):
        of = p[f"layers_{block}"]
        asked = [before(a, of["attention_norm"]) for a in x]
        q, k, v = ([dense(a, of["attention"][name]) for a in asked] for name in ("query", "key", "value"))
        after = []
        for t in range(len(row)):
            heads = []
            for part in (slice(0, 3), slice(3, 6)):
                raised = [math.exp(float(q[t][part] @ key[part]) / math.sqrt(3)) for key in k]
                heads.append(sum(w / sum(raised) * value[part] for w, value in zip(raised, v)))
            found = dense(np.concatenate(heads), of["attention"]["out"])
            middle = after_sum(x[t] + found, of["attention_norm"])
            fed = dense(gelu(dense(before(middle, of["feed_norm"]), of["feed"]["Dense_0"])), of["feed"]["Dense_1"])
            after.append(after_sum(middle + fed, of["feed_norm"]))
        x = after
    x = [norm(v, p["last_norm"], EPSILON) for v in x] if pre else x
    return np.stack([np.append(norm(gelu(dense(v, p["transform"])), p["norm"], EPSILON), 1) for v in x])


@pytest.mark.parametrize(("place", "positions"), [("post", "first"), ("pre", "first"), ("post", "last")])
def test_states_are_the_loop_s_and_the_last_is_that_of_a_mask(
    place: Literal["pre", "post"], positions: Literal["first", "last"]
) -> None:
    config = dataclasses.replace(CONFIG, norm=place, positions=positions)
    module = BERT4Rec(config, 3, N_ITEMS)
    params = drawn(module)
    rows = [[3, 1, 4, 1, 5], [6, 2, 6, 5, 3, 5, 0, 1, 2]]
    states = module.apply(params, query(rows, T), method="states")
    for row, found in zip(rows, np.asarray(states)):
        np.testing.assert_allclose(found[: len(row)], by_loops(params, row, config), rtol=2e-4, atol=2e-5)
    last = module.apply(params, query(rows, 12), method="last")
    for row, found in zip(rows, np.asarray(last)):
        np.testing.assert_allclose(found, by_loops(params, [*row[-T + 1 :], N_ITEMS], config)[-1], rtol=2e-4, atol=2e-5)


def test_scores_are_products_with_the_input_s_items_plus_their_biases() -> None:
    module = BERT4Rec(CONFIG, 3, N_ITEMS)
    params = drawn(module)
    vectors = module.apply(params, method="item_vectors")
    assert vectors.shape == (N_ITEMS, D + 1)
    np.testing.assert_array_equal(vectors[:, :D], params["params"]["embed"]["item"]["embedding"][:N_ITEMS])
    np.testing.assert_array_equal(vectors[:, D], params["params"]["bias"])


def test_one_position_would_hold_the_mask_alone() -> None:
    with pytest.raises(InputError, match="--max-length 1: expected at least 2"):
        drawn(BERT4Rec(dataclasses.replace(CONFIG, max_length=1), 3, N_ITEMS))
