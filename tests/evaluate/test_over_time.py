"""Diversity and novelty over time against their definitions in plain Python."""

import math
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.evaluate.over_time import diversity, mean_over_time, novelty

LAST, CATEGORIES = 4, 3
LISTS = np.random.default_rng(0).integers(0, CATEGORIES, (9, 5))


def test_diversity_is_the_entropy_of_the_last_documents() -> None:
    found = np.asarray(diversity(jnp.asarray(LISTS), CATEGORIES, LAST))
    for user in range(LISTS.shape[1]):
        for t in range(len(LISTS)):
            window = LISTS[max(0, t + 1 - LAST) : t + 1, user].tolist()
            entropy = -sum(c / len(window) * math.log(c / len(window)) for c in Counter(window).values())
            assert found[t, user] == pytest.approx(entropy / math.log(CATEGORIES), abs=1e-6)


def test_novelty_is_the_share_of_earlier_documents_of_other_categories() -> None:
    found = np.asarray(novelty(jnp.asarray(LISTS), CATEGORIES))
    for user in range(LISTS.shape[1]):
        for t in range(len(LISTS)):
            earlier = LISTS[:t, user].tolist()
            wanted = 1 - earlier.count(LISTS[t, user]) / t if t else 1.0
            assert found[t, user] == pytest.approx(wanted, abs=1e-6)


def test_the_same_again_and_again_is_neither_and_in_turn_is_all() -> None:
    same, turns = jnp.zeros((6, 1), jnp.int32), (jnp.arange(6) % 2)[:, None]
    assert np.asarray(diversity(same, 2, 2)).tolist() == [[0.0]] * 6
    assert np.asarray(novelty(same, 2))[1:].tolist() == [[0.0]] * 5
    np.testing.assert_allclose(diversity(turns, 2, 2)[1:], 1, rtol=1e-6)


def test_only_sessions_that_go_on_count() -> None:
    values, live = (
        jnp.array([[1.0, 3.0], [2.0, 9.0], [7.0, 9.0]]),
        jnp.array([[True, True], [True, False], [False] * 2]),
    )
    found = np.asarray(mean_over_time(values, live))
    assert found[:2].tolist() == [2.0, 2.0]
    assert np.isnan(found[2])


def test_nothing_to_be_diverse_in_is_refused() -> None:
    with pytest.raises(InputError, match="categories 1, last 4"):
        diversity(jnp.zeros((3, 1), jnp.int32), 1, 4)
    with pytest.raises(InputError, match="categories 1"):
        novelty(jnp.zeros((3, 1), jnp.int32), 1)
