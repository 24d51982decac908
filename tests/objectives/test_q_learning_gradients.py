"""Gradients of SQN, SAC and CQL against their formulas in plain Python, and what must not change them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.models.gru4rec import GRU4RecConfig
from rec_jax.objectives import sequences
from rec_jax.objectives.q_learning import CQL, HEAD, SAC, SQN, sqn
from tests.objectives.q_heads import (
    CONFIGS,
    DATA,
    GAMMA,
    MODULE,
    N_ITEMS,
    N_USERS,
    LastItem,
    T,
    built,
    products,
    read,
    started,
)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_head_s_gradient_is_the_formula_s(name: str) -> None:
    """Vectors and biases: what is expected is no function of the head, and neither is what SAC weighs by."""
    config = CONFIGS[name]
    recommender = built(config)
    params, extra, batch = started(recommender)
    states = read(params, batch, config)
    q, judged = (products(of, batch, config)[1] for of in (params, extra["target"]))
    expected = np.zeros((N_ITEMS, states.shape[-1] + 1))
    for b, row in enumerate(np.asarray(batch.target).tolist()):
        weight, events = float(batch.weight[b]) / len(batch.weight), sum(item >= 0 for item in row)
        for t, item in enumerate(row[:events]):
            rating = float(batch.rating[b, t])
            goal = {"scaled": (rating - 1) / 4, "rating": rating, "one": 1.0}[config.reward]
            if t + 1 < events:
                goal += GAMMA * judged[b][t + 1][int(np.argmax(q[b][t + 1]))]
            of_item = np.zeros(N_ITEMS)
            of_item[item] = q[b][t][item] - goal
            if isinstance(config, CQL):
                raised = np.exp(q[b][t])
                of_item += config.alpha * (raised / raised.sum() - (np.arange(N_ITEMS) == item))
            expected += config.q_weight * weight * of_item[:, None] * np.append(states[b, t], 1.0)
    step = jnp.int32(2 * recommender.steps_per_epoch - 1)
    found = jax.jit(jax.grad(lambda p: recommender.loss(p, extra, batch, jax.random.key(0), step)[0]))(params)
    np.testing.assert_allclose(found[HEAD], expected, rtol=1e-3, atol=1e-4)


def test_sac_s_weights_are_those_of_each_event_s_own_gradient() -> None:
    """Where the state is the last item, the items' vectors learn from (p - 1[a]) max(Q(s, a), 0), and from no more."""
    module = LastItem(GRU4RecConfig(width=N_ITEMS, max_length=T), N_USERS, N_ITEMS)
    recommender = sqn(module, SAC(warm_up=0), DATA, 8)
    params, extra, batch = started(recommender)
    items, head = (np.asarray(x, np.float64) for x in (params["item"]["embedding"], params[HEAD]))
    expected = np.zeros((N_ITEMS, N_ITEMS))
    for b, row in enumerate(np.asarray(batch.target).tolist()):
        for last, item in zip(np.asarray(batch.history[b]).tolist(), row):
            if item >= 0:
                raised = np.exp(items[:, last])
                share = max(head[item, last] + head[item, -1], 0.0) * float(batch.weight[b]) / len(batch.weight)
                expected[:, last] += share * (raised / raised.sum() - (np.arange(N_ITEMS) == item))
    found = jax.jit(jax.grad(lambda p: recommender.loss(p, extra, batch, jax.random.key(0), jnp.int32(0))[0]))(params)
    np.testing.assert_allclose(found["item"]["embedding"], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["sqn", "sac, after", "cql"])
def test_groups_cut_to_their_length_give_the_same_as_one_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users of like length, four at a time, cut at two, four or eight events: the last event of each still ends it."""

    def found(group: int, shortest: int) -> Any:
        monkeypatch.setattr(sequences, "GROUP", group)
        monkeypatch.setattr(sequences, "SHORTEST", shortest)
        recommender = sqn(MODULE, CONFIGS[name], DATA, 16)
        params, extra, batch = started(recommender)
        assert np.asarray((batch.target >= 0).sum(axis=1)).min() <= 2
        value = jax.value_and_grad(lambda p: recommender.loss(p, extra, batch, jax.random.key(0), jnp.int32(9))[0])
        return jax.jit(value)(params)

    for one, other in zip(*map(jax.tree.leaves, (found(16, 8), found(4, 2))), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_the_gradient_reaches_the_head_and_the_states_but_no_target() -> None:
    """Of Q's loss alone: the items that were taken learn, and no other; and Q(s, a) is not weighed by itself."""
    recommender = built(SQN(gamma=GAMMA, q_weight=1.0))
    params, extra, batch = started(recommender)

    def found(weight: float) -> Any:
        of = built(SQN(gamma=GAMMA, q_weight=weight))
        return jax.jit(jax.grad(lambda p: of.loss(p, extra, batch, jax.random.key(0), jnp.int32(0))[0]))(params)

    both, supervised = found(1.0), found(0.0)
    of_q = jax.tree.map(jnp.subtract, both, supervised)
    _, q = products(params, batch)
    judged = products(extra["target"], batch)[1]
    rating, weight = np.asarray(batch.rating), np.asarray(batch.weight)
    expected = np.zeros(N_ITEMS)
    for b, row in enumerate(np.asarray(batch.target).tolist()):
        events = sum(item >= 0 for item in row)
        for t, item in enumerate(row[:events]):
            goal = (rating[b][t] - 1) / 4
            if t + 1 < events:
                goal += GAMMA * judged[b][t + 1][int(np.argmax(q[b][t + 1]))]
            expected[item] += weight[b] / len(weight) * (q[b][t][item] - goal)
    np.testing.assert_allclose(of_q[HEAD][:, -1], expected, rtol=1e-3, atol=1e-4)
    assert all(float(jnp.abs(leaf).max()) > 1e-4 for leaf in jax.tree.leaves(of_q))


@pytest.mark.parametrize("config", [SQN(), SAC(warm_up=0), CQL()], ids=["sqn", "sac", "cql"])
def test_padding_and_its_ratings_have_no_say(config: SQN) -> None:
    recommender = built(config)
    params, extra, batch = started(recommender)
    past = batch.target < 0
    other = dataclasses.replace(
        batch, rating=jnp.where(past, 77.0, batch.rating), times=jnp.where(past, 5, batch.times)
    )
    graded = jax.jit(jax.value_and_grad(lambda p, b: recommender.loss(p, extra, b, jax.random.key(0), jnp.int32(9))[0]))
    for x, y in zip(*map(jax.tree.leaves, (graded(params, batch), graded(params, other))), strict=True):
        np.testing.assert_array_equal(x, y)
