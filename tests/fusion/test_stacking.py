"""Stacking against scikit-learn's own predictions, and its rows against the questions they come from."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from rec_jax import fusion
from rec_jax.data.interactions import Dataset
from rec_jax.data.splits import leave_one_out
from rec_jax.errors import InputError
from rec_jax.evaluate.protocol import Questions, ask
from rec_jax.evaluate.report import validation
from rec_jax.fusion.stacking import _trees
from tests.fusion.helpers import (
    FUSE,
    ITEMS,
    USERS,
    check_both_ways_agree,
    check_ranks,
    informed,
    log_popularity,
    neighbours,
    normalised,
    part,
    scores_of,
    tables,
)


def test_rows_of_the_second_level(valid: Questions) -> None:
    excluded = valid.excluded.copy()
    excluded[[2, 3]] = True
    asked = dataclasses.replace(valid, excluded=excluded)
    counts = np.arange(ITEMS, dtype=np.float64)[:, None]
    config = fusion.LinearStackConfig(negatives=4)
    rows = fusion.stacking_rows([part(t) for t in tables()], asked, config, 1, counts)
    for user, positives, seen in zip(valid.user, valid.positives, valid.seen):
        mine = rows.user == user
        drawn = rows.item[mine & (rows.y == 0)].tolist()
        assert rows.item[mine & (rows.y == 1)].tolist() == positives.tolist()
        assert len(set(drawn)) == len(drawn) == 4 * len(positives)
        assert not set(drawn) & {*seen.tolist(), *positives.tolist(), 2, 3}
    expected = [normalised(table[u].tolist(), "z-score")[i] for table, u, i in zip_rows(rows)]
    np.testing.assert_allclose(rows.x[:, :3].T.ravel(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        rows.x[:, 3], [normalised(counts[:, 0].tolist(), "z-score")[i] for i in rows.item], rtol=1e-4, atol=1e-5
    )


def zip_rows(rows: fusion.StackingRows) -> list[tuple[np.ndarray, int, int]]:
    return [(table, int(u), int(i)) for table in tables() for u, i in zip(rows.user, rows.item)]


def catalogue_features(parts: list[np.ndarray], counts: np.ndarray) -> np.ndarray:
    """[users * items, features] by numpy alone."""
    columns = []
    for table in [*(p.astype(np.float64) for p in parts), np.tile(counts[:, 0], (USERS, 1))]:
        deviation = table.std(axis=1, keepdims=True)
        deviation[np.ptp(table, axis=1) == 0] = np.inf
        columns.append(((table - table.mean(axis=1, keepdims=True)) / deviation).ravel())
    return np.stack(columns, axis=1)


def test_linear_stack_equals_scikit_learn(valid: Questions) -> None:
    plain = [informed(valid, 2.0, 0), informed(valid, 0.5, 1), tables()[1]]
    counts, config = np.random.default_rng(1).gamma(1, size=(ITEMS, 1)), fusion.LinearStackConfig(negatives=5, l2=0.3)
    scorer = fusion.fuse_linear_stack([part(t) for t in plain], valid, config, 2, counts)
    rows = fusion.stacking_rows([part(t) for t in plain], valid, config, 2, counts)
    model = LogisticRegression(C=1 / 0.3, tol=1e-8, max_iter=10_000).fit(rows.x.astype(np.float64), rows.y)
    expected = model.decision_function(catalogue_features(plain, counts)).reshape(USERS, ITEMS)
    np.testing.assert_allclose(scores_of(scorer), expected, rtol=2e-3, atol=2e-3)
    probability = 1 / (1 + np.exp(-(rows.x @ model.coef_[0] + model.intercept_[0])))
    gradient = (probability - rows.y) @ rows.x + 0.3 * model.coef_[0]  # of the loss as the docstring gives it
    np.testing.assert_allclose(gradient, 0, atol=1e-3)
    assert model.coef_[0, 0] > model.coef_[0, 1] > 0
    check_both_ways_agree(scorer)


@pytest.mark.parametrize("depth", [1, 4])
def test_tree_stack_equals_scikit_learn(valid: Questions, depth: int) -> None:
    """Deep trees on few rows have leaves at every level."""
    plain = [informed(valid, 2.0, 0), informed(valid, 0.5, 1), tables()[1]]
    config = fusion.TreeStackConfig(negatives=8, trees=7, depth=depth, leaf_rows=3, shrinkage=0.3)
    parts = [part(t) for t in plain]
    scorer = fusion.fuse_tree_stack(parts, valid, config, 2)
    rows = fusion.stacking_rows(parts, valid, config, 2)
    model = HistGradientBoostingClassifier(
        learning_rate=0.3,
        max_iter=7,
        max_depth=depth,
        max_leaf_nodes=None,
        min_samples_leaf=3,
        early_stopping=False,
        random_state=2,
    ).fit(rows.x, rows.y)
    z_scores = fusion.NORMALISATIONS["z-score"]
    flat = np.stack([np.asarray(z_scores(jnp.asarray(t))).ravel() for t in plain], axis=1)
    found = scores_of(scorer).ravel()
    np.testing.assert_allclose(found, model.decision_function(flat), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), model.predict_proba(flat)[:, 1], rtol=1e-4, atol=1e-5)
    assert len(np.unique(found)) > 3
    check_both_ways_agree(scorer)


def test_a_threshold_sends_its_neighbours_in_float32_the_right_way() -> None:
    """Numbers at and beside a threshold that float32 does not have."""
    node = np.dtype([("value", "f8"), ("feature_idx", "i8"), ("num_threshold", "f8"), ("left", "u4"), ("right", "u4")])
    full = np.dtype([*((name, node[name]) for name in node.names or ()), ("is_leaf", "u1")])
    for threshold in (0.1, -0.1, 1 / 3, np.float64(np.float32(0.7))):
        tree = np.zeros(3, full)
        tree[0] = (0, 0, threshold, 1, 2, 0)
        tree[1], tree[2] = (1.0, 0, 0, 0, 0, 1), (2.0, 0, 0, 0, 0, 1)
        near = np.float32(threshold)
        values = np.array([np.nextafter(near, -np.float32(9)), near, np.nextafter(near, np.float32(9))])
        found = _trees(fusion.tree_arrays([tree], 2), jnp.asarray(values)[None, None])[0]
        assert found.tolist() == [1.0 if float(v) <= threshold else 2.0 for v in values]


@pytest.mark.parametrize("name", ["linear", "trees"])
def test_both_rules_rank_as_plain_numpy_does(small: Dataset, name: str) -> None:
    check_ranks(name, leave_one_out(small))


@pytest.mark.many_steps
def test_on_the_real_log_trees_are_better_than_the_weaker_part(ml_100k: Dataset) -> None:
    """Among 99 candidates, where HR@10 is .1 by chance and known to .016."""
    split = leave_one_out(ml_100k)
    parts = [part(log_popularity(split), "popularity"), part(neighbours(split), "cosine")]
    trees = FUSE["trees"](parts, ask(split, "valid", "full", seed=0))
    asked = ask(split, "test", "ncf-99", seed=0)
    learned, popularity, cosine = (validation(s, asked, "recall@10") for s in (trees, *parts))
    assert learned > max(cosine - 0.03, popularity + 0.05)


def test_numbers_out_of_range(valid: Questions) -> None:
    parts = [part(t) for t in tables()]
    with pytest.raises(InputError, match="negatives = 0"):
        fusion.fuse_linear_stack(parts, valid, fusion.LinearStackConfig(negatives=0), 1)
    with pytest.raises(InputError, match="l2 = 0"):
        fusion.fuse_linear_stack(parts, valid, fusion.LinearStackConfig(l2=0.0), 1)
    with pytest.raises(InputError, match="depth from 1 to 6"):
        fusion.fuse_tree_stack(parts, valid, fusion.TreeStackConfig(depth=7), 1)
    with pytest.raises(InputError, match="item_features of 19 items: the catalogue has 20"):
        fusion.fuse_linear_stack(parts, valid, fusion.LinearStackConfig(), 1, np.ones((19, 1)))
    with pytest.raises(InputError, match="item_features: a number is NaN"):
        fusion.fuse_linear_stack(parts, valid, fusion.LinearStackConfig(), 1, np.full((ITEMS, 1), np.nan))
