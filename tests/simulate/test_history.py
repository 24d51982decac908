"""What is remembered of users' steps, against a list in Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.policies.fixed import random_slates
from rec_jax.simulate.history import Remembering
from rec_jax.simulate.interest_evolution import InterestEvolution

N, T, STEPS = 5, 3, 7
WORLD = Remembering(InterestEvolution(candidates=4, slate=2), T, signals=("quality",), reward_scale=4.0)


def test_the_last_steps_are_remembered_and_the_users_are_the_simulators() -> None:
    inner, observe, move = WORLD.simulator, jax.jit(WORLD.observe), jax.jit(WORLD.step)
    plain_observe, plain_move = jax.jit(inner.observe), jax.jit(inner.step)
    shown = jax.jit(lambda key, seen: random_slates(None, key, seen, 2))
    state, plain = (jax.jit(of.reset, static_argnums=1)(jax.random.key(0), N) for of in (WORLD, inner))
    done: list[list[list[float]]] = [[] for _ in range(N)]
    for step in range(STEPS):
        seen = observe(state)
        history, counts = np.asarray(seen.history), np.asarray(seen.events)
        assert history.shape == (N, T, WORLD.event_width)
        for user, events in enumerate(done):
            last = events[-T:]
            assert counts[user] == len(last)
            wanted = np.zeros((T, WORLD.event_width))
            wanted[: len(last)] = np.reshape(last, (len(last), WORLD.event_width))
            np.testing.assert_allclose(history[user], wanted, rtol=1e-6)
        key, slates = jax.random.key(step), shown(jax.random.key(100 + step), seen)
        state, response = move(key, state, slates)
        documents = np.asarray(plain_observe(plain).documents)
        plain, same = plain_move(key, plain, slates)
        np.testing.assert_array_equal(response.reward, same.reward)
        response, slates = jax.tree.map(np.asarray, (response, slates))
        for user in range(N):
            event = [0.0] * 20 + [0.0, 0.0, 0.0]
            for place in np.flatnonzero(response.clicked[user]).tolist():
                event = documents[user, int(slates[user, place])].tolist()
                event += [1.0, float(response.reward[user]) / 4, float(response.signals["quality"][user, place])]
            done[user].append(event)
    assert sum(event[20] for events in done for event in events) > 5


def test_bad_memories_are_refused() -> None:
    with pytest.raises(InputError, match="length 0"):
        Remembering(InterestEvolution(), 0)
    world = Remembering(InterestEvolution(), 2, signals=("engagement",))
    state = world.reset(jax.random.key(0), 1)
    with pytest.raises(InputError, match="no signal 'engagement': interest_evolution measures watch_time"):
        world.step(jax.random.key(0), state, jnp.zeros((1, 2), jnp.int32))
