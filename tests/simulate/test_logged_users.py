"""Steps of fitted users in plain Python, and what may and may not change them."""

import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.policies.fixed import random_slates, scored
from rec_jax.simulate.base import Simulator
from rec_jax.simulate.draws import weighted_distinct
from rec_jax.simulate.effects import Effect
from rec_jax.simulate.episodes import many_episodes
from rec_jax.simulate.fitting import Fitted
from rec_jax.simulate.logged_users import LoggedUsers
from rec_jax.simulate.preferences import Ratings

N, USERS, ITEMS, D, G = 64, 9, 30, 3, 4


def made_up(seed: int = 0) -> Fitted:
    rng = np.random.default_rng(seed)

    def table(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    genres = (rng.random((ITEMS, G)) < 0.5).astype(np.float32)
    return Fitted(
        name="made up",
        mean=3.4,
        ratings=Ratings((1.0, 2.0, 3.0, 4.0, 5.0), (3.0, 5.0, 7.0, 9.0), 2.0, 4.0),
        memory=4.0,
        boredom=Effect(0.8, 0.5, 1.0, 0.8, "log"),
        drift=Effect(0.1, -0.5, 1.0, 0.5, "declared"),
        genre_names=tuple("abcd"),
        user=table(USERS, D),
        user_bias=table(USERS) * 0.3,
        known=table(USERS, D),
        known_bias=table(USERS) * 0.3,
        item=table(ITEMS, D) * 0.5,
        item_bias=table(ITEMS) * 0.3,
        genres=genres / np.maximum(np.sqrt(genres.sum(axis=1, keepdims=True)), 1),
        count=rng.integers(0, 50, ITEMS).astype(np.float32),
    )


FITTED = made_up()
WORLD = LoggedUsers(FITTED, candidates=8, slate=3, appeal=0.8, eta=0.7)
STEP = jax.jit(WORLD.step)


def tired(of: LoggedUsers, seed: int = 0, n: int = N) -> Any:
    """Users in the middle of a session."""
    rng, state = np.random.default_rng(seed), of.reset(jax.random.key(seed), n)
    liked = jnp.asarray(rng.normal(size=(n, D)) * 0.5, jnp.float32)
    recent = jnp.asarray(rng.random((n, G)) * 0.5, jnp.float32)
    patience = jnp.asarray(rng.uniform(0.3, 5, n), jnp.float32)
    return state._replace(liked=liked, recent=recent, patience=patience, steps=jnp.full(n, 7, jnp.int32))


def score_by_hand(state: Any, user: int, item: int) -> float:
    who, of = int(state.who[user]), FITTED
    score = of.mean + float(of.user_bias[who]) + float(of.item_bias[item])
    for d in range(D):
        score += (float(of.user[who, d]) + 0.5 * float(state.liked[user, d])) * float(of.item[item, d])
    return score - 0.8 * sum(float(state.recent[user, g]) * float(of.genres[item, g]) for g in range(G))


def like_by_hand(score: float) -> float:
    return 1 / (1 + math.exp(7.0 - 2.0 * score))


def test_a_step_by_hand() -> None:
    before = tired(WORLD)
    slates = random_slates(None, jax.random.key(1), WORLD.observe(before), 3)
    after, response = STEP(jax.random.key(2), before, slates)
    before, after, slates, response = jax.device_get((before, after, slates, response))
    kinds = {"none": 0, "dull": 0, "liked": 0}
    for user in range(N):
        shown = [int(before.items[user, place]) for place in slates[user]]
        chances = [like_by_hand(score_by_hand(before, user, item)) for item in shown]
        np.testing.assert_allclose(response.signals["chance"][user], chances, atol=1e-5)
        liked, recent = before.liked[user], before.recent[user]
        if not response.clicked[user].any():
            kind, cost = "none", 1.0
            assert response.reward[user] == 0
            assert not response.signals["rating"][user].any()
        else:
            (place,) = np.flatnonzero(response.clicked[user])
            rating = float(response.signals["rating"][user, place])
            assert response.signals["rating"][user].sum() == rating
            assert response.reward[user] == pytest.approx((rating - 1) / 4)
            kind, cost = ("liked", 0.1) if rating >= 4 else ("dull", 0.5)
            assert response.signals["like"][user].sum() == (kind == "liked")
            recent = 0.75 * recent + FITTED.genres[shown[place]] / 4
            liked = 0.75 * liked + (FITTED.item[shown[place]] / 4 if kind == "liked" else 0)
        kinds[kind] += 1
        np.testing.assert_allclose(after.liked[user], liked, atol=1e-6)
        np.testing.assert_allclose(after.recent[user], recent, atol=1e-6)
        assert after.patience[user] == pytest.approx(before.patience[user] - cost, abs=1e-5)
        assert response.done[user] == (after.patience[user] <= 0)
        assert len(set(after.items[user].tolist())) == 8
    assert min(kinds.values()) > 5, kinds
    assert (after.steps == 8).all()
    np.testing.assert_array_equal(after.who, before.who)


def test_clicks_and_ratings_come_as_often_as_said() -> None:
    """One user, one slate, many draws: chances by hand, of each place and of each rating after a click on it."""
    n = 60_000
    one = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], (n, *x.shape[1:])), tired(WORLD, 3))
    slates = jnp.tile(jnp.array([4, 0, 2], jnp.int32), (n, 1))
    _, response = STEP(jax.random.key(5), one, slates)
    shown = [int(one.items[0, place]) for place in (4, 0, 2)]
    going = 1.0
    for place, item in enumerate(shown):
        score = score_by_hand(one, 0, item)
        chance = 0.8 * (place + 1) ** -0.7 * like_by_hand(score)
        expected, going = going * chance, going * (1 - chance)
        at = np.asarray(response.clicked[:, place])
        assert at.mean() == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / n))
        edges = [0.0, *(1 / (1 + math.exp(2 * score - cut)) for cut in (3.0, 5.0, 7.0, 9.0)), 1.0]
        drawn = np.asarray(response.signals["rating"][:, place])[at]
        for level in range(5):
            p = edges[level + 1] - edges[level]
            assert (drawn == level + 1).mean() == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / at.sum()) + 1e-4)


