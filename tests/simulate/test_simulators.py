"""Steps of each simulator in plain Python, and what a session's loop counts."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Key

from rec_jax.errors import InputError
from rec_jax.policies.fixed import best, interest, random_slates, scored
from rec_jax.simulate.base import Observation, Simulator
from rec_jax.simulate.choice import Cascade, Logit
from rec_jax.simulate.episodes import course, episodes, many_episodes
from rec_jax.simulate.interest_evolution import InterestEvolution
from rec_jax.simulate.interest_exploration import InterestExploration
from rec_jax.simulate.long_term_satisfaction import LongTermSatisfaction

SIMULATORS: list[Simulator] = [
    InterestEvolution(candidates=6, slate=3, choice=Logit()),
    InterestEvolution(candidates=5, slate=2, choice=Cascade(scaling=0.5)),
    InterestExploration(candidates=6, slate=2, choice=Logit(1.0)),
    LongTermSatisfaction(candidates=4, slate=3),
]
NAMES = [f"{of.name}-{i}" for i, of in enumerate(SIMULATORS)]
N = 64


@partial(jax.jit, static_argnums=(0, 2))
def reset(of: Simulator, key: Key[Array, ""], n: int) -> Any:
    """As one program, which costs less than its operations one by one."""
    return of.reset(key, n)


def stepped(of: Simulator, seed: int = 0) -> tuple[Any, Any, np.ndarray, Any]:
    """(before, after, slates, response) of a random step, in numpy."""
    return jax.tree.map(np.asarray, _stepped(of, *(jax.random.key(seed + i) for i in range(3))))


@partial(jax.jit, static_argnums=0)
def _stepped(of: Simulator, *keys: Key[Array, ""]) -> tuple[Any, Any, Array, Any]:
    before = of.reset(keys[0], N)
    slates = random_slates(None, keys[1], of.observe(before), of.slate)
    after, response = of.step(keys[2], before, slates)
    return before, after, slates, response


@pytest.mark.parametrize("of", SIMULATORS, ids=NAMES)
def test_what_is_declared_is_what_comes(of: Simulator) -> None:
    state = jax.eval_shape(partial(of.reset, n=N), jax.random.key(0))
    seen = jax.eval_shape(of.observe, state)
    assert seen.user.shape == (N, of.user_width)
    assert seen.documents.shape == (N, of.candidates, of.document_width)
    _, after, _, response = stepped(of)
    assert jax.tree.map(np.shape, after) == jax.tree.map(lambda leaf: leaf.shape, state)
    assert response.clicked.shape == (N, of.slate)
    assert (response.clicked.sum(axis=1) <= 1).all()
    assert all(signal.shape == (N, of.slate) for signal in response.signals.values())


@pytest.mark.parametrize("of", SIMULATORS, ids=NAMES)
def test_users_do_not_depend_on_who_is_beside_them_and_keys_decide(of: Simulator) -> None:
    one, again, other = stepped(of), stepped(of), stepped(of, seed=5)
    before, slates = jax.tree.map(jnp.asarray, (one[0], one[2]))
    beside, shown = jax.tree.map(lambda x, y: x.at[1:].set(y[1:]), (before, slates), (other[0], other[2]))
    step = jax.jit(of.step)
    alone, together = (step(jax.random.key(7), *given) for given in ((before, slates), (beside, shown)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b[0], rtol=1e-6), alone, together)
    assert not np.array_equal(jax.tree.leaves(alone)[0][1:], jax.tree.leaves(together)[0][1:])
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert not np.array_equal(jax.tree.leaves(one[1])[0], jax.tree.leaves(other[1])[0])


@pytest.mark.parametrize("of", [s for s in SIMULATORS if isinstance(s, InterestEvolution)], ids=NAMES[:2])
def test_interest_evolution_by_hand(of: InterestEvolution) -> None:
    before, after, slates, response = stepped(of)
    clicks = 0
    for user in range(N):
        (place,) = np.flatnonzero(response.clicked[user]) if response.clicked[user].any() else (None,)
        interests, left = before.interests[user].tolist(), 200.0
        shown = [int(before.topics[user, i]) for i in slates[user]]
        assert response.signals["topic"][user].tolist() == shown
        if place is None:
            left -= 0.5
            assert response.reward[user] == 0
        else:
            clicks += 1
            topic, quality = shown[place], float(response.signals["quality"][user, place])
            mean = -3 + 3 * topic / 13 if topic < 14 else 3 * (topic - 14) / 5
            assert abs(quality - mean) < 0.6
            left += -4 + 0.9 / 3.4 * 4 * quality
            liked = interests[topic]
            move = 0.3 * (1 - abs(liked)) * (1 - liked)
            found = float(after.interests[user, topic])
            up, down = min(1, liked + move), max(-1, liked - move)
            assert min(abs(found - up), abs(found - down)) < 1e-6
            interests[topic] = found
            assert response.reward[user] == 4
        np.testing.assert_allclose(after.interests[user], interests, atol=1e-6)
        assert after.budget[user] == pytest.approx(left, abs=1e-4)
    assert 10 < clicks < N
    assert not response.done.any()


def test_a_liked_topic_is_liked_more_as_often_as_said() -> None:
    of, n = InterestEvolution(candidates=1, slate=1, choice=Logit(-100.0)), 40_000
    state = reset(of, jax.random.key(0), n)._replace(interests=jnp.full((n, 20), 0.5))
    after, _ = jax.jit(of.step)(jax.random.key(1), state, jnp.zeros((n, 1), jnp.int32))
    moved = np.take_along_axis(np.asarray(after.interests), np.asarray(state.topics), axis=1)[:, 0]
    assert set(moved.round(4).astype(str)) == {"0.425", "0.575"}  # 0.3 · 0.5 · 0.5 = 0.075
    assert (moved > 0.5).mean() == pytest.approx(0.75, abs=4 * math.sqrt(0.75 * 0.25 / n))


def test_a_session_ends_with_its_budget_and_watches_no_more_than_is_left() -> None:
    of = InterestEvolution(candidates=3, slate=1, choice=Logit(-100.0))
    state = reset(of, jax.random.key(0), N)._replace(budget=jnp.full(N, 1.5), topics=jnp.zeros((N, 3), jnp.int32))
    after, response = jax.jit(of.step)(jax.random.key(1), state, jnp.zeros((N, 1), jnp.int32))
    assert set(np.asarray(response.reward).tolist()) == {1.5}
    assert np.asarray(response.done).all()
    assert (np.asarray(after.budget) < 0).all()


def test_interest_exploration_by_hand() -> None:
    of = SIMULATORS[2]
    before, after, slates, response = stepped(of)
    np.testing.assert_array_equal(after.affinity, before.affinity)
    np.testing.assert_array_equal(response.reward, response.clicked.any(axis=1))
    assert not response.done.any()
    kinds = np.log(before.affinity)
    assert (np.abs(kinds - [0.1, 0.7]).max(axis=1) < 0.6).any()
    assert (np.abs(kinds - [0.7, 0.1]).max(axis=1) < 0.6).any()
    np.testing.assert_array_equal(response.signals["quality"], np.take_along_axis(before.quality, slates, axis=1))
    # The chance of a click, by the logit over affinity plus quality: expected and counted.
    n = 20_000
    state = reset(of, jax.random.key(3), n)
    shown = jnp.tile(jnp.array([0, 1]), (n, 1))
    _, answer = jax.jit(of.step)(jax.random.key(4), state, shown)
    chances = []
    for affinity, topics, quality in zip(*(np.asarray(x).tolist() for x in state)):
        mass = sum(math.exp(affinity[topics[i]] + quality[i]) for i in (0, 1))
        chances.append(mass / (mass + math.exp(1.0)))
    error = math.sqrt(sum(p * (1 - p) for p in chances)) / n
    assert np.asarray(answer.reward).mean() == pytest.approx(np.mean(chances), abs=4 * error)


def test_long_term_satisfaction_by_hand() -> None:
    of = SIMULATORS[3]
    before, after, slates, response = stepped(of)
    choc = np.take_along_axis(before.clickbait, slates, axis=1)[:, 0].astype(float)
    moved = after.exposure - (0.7 * before.exposure - 2 * (choc - 0.5))
    assert 0.03 < moved.std() < 0.07
    assert (response.clicked == [True, False, False]).all()
    satisfaction = 1 / (1 + np.exp(-0.01 * before.exposure))
    noise = np.log(response.reward) - satisfaction * (choc * 5 + (1 - choc) * 4)
    assert np.abs(noise).max() < 4
    assert abs(noise.mean()) < 4 / math.sqrt(N)
    assert 0.7 < noise.std() < 1.3
    np.testing.assert_array_equal(after.budget, 59)


@pytest.mark.parametrize("of", SIMULATORS, ids=NAMES)
def test_sessions_add_up_what_steps_give(of: Simulator) -> None:
    """The compiled loop against a loop in Python over the same keys."""
    n, limit, key = 8, 25, jax.random.key(7)
    act = partial(random_slates, k=of.slate)
    found = jax.device_get(jax.jit(lambda key: episodes(of, act, None, key, n, limit))(key))
    state = reset(of, jax.random.fold_in(key, 0), n)
    reward, length, clicks, live = np.zeros(n), np.zeros(n), np.zeros(n), np.ones(n, bool)
    step, show = jax.jit(of.step), jax.jit(lambda key, state: act(None, key, of.observe(state)))
    for t in range(limit):
        of_policy, of_users = jax.random.split(jax.random.fold_in(key, t + 1))
        state, response = step(of_users, state, show(of_policy, state))
        reward += live * np.asarray(response.reward)
        length += live
        clicks += live * np.asarray(response.clicked).sum(axis=1)
        live &= ~np.asarray(response.done)
    np.testing.assert_allclose(found.reward, reward, rtol=1e-5)
    np.testing.assert_array_equal(found.length, length)
    np.testing.assert_array_equal(found.clicks, clicks)


def test_sessions_last_until_each_user_is_done() -> None:
    of = LongTermSatisfaction(budget=7)
    act = partial(random_slates, k=2)
    found = many_episodes(of, act, None, jax.random.key(0), 10, block=4)
    assert found.length.tolist() == [7] * 10
    np.testing.assert_allclose(found.signals["engagement"], found.reward, rtol=1e-5)
    assert len(set(found.reward.tolist())) == 10


def test_users_do_not_depend_on_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    act, found = partial(random_slates, k=2), []
    for cores in (1, 2, 5):
        monkeypatch.setattr("rec_jax.workers.workers", lambda cores=cores: cores)
        found.append(many_episodes(LongTermSatisfaction(budget=3), act, None, jax.random.key(0), 10, block=4).reward)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="slate 11: expected from 1 to 10"):
        InterestEvolution(slate=11)
    with pytest.raises(InputError, match="slate 0"):
        LongTermSatisfaction(slate=0)
    for name, value in (("budget", float("inf")), ("budget", 0.0), ("video_length", 0.0), ("refund", -0.1)):
        with pytest.raises(InputError, match=f"{name} {value}.*expected finite minutes above 0"):
            InterestEvolution(**{name: value})
    for name in ("step_penalty", "quality_sd", "quality_range", "step_size"):
        with pytest.raises(InputError, match=f"{name} -60.0: expected a finite number of at least 0"):
            InterestEvolution(**{name: -60.0})
    with pytest.raises(InputError, match="topics 0: expected at least 1"):
        InterestEvolution(topics=0)
    for given in ({"memory_discount": 1.0}, {"memory_discount": float("nan")}, {"budget": 0}):
        with pytest.raises(InputError, match="expected a share below 1, and at least one document"):
            LongTermSatisfaction(**given)
    for name, value in (("sensitivity", float("nan")), ("choc_mean", float("inf")), ("kale_sd", -1.0)):
        with pytest.raises(InputError, match=f"{name} {value}: expected a"):
            LongTermSatisfaction(**{name: value})
    for given in ({"quality_mean": (0.8, float("nan"))}, {"quality_sd": (0.1, -0.1)}):
        with pytest.raises(InputError, match="expected finite numbers, standard deviations of at least 0"):
            InterestExploration(**given)
    with pytest.raises(InputError, match="affinity_mean: expected 2 kinds of users by 3 topics"):
        InterestExploration(supply=(0.2, 0.3, 0.5))
    with pytest.raises(InputError, match=r"kinds \(0.3, 0.3\): expected shares that add up to 1"):
        InterestExploration(kinds=(0.3, 0.3))
    with pytest.raises(InputError, match="quality_mean and quality_sd"):
        InterestExploration(quality_mean=(1.0,))
    with pytest.raises(InputError, match="sessions of 0 users"):
        many_episodes(LongTermSatisfaction(), partial(random_slates, k=2), None, jax.random.key(0), 0)
    with pytest.raises(InputError, match="sessions never end; give a limit of steps"):
        episodes(InterestExploration(), partial(random_slates, k=2), None, jax.random.key(0), 3)
    generous = InterestEvolution(quality_range=4.0)  # its best documents give back more time than they take
    assert InterestEvolution().ends
    assert not generous.ends
    with pytest.raises(InputError, match="sessions never end; give a limit of steps"):
        episodes(generous, partial(random_slates, k=2), None, jax.random.key(0), 3)
    seen = generous.observe(generous.reset(jax.random.key(0), 2))
    for act in (partial(random_slates, k=11), scored(interest, 11)):
        with pytest.raises(InputError, match="slate 11: expected from 1 to 10"):
            act(None, jax.random.key(0), seen)


def test_the_best_come_first_and_of_equals_the_first() -> None:
    scores = jnp.array([[1.0, 5.0, 5.0, 2.0], [-1.0, -3.0, -2.0, -1.0]])
    assert best(scores, 3).tolist() == [[1, 2, 3], [0, 3, 2]]
    never = jnp.array([[0.0, -jnp.inf, -jnp.inf, 1.0]])
    assert best(never, 3).tolist() == [[3, 0, 1]]
    seen = Observation(jnp.array([[1.0, -1.0]]), jnp.array([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]]))
    assert scored(interest, 2)(None, jax.random.key(0), seen).tolist() == [[0, 2]]


def test_a_course_tells_what_a_session_adds_up() -> None:
    of = InterestEvolution(candidates=5, slate=2, budget=20.0)
    act = partial(random_slates, k=2)
    whole = episodes(of, act, None, jax.random.key(3), 16)
    (reward, budget), live = course(
        of, act, None, jax.random.key(3), 16, 40, lambda state, slates, response: (response.reward, state.budget)
    )
    np.testing.assert_allclose((reward * live).sum(axis=0), whole.reward, rtol=1e-6)
    np.testing.assert_array_equal(live.sum(axis=0), whole.length)
    assert (np.asarray(budget)[0] == 20).all()
    assert (np.asarray(budget)[np.asarray(live)] > 0).all()
