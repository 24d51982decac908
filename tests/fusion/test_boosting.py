"""Boosting against stages of normal equations and against EASE."""

import itertools

import numpy as np
import pytest

from rec_jax import fusion
from rec_jax.baselines.base import train_matrix
from rec_jax.baselines.ease import ease_weights
from rec_jax.data.interactions import Dataset
from rec_jax.data.splits import held_out_users, leave_one_out
from rec_jax.errors import InputError, UndefinedScore
from rec_jax.evaluate.report import validation
from rec_jax.fusion import boosting
from tests.fusion.helpers import (
    ITEMS,
    USERS,
    check_both_ways_agree,
    check_ranks,
    informed,
    part,
    scores_of,
    split_and_valid,
    tables,
)


def ridge_by_hand(x: np.ndarray, residual: np.ndarray, l2: float) -> np.ndarray:
    """Each column's own regression on all other columns, by its normal equations."""
    weights = np.zeros((ITEMS, ITEMS))
    for i in range(ITEMS):
        others = np.delete(np.arange(ITEMS), i)
        a = x[:, others]
        weights[others, i] = np.linalg.solve(a.T @ a + l2 * np.eye(ITEMS - 1), a.T @ residual[:, i])
    return weights


def test_boosting_equals_stages_of_normal_equations(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    split, valid = split_and_valid(small)
    x = train_matrix(split).toarray().astype(np.float64)
    table = (np.random.default_rng(0).normal(7, 3, x.shape) + 2 * x).astype(np.float32)
    values = iter(range(100))
    monkeypatch.setattr(boosting, "validation", lambda *_: float(next(values)))  # ever better: all stages are kept
    monkeypatch.setattr("rec_jax.evaluate.ranking.PAIRS_PER_BATCH", 7 * ITEMS)  # the last block of users is short
    config = fusion.BoostingConfig(l2=2.0, stages=3, shrinkage=0.4)
    scorer = fusion.fuse_boosting(part(table), split, valid, config)
    a = np.stack([np.ones(x.size), table.ravel().astype(np.float64)], axis=1)
    intercept, slope = np.linalg.lstsq(a, x.ravel(), rcond=None)[0]
    fitted, errors = intercept + slope * table, []
    for _ in range(3):
        errors.append(((x - fitted) ** 2).sum())
        fitted = fitted + 0.4 * x @ ridge_by_hand(x, x - fitted, 2.0)
    np.testing.assert_allclose(scores_of(scorer), fitted - intercept, rtol=1e-3, atol=1e-4)
    errors.append(((x - intercept - scores_of(scorer)) ** 2).sum())
    assert all(after < before for before, after in itertools.pairwise(errors))
    assert scorer.name == "boosted(table; 3 stages)"
    check_both_ways_agree(scorer)


def test_boosting_nothing_is_ease(small: Dataset) -> None:
    x = train_matrix(leave_one_out(small)).toarray().astype(np.float64)
    found = fusion.residual_weights(np.linalg.inv(x.T @ x + 3.0 * np.eye(ITEMS)), x.T @ x)
    np.testing.assert_allclose(found, ease_weights(x.T @ x, 3.0), rtol=1e-8, atol=1e-10)


def test_boosting_is_never_below_the_first_on_validation(small: Dataset) -> None:
    split, valid = split_and_valid(small)
    x = train_matrix(split).toarray()
    config = fusion.BoostingConfig(l2=5.0, stages=3, metric="ndcg@5")
    for strength in (0.0, 0.5, 9.0):
        first = part(informed(valid, strength, 3) + x)
        scorer = fusion.fuse_boosting(first, split, valid, config)
        assert validation(scorer, valid, "ndcg@5") >= validation(first, valid, "ndcg@5")
        if strength == 9.0:  # nothing is better than perfect
            assert scorer.name == "boosted(table; 0 stages)"
            np.testing.assert_array_equal(scores_of(scorer), scores_of(first))


def test_both_rules_rank_as_plain_numpy_does(small: Dataset) -> None:
    check_ranks("boosted", leave_one_out(small))


@pytest.mark.parametrize(
    "config",
    [fusion.BoostingConfig(l2=0.0), fusion.BoostingConfig(shrinkage=1.5), fusion.BoostingConfig(stages=0)],
)
def test_numbers_out_of_range(small: Dataset, config: fusion.BoostingConfig) -> None:
    with pytest.raises(InputError, match="expected a positive l2"):
        fusion.fuse_boosting(part(tables()[0]), *split_and_valid(small), config)


def test_what_cannot_be_boosted(small: Dataset) -> None:
    split, valid = split_and_valid(small)
    x, config = train_matrix(split).toarray(), fusion.BoostingConfig()
    for table in (np.full((USERS, ITEMS), 3.0), -x):
        with pytest.raises(InputError, match="its scores are not higher for train events"):
            fusion.fuse_boosting(part(table), split, valid, config)
    broken = x.copy()
    broken[4, 4] = np.nan
    with pytest.raises(UndefinedScore, match="table: a score of user 4"):
        fusion.fuse_boosting(part(broken), split, valid, config)
    with pytest.raises(InputError, match="narrow: its scores have shape"):
        fusion.fuse_boosting(part(x[:, 1:], "narrow"), split, valid, config)
    with pytest.raises(InputError, match="choose another --split"):
        fusion.fuse_boosting(part(x), held_out_users(small, (0.6, 0.2, 0.2), 0, 0.5), valid, config)