def test_what_policies_see() -> None:
    state = tired(WORLD)
    seen = WORLD.observe(state)
    assert isinstance(WORLD, Simulator)
    assert seen.user.shape == (N, WORLD.user_width)
    assert seen.documents.shape == (N, 8, WORLD.document_width)
    who, item = int(state.who[0]), int(state.items[0, 5])
    np.testing.assert_allclose(seen.user[0], [*FITTED.known[who], FITTED.known_bias[who], *state.recent[0]], rtol=1e-6)
    log = [math.log(1 + float(count)) for count in FITTED.count]
    spread = math.sqrt(sum((x - sum(log) / ITEMS) ** 2 for x in log) / ITEMS)
    popular = (log[item] - sum(log) / ITEMS) / spread
    like = like_by_hand(float(FITTED.scores(np.array([who]), np.array([item]), known=True)[0]))
    document = [*FITTED.item[item], FITTED.item_bias[item], popular, *FITTED.genres[item], like]
    np.testing.assert_allclose(seen.documents[0, 5], document, atol=1e-5)
    assert float(WORLD.popular(seen)[0, 5]) == pytest.approx(popular, abs=1e-5)
    score = float(FITTED.scores(np.array([who]), np.array([item]), known=True)[0])
    assert float(WORLD.predicted(seen)[0, 5]) == pytest.approx(score, abs=1e-5)
    weights, none = WORLD.weights(seen)
    chance = 0.8 * sum(j**-0.7 for j in (1, 2, 3)) / 3 * like_by_hand(score)
    assert float(weights[0, 5] / (weights[0, 5] + none[0])) == pytest.approx(chance, rel=1e-4)
    truth = dataclasses.replace(WORLD, true_state=True)
    shown = truth.observe(state)
    assert shown.user.shape == (N, truth.user_width)
    bored = sum(float(state.recent[0, g]) * float(FITTED.genres[item, g]) for g in range(G)) * 0.8
    by_hand = score_by_hand(state, 0, item) + bored
    assert float(truth.predicted(shown)[0, 5]) == pytest.approx(by_hand, abs=1e-5)
    assert float(shown.user[0, -1]) == pytest.approx(float(state.patience[0]) / 8)


