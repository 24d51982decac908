"""Rewards against the formula in plain Python."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.data.rewards import Reward, Signal
from rec_jax.errors import InputError
from rec_jax.policies.rewards import Rewarded, of_response
from rec_jax.simulate.base import Response
from rec_jax.simulate.interest_evolution import InterestEvolution

BOTH = Reward((Signal("click", 0.2), Signal("watch_time", 1.0, 0.0, 8.0)))


def answer(watched: list[list[float]]) -> Response:
    clicked = jnp.array([[False, True], [False, False], [True, False]])
    return Response(clicked, {"watch_time": jnp.array(watched)}, jnp.zeros(3), jnp.zeros(3, bool))


def test_a_log_and_a_response_are_rewarded_by_the_formula() -> None:
    found = BOTH.of_log({"click": np.array([1, 0, 1]), "watch_time": np.array([4.0, 0.0, 8.0]), "other": np.ones(3)})
    np.testing.assert_allclose(found, [(0.2 + 0.5) / 1.2, 0, 1], rtol=1e-12)
    np.testing.assert_allclose(
        of_response(BOTH, answer([[0.0, 4.0], [0.0, 0.0], [8.0, 0.0]])), [(0.2 + 0.5) / 1.2, 0, 1], rtol=1e-6
    )


def test_ratings_start_where_they_do() -> None:
    ratings = Reward((Signal("rating", 3.0, 1.0, 5.0),))
    assert ratings.of_log({"rating": np.array([1.0, 3.0, 5.0])}).tolist() == [0, 0.5, 1]


def test_values_outside_the_declared_range_are_refused_or_told() -> None:
    with pytest.raises(InputError, match=r"row 1: watch_time 9\.0 is outside its declared range, 0\.0 to 8\.0"):
        BOTH.of_log({"click": np.array([1, 1]), "watch_time": np.array([1.0, 9.0])})
    with pytest.raises(InputError, match="row 0: watch_time nan"):
        BOTH.of_log({"click": np.array([1]), "watch_time": np.array([np.nan])})
    found = np.asarray(of_response(BOTH, answer([[0.0, 9.0], [9.0, 9.0], [8.0, 9.0]])))
    assert np.isnan(found[0])
    assert found[1:].tolist() == [0, 1]
    clipped = Reward((Signal("watch_time", 1.0, 0.0, 8.0, clip=True),))
    assert clipped.of_log({"watch_time": np.array([-1.0, 9.0])}).tolist() == [0, 1]
    assert of_response(clipped, answer([[0.0, 9.0], [0.0, 0.0], [4.0, 0.0]])).tolist() == [1, 0, 0.5]


@pytest.mark.parametrize("ends", [(0.0, 4.3), (0.9, 1.0), (-0.7, 0.1)])
def test_ends_in_single_precision_are_inside(ends: tuple[float, float]) -> None:
    signal = Signal("watch_time", 1.0, *ends)
    measured = np.array(ends, np.float32)
    signal.check_inside(measured, "row {}")
    found = of_response(Reward((signal,)), answer([[0.0, ends[1]], [0.0, 0.0], [ends[0], 0.0]]))
    assert found.tolist() == [1, 0, 0]
    beyond = np.nextafter(measured, np.float32([-9, 9]))
    for value in beyond:
        with pytest.raises(InputError, match="outside its declared range"):
            signal.check_inside(np.array([value]), "row {}")


def test_what_was_not_measured_cannot_be_clipped() -> None:
    with pytest.raises(InputError, match="row 0: watch_time nan"):
        Reward((Signal("watch_time", clip=True),)).of_log({"watch_time": np.array([np.nan])})


def test_impossible_rewards_are_refused() -> None:
    with pytest.raises(InputError, match="weight -1"):
        Signal("click", -1.0)
    with pytest.raises(InputError, match=r"range 5.0 to 1.0 of 'rating'"):
        Signal("rating", low=5.0, high=1.0)
    with pytest.raises(InputError, match="'click' is there twice"):
        Reward((Signal("click"), Signal("click")))
    with pytest.raises(InputError, match="no signal weighs anything"):
        Reward((Signal("click", 0.0),))
    with pytest.raises(InputError, match="no signal 'watchtime': did you mean watch_time"):
        of_response(Reward((Signal("watchtime"),)), answer([[0.0, 0.0]] * 3))
    with pytest.raises(InputError, match="no signal 'rating'"):
        Reward((Signal("rating"),)).of_log({"click": np.ones(1)})


def test_a_simulator_is_rewarded_anew() -> None:
    plain = InterestEvolution(candidates=4, slate=2)
    world = Rewarded(plain, Reward((Signal("watch_time", 1.0, 0.0, 8.0),)))
    state, slates = world.reset(jax.random.key(0), 6), jnp.tile(jnp.array([0, 1]), (6, 1))
    (after, response), (same, was) = (of.step(jax.random.key(1), state, slates) for of in (world, plain))
    jax.tree.map(np.testing.assert_array_equal, after, same)
    np.testing.assert_allclose(response.reward, was.reward / 8)
    assert 0 < response.reward.max() <= 1
    assert (world.name, world.slate, world.document_width, world.ends) == ("interest_evolution", 2, 20, True)


def test_signals_outside_their_range_are_told_before_anything_is_learnt() -> None:
    world = InterestEvolution(candidates=4, slate=2)
    Rewarded(world, Reward((Signal("watch_time", 1.0, 0.0, 8.0),))).check()
    with pytest.raises(InputError, match=r"no signal 'engagement'.*watch_time"):
        Rewarded(world, Reward((Signal("engagement"),))).check()
    narrow = Signal("watch_time", 1.0, 0.0, 0.5)
    with pytest.raises(InputError, match=r"_evolution, step 1 under random slates, click \d+: watch_time .* 0\.5;"):
        Rewarded(world, Reward((narrow,))).check()
    Rewarded(world, Reward((replace(narrow, clip=True),))).check()
