"""HSTU against a loop in plain numpy, with its biases by place and by time."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.models.hstu import HSTU, HSTUConfig, bucket
from tests.models.sequences import compiled, dense, drawn, norm, query

N_ITEMS, T, D = 7, 36, 6  # longer than a block of attention
CONFIG = HSTUConfig(width=D, blocks=2, heads=2, dropout=0.3, max_length=T)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def by_loops(params: Any, row: list[int], times: list[int], config: HSTUConfig) -> np.ndarray:
    """The states of one history, a position and a head at a time."""
    p = params["params"]
    embed, place = (np.asarray(p["embed"][name]["embedding"]) for name in ("item", "position"))
    x = [math.sqrt(D) * embed[item] + place[t] for t, item in enumerate(row)]
    for block in range(config.blocks):
        of = p[f"layers_{block}"]
        parts = [silu(dense(norm(v, {}, 1e-6), of["parts"])) for v in x]
        u, v, q, k = ([part[i * D : (i + 1) * D] for part in parts] for i in range(4))
        after = []
        for t in range(len(row)):
            heads = []
            for head in range(2):
                part, total = slice(3 * head, 3 * head + 3), np.zeros(3)
                for s in range(t + 1):
                    score = float(q[t][part] @ k[s][part])
                    if config.position_bias:
                        score += float(of["by_distance"][t - s, head])
                    if config.time_bias and times[t] and times[s]:
                        gap = max(1, abs(times[t] - times[s]))
                        score += float(of["by_time"][min(128, math.floor(math.log(gap) / 0.301)), head])
                    total += score / (1 + math.exp(-score)) / T * v[s][part]
                heads.append(total)
            after.append(x[t] + dense(norm(np.concatenate(heads), {}, 1e-6) * u[t], of["out"]))
        x = after
    return np.stack(x)


@pytest.mark.parametrize("position_bias", [True, False])
@pytest.mark.parametrize("time_bias", [True, False])
def test_states_are_the_loop_s(position_bias: bool, time_bias: bool) -> None:
    module = HSTU(dataclasses.replace(CONFIG, position_bias=position_bias, time_bias=time_bias), 3, N_ITEMS)
    params = drawn(module)
    rows, times = [[3, 1, 4, 1, 5], 4 * [6, 2, 6, 5, 3, 5, 0, 1, 2]], [[5, 5, 90, 4000, 10**6], list(range(0, 324, 9))]
    states = compiled(module, "states")(params, query(rows, T, times))
    for row, when, found in zip(rows, times, np.asarray(states)):
        np.testing.assert_allclose(found[: len(row)], by_loops(params, row, when, module.config), rtol=2e-4, atol=2e-5)


def test_the_buckets_of_time() -> None:
    found = bucket(jnp.array([0, 1, -1, 2, 60, -86400, 2**31 - 1]))
    assert found.tolist() == [0, 0, 0, 2, 13, 37, 71]
