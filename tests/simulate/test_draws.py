"""Numbers out of words: their distributions, by counting and by scipy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rec_jax.simulate.draws import LARGEST, digits, distinct, normal, uniform, words_of

N = 200_000


def words(seed: int, *shape: int) -> jax.Array:
    return jax.random.bits(jax.random.key(seed), shape, jnp.uint32)


def test_uniform_stays_inside_and_normal_is_finite_at_the_ends() -> None:
    ends = jnp.array([0, 2**32 - 1], jnp.uint32)
    low, high = np.asarray(uniform(ends))
    assert 0 < low < 1e-6
    assert 1 - 1e-6 < high < 1
    z = np.asarray(normal(ends))
    assert (np.abs(z) < LARGEST).all()
    assert z[0] == pytest.approx(-z[1], rel=1e-3)


def test_uniform_and_normal_follow_their_distributions() -> None:
    assert stats.kstest(np.asarray(uniform(words(0, N)), np.float64), "uniform").pvalue > 0.01
    assert stats.kstest(np.asarray(normal(words(1, N)), np.float64), "norm").pvalue > 0.01


@pytest.mark.parametrize(("base", "count"), [(20, 10), (2, 3), (1000, 4), (7, 1)])
def test_digits_are_even_and_independent(base: int, count: int) -> None:
    width = words_of(count, base)
    found = np.asarray(digits(words(base, N, width), base, count))
    assert found.shape == (N, count)
    for column in found.T:
        assert stats.chisquare(np.bincount(column, minlength=base)).pvalue > 1e-4
    if count > 1 and base <= 20:
        pairs = np.bincount(found[:, 0] * base + found[:, 1], minlength=base**2)
        assert stats.chisquare(pairs).pvalue > 1e-4


def test_digits_are_those_of_the_word_and_leave_enough_of_it() -> None:
    word = 20**3 * 7 + 20**2 * 1 + 20 * 19 + 4
    assert np.asarray(digits(jnp.array([[word]], jnp.uint32), 20, 4)).tolist() == [[4, 19, 1, 7]]
    # Four such digits leave 2^32 / 20^3 values for the last: it is even to 1 in 10,000, a fifth would not be.
    assert words_of(10, 20) == 3


@pytest.mark.parametrize(("k", "among"), [(1, 4), (2, 4), (3, 4), (4, 4)])
def test_every_ordered_choice_is_as_likely(k: int, among: int) -> None:
    found = np.asarray(distinct(words(k, N, k), among))
    assert all(len(set(row)) == k for row in found[:1000].tolist())
    counts = [np.all(found == order, axis=1).sum() for order in itertools.permutations(range(among), k)]
    assert sum(counts) == N
    assert stats.chisquare(counts).pvalue > 1e-3
