"""Topic bandits against a loop in plain Python, and what sharing a bandit brings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.policies import bandits
from rec_jax.policies.neural_linear import neural_linear
from rec_jax.policies.topics import NoState, no_topic, topic_agent

TOPICS = jnp.array([[0, 1, 2, 1], [2, 2, 0, 1], [1, 0, 0, 2]])
SCORES = jnp.array([[0.1, 0.2, 0.9, 0.3], [0.4, 0.5, 0.6, 0.1], [-5.0, 0.3, 0.2, 0.8]])


def test_the_topic_s_best_documents_come_first_then_the_best_of_the_rest() -> None:
    agent = topic_agent(bandits.thompson(3), 3, 3, np.arange(3))
    topic, slates = agent.act(agent.init(), jax.random.key(1), TOPICS, SCORES)
    for user in range(3):
        of, score = TOPICS[user].tolist(), SCORES[user].tolist()
        expected = sorted(range(4), key=lambda d: (of[d] != int(topic[user]), -score[d]))[:3]
        assert slates[user].tolist() == expected
    none = topic_agent(no_topic(3), 3, 2, np.arange(3))
    topic, slates = none.act(none.init(), jax.random.key(1), TOPICS, SCORES)
    assert (topic.tolist(), slates.tolist()) == ([-1, -1, -1], [[2, 3], [2, 1], [3, 1]])
    assert none.learn(none.init(), topic, jnp.ones(3)) == none.init()


def test_users_of_a_cluster_share_what_they_learn() -> None:
    cluster = np.array([1, 0, 1, 1, 0])
    agent = topic_agent(bandits.ucb1(3), 3, 1, cluster)
    state, pulls, total = agent.init(), np.zeros((2, 3)), np.zeros((2, 3))
    rng = np.random.default_rng(0)
    for _ in range(20):
        topic, reward = rng.integers(0, 3, 5), rng.integers(0, 2, 5)
        state = agent.learn(state, jnp.asarray(topic, jnp.int32), jnp.asarray(reward, jnp.float32))
        for user in range(5):
            pulls[cluster[user], topic[user]] += 1
            total[cluster[user], topic[user]] += reward[user]
    assert np.asarray(state.pulls).tolist() == pulls.tolist()
    assert np.asarray(state.total).tolist() == total.tolist()
    chosen = bandits.ucb1(3).choose(state, jax.random.key(0), jnp.zeros((2, 3, 0)))
    documents = jnp.tile(jnp.arange(3), (5, 1))
    topic, _ = agent.act(state, jax.random.key(0), documents, jnp.zeros((5, 3)))
    assert topic.tolist() == chosen[cluster].tolist()


def test_users_who_are_alike_find_the_topic_sooner_together() -> None:
    """Topic 2 is clicked with chance .6, the others .4; 64 users, alone or in clusters of 16."""
    chance = jnp.array([0.4, 0.4, 0.6])
    documents = jnp.tile(jnp.arange(3), (64, 1))
    right = {}
    for name, cluster in (("alone", np.arange(64)), ("together", np.arange(64) % 4)):
        agent = topic_agent(bandits.thompson(3), 3, 1, cluster)

        def step(state: bandits.Pulls, key: jax.Array, agent=agent) -> tuple[bandits.Pulls, jax.Array]:  # type: ignore[no-untyped-def]
            of_topic, of_click = jax.random.split(key)
            topic, slate = agent.act(state, of_topic, documents, jnp.zeros((64, 3)))
            clicks = (jax.random.uniform(of_click, (64,)) < chance[slate[:, 0]]).astype(jnp.float32)
            return agent.learn(state, topic, clicks), (topic == 2).mean()

        _, found = jax.lax.scan(step, agent.init(), jax.random.split(jax.random.key(3), 60))
        right[name] = float(found[-20:].mean())
    assert right["together"] > 0.85
    assert right["alone"] < 0.75


def test_what_cannot_be_shared_is_refused() -> None:
    for bandit in (bandits.lin_ucb(4), neural_linear(4)):
        with pytest.raises(InputError, match="whose state is sums"):
            topic_agent(bandit, 3, 1, np.arange(2))
    with pytest.raises(InputError, match="expected one from 0"):
        topic_agent(bandits.ucb1(3), 3, 1, np.array([0, -1]))
    with pytest.raises(InputError, match="a bandit of 3 arms for 5 topics"):
        topic_agent(bandits.ucb1(3), 5, 1, np.arange(2))


def test_scores_that_are_nearly_equal_or_far_apart_do_not_come_before_the_topic() -> None:
    second = bandits.Bandit(lambda n: NoState(), lambda *of: jnp.array([1, 1]), lambda state, *of: state)
    agent = topic_agent(second, 2, 2, np.zeros(2, int))
    of, scores = jnp.array([[1, 1, 0], [0, 1, 1]]), jnp.array([[1e-5, 2e-5, 1.0], [5000.0, -3.0, -2.0]])
    assert agent.act(agent.init(), jax.random.key(0), of, scores)[1].tolist() == [[1, 0], [2, 1]]
