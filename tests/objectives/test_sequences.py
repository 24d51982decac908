"""Batches of sequences, groups by length, and the next item under every loss."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError
from rec_jax.models.base import Query
from rec_jax.models.sasrec import SASRec, SASRecConfig
from rec_jax.objectives import sequences
from rec_jax.objectives.base import Recommender, TrainData
from rec_jax.objectives.next_item import NextItem, next_item

N_USERS, N_ITEMS, T = 40, 23, 24
CONFIG = SASRecConfig(width=8, blocks=1, dropout=0.0, max_length=T)


def log() -> Interactions:
    """Users of 0 to 39 events; items of low numbers are popular."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(N_USERS), np.arange(N_USERS)).astype(np.int32)
    item = (rng.random(len(user)) ** 2 * N_ITEMS).astype(np.int32)
    return Interactions(user, item, np.ones(len(user), np.float32), np.arange(len(user), dtype=np.int64))


DATA = TrainData.of(log(), N_USERS, N_ITEMS)


def built(batch_size: int = 16, **options: Any) -> Recommender:
    module = SASRec(CONFIG, N_USERS, N_ITEMS)
    return next_item(module, NextItem(**options), DATA, batch_size)


def first(recommender: Recommender, step: int = 0) -> Any:
    return jax.jit(recommender.batch)(DATA, jax.random.key(3), jnp.int32(0), jnp.int32(step))


def test_an_epoch_visits_every_user_of_two_events_once() -> None:
    recommender = built()
    assert recommender.steps_per_epoch == 3
    seen = []
    for step in range(3):
        batch = first(recommender, step)
        targets = (np.asarray(batch.target) >= 0).sum(axis=1)
        real = np.asarray(batch.weight) > 0
        seen += np.asarray(batch.user)[real].tolist()
        assert float((batch.weight * targets).sum()) == pytest.approx(16, rel=1e-5)
    assert sorted(seen) == list(range(2, N_USERS))


def test_a_target_is_the_event_after_what_is_read() -> None:
    """Of a long history the last 25 events: 24 are read, and 24 are to be found."""
    batch, events = first(built()), log()
    for user, history, target, times in zip(*map(np.asarray, (batch.user, batch.history, batch.target, batch.times))):
        items = events.item[events.user == user][-T - 1 :]
        assert history[history >= 0].tolist() == items[:-1].tolist()
        assert target[target >= 0].tolist() == items[1:].tolist()
        assert times[history >= 0].tolist() == events.time[events.user == user][-T - 1 : -1].tolist()


def test_groups_cut_to_their_length_give_the_same_as_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(group: int) -> Any:
        monkeypatch.setattr(sequences, "GROUP", group)
        recommender = built(32)
        params, extra = jax.jit(recommender.init)(jax.random.key(0), DATA)
        batch = first(recommender)

        def value(params: Any) -> Any:
            return recommender.loss(params, extra, batch, jax.random.key(0), jnp.int32(0))[0]

        return jax.jit(jax.value_and_grad(value))(params)

    whole, cut = found(64), found(4)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(cut), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_place_s_negatives_are_the_same_however_devices_share_the_batch() -> None:
    """The mean of the losses of both halves of a step is the whole step's, where each is of whole groups of 16."""
    recommender = built(32, loss="gbce", negatives=4, negatives_for="place")
    params, extra = jax.jit(recommender.init)(jax.random.key(0), DATA)
    value = jax.jit(lambda batch: recommender.loss(params, extra, batch, jax.random.key(0), jnp.int32(0))[0])
    for step in range(2):
        batch = first(recommender, step)
        events = (np.asarray(batch.history) >= 0).sum(axis=1)
        assert (np.diff(events) >= 0).all()
        halves = [jax.tree.map(lambda x, of=of: x[of], batch) for of in (slice(16), slice(16, 32))]
        assert np.mean([value(half) for half in halves]) == pytest.approx(float(value(batch)), rel=1e-6)


def scores_of(recommender: Recommender, params: Any, batch: Any) -> np.ndarray:
    """[b t n]: of every item at every position, each prefix read by itself."""
    cache = recommender.prepare(params, {})

    @jax.jit
    def after(t: Any) -> Any:
        history = jnp.where(jnp.arange(batch.history.shape[1]) <= t, batch.history, -1)
        return recommender.scores(cache, Query(batch.user, None, history, batch.times))

    return np.stack([after(t) for t in range(batch.history.shape[1])], axis=1).astype(np.float64)


