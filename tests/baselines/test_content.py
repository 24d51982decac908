"""Content-based scores against TF-IDF and the cosine in plain Python; items without events or content."""

import math
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.baselines.content import ContentConfig, content_vectors, fit_content
from rec_jax.data.interactions import Catalogue, Dataset, build_dataset
from rec_jax.data.splits import leave_one_out
from rec_jax.errors import InputError
from rec_jax.models.base import Query

ITEMS = {
    "0": ("The Night of the Fox", 1990, ("crime", "film noir")),
    "1": ("Night Train", 1991, ("crime",)),
    "2": ("A train, a plane", 1992, ()),
    "3": ("", 0, ("comedy", "crime")),
    "4": ("", 0, ()),
    "5": ("Fox", 1995, ("comedy",)),
}


@pytest.fixture
def described() -> Dataset:
    user = np.repeat(np.arange(4), 4)
    item = np.array([0, 1, 2, 3, 4, 5, 0, 1, 3, 2, 4, 0, 4, 1, 5, 2])
    columns = {"user": user, "item": item, "rating": np.ones(16), "time": np.arange(1, 17)}
    return build_dataset("described", columns, items=ITEMS)


def tf_idf(documents: list[list[str]]) -> list[dict[str, float]]:
    n, rows = len(documents), []
    having = Counter(term for document in documents for term in set(document))
    for document in documents:
        row = {t: c * (1 + math.log((1 + n) / (1 + having[t]))) for t, c in Counter(document).items()}
        norm = math.sqrt(sum(v * v for v in row.values())) or 1.0
        rows.append({t: v / norm for t, v in row.items()})
    return rows


@pytest.mark.parametrize(("title", "category"), [(1.0, 1.0), (0.5, 2.0), (1.0, 0.0), (0.0, 1.0)])
def test_scores_equal_the_formula(described: Dataset, title: float, category: float) -> None:
    split = leave_one_out(described)
    words = tf_idf([t.replace(",", "").lower().split() for t, _, _ in ITEMS.values()])
    kinds = tf_idf([list(c) for _, _, c in ITEMS.values()])
    vectors = []
    for mine, theirs in zip(words, kinds):
        both = {("word", t): title * v for t, v in mine.items()} | {
            ("kind", c): category * v for c, v in theirs.items()
        }
        norm = math.sqrt(sum(v * v for v in both.values())) or 1.0
        vectors.append({key: v / norm for key, v in both.items()})
    scorer = fit_content(split, ContentConfig(title_weight=title, category_weight=category))
    found = scorer.scores(scorer.cache, Query(jnp.arange(4)))
    for user in range(4):
        profile: Counter[tuple[str, str]] = Counter()
        for item in split.train.item[split.train.user == user].tolist():
            for key, value in vectors[item].items():
                profile[key] += value  # type: ignore[assignment]
        norm = math.sqrt(sum(v * v for v in profile.values())) or 1.0
        expected = [sum(profile[key] * value for key, value in vector.items()) / norm for vector in vectors]
        np.testing.assert_allclose(found[user], expected, rtol=1e-5, atol=1e-6)


def test_an_item_without_events_is_recommended(described: Dataset) -> None:
    """Item 5 trains with nobody but its namesake's readers are nearest to it."""
    split = leave_one_out(described)
    assert 5 not in split.train.item[split.train.user == 0]
    scorer = fit_content(split, ContentConfig(category_weight=0.0))
    found = np.asarray(scorer.scores(scorer.cache, Query(jnp.array([0]))))[0]
    assert found[5] > 0
    assert found[4] == 0


def test_what_has_no_content_is_refused(described: Dataset, small: Dataset) -> None:
    with pytest.raises(InputError, match="no item has a title or a category"):
        fit_content(leave_one_out(small), ContentConfig())
    with pytest.raises(InputError, match="no item has a title or a category"):
        content_vectors(Catalogue(["...", "!"], [0, 0], [("a",), ()]), ContentConfig(category_weight=0.0))
    with pytest.raises(InputError, match="expected one above 0, none below"):
        fit_content(leave_one_out(described), ContentConfig(0.0, 0.0))
