"""SQN, SAC and CQL against their formulas in plain Python, and in a small world against value iteration."""

import dataclasses
import itertools
import math
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError
from rec_jax.models.base import Query
from rec_jax.models.gru4rec import GRU4Rec, GRU4RecConfig
from rec_jax.objectives.base import Recommender, TrainData
from rec_jax.objectives.q_learning import CQL, HEAD, SAC, SQN, rewards, sqn, targets, with_one
from rec_jax.recommend import load
from rec_jax.run import run
from rec_jax.streaming import Follower
from tests.helpers import quick, small_experiment, write_small_csv
from tests.objectives.q_heads import (
    CONFIGS,
    DATA,
    GAMMA,
    N_ITEMS,
    N_USERS,
    LastItem,
    T,
    built,
    log,
    products,
    started,
)

WEIGHED = ("sac, after", "sac, binary cross-entropy")


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_loss_is_the_formula_s(name: str) -> None:
    """A position at a time, at the last step before the second epoch ends: SAC weighs by then, or does not yet."""
    config = CONFIGS[name]
    recommender = built(config)
    params, extra, batch = started(recommender)
    scores, q = products(params, batch, config)
    judged = products(extra["target"], batch, config)[1]
    rating, goal = np.asarray(batch.rating).tolist(), np.asarray(batch.target).tolist()
    total, count, negative = 0.0, 0, 0
    for b, row in enumerate(goal):
        events = sum(item >= 0 for item in row)
        for t, item in enumerate(row[:events]):
            reward = {"scaled": (rating[b][t] - 1) / 4, "rating": rating[b][t], "one": 1.0}[config.reward]
            if t + 1 < events:
                following = q[b][t + 1]
                reward += GAMMA * judged[b][t + 1][following.index(max(following))]
            of_q = (reward - q[b][t][item]) ** 2 / 2
            if isinstance(config, CQL):
                of_q += config.alpha * (math.log(sum(map(math.exp, q[b][t]))) - q[b][t][item])
            of_items = math.log(sum(map(math.exp, scores[b][t]))) - scores[b][t][item]
            if config.loss == "bce":
                others = [scores[b][t][i] for i in np.asarray(batch.negatives[b, t]).tolist()]
                of_items = -(math.log(sigmoid(scores[b][t][item])) + sum(math.log(sigmoid(-s)) for s in others)) / 4
            if name in WEIGHED:
                negative += q[b][t][item] < 0
                of_items *= max(q[b][t][item], 0.0)
            total, count = total + of_items + config.q_weight * of_q, count + 1
    assert negative > 0 or name not in WEIGHED
    step = jnp.int32(2 * recommender.steps_per_epoch - 1)
    found = jax.jit(recommender.loss)(params, extra, batch, jax.random.key(0), step)[0]
    assert float(found) == pytest.approx(total / count, rel=1e-4)


def test_sac_weighs_from_the_first_step_after_its_warm_up() -> None:
    """Before it, to the last step, the loss is SQN's."""
    recommender, plain = built(SAC(warm_up=2)), built(SQN())
    params, extra, batch = started(recommender)
    first = 2 * recommender.steps_per_epoch

    def found(of: Recommender, step: int) -> float:
        return float(jax.jit(of.loss)(params, extra, batch, jax.random.key(0), jnp.int32(step))[0])

    assert found(recommender, first - 1) == found(plain, first - 1)
    weighed = found(built(SAC(warm_up=0)), 0)
    assert found(recommender, first) == weighed != found(plain, first)


def test_the_target_network_reads_without_dropout() -> None:
    """Of one item that is best whatever was read, the loss is a square in gamma whose curvature is the mean of
    Q'(s', that item)²: the same for every key, and that of states without dropout.
    """
    module = GRU4Rec(GRU4RecConfig(width=6, dropout=0.5, max_length=T), N_USERS, N_ITEMS)
    params, extra, batch = started(built(SQN()))
    params[HEAD] = params[HEAD].at[3, -1].add(1e3)
    expected = 0.0
    judged = products(extra["target"], batch)[1]
    for b, row in enumerate(np.asarray(batch.target).tolist()):
        for t in range(1, sum(item >= 0 for item in row)):
            expected += float(batch.weight[b]) / len(batch.weight) * judged[b][t][3] ** 2 / 2
    batch = dataclasses.replace(batch, target=jnp.where(batch.target == 3, 4, batch.target))  # whose Q(s, a) is small

    def loss(gamma: float, key: int) -> float:
        of = sqn(module, SQN(gamma=gamma), DATA, 8)
        return float(jax.jit(of.loss)(params, extra, batch, jax.random.key(key), jnp.int32(0))[0])

    for key in (0, 1):
        none, half, whole = (loss(gamma, key) for gamma in (0.0, 0.5, 1.0))
        assert 2 * (none - 2 * half + whole) == pytest.approx(expected, rel=1e-3)
    assert loss(0.5, 0) != loss(0.5, 1)  # the network that learns reads with it


