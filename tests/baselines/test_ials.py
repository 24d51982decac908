"""iALS against dense solves and plain conjugate gradients in numpy."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

from rec_jax.baselines import ials
from rec_jax.baselines.base import train_matrix
from rec_jax.baselines.ials import IALSConfig, blocks, fit_ials, ials_factors, rounds
from rec_jax.data.interactions import Dataset, Interactions
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


@pytest.fixture
def few_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of several chunks, blocks of several rows, several blocks."""
    monkeypatch.setattr(ials, "CHUNK", 2)
    monkeypatch.setattr(ials, "CHUNKS", 9)


@pytest.mark.usefixtures("few_chunks")
@pytest.mark.parametrize("exponent", [1.0, 0.5])
def test_with_as_many_steps_as_factors_a_round_equals_dense_solves(small: Dataset, exponent: float) -> None:
    x = train_matrix(leave_one_out(small))
    config = IALSConfig(factors=5, iterations=2, unobserved_weight=0.2, reg=0.01, reg_exponent=exponent, cg_steps=6)
    one, two = (tuple(map(np.asarray, pair)) for pair in rounds(x, config, 0))
    users = solve_by_hand(x.toarray(), one[1].astype(np.float64), config)
    items = solve_by_hand(x.toarray().T, users, config)
    np.testing.assert_allclose(two[0], users, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(two[1], items, rtol=2e-3, atol=2e-4)


@pytest.mark.usefixtures("few_chunks")
def test_steps_are_conjugate_gradients_from_the_last_round(small: Dataset) -> None:
    x = train_matrix(leave_one_out(small))
    config = IALSConfig(factors=6, iterations=2, unobserved_weight=0.2, reg=0.01, cg_steps=2)
    one, two = (tuple(np.asarray(v, np.float64) for v in pair) for pair in rounds(x, config, 0))
    users, items = one
    gram, expected = 0.2 * items.T @ items, []
    for row, start in zip(x.toarray(), users):
        on = items[row > 0]
        left = gram + on.T @ on + 0.01 * (len(on) + 0.2 * len(items)) * np.eye(6)
        # After s steps conjugate gradients stand where the error in the norm of `left` is least on the span of
        # residual, left residual, ..., left^(s-1) residual.
        residual = on.sum(axis=0) - left @ start
        krylov = np.stack([residual, left @ residual], axis=1)
        expected.append(start + krylov @ np.linalg.solve(krylov.T @ left @ krylov, krylov.T @ residual))
    np.testing.assert_allclose(two[0], np.stack(expected), rtol=2e-3, atol=2e-4)


@pytest.mark.usefixtures("few_chunks")
def test_the_number_of_cores_changes_nothing(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    x, config, found = train_matrix(leave_one_out(small)), IALSConfig(factors=4, iterations=2), []
    for cores in (1, 3):
        monkeypatch.setattr(ials, "workers", lambda cores=cores: cores)
        found.append(ials_factors(x, config))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.usefixtures("few_chunks")
def test_every_event_is_in_one_block_with_its_row() -> None:
    rng = np.random.default_rng(0)
    dense = rng.random((40, 30)) < rng.random((40, 1)) ** 2
    dense[[3, 11]] = False
    dense[7] = True  # 15 chunks, more than a block holds otherwise
    parts = blocks(sp.csr_matrix(dense.astype(np.float32)), 3)
    assert len({part.columns.shape for part in parts}) == 1
    packed = [np.concatenate([np.asarray(v) for v in vs]) for vs in zip(*(vars(part).values() for part in parts))]
    found = []
    for row, length, place, columns in zip(*packed):
        assert all(length[k] == dense[r].sum() for k, r in enumerate(row) if r < 40)
        found += [(int(row[p]), int(i)) for p, chunk in zip(place, columns) for i in chunk if i < 30]
    assert sorted(found) == sorted(map(tuple, np.argwhere(dense).tolist()))
    rows = packed[0]
    assert sorted(rows[rows < 40].tolist()) == np.flatnonzero(dense.any(axis=1)).tolist()


def test_the_seed_decides_and_rows_without_events_stay_at_zero(small: Dataset) -> None:
    x = train_matrix(leave_one_out(small)).tolil()
    x[4] = 0
    x[:, 7] = 0
    x = x.tocsr()
    config = IALSConfig(factors=4, iterations=2)
    a, b, c = (ials_factors(x, config, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a[0], b[0])
    assert not np.allclose(a[0], c[0])
    assert not a[0][4].any()
    assert not a[1][7].any()
    assert (np.abs(a[0]).sum(axis=1) > 0).sum() == len(a[0]) - 1


def test_other_users_fold_in_by_dense_solves(small: Dataset) -> None:
    split, config = leave_one_out(small), IALSConfig(factors=5, iterations=2, unobserved_weight=0.2, reg=0.01)
    scorer = fit_ials(split, config, seed=3)
    assert scorer.fold_in is not None
    items = np.asarray(scorer.cache["items"], np.float64)
    user, item = np.array([0, 0, 0, 2], np.int32), np.array([5, 1, 5, 19], np.int32)  # user 1 has no event
    log = Interactions(user, item, np.ones(4, np.float32), np.zeros(4, np.int64))
    other = scorer.fold_in(log, 3)
    x = np.zeros((3, small.n_items))
    x[user, item] = 1
    found = other.scores(other.cache, Query(jnp.arange(3)))
    np.testing.assert_allclose(found, solve_by_hand(x, items, config) @ items.T, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"reg": 0.0}, {"iterations": 0}, {"cg_steps": 0}, {"unobserved_weight": -0.1}])
def test_numbers_out_of_range(small: Dataset, wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="a positive reg"):
        fit_ials(leave_one_out(small), replace(IALSConfig(factors=4), **wrong))
