"""Objectives over events for models that read: each event's history, against the log itself."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.data.interactions import Interactions
from rec_jax.models.base import Query
from rec_jax.models.mf import MF, MFConfig
from rec_jax.models.nais import NAIS, NAISConfig
from rec_jax.objectives.base import Recommender, TrainData, before
from rec_jax.objectives.pairwise import Pairwise, pairwise
from rec_jax.objectives.pointwise import Pointwise, pointwise

N_USERS, N_ITEMS, T = 12, 9, 4


def log() -> Interactions:
    """Users of 0 to 11 events, some of the same item, one minute apart."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(N_USERS), np.arange(N_USERS)).astype(np.int32)
    item = rng.integers(0, N_ITEMS, len(user)).astype(np.int32)
    return Interactions(user, item, np.ones(len(user), np.float32), 60 * np.arange(1, len(user) + 1, dtype=np.int64))


LOG = log()
DATA = TrainData.of(LOG, N_USERS, N_ITEMS)


def built(objective: Any = pointwise, **options: Any) -> Recommender:
    config = (Pointwise if objective is pointwise else Pairwise)(**options)
    return objective(NAIS(NAISConfig(3, 2, max_length=T), N_USERS, N_ITEMS), config, DATA, 16)


def expected(place: int) -> tuple[list[int], list[int]]:
    """(items, times) of the four events of the user before the one at `place`, going back one at a time."""
    items, times, at = [], [], place - 1
    while at >= 0 and LOG.user[at] == LOG.user[place] and len(items) < T:
        items, times, at = [int(LOG.item[at]), *items], [int(LOG.time[at]), *times], at - 1
    return items + [-1] * (T - len(items)), times + [0] * (T - len(times))


def test_before_every_event() -> None:
    items, times = jax.jit(before, static_argnums=3)(DATA, DATA.user, jnp.arange(len(LOG)), T)
    assert list(zip(items.tolist(), times.tolist())) == [expected(place) for place in range(len(LOG))]


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_batch_brings_what_was_before_its_events(shuffled: bool) -> None:
    """Found in the log by user and item: over an epoch each event comes once, with the events before it alone."""
    recommender = built(negatives=2, shuffled=shuffled)
    assert recommender.reads == T
    seen, draw = [], jax.jit(recommender.batch)
    for step in range(recommender.steps_per_epoch):
        batch = draw(DATA, jax.random.key(1), jnp.int32(0), jnp.int32(step))
        own = np.asarray(batch.weight) > 0
        if shuffled:
            own &= np.asarray(batch.label) == 1
        columns = (batch.user[own], batch.items[own, 0], batch.history[own], batch.times[own])
        seen += list(zip(*(np.asarray(column).tolist() for column in columns)))
        assert all((t > 0) == (i >= 0) for i, t in zip(batch.history.ravel().tolist(), batch.times.ravel().tolist()))
    places = range(len(LOG))
    assert sorted(seen) == sorted((int(LOG.user[p]), int(LOG.item[p]), *expected(p)) for p in places)


def test_an_event_and_what_follows_it_have_no_say() -> None:
    """All of a user's events from one on become another item: what is read before it stays, and changes after it."""
    place = 60  # of user 11, the last, who has events before it and after it
    changed = DATA.replace(item=jnp.where(jnp.arange(len(LOG)) >= place, (DATA.item + 1) % N_ITEMS, DATA.item))
    one, other = (np.asarray(before(of, of.user, jnp.arange(len(LOG)), T)[0]) for of in (DATA, changed))
    np.testing.assert_array_equal(one[: place + 1], other[: place + 1])
    assert (one[place + 1 :] != other[place + 1 :]).any(axis=1).all()


@pytest.mark.parametrize("objective", [pointwise, pairwise])
def test_the_loss_is_of_the_scores_after_that_history(objective: Any) -> None:
    """The negatives of an event are scored with its own history too."""
    recommender = built(objective, negatives=2 if objective is pointwise else 1)
    params, extra = jax.jit(recommender.init)(jax.random.key(0), DATA)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), params)
    batch = jax.jit(recommender.batch)(DATA, jax.random.key(1), jnp.int32(0), jnp.int32(0))
    cache = recommender.prepare(params, extra)
    query = Query(batch.user, None, batch.history, batch.times)
    scores = np.asarray(jax.jit(recommender.scores)(cache, query), np.float64)
    np.testing.assert_allclose(
        jax.jit(recommender.score_candidates)(cache, query, batch.items),
        np.take_along_axis(scores, np.asarray(batch.items), axis=1),
        rtol=1e-5,
        atol=1e-6,
    )
    values = []
    for row, items in zip(scores, np.asarray(batch.items).tolist()):
        own, *others = (float(row[item]) for item in items)
        if objective is pairwise:
            values.append(math.log1p(math.exp(others[0] - own)))
        else:
            values.append((math.log1p(math.exp(-own)) + sum(math.log1p(math.exp(x)) for x in others)) / 3)
    found, _ = jax.jit(recommender.loss)(params, extra, batch, jax.random.key(0), jnp.int32(0))
    assert float(found) == pytest.approx(sum(values) / len(values), rel=1e-4)


def test_a_model_that_does_not_read_is_brought_nothing() -> None:
    recommender = pointwise(MF(MFConfig(2), N_USERS, N_ITEMS), Pointwise(), DATA, 16)
    batch = jax.eval_shape(recommender.batch, DATA, jax.random.key(1), jnp.int32(0), jnp.int32(0))
    assert recommender.reads == 0
    assert batch.history is None
    assert batch.times is None
