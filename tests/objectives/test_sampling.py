"""The order of an epoch and the negatives: enumerated, and tested for evenness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rec_jax.objectives.base import TrainData
from rec_jax.objectives.sampling import _scaled, below, permuted, true_negatives, uniform_negatives
from tests.helpers import small_dataset


@pytest.mark.parametrize("n", [1, 2, 3, 10, 97, 1000, 4097])
def test_permuted_is_a_permutation(n: int) -> None:
    out = np.asarray(permuted(jax.random.key(3), jnp.arange(n), n))
    assert sorted(out.tolist()) == list(range(n))


def test_every_place_is_equally_likely() -> None:
    """Where element 0..11 stands, and which element follows which, over 6,000 keys: chi-square at 1e-4."""
    n, keys = 12, jax.random.split(jax.random.key(0), 6000)
    orders = np.asarray(jax.vmap(lambda key: permuted(key, jnp.arange(n), n))(keys))
    places = np.stack([np.bincount(orders[:, place], minlength=n) for place in range(n)])
    assert stats.chisquare(places.ravel()).pvalue > 1e-4
    follows = np.zeros((n, n))
    np.add.at(follows, (orders[:, :-1].ravel(), orders[:, 1:].ravel()), 1)
    assert stats.chisquare(follows[~np.eye(n, dtype=bool)]).pvalue > 1e-4


def test_large_permutation_is_uncorrelated_with_its_input_and_the_next() -> None:
    n = 20_000
    a, b = (np.asarray(permuted(jax.random.key(k), jnp.arange(n), n)) for k in (1, 2))
    for x, y in ((np.arange(n), a), (a, b), (a[:-1], a[1:])):
        assert abs(np.corrcoef(x, y)[0, 1]) < 4 / n**0.5


def test_uniform_negatives_are_uniform() -> None:
    drawn = np.asarray(uniform_negatives(jax.random.key(5), 3000, 4, 17))
    assert drawn.shape == (3000, 4)
    assert stats.chisquare(np.bincount(drawn.ravel(), minlength=17)).pvalue > 1e-4


def test_true_negatives_are_uniform_over_what_is_not_positive() -> None:
    data = small_dataset()
    train = TrainData.of(data.interactions, data.n_users, data.n_items)
    positives = [set(data.interactions.item[data.interactions.user == u].tolist()) for u in range(data.n_users)]
    for user in (0, 7, 29):
        users = jnp.full(4000, user)
        key = jax.random.key(user)
        drawn = np.asarray(true_negatives(key, users, 3, data.n_items, train.positives, train.positives_start))
        counts = np.bincount(drawn.ravel(), minlength=data.n_items)
        free = sorted(set(range(data.n_items)) - positives[user])
        assert set(np.flatnonzero(counts)) == set(free)
        assert stats.chisquare(counts[free]).pvalue > 1e-4


def test_true_negatives_with_one_item_left_and_with_no_positive() -> None:
    positives, start = jnp.array([0, 1, 3, 4], jnp.int32), jnp.array([0, 4, 4], jnp.int32)
    drawn = true_negatives(jax.random.key(0), jnp.array([0, 1]), 200, 5, positives, start)
    assert set(np.asarray(drawn[0]).tolist()) == {2}
    assert set(np.asarray(drawn[1]).tolist()) == set(range(5))


@pytest.mark.parametrize("n", [2, 7, 3706, 65_536, 100_003])
def test_numbers_below_n_are_uniform_within_a_key_and_between_keys(n: int) -> None:
    keys = jax.random.split(jax.random.key(9), 400)
    drawn = np.asarray(jax.vmap(lambda key: below(key, (50, 4), n))(keys)).reshape(400, 200)
    assert drawn.min() >= 0
    assert drawn.max() < n
    bins = min(n, 50)
    for values in (drawn.ravel(), drawn[:, 0], drawn[:, -1]):
        expected = np.bincount(np.arange(n) * bins // n, minlength=bins) * len(values) / n
        assert stats.chisquare(np.bincount(values * bins // n, minlength=bins), expected).pvalue > 1e-4
    if n > 100:
        for x, y in ((drawn[:, :-1], drawn[:, 1:]), (drawn[:-1], drawn[1:]), (drawn, np.arange(200)[None] + 0 * drawn)):
            assert abs(np.corrcoef(x.ravel(), y.ravel())[0, 1]) < 4 / x.size**0.5


def test_scaled_is_the_upper_half_of_the_product() -> None:
    rng = np.random.default_rng(0)
    x = np.append(rng.integers(0, 2**32, 1000), [0, 2**32 - 1]).astype(np.uint32)
    for n in (1, 3706, 65_535, 65_536, 2**31 - 1, 2**32 - 1):
        expected = [int(a) * n >> 32 for a in x]
        assert np.asarray(_scaled(jnp.asarray(x), jnp.uint32(n))).tolist() == expected
