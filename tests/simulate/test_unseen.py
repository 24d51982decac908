"""Sessions in which nothing comes back, and what is drawn against its chances among what is left."""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError
from rec_jax.policies.fixed import random_slates
from rec_jax.simulate.draws import distinct_of_lines
from rec_jax.simulate.episodes import many_episodes
from rec_jax.simulate.unseen import Unseen
from tests.simulate.test_logged_users import ITEMS, USERS, WORLD

BUDGET = 10
SHORT = dataclasses.replace(WORLD, budget=BUDGET, patience=100.0)


def log() -> Interactions:
    """User u has u + 2 items, from item 3 u on."""
    user = np.repeat(np.arange(USERS), np.arange(USERS) + 2).astype(np.int32)
    place = np.concatenate([np.arange(u + 2) for u in range(USERS)])
    ones = np.ones(len(user))
    return Interactions(
        user, ((3 * user + place) % ITEMS).astype(np.int32), ones.astype(np.float32), ones.astype(np.int64)
    )


def test_nothing_comes_back() -> None:
    world, n = Unseen(SHORT, log()), 256
    step, state = jax.jit(world.step), jax.jit(world.reset, static_argnums=1)(jax.random.key(0), n)
    shown = jax.jit(lambda key, state: random_slates(None, key, world.observe(state), world.slate))
    had = [set(log().item[log().user == who].tolist()) for who in np.asarray(state.users.who)]
    own_step, clicks = jax.jit(SHORT.step), 0
    for t in range(BUDGET):
        items = np.asarray(state.users.items)
        for user in range(n):
            offered = set(items[user].tolist())
            assert len(offered) == world.candidates
            assert not offered & had[user]
        key = jax.random.key(10 + t)
        slates = shown(jax.random.key(100 + t), state)
        before = state
        state, response = step(key, state, slates)
        # All else is as the simulator has it.
        own, same = own_step(key, before.users, slates)
        jax.tree.map(np.testing.assert_array_equal, response, same)
        jax.tree.map(np.testing.assert_array_equal, state.users._replace(items=own.items), own)
        places = np.asarray(slates)
        for user, place in zip(*np.nonzero(np.asarray(response.clicked))):
            had[user].add(int(items[user, places[user, place]]))
            clicks += 1
    assert clicks > n
    # The line is that of what is left, whole: nothing was lost in between.
    left = np.array([[0 if i in of else world.weights[i] for i in range(ITEMS)] for of in had])
    np.testing.assert_array_equal(state.ends, left.cumsum(axis=1))


def test_candidates_are_drawn_by_the_simulator_s_chances_among_what_is_left() -> None:
    world, n = Unseen(SHORT, log()), 40_000
    users = jax.jit(world.reset, static_argnums=1)(jax.random.key(1), n).users
    first, who = np.asarray(users.items[:, 0]), np.asarray(users.who)
    for user in range(USERS):
        chances = np.where(world.had[user], 0, SHORT.chances)
        chances = chances / chances.sum()
        seen = np.bincount(first[who == user], minlength=ITEMS) / (who == user).sum()
        np.testing.assert_array_less(
            np.abs(seen - chances), 4.5 * np.sqrt(chances * (1 - chances) / (who == user).sum()) + 1e-9
        )


def test_rows_are_drawn_without_replacement_by_weights_of_their_own() -> None:
    """Every ordered pair of 5, counted, against the product of the two chances; what weighs 0 never."""
    weights, n = np.array([[5, 0, 3, 1, 1], [0, 1, 1, 0, 8]]), 50_000
    ends = jnp.asarray(np.repeat(weights, n, axis=0).cumsum(axis=1), jnp.int32)
    drawn = np.asarray(distinct_of_lines(jax.random.bits(jax.random.key(0), (2 * n, 2), jnp.uint32), ends))
    for row, of in enumerate(weights):
        chances, pairs = of / of.sum(), drawn[row * n : (row + 1) * n]
        for a in range(5):
            for b in range(5):
                p = 0.0 if a == b else chances[a] * chances[b] / (1 - chances[a])
                seen = ((pairs[:, 0] == a) & (pairs[:, 1] == b)).mean()
                assert seen == pytest.approx(p, abs=4.5 * math.sqrt(p * (1 - p) / n) + 1e-9)
    # All that is there, however the marks fall: the first and the last of the line too.
    words = jnp.asarray([[0, 0, 0], [2**32 - 1] * 3, [0, 2**32 - 1, 0]], jnp.uint32)
    found = distinct_of_lines(words, jnp.asarray([[0, 2**23 - 2, 2**23 - 1, 2**23 - 1, 2**23]] * 3, jnp.int32))
    np.testing.assert_array_equal(found, [[1, 2, 4], [4, 2, 1], [1, 4, 2]])


def test_popular_slates_please_less_where_what_was_had_is_not_offered() -> None:
    """Users have what they like best: without it they like less of what they are shown."""
    of = WORLD.fitted
    scores = of.user @ of.item.T + of.item_bias
    best = np.argsort(-scores, axis=1)[:, :8].astype(np.int32)
    user, ones = np.repeat(np.arange(USERS), 8).astype(np.int32), np.ones(8 * USERS)
    world = Unseen(SHORT, Interactions(user, best.reshape(-1), ones.astype(np.float32), ones.astype(np.int64)))
    act = partial(random_slates, k=SHORT.slate)
    means = [many_episodes(of, act, None, jax.random.key(0), 2000).reward.mean() for of in (SHORT, world)]
    assert means[1] < 0.9 * means[0]


def test_a_log_that_does_not_fit_is_refused() -> None:
    one = [np.ones(1, kind) for kind in (np.int32, np.int32, np.float32, np.int64)]
    with pytest.raises(InputError, match="item 30 of the log: the simulator has 30 items; give its own log"):
        Unseen(SHORT, Interactions(one[0], one[1] * 30, one[2], one[3]))
    with pytest.raises(InputError, match="user 9 of the log: the simulator has 9 users"):
        Unseen(SHORT, Interactions(one[0] * 9, one[1], one[2], one[3]))
    message = r"user 8 has 10 of 30 items in the log: 20 are left, and a session may need 21; make candidates \(8\) or"
    with pytest.raises(InputError, match=message):
        Unseen(dataclasses.replace(SHORT, budget=13), log())
