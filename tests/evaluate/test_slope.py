"""SLOPE against the rule in plain Python, and where the bias is known."""

import math

import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.evaluate.slope import slope

T_30 = 1.6991270265334972  # Student's 95 % quantile of 29 degrees, from a table


def by_hand(candidates: list[list[float]]) -> int:
    mean = [sum(of) / len(of) for of in candidates]
    sd = [math.sqrt(sum((x - m) ** 2 for x in of) / (len(of) - 1)) for of, m in zip(candidates, mean)]
    width = [T_30 * s / math.sqrt(30) for s in sd]
    order = sorted(range(len(candidates)), key=lambda i: -width[i])
    taken = order[:1]
    for i in order[1:]:
        if any(abs(mean[i] - mean[j]) > width[i] + (math.sqrt(6) - 1) * width[j] for j in taken):
            break
        taken.append(i)
    return taken[-1]


def test_the_choice_is_the_rule_s() -> None:
    rng, chosen = np.random.default_rng(0), set()
    for _ in range(200):
        sds = rng.permutation([0.1, 0.3, 1.0, 3.0])
        candidates = [rng.normal(rng.normal(0, 0.5), sd, 30) for sd in sds]
        assert slope(candidates) == by_hand([of.tolist() for of in candidates])
        chosen.add(sorted(sds)[::-1].index(sds[slope(candidates)]))
    assert chosen == {0, 1, 2, 3}


def test_less_variance_is_taken_until_the_bias_shows() -> None:
    rng, n = np.random.default_rng(1), 4000
    noisy, calm, biased = rng.normal(1, 20, n), rng.normal(1, 5, n), rng.normal(3, 1, n)
    assert slope([biased, calm, noisy]) == 1
    assert slope([calm - 2 + 2, noisy]) == 0
    with pytest.raises(InputError, match="expected candidates"):
        slope([])
    with pytest.raises(InputError, match="at least two rounds"):
        slope([np.ones(1)])
    for level in (0.0, 0.5, float("nan")):
        with pytest.raises(InputError, match=f"level {level}"):
            slope([calm, noisy], level)
    with pytest.raises(InputError, match="NaN or infinite"):
        slope([np.array([1.0, 2.0]), np.array([np.nan, 1.0])])