def test_rewards_are_scaled_by_the_ratings_of_train_and_not_by_the_batch_s() -> None:
    data = TrainData.of(log((2.0, 4.0, 10.0)), N_USERS, N_ITEMS)
    extra = jax.jit(built(SQN(), data).init)(jax.random.key(0), data)[1]
    batch = jax.jit(built(SQN(), data).batch)(data, jax.random.key(3), jnp.int32(0), jnp.int32(0))
    few = dataclasses.replace(batch, rating=jnp.full_like(batch.rating, 4.0))
    for reward, wanted in (("scaled", 0.25), ("rating", 4.0), ("one", 1.0)):
        config = SQN(reward=reward)  # type: ignore[arg-type]
        np.testing.assert_allclose(rewards(config, few, extra), wanted, rtol=1e-6)


def test_a_batch_holds_the_ratings_of_the_events_that_are_to_be_found() -> None:
    """Of a long history the last 9 events: 8 are read, and 8 are to be found."""
    events = log()
    batch = jax.jit(built(SQN()).batch)(DATA, jax.random.key(3), jnp.int32(0), jnp.int32(0))
    for user, target, rating in zip(*map(np.asarray, (batch.user, batch.target, batch.rating))):
        own = events.user == user
        assert target[target >= 0].tolist() == events.item[own][-T - 1 :][1:].tolist()
        assert rating[target >= 0].tolist() == events.rating[own][-T - 1 :][1:].tolist()
        assert not rating[target < 0].any()


def test_a_target_is_made_of_its_own_event_and_the_next_state_alone() -> None:
    """What comes later than that changes nothing, and after the last event nothing is expected."""
    rng = np.random.default_rng(2)
    states, judged = rng.normal(size=(2, 1, 6, 4)).astype(np.float32)
    head, target_head = rng.normal(size=(2, 5, 5)).astype(np.float32)
    reward, target = rng.random((1, 6)).astype(np.float32), np.array([[3, 1, 4, 0, -1, -1]])
    made = partial(targets, head=jnp.asarray(head), target_head=jnp.asarray(target_head), gamma=GAMMA)

    def found(states: Any, judged: Any, reward: Any) -> Any:
        s, of_target, r, items = map(jnp.asarray, (states, judged, reward, target))
        return np.asarray(made(with_one(s), with_one(of_target), reward=r, target=items))

    before = found(states, judged, reward)
    assert before[0, 3] == reward[0, 3]
    changed, later = [x.copy() for x in (states, judged)], reward.copy()
    for x in changed:
        x[:, 3:] += 1
    later[:, 3:] += 1
    after = found(*changed, later)
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert (before[0, 2:4] != after[0, 2:4]).all()


def test_the_target_network_follows_by_hand() -> None:
    """A tenth of the way at every step; or copied at each third."""
    slow, copied = built(SQN(target_rate=0.1)), built(SQN(target_rate=1.0, target_every=3))
    params, extra, batch = started(slow)
    for recommender, step, share in ((slow, 7, 0.1), (copied, 6, 1.0), (copied, 7, 0.0)):
        after = jax.jit(recommender.loss)(params, extra, batch, jax.random.key(0), jnp.int32(step))[1][0]
        assert set(after) == {"target", "scale"}
        for old, new, kept in zip(*map(jax.tree.leaves, (extra["target"], params, after["target"])), strict=True):
            np.testing.assert_allclose(kept, old + share * (new - old), rtol=1e-5, atol=1e-6)


def test_where_all_ratings_are_the_same_every_event_counts_one() -> None:
    data = TrainData.of(log((3.0,)), N_USERS, N_ITEMS)
    found = []
    for reward in ("scaled", "one"):
        recommender = built(SQN(reward=reward), data)  # type: ignore[arg-type]
        params, extra, batch = started(recommender, data)
        found.append(float(jax.jit(recommender.loss)(params, extra, batch, jax.random.key(0), jnp.int32(0))[0]))
    assert found[0] == found[1]


