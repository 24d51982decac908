"""PureSVD against numpy's decomposition."""

import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.baselines.base import train_matrix
from rec_jax.baselines.svd import PureSVDConfig, fit_pure_svd
from rec_jax.data.interactions import Dataset
from rec_jax.data.splits import leave_one_out
from rec_jax.errors import InputError
from rec_jax.models.base import Query


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
