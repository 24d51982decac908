"""What a pointwise objective offers beside the plain loss: against the formulas in plain Python, and by enumeration."""

import collections
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.models.mf import MF, MFConfig
from rec_jax.objectives.base import Batch, TrainData
from rec_jax.objectives.pairwise import Pairwise, pairwise
from rec_jax.objectives.pointwise import Pointwise, pointwise
from rec_jax.objectives.rating import Rating, rating
from tests.helpers import N_ITEMS, N_USERS, small_dataset


@pytest.fixture
def data() -> TrainData:
    log = small_dataset()
    return TrainData.of(log.interactions, log.n_users, log.n_items)


def made(data: TrainData, **options: Any) -> Any:
    return pointwise(MF(MFConfig(4, biases=False, init_sd=0.5), N_USERS, N_ITEMS), Pointwise(**options), data, 16)


BATCH = Batch(jnp.array([3, 8]), jnp.array([[1, 2, 5], [0, 9, 4]]), jnp.array([2.0, 5.0]), jnp.ones(2))


def value(recommender: Any, params: Any, extra: Any, batch: Batch = BATCH) -> float:
    return float(recommender.loss(params, extra, batch, jax.random.key(0), jnp.int32(0))[0])


@pytest.mark.parametrize("error", ["cross-entropy", "squared"])
@pytest.mark.parametrize("graded", [True, False])
def test_the_loss_by_hand(data: TrainData, error: Any, graded: bool) -> None:
    recommender = made(data, negatives=2, error=error, graded=graded)
    params, extra = jax.jit(recommender.init)(jax.random.key(0), data)
    p, q = (np.asarray(params[name]["embedding"], np.float64) for name in ("user", "item"))
    total = 0.0
    for u, row, r in zip([3, 8], BATCH.items.tolist(), [2.0, 5.0]):
        for place, i in enumerate(row):
            x, y = float(p[u] @ q[i]), (r / 5 if graded else 1.0) if place == 0 else 0.0
            sigma = 1 / (1 + math.exp(-x))
            total += (x - y) ** 2 if error == "squared" else -y * math.log(sigma) - (1 - y) * math.log(1 - sigma)
    assert value(recommender, params, extra) == pytest.approx(total / 6, rel=1e-5)


@pytest.mark.parametrize("frequency", [0.0, 0.5, 1.0])
def test_a_penalty_by_frequency_by_hand(data: TrainData, frequency: float) -> None:
    """Over an epoch a row's penalty is l2 |row|^2 count^frequency, but for a constant that all rows share."""
    plain, penalised = (made(data, negatives=2, l2=l2, frequency=frequency) for l2 in (0.0, 0.1))
    params, extra = penalised.init(jax.random.key(0), data)
    p, q = (np.asarray(params[name]["embedding"], np.float64) for name in ("user", "item"))
    users = np.bincount(data.user, minlength=N_USERS) * 3.0
    items = np.bincount(data.item, minlength=N_ITEMS) + len(data.item) * 2 / N_ITEMS
    w, v = ((count / count.mean()) ** (frequency - 1) for count in (users, items))
    expected = 0.0
    for u, row in zip([3, 8], BATCH.items.tolist()):
        expected += sum(0.1 * (w[u] * (p[u] @ p[u]) + v[i] * (q[i] @ q[i])) for i in row) / 6
    assert value(penalised, params, extra) - value(plain, params, extra) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("frequency", [0.0, 0.5])
def test_the_exponent_counts_what_is_drawn_where_users_are_drawn_evenly(data: TrainData, frequency: float) -> None:
    """Per row, penalty times lookups is count^frequency, with the counts of an epoch of pairs drawn so."""
    module = MF(MFConfig(4, biases=False), N_USERS, N_ITEMS)
    recommender = pairwise(module, Pairwise(even_users=True, l2=0.1, frequency=frequency), data, 16)
    rarity = recommender.init(jax.random.key(0), data)[1]["rarity"]
    per_user = collections.Counter(data.user.tolist())
    users, items = dict.fromkeys(range(N_USERS), 0.0), dict.fromkeys(range(N_ITEMS), len(data.user) / N_ITEMS)
    for user, item in zip(data.user.tolist(), data.item.tolist()):
        share = len(data.user) / len(per_user) / per_user[user]
        users[user] += 2 * share  # the pair's positive and its negative
        items[item] += share
    for name, counts in (("user", users), ("item", items)):
        mean = sum(counts.values()) / len(counts)
        expected = [(max(counts[row], 1) / mean) ** (frequency - 1) for row in counts]
        np.testing.assert_allclose(rarity[name], expected, rtol=1e-4)


def test_ratings_take_the_same_exponent(data: TrainData) -> None:
    module = MF(MFConfig(4, biases=False, init_sd=0.5), N_USERS, N_ITEMS)
    even, plain = (rating(module, Rating(l2=0.1, frequency=f), data, 16) for f in (0.0, 1.0))
    batch = Batch(BATCH.user, BATCH.items[:, :1], BATCH.rating, BATCH.weight)
    found = {}
    for name, recommender in (("even", even), ("plain", plain)):
        params, extra = jax.jit(recommender.init)(jax.random.key(0), data)
        found[name] = value(recommender, params, extra, batch)
    assert found["even"] != pytest.approx(found["plain"], rel=1e-3)


@pytest.mark.parametrize("exclude", [True, False])
def test_shuffled_examples_are_each_positive_once_and_its_negatives(data: TrainData, exclude: bool) -> None:
    recommender = made(data, negatives=3, shuffled=True, exclude_positives=exclude)
    events = list(zip(np.asarray(data.user).tolist(), np.asarray(data.item).tolist()))
    assert recommender.steps_per_epoch == -(-4 * len(events) // 16)
    assert recommender.examples_per_epoch == 4 * len(events)
    draw, positives, negatives = jax.jit(recommender.batch), [], []
    mixed = 0
    for step in range(recommender.steps_per_epoch):
        batch = draw(data, jax.random.key(1), jnp.int32(0), jnp.int32(step))
        real = np.asarray(batch.weight) > 0
        pairs = list(zip(np.asarray(batch.user)[real].tolist(), np.asarray(batch.items)[real, 0].tolist()))
        label = np.asarray(batch.label)[real]
        mixed += 0 < label.sum() < len(label)
        positives += [pair for pair, y in zip(pairs, label) if y == 1]
        negatives += [pair for pair, y in zip(pairs, label) if y == 0]
    assert sorted(positives) == sorted(events)
    per_user = collections.Counter(user for user, _ in negatives)
    assert per_user == {user: 3 * count for user, count in collections.Counter(u for u, _ in events).items()}
    assert mixed > recommender.steps_per_epoch // 2
    assert bool(set(negatives) & set(events)) != exclude


def test_a_shuffled_negative_is_labelled_0(data: TrainData) -> None:
    recommender = made(data, negatives=1, shuffled=True)
    params, extra = jax.jit(recommender.init)(jax.random.key(0), data)
    p, q = (np.asarray(params[name]["embedding"], np.float64) for name in ("user", "item"))
    batch = Batch(jnp.array([3, 8]), jnp.array([[1], [9]]), jnp.ones(2), jnp.ones(2), jnp.array([1.0, 0.0]))
    x, y = float(p[3] @ q[1]), float(p[8] @ q[9])
    expected = (math.log1p(math.exp(-x)) + math.log1p(math.exp(y))) / 2
    assert value(recommender, params, extra, batch) == pytest.approx(expected, rel=1e-5)