def test_the_learnt_q_is_that_of_value_iteration() -> None:
    """Where one is decides what the next item gives; item 4 ends it all. All of it is in the log."""
    n, end, gamma, rng = 5, 4, 0.8, np.random.default_rng(4)
    reward = rng.integers(0, 5, (n, n)) / 4.0
    walks = []
    for s in range(n - 1):
        for a in range(n):
            walk = [s, a] if a == end else [s, a, *rng.integers(0, end, 3).tolist(), end]
            walks.append(walk)
    item = np.concatenate(walks).astype(np.int32)
    given = np.concatenate([[0.0, *(reward[s, a] for s, a in itertools.pairwise(w))] for w in walks]).astype(np.float32)
    user = np.repeat(np.arange(len(walks)), [len(w) for w in walks]).astype(np.int32)
    events = Interactions(user, item, given, np.arange(len(user), dtype=np.int64))

    best = np.zeros((n, n))
    for _ in range(200):
        value = best.max(axis=1) * (np.arange(n) != end)
        best = reward + gamma * value[None, :]

    data = TrainData.of(events, len(walks), n)
    config = dataclasses.replace(CQL(alpha=0.0), gamma=gamma, reward="rating", target_rate=1.0, target_every=20)
    module = LastItem(GRU4RecConfig(width=n, max_length=5), len(walks), n)
    recommender = sqn(module, config, data, len(walks))
    params, extra = jax.jit(recommender.init)(jax.random.key(0), data)
    batch = jax.jit(recommender.batch)(data, jax.random.key(0), jnp.int32(0), jnp.int32(0))
    tx = optax.adam(0.05)

    @jax.jit
    def learn(params: Any, extra: Any) -> Any:
        def body(step: Any, carry: Any) -> Any:
            params, extra, state = carry
            of = jax.grad(lambda p: recommender.loss(p, extra, batch, jax.random.key(0), step), has_aux=True)
            gradient, (extra, _) = of(params)
            updates, state = tx.update(gradient, state, params)
            return optax.apply_updates(params, updates), extra, state

        return jax.lax.fori_loop(0, 2000, body, (params, extra, tx.init(params)))[0]

    head = np.asarray(learn(params, extra)[HEAD])
    found = (head[:, :-1] + head[:, -1:]).T
    np.testing.assert_allclose(found[:end], best[:end], atol=0.01)
    assert (found[:end].argmax(axis=1) == best[:end].argmax(axis=1)).all()


def test_q_serves_when_asked_to() -> None:
    """Scores of all items, of candidates, and as events come are the states' Q."""
    config = SQN(serve="q")
    recommender = built(config)
    params, extra, batch = started(recommender)
    q = np.array(products(params, batch)[1])
    cache = recommender.prepare(params, extra)
    query = Query(batch.user, None, batch.history, batch.times)
    events = np.asarray((batch.history >= 0).sum(axis=1))
    expected = q[np.arange(len(q)), events - 1]
    np.testing.assert_allclose(recommender.scores(cache, query), expected, rtol=1e-4, atol=1e-5)
    ids = jnp.tile(jnp.array([4, 0, 7]), (len(q), 1))
    found = recommender.score_candidates(cache, query, ids)
    np.testing.assert_allclose(found, expected[:, [4, 0, 7]], rtol=1e-4, atol=1e-5)
    row, stream = int(events.argmax()), recommender.stream
    assert stream is not None
    memory = stream.begin(cache, 1)
    for t in range(int(events[row])):
        seen = Query(batch.user[row : row + 1], None, batch.history[row, t][None, None], None)
        memory, scores = stream.observe(cache, memory, seen, jnp.int32(t))
        np.testing.assert_allclose(scores[0], q[row, t], rtol=1e-4, atol=1e-5)
    plain = built(SQN())
    other = plain.scores(plain.prepare(params, extra), query)
    assert np.abs(np.asarray(other) - expected).max() > 0.1


def test_a_run_is_saved_with_its_target_network_and_read_back(tmp_path: Path) -> None:
    what = small_experiment(write_small_csv(tmp_path / "log.csv"), "gru4rec", "sac")
    what = dataclasses.replace(what, loss=dataclasses.replace(what.loss, warm_up=2, serve="q"))
    outcome = run(what, quick(tmp_path / "run"))
    saved = load(tmp_path / "run")
    query = outcome.problem.valid.query(np.arange(len(outcome.problem.valid.user)), outcome.scorer.reads)
    np.testing.assert_array_equal(
        outcome.scorer.scores(outcome.scorer.cache, query), saved.scorer.scores(saved.scorer.cache, query)
    )
    follower = Follower(saved)
    follower.observe("3")
    assert len(follower.recommend(3)) == 3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SQN(gamma=1.5), "--gamma 1.5: expected a number from 0 to 1"),
        (SQN(target_rate=0.0), "--target-rate 0.0"),
        (SQN(target_every=0), "--target-every 0"),
        (SQN(temperature=0.0), "--temperature 0.0"),
        (SQN(window="drawn"), "--history-window drawn: a value needs the events that follow"),
    ],
)
def test_options_that_cannot_be_meant(config: SQN, message: str) -> None:
    with pytest.raises(InputError, match=message):
        built(config)