LOSSES: list[dict[str, Any]] = [
    {"loss": "bce"},
    {"loss": "bce", "negatives": 3, "exclude_positives": True},
    {"loss": "gbce", "negatives": 4, "calibration": 0.6},
    {"loss": "softmax", "temperature": 0.5},
    {"loss": "sampled-softmax", "negatives": 5, "negatives_for": "step", "normalised": True, "temperature": 0.2},
    {"loss": "sampled-softmax", "negatives": 5, "negatives_for": "user", "normalised": True, "temperature": 0.2},
    {"loss": "bce", "negatives": 3, "negatives_for": "user", "exclude_positives": True},
    {"loss": "sampled-softmax", "negatives": 5, "negatives_for": "place", "normalised": True, "temperature": 0.2},
    {"loss": "sampled-softmax", "negatives": 5, "negatives_from": "popularity", "logq": True},
    {"loss": "sampled-softmax", "negatives": 6, "negatives_from": "in-batch", "negatives_for": "step", "logq": True},
    {"loss": "bpr-max", "negatives": 4, "penalty": 0.3},
]


@pytest.mark.parametrize("options", LOSSES, ids=lambda o: "-".join(map(str, o.values())))
def test_every_loss_is_its_formula(options: dict[str, Any]) -> None:
    """From the scores of the recommender itself, in plain Python, a position at a time."""
    recommender = built(32, **options)
    params, extra = jax.jit(recommender.init)(jax.random.key(0), DATA)
    params = jax.tree.map(lambda x: x * 3, params)
    batch = first(recommender)
    scores = scores_of(recommender, params, batch)
    drawn_from = targets_of_all() if options.get("negatives_from") == "in-batch" else log().item
    share = np.maximum(np.bincount(drawn_from, minlength=N_ITEMS), 1) / len(drawn_from)
    total, count = 0.0, 0
    for b, row in enumerate(np.asarray(batch.target).tolist()):
        for t, target in enumerate(row):
            if target < 0:
                continue
            s, count = scores[b, t].tolist(), count + 1
            ids = range(0)
            if options.get("negatives_for") == "place":
                ids = negatives_of_place(batch, b, t)
            elif options["loss"] != "softmax":
                ids = np.asarray(batch.negatives[b] if batch.negatives.ndim == 2 else batch.negatives[b, t]).tolist()
            total += value_of(options, s, target, ids, share)
    found = jax.jit(recommender.loss)(params, extra, batch, jax.random.key(0), jnp.int32(0))[0]
    assert float(found) == pytest.approx(total / count, rel=2e-4)


