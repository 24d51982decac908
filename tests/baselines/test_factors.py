"""iALS against dense solves in numpy, PureSVD against numpy's decomposition."""

import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.baselines import ials
from rec_jax.baselines.base import train_matrix
from rec_jax.baselines.ials import IALSConfig, ials_factors
from rec_jax.baselines.svd import PureSVDConfig, fit_pure_svd
from rec_jax.data.interactions import Dataset
from rec_jax.data.splits import leave_one_out
from rec_jax.errors import InputError
from rec_jax.models.base import Query


def solve_by_hand(x: np.ndarray, other: np.ndarray, c: IALSConfig) -> np.ndarray:
    """Every row's own regularised least squares over all columns, weighted 1 + alpha_0 or alpha_0 (labels 1, 0).

    sum_i in I (p.q_i - 1)^2 + alpha_0 sum_all (p.q_i)^2 + lambda (|I| + alpha_0 n)^nu |p|^2.
    """
    rows = []
    for row in x:
        on = other[row > 0]
        penalty = c.reg * (len(on) + c.unobserved_weight * len(other)) ** c.reg_exponent
        left = on.T @ on + c.unobserved_weight * other.T @ other + penalty * np.eye(other.shape[1])
        rows.append(np.linalg.solve(left, on.sum(axis=0)))
    return np.stack(rows)


@pytest.mark.parametrize("exponent", [1.0, 0.5])
def test_a_round_equals_dense_solves(small: Dataset, monkeypatch: pytest.MonkeyPatch, exponent: float) -> None:
    monkeypatch.setattr(ials, "SHORTEST", 2)  # several lengths and batches
    monkeypatch.setattr(ials, "NUMBERS_PER_BATCH", 150)
    x = train_matrix(leave_one_out(small))
    config = IALSConfig(factors=5, epochs=2, unobserved_weight=0.2, reg=0.01, reg_exponent=exponent)
    one, two = (ials_factors(x, IALSConfig(**{**vars(config), "epochs": epochs})) for epochs in (1, 2))
    users = solve_by_hand(x.toarray(), one[1].astype(np.float64), config)
    items = solve_by_hand(x.toarray().T, users, config)
    np.testing.assert_allclose(two[0], users, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(two[1], items, rtol=2e-3, atol=2e-4)


def test_the_seed_decides(small: Dataset) -> None:
    x = train_matrix(leave_one_out(small))
    a, b, c = (ials_factors(x, IALSConfig(factors=4, epochs=1, seed=seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)


def test_pure_svd_is_the_best_approximation_of_its_rank(small: Dataset) -> None:
    split = leave_one_out(small)
    scorer = fit_pure_svd(split, PureSVDConfig(factors=6))
    x = train_matrix(split).toarray().astype(np.float64)
    u, s, v = np.linalg.svd(x, full_matrices=False)
    expected = (u[:, :6] * s[:6]) @ v[:6]
    found = scorer.scores(scorer.cache, Query(jnp.arange(len(x))))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_numbers_out_of_range(small: Dataset) -> None:
    split = leave_one_out(small)
    with pytest.raises(InputError, match="expected 1 to 19"):
        fit_pure_svd(split, PureSVDConfig(factors=20))
    with pytest.raises(InputError, match="a positive reg"):
        ials_factors(train_matrix(split), IALSConfig(reg=0.0))
