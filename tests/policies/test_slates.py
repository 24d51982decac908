"""Slates against brute force over all of them."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.policies.slates import BUILDERS, Builder, greedy, optimal, top_k, value

N, C = 300, 7


def problem(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = rng.exponential(size=(N, C)) * (rng.random((N, C)) > 0.1)
    return weights, rng.exponential(size=N) + 0.01, rng.normal(size=(N, C)) * 3, rng.normal(size=N)


def worth(weights: np.ndarray, none: float, q: np.ndarray, q_none: float, slate: tuple[int, ...]) -> float:
    mass, total = none, none * q_none
    for i in slate:
        mass += weights[i]
        total += weights[i] * q[i]
    return float(total / mass)


def as_float32(given: tuple[np.ndarray, ...]) -> list[jnp.ndarray]:
    return [jnp.asarray(x, jnp.float32) for x in given]


@pytest.mark.parametrize("k", [1, 2, 3, 6, 7])
def test_the_optimal_slate_is_the_best_of_all(k: int) -> None:
    given = problem(k)
    slates = np.asarray(optimal(*as_float32(given), k))
    values = np.asarray(value(*as_float32(given), jnp.asarray(slates)))
    better = 0
    for weights, none, q, q_none, slate, found in zip(*given, slates.tolist(), values):
        assert len(set(slate)) == k
        assert found == pytest.approx(worth(weights, none, q, q_none, tuple(slate)), abs=1e-4)
        most = max(worth(weights, none, q, q_none, of) for of in itertools.combinations(range(C), k))
        assert found == pytest.approx(most, abs=1e-4)
        better += most > worth(weights, none, q, q_none, tuple(np.argsort(-weights * q)[:k])) + 1e-3
    assert better > N / 10 or k == C  # that top-k is not as good is what makes the programme worth its while


@pytest.mark.parametrize("k", [1, 3])
def test_greedy_takes_the_best_addition_each_time(k: int) -> None:
    given = problem(10 + k)
    slates = np.asarray(greedy(*as_float32(given), k)).tolist()
    for weights, none, q, q_none, slate in zip(*given, slates):
        so_far: tuple[int, ...] = ()
        for place in slate:
            left = [i for i in range(C) if i not in so_far]
            best = max(worth(weights, none, q, q_none, (*so_far, i)) for i in left)
            so_far = (*so_far, place)
            assert worth(weights, none, q, q_none, so_far) == pytest.approx(best, abs=1e-4)


def test_top_k_takes_the_largest_products() -> None:
    weights, none, q = jnp.array([[1.0, 2.0, 0.5, 4.0]]), jnp.array([1.0]), jnp.array([[3.0, 2.0, 7.0, -1.0]])
    assert top_k(weights, none, q, jnp.array([0.0]), 3).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("build", BUILDERS.values())
def test_more_documents_than_there_are_cannot_be_shown(build: Builder) -> None:
    with pytest.raises(InputError, match=f"slate {C + 1}: expected from 1 to {C}"):
        build(*as_float32(problem(1)), C + 1)


def test_no_builder_is_worth_more_than_the_optimal_one() -> None:
    given = as_float32(problem(3))
    values = {name: np.asarray(value(*given, build(*given, 3))) for name, build in BUILDERS.items()}
    assert (values["O"] >= values["G"] - 1e-4).all()
    assert (values["O"] >= values["T"] - 1e-4).all()
    assert (values["O"] > values["G"] + 1e-3).any()