def test_users_do_not_depend_on_who_is_beside_them() -> None:
    state, slates = tired(WORLD), jnp.tile(jnp.array([0, 1, 2], jnp.int32), (N, 1))
    other = jax.tree.map(lambda x, y: x.at[1:].set(y[1:]), state, tired(WORLD, 9))
    one = STEP(jax.random.key(3), state, slates)
    two = STEP(jax.random.key(3), other, slates.at[1:].set(jnp.array([7, 6, 5])))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b[0], rtol=1e-6), one, two)
    assert not np.array_equal(one[1].signals["chance"][1:], two[1].signals["chance"][1:])


def test_without_a_click_nothing_is_forgotten_and_sessions_end() -> None:
    state = tired(WORLD)
    never = dataclasses.replace(WORLD, appeal=1e-9)
    slates = jnp.zeros((N, 3), jnp.int32) + jnp.arange(3)
    rested, step = state, jax.jit(never.step)
    for t in range(20):
        rested, response = step(jax.random.key(t), rested, slates)
    np.testing.assert_array_equal(rested.recent, state.recent)
    np.testing.assert_array_equal(rested.liked, state.liked)
    assert response.done.all()
    found = many_episodes(never, partial(random_slates, k=3), None, jax.random.key(0), 20)
    assert set(found.length.tolist()) == {8}  # eight steps without a click use up a patience of 8
    endless = dataclasses.replace(WORLD, cost=(0.0, 0.0, 0.0))
    last = jax.jit(endless.step)(jax.random.key(0), state._replace(steps=jnp.full(N, 49, jnp.int32)), slates)[1]
    assert last.done.all()  # fifty steps are all there are
    assert not jax.jit(endless.step)(jax.random.key(0), state, slates)[1].done.any()


def test_the_best_predicted_please_more_than_random_ones_and_the_truth_most() -> None:
    truth = dataclasses.replace(WORLD, true_state=True)
    means = [
        many_episodes(world, act, None, jax.random.key(0), 2000).reward.mean()
        for world, act in ((WORLD, partial(random_slates, k=3)), (truth, scored(truth.predicted, 3)))
    ]
    assert means[1] > 1.2 * means[0]


def test_candidates_are_drawn_without_replacement_by_their_chances() -> None:
    """Every ordered pair of 4, counted, against the product of the two chances."""
    chances, n = np.array([0.5, 0.3, 0.15, 0.05]), 100_000
    bits = jax.random.bits(jax.random.key(0), (n, 2), jnp.uint32)
    drawn = np.asarray(weighted_distinct(bits, jnp.asarray(chances, jnp.float32)))
    for a in range(4):
        for b in range(4):
            p = 0.0 if a == b else chances[a] * chances[b] / (1 - chances[a])
            seen = ((drawn[:, 0] == a) & (drawn[:, 1] == b)).mean()
            assert seen == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n) + 1e-9)
    bits = jax.random.bits(jax.random.key(1), (500, 4), jnp.uint32)
    every = np.asarray(weighted_distinct(bits, jnp.asarray(chances, jnp.float32)))
    np.testing.assert_array_equal(np.sort(every, axis=1), np.tile(np.arange(4), (500, 1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slate": 9}, "slate 9: expected from 1 to 8"),
        ({"candidates": 31}, "candidates 31: made up has 30 items; draw fewer"),
        ({"boredom": -1.0}, "boredom -1.0: expected a number of at least 0"),
        ({"eta": math.nan}, "eta nan"),
        ({"appeal": 0.0}, "appeal 0.0: expected a chance"),
        ({"patience": 0.0}, "patience 0.0"),
        ({"budget": 0}, "budget 0"),
        ({"patience": math.inf}, "patience inf, .* all of them finite"),
        ({"cost": (1.0, math.nan, 0.1)}, "expected patience above 0, three costs"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(WORLD, **changes)