def negatives_of_place(batch: Any, b: int, t: int) -> list[int]:
    """By length 16 users stand together, and are cut to T / 4, T / 2 or T events; the draws of all are one list."""
    events = (np.asarray(batch.history) >= 0).sum(axis=1)
    order = np.argsort(events, kind="stable").tolist()
    together = order[order.index(b) // 16 * 16 :][:16]
    longest = next(n for n in (8, T // 2, T) if n >= max(events[together]))
    each = math.ceil(longest * batch.negatives.shape[1] / T)
    draws = [draw for user in together for draw in np.asarray(batch.negatives[user])[:each].tolist()]
    found: list[int] = draws[t % len(draws)]
    return found


def value_of(options: dict[str, Any], s: list[float], target: int, ids: Any, share: np.ndarray) -> float:
    def log_sigmoid(x: float) -> float:
        return -math.log1p(math.exp(-x))

    k, loss, others = len(ids), options["loss"], [i for i in ids if i != target]
    if loss in ("bce", "gbce"):
        alpha = k / (N_ITEMS - 1)
        beta = alpha * (options.get("calibration", 0) * (1 - 1 / alpha) + 1 / alpha) if loss == "gbce" else 1.0
        return -(beta * log_sigmoid(s[target]) + sum(log_sigmoid(-s[i]) for i in ids)) / (1 + k)
    if loss == "softmax":
        return math.log(sum(map(math.exp, s))) - s[target]
    if loss == "sampled-softmax":
        if options.get("logq"):
            s = [x - math.log(q) for x, q in zip(s, share)]
        return math.log(math.exp(s[target]) + sum(math.exp(s[i]) for i in others)) - s[target]
    raised = [math.exp(s[i]) for i in others]
    weights = [r / sum(raised) for r in raised]
    chance = sum(w / (1 + math.exp(s[i] - s[target])) for w, i in zip(weights, others))
    return -math.log(chance) + options["penalty"] * sum(w * s[i] ** 2 for w, i in zip(weights, others))


def test_where_negatives_come_from() -> None:
    batch, events = first(built(negatives=2, exclude_positives=True)), log()
    for user, negatives in zip(np.asarray(batch.user), np.asarray(batch.negatives)):
        assert not set(negatives.ravel().tolist()) & set(events.item[events.user == user].tolist())
    many = {"loss": "sampled-softmax", "negatives": 4000, "negatives_for": "step"}
    popular = np.asarray(first(built(**many, negatives_from="popularity")).negatives)
    assert (popular == popular[0]).all()
    expected = np.bincount(events.item, minlength=N_ITEMS) / len(events)
    np.testing.assert_allclose(np.bincount(popular[0], minlength=N_ITEMS) / 4000, expected, atol=0.03)
    batch = first(built(**many, negatives_from="in-batch"))
    targets = np.asarray(batch.target)
    expected = np.bincount(targets[targets >= 0], minlength=N_ITEMS) / (targets >= 0).sum()
    np.testing.assert_allclose(
        np.bincount(np.asarray(batch.negatives[0]), minlength=N_ITEMS) / 4000, expected, atol=0.03
    )


def targets_of_all() -> np.ndarray:
    """What can be asked for, of all users: their last events, as many as are read, but never the first."""
    events = log()
    return np.concatenate([events.item[events.user == user][1:][-T:] for user in range(N_USERS)])


def test_negatives_of_a_batch_are_as_often_an_item_as_logq_says() -> None:
    """Over whole epochs, each step's draws weighed by what it asks for; users who fill the last step are not drawn."""
    many = {"loss": "sampled-softmax", "negatives": 2000, "negatives_from": "in-batch", "negatives_for": "step"}
    recommender = built(**many, logq=True)
    drawn = np.zeros(N_ITEMS)
    for step in range(recommender.steps_per_epoch):
        batch = first(recommender, step)
        asked = np.asarray(batch.target)[np.asarray(batch.weight) > 0]
        found = np.bincount(np.asarray(batch.negatives[0]), minlength=N_ITEMS)
        assert not found[~np.isin(np.arange(N_ITEMS), asked)].any()
        np.testing.assert_allclose(
            found / 2000, np.bincount(asked[asked >= 0], minlength=N_ITEMS) / (asked >= 0).sum(), atol=0.04
        )
        drawn += found / 2000 * (asked >= 0).sum()
    chance = np.exp(jax.jit(recommender.init)(jax.random.key(0), DATA)[1]["log_share"])
    np.testing.assert_allclose(
        chance, np.bincount(targets_of_all(), minlength=N_ITEMS) / len(targets_of_all()), rtol=1e-5
    )
    np.testing.assert_allclose(drawn / drawn.sum(), chance, atol=0.02)


def test_a_drawn_window_holds_the_ends_of_a_history_too() -> None:
    """Each epoch another stretch of a long history, without a gap; all of a short one."""
    recommender, events = built(38, window="drawn"), log()
    seen = {user: np.zeros(user) for user in range(2, N_USERS)}
    epochs = 400
    drawn = jax.jit(jax.vmap(lambda epoch: recommender.batch(DATA, jax.random.key(3), epoch, jnp.int32(0))))(
        jnp.arange(epochs)
    )
    for users, histories, targets, times in zip(
        *map(np.asarray, (drawn.user, drawn.history, drawn.target, drawn.times))
    ):
        for user, history, target, time in zip(users.tolist(), histories, targets, times):
            first_time = events.time[events.user == user][0]
            at = time[0] - first_time
            read = events.item[events.user == user][at : at + T + 1]
            assert len(read) == min(user, T + 1)
            assert history[history >= 0].tolist() == read[:-1].tolist()
            assert target[target >= 0].tolist() == read[1:].tolist()
            seen[user][at : at + T + 1] += 1
    for user, counts in seen.items():
        ends = np.arange(1, user + T + 1).clip(min(T + 1, user), user)
        at = np.arange(1, user + 1)
        chance = ((ends[:, None] - T - 1 < at) & (at <= ends[:, None])).mean(axis=0)
        assert chance.min() >= min(1, (T + 1) / (user + T))
        assert (np.abs(counts / epochs - chance) < 4.5 * np.sqrt(chance * (1 - chance) / epochs) + 1e-9).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"negatives": 0}, "--negatives 0: at least 1"),
        ({"exclude_positives": True, "negatives_for": "step"}, "--negatives-for step: .* add --no-exclude-positives"),
        ({"exclude_positives": True, "negatives_for": "place"}, "--negatives-for place: .* add --no-exclude-positives"),
        ({"negatives_from": "in-batch"}, "--negatives-from in-batch: the whole step has the same ones"),
        (
            {
                "loss": "sampled-softmax",
                "negatives_from": "in-batch",
                "negatives_for": "step",
                "logq": True,
                "window": "drawn",
            },
            "--history-window drawn: how often an item is asked for",
        ),
        ({"logq": True}, "--logq is for --loss sampled-softmax"),
        ({"normalised": True}, "add --temperature"),
        ({"calibration": 1.5, "loss": "gbce"}, "--calibration 1.5"),
        ({"temperature": 0.0}, "--temperature 0.0"),
        ({"bfloat16": True}, "--bfloat16 is for --loss softmax"),
        ({"batch_size": 39}, "--batch-size 39 is larger than the 38 users"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        built(**options)
