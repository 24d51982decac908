"""ItemKNN and UserKNN against their formulas in plain Python, weightings and unseen users included."""

import math
from collections import Counter
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.baselines import base, neighbours
from rec_jax.baselines.neighbours import ItemKNNConfig, UserKNNConfig, fit_item_knn, fit_user_knn
from rec_jax.data.interactions import Dataset, Interactions
from rec_jax.data.splits import Split, leave_one_out
from rec_jax.errors import InputError
from rec_jax.models.base import Query, Scorer

Row = dict[int, float]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"shrink": 2.0, "neighbours": 4},
    {"similarity": "asymmetric", "alpha": 0.3, "neighbours": 5},
    {"similarity": "asymmetric", "alpha": 1.6, "shrink": 1.0, "neighbours": 5},
    {"weighting": "tf-idf", "neighbours": 6},
    {"weighting": "bm25", "shrink": 0.5, "neighbours": 6},
]


def rows_of(split: Split, weighting: str) -> list[Row]:
    """Each user's weighted events, by the definitions of TF-IDF and BM25 with items as documents."""
    owned = [sorted(set(split.train.item[split.train.user == u].tolist())) for u in range(split.dataset.n_users)]
    counts = Counter(i for row in owned for i in row)
    return [weigh(row, counts, split.dataset.n_items, weighting) for row in owned]


def weigh(items: list[int], counts: Counter[int], n: int, weighting: str) -> Row:
    idf = math.log(n / (1 + len(items)))
    average = sum(counts.values()) / n
    bm25 = {i: 1.0 * 2.2 / (1.2 * (0.25 + 0.75 * counts[i] / average) + 1.0) for i in items}
    return {i: {"none": 1.0, "tf-idf": idf, "bm25": idf * bm25[i]}[weighting] for i in items}


def similarity(other: Row, own: Row, config: ItemKNNConfig) -> float:
    """Of `other` to `own`, whose neighbours are sought."""
    alpha = config.alpha if config.similarity == "asymmetric" else 0.5
    product = sum(value * own.get(key, 0.0) for key, value in other.items())
    norms = [sum(v * v for v in row.values()) for row in (other, own)]
    return product / (norms[0] ** (1 - alpha) * norms[1] ** alpha + config.shrink) if product else 0.0


def nearest(rows: list[Row], config: ItemKNNConfig) -> list[Row]:
    """Each row's most similar others, with their similarities; equal ones in order."""
    found = []
    for i, own in enumerate(rows):
        all_of_them = {j: similarity(other, own, config) for j, other in enumerate(rows) if j != i}
        kept = sorted(all_of_them, key=lambda j: (-np.float32(all_of_them[j]), j))[: config.neighbours]
        found.append({j: all_of_them[j] for j in kept if all_of_them[j]})
    return found


def all_scores(scorer: Scorer, n: int) -> np.ndarray:
    return np.asarray(scorer.scores(scorer.cache, Query(jnp.arange(n))))


def transposed(rows: list[Row], n: int) -> list[Row]:
    return [{u: row[i] for u, row in enumerate(rows) if i in row} for i in range(n)]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("setting", SETTINGS)
def test_item_knn_equals_the_formula(
    split_of_small: Split, setting: dict[str, Any], large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all similarities are held, and where the neighbours alone are, made three items at a time."""
    split, config = split_of_small, ItemKNNConfig(**setting)
    if large:
        monkeypatch.setattr(neighbours, "DENSE_NUMBERS", 1)
        monkeypatch.setattr(neighbours, "COLUMNS", 3)
        monkeypatch.setattr(base, "TOGETHER", 4)
    rows = rows_of(split, config.weighting)
    near = nearest(transposed(rows, split.dataset.n_items), config)
    expected = [[sum(row[j] * s for j, s in near[i].items() if j in row) for i in range(len(near))] for row in rows]
    scorer = fit_item_knn(split, config)
    assert ("neighbours" in scorer.cache) == large
    np.testing.assert_allclose(all_scores(scorer, len(rows)), expected, rtol=1e-4, atol=1e-5)
    assert scorer.fold_in is not None
    again = all_scores(scorer.fold_in(split.train, len(rows)), len(rows))
    np.testing.assert_allclose(again, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("setting", SETTINGS)
def test_user_knn_equals_the_formula(split_of_small: Split, setting: dict[str, Any], reverse: bool) -> None:
    """Over the user's own neighbours, or over the users whose neighbour the user is."""
    split, config = split_of_small, UserKNNConfig(**setting, reverse=reverse)
    rows = rows_of(split, config.weighting)
    near = nearest(rows, config)
    if reverse:
        near = transposed(near, len(rows))
    expected = [
        [sum(s * rows[v].get(i, 0.0) for v, s in mine.items()) for i in range(split.dataset.n_items)] for mine in near
    ]
    found = all_scores(fit_user_knn(split, config), len(rows))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("setting", SETTINGS)
def test_unseen_users_of_user_knn(split_of_small: Split, setting: dict[str, Any], reverse: bool) -> None:
    """One's neighbours are train users; in reverse it is counted among those of whom it would be a neighbour."""
    split, config = split_of_small, UserKNNConfig(**setting, reverse=reverse)
    rows = rows_of(split, config.weighting)
    counts = Counter(split.train.item.tolist())
    histories = [[0, 3, 8], [1, 5, 7, 11, 19], [2]]
    user, item = np.array([u for u, h in enumerate(histories) for _ in h]), np.array([i for h in histories for i in h])
    log = Interactions(
        user.astype(np.int32), item.astype(np.int32), np.ones(len(user), np.float32), np.zeros(len(user), np.int64)
    )
    fold_in = fit_user_knn(split, config).fold_in
    assert fold_in is not None
    found = all_scores(fold_in(log, 3), 3)
    near = nearest(rows, config)
    for u, history in enumerate(histories):
        own = weigh(history, counts, split.dataset.n_items, config.weighting)
        if reverse:
            weights = {v: similarity(own, row, config) for v, row in enumerate(rows)}
            last = [min(near[v].values()) if len(near[v]) == config.neighbours else 0.0 for v in range(len(rows))]
            weights = {v: s for v, s in weights.items() if s > 0 and s >= last[v] * (1 - 1e-6)}
        else:
            weights = {v: similarity(row, own, config) for v, row in enumerate(rows)}
            kept = sorted(weights, key=lambda v: (-np.float32(weights[v]), v))[: config.neighbours]
            weights = {v: weights[v] for v in kept}
        expected = [sum(s * rows[v].get(i, 0.0) for v, s in weights.items()) for i in range(split.dataset.n_items)]
        np.testing.assert_allclose(found[u], expected, rtol=1e-4, atol=1e-5)


def test_numbers_out_of_range(small: Dataset) -> None:
    with pytest.raises(InputError, match="neighbours of at least 1"):
        fit_item_knn(leave_one_out(small), ItemKNNConfig(neighbours=0))
    with pytest.raises(InputError, match="alpha from 0 to 2"):
        fit_user_knn(leave_one_out(small), UserKNNConfig(similarity="asymmetric", alpha=2.5))


@pytest.fixture
def split_of_small(small: Dataset) -> Split:
    return leave_one_out(small)
