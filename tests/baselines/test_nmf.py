"""NMF against the conditions of optimality and a non-negative least-squares solver."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from rec_jax.baselines.base import train_matrix
from rec_jax.baselines.nmf import NMFConfig, fit_nmf, fitted_nmf
from rec_jax.data.interactions import Dataset
from rec_jax.data.splits import leave_one_out
from rec_jax.errors import InputError
from rec_jax.models.base import Query


def test_user_vectors_solve_their_least_squares(small: Dataset) -> None:
    """Given H, each user's vector is the non-negative one whose scores are nearest to the history."""
    split = leave_one_out(small)
    scorer = fit_nmf(split, NMFConfig(factors=4, rounds=3000, tolerance=1e-8))
    x, items = train_matrix(split).toarray().astype(np.float64), np.asarray(scorer.cache["items"], np.float64)
    found = np.asarray(scorer.scores(scorer.cache, Query(jnp.arange(len(x)))))
    expected = np.stack([items @ scipy.optimize.nnls(items, row)[0] for row in x])
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.asarray(scorer.cache["users"]).min() >= 0
    assert items.min() >= 0
    # And the other way round: the items' vectors given the users'.
    users = np.asarray(scorer.cache["users"], np.float64)
    other = np.stack([users @ scipy.optimize.nnls(users, column)[0] for column in x.T], axis=1)
    np.testing.assert_allclose(found, other, atol=2e-3)


def test_each_loss_is_the_smaller_under_its_own_fit(small: Dataset) -> None:
    split = leave_one_out(small)
    x = train_matrix(split).toarray()
    found = {}
    for loss in ("frobenius", "kullback-leibler"):
        scorer = fit_nmf(split, NMFConfig(factors=4, loss=loss, solver="mu", rounds=1000, tolerance=1e-7))  # type: ignore[arg-type]
        y = np.asarray(scorer.scores(scorer.cache, Query(jnp.arange(len(x)))), np.float64)
        found[loss] = (((x - y) ** 2).sum(), y.sum() - np.log(np.maximum(y, 1e-12))[x > 0].sum())
    assert found["frobenius"][0] < found["kullback-leibler"][0]
    assert found["kullback-leibler"][1] < found["frobenius"][1]


def test_rounds_are_a_limit_and_the_seed_decides(small: Dataset) -> None:
    x = train_matrix(leave_one_out(small))
    few, many = (fitted_nmf(x, NMFConfig(factors=4, init="random", rounds=rounds), 0) for rounds in (2, 50))
    assert few.n_iter_ == 2
    assert many.reconstruction_err_ < few.reconstruction_err_
    again, other = (fitted_nmf(x, NMFConfig(factors=4, init="random", rounds=2), seed) for seed in (0, 1))
    np.testing.assert_array_equal(few.components_, again.components_)
    assert not np.allclose(few.components_, other.components_)


def test_numbers_out_of_range(small: Dataset) -> None:
    split = leave_one_out(small)
    with pytest.raises(InputError, match="expected 1 to 20"):
        fit_nmf(split, NMFConfig(factors=21))
    with pytest.raises(InputError, match="no negative penalty"):
        fit_nmf(split, NMFConfig(factors=2, penalty=-1.0))
    with pytest.raises(InputError, match="take solver 'mu'"):
        fit_nmf(split, NMFConfig(factors=2, loss="kullback-leibler"))
    with pytest.raises(InputError, match="take init 'nndsvda'"):
        fit_nmf(split, NMFConfig(factors=2, solver="mu", init="nndsvd"))
