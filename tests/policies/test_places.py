"""Chances of Thompson sampling's places against counted draws, and where they are known."""

import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.policies.places import place_chances


def test_chances_are_those_of_counted_draws() -> None:
    alpha, beta = np.array([3.0, 47.0, 8.0, 1.0, 20.0]), np.array([400.0, 9000.0, 1200.0, 300.0, 3000.0])
    found, n = place_chances(alpha, beta, 3), 200_000
    order = np.argsort(-np.random.default_rng(0).beta(alpha, beta, size=(n, 5)), axis=1)
    counted = np.stack([np.bincount(order[:, place], minlength=5) / n for place in range(3)], axis=1)
    assert np.abs(found - counted).max() < 4 * (0.25 / n) ** 0.5
    np.testing.assert_allclose(found.sum(axis=0), 1)


def test_alike_arms_are_as_likely_and_two_arms_are_known() -> None:
    alike = place_chances(np.full(4, 2.0), np.full(4, 5.0), 4)
    np.testing.assert_allclose(alike, 0.25, atol=1e-4)
    # U^(1/2) has the distribution Beta(2, 1): it is above a uniform with chance 2/3.
    first = place_chances(np.array([2.0, 1.0]), np.array([1.0, 1.0]), 1)
    np.testing.assert_allclose(first[:, 0], [2 / 3, 1 / 3], atol=1e-4)


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(InputError, match="places 3"):
        place_chances(np.ones(2), np.ones(2), 3)
    with pytest.raises(InputError, match="numbers above 0"):
        place_chances(np.array([1.0, 0.0]), np.ones(2), 1)
