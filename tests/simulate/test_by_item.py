"""Users by their ids and histories, against a list in Python."""

import dataclasses

import jax
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.policies.fixed import random_slates
from rec_jax.simulate.by_item import ByItem, read
from rec_jax.simulate.unseen import Unseen
from tests.simulate.test_logged_users import FITTED, USERS, WORLD
from tests.simulate.test_unseen import log

T = 4
OFFERED = Unseen(dataclasses.replace(WORLD, budget=10), log())


def histories() -> np.ndarray:
    rng = np.random.default_rng(0)
    found = np.full((USERS, T), -1, np.int32)
    for user in range(USERS):
        length = user % (T + 1)
        found[user, :length] = rng.permutation(len(FITTED.item))[:length]
    return found


def test_what_is_clicked_joins_the_history() -> None:
    world, n, steps = ByItem(OFFERED, histories()), 32, 6
    state = jax.jit(world.reset, static_argnums=1)(jax.random.key(0), n)
    done = [[int(i) for i in histories()[who] if i >= 0] for who in np.asarray(state.offered.users.who)]
    step, own, observe, clicks = jax.jit(world.step), jax.jit(OFFERED.step), jax.jit(world.observe), 0
    shown = jax.jit(lambda key, seen: random_slates(None, key, seen, WORLD.slate))
    for t in range(steps):
        seen = observe(state)
        query, items = jax.tree.map(np.asarray, read(seen))
        events = np.asarray(seen.events)
        np.testing.assert_array_equal(query.user, state.offered.users.who)
        np.testing.assert_array_equal(items, state.offered.users.items)
        for user in range(n):
            last = done[user][-T:]
            assert query.history[user].tolist() == last + [-1] * (T - len(last))
            assert events[user] == len(last)
        slates = shown(jax.random.key(t), seen)
        offered = state.offered
        state, response = step(jax.random.key(100 + t), state, slates)
        same, _ = own(jax.random.key(100 + t), offered, slates)
        jax.tree.map(np.testing.assert_array_equal, state.offered, same)
        places = np.asarray(slates)
        for user, place in zip(*np.nonzero(np.asarray(response.clicked))):
            done[user].append(int(items[user, places[user, place]]))
            clicks += 1
    assert clicks > n


def test_histories_of_other_users_are_refused() -> None:
    with pytest.raises(InputError, match="histories of 2 users: the simulator has 9"):
        ByItem(OFFERED, np.full((2, T), -1, np.int32))
    world = ByItem(OFFERED, histories())
    seen = world.observe(world.reset(jax.random.key(0), 3))
    assert seen.documents.shape == (3, WORLD.candidates, world.document_width)
    assert seen.user.shape == (3, world.user_width)
