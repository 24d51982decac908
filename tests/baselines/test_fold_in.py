"""Unseen users: whoever has a train user's history gets that user's scores; others what the formula says."""

import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.baselines.content import ContentConfig, fit_content
from rec_jax.baselines.ease import EASEConfig, fit_ease
from rec_jax.baselines.graph import P3alphaConfig, RP3betaConfig, fit_p3alpha, fit_rp3beta
from rec_jax.baselines.neighbours import ItemKNNConfig, UserKNNConfig, fit_item_knn, fit_user_knn
from rec_jax.baselines.nmf import NMFConfig, fit_nmf
from rec_jax.baselines.popularity import PopularityConfig, RandomConfig, fit_popularity, fit_random
from rec_jax.baselines.slim import SLIMConfig, fit_slim
from rec_jax.baselines.svd import PureSVDConfig, fit_pure_svd
from rec_jax.data.interactions import Dataset, Interactions
from rec_jax.data.splits import Split, leave_one_out, ratio_per_user
from rec_jax.errors import InputError
from rec_jax.models.base import Query, Scorer

# Fits run for long, and their programs are made once for all tests of a file.
pytestmark = pytest.mark.many_steps

Fit = Callable[[Split], Scorer]
FITS: dict[str, Fit] = {
    "popularity": lambda split: fit_popularity(split, PopularityConfig()),
    "random": lambda split: fit_random(split, RandomConfig(), 3),
    "itemknn": lambda split: fit_item_knn(split, ItemKNNConfig()),
    "itemknn bm25": lambda split: fit_item_knn(split, ItemKNNConfig(weighting="bm25")),
    "p3alpha": lambda split: fit_p3alpha(split, P3alphaConfig()),
    "rp3beta": lambda split: fit_rp3beta(split, RP3betaConfig()),
    "ease": lambda split: fit_ease(split, EASEConfig()),
    "slim": lambda split: fit_slim(split, SLIMConfig(tolerance=0.05)),
    "puresvd": lambda split: fit_pure_svd(split, PureSVDConfig()),
    "content": lambda split: fit_content(split, ContentConfig()),
    "nmf": lambda split: fit_nmf(split, NMFConfig(factors=8, rounds=30)),
}


@pytest.fixture(scope="module")
def split(ml_100k: Dataset) -> Split:
    return leave_one_out(ml_100k)


@functools.cache
def fitted(split: Split, name: str) -> Scorer:
    """Once for all tests."""
    return FITS[name](split)


def scores(scorer: Scorer, user: list[int]) -> np.ndarray:
    return np.asarray(scorer.scores(scorer.cache, Query(jnp.array(user))))


def folded(scorer: Scorer, log: Interactions, n_users: int) -> Scorer:
    assert scorer.fold_in is not None
    return scorer.fold_in(log, n_users)


@pytest.mark.parametrize("name", FITS)
def test_the_train_histories_give_the_train_scores(split: Split, name: str) -> None:
    scorer = fitted(split, name)
    again = folded(scorer, split.train, split.dataset.n_users)
    assert again.scores is scorer.scores  # so that nothing is compiled again
    np.testing.assert_allclose(scores(again, [0, 5, 942]), scores(scorer, [0, 5, 942]), rtol=1e-5, atol=1e-6)
    once_more = folded(again, split.train, split.dataset.n_users)
    np.testing.assert_allclose(scores(once_more, [5]), scores(scorer, [5]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in FITS if name != "random"])
def test_a_history_counts_and_not_its_place(split: Split, name: str) -> None:
    """User 7's history as the second of two new users' gives user 7's scores; the first's has others."""
    scorer, log = fitted(split, name), split.train
    seven, nine = log.take(log.user == 7), log.take(log.user == 9)
    two = Interactions(
        np.concatenate([np.zeros_like(nine.user), np.ones_like(seven.user)]),
        np.concatenate([nine.item, seven.item]),
        np.concatenate([nine.rating, seven.rating]),
        np.concatenate([nine.time, seven.time]),
    )
    found = scores(folded(scorer, two, 2), [1, 0])
    np.testing.assert_allclose(found, scores(scorer, [7, 9]), rtol=1e-4, atol=1e-5)
    if name != "popularity":
        assert not np.allclose(found[0], found[1], atol=1e-5)


def test_unseen_users_by_the_formulas(split: Split) -> None:
    """x W with the weights, and x V V^T with the vectors, that were fitted without them."""
    n = split.dataset.n_items
    history = np.zeros((1, n), np.float32)
    history[0, [3, 70, 400]] = 1
    items = np.flatnonzero(history[0]).astype(np.int32)
    log = Interactions(np.zeros(3, np.int32), items, np.ones(3, np.float32), np.zeros(3, np.int64))
    ease, svd = fitted(split, "ease"), fitted(split, "puresvd")
    expected = history @ np.asarray(ease.cache["weights"])
    np.testing.assert_allclose(scores(folded(ease, log, 1), [0]), expected, rtol=1e-4, atol=1e-6)
    right = np.asarray(svd.cache["items"])
    np.testing.assert_allclose(scores(folded(svd, log, 1), [0]), history @ right @ right.T, rtol=1e-4, atol=1e-6)


def test_users_without_events_score_nothing(small: Dataset) -> None:
    split = ratio_per_user(small, (0.6, 0.2, 0.2), 0)
    nothing = small.interactions.take(np.zeros(0, int))
    for scorer in (fit_ease(split, EASEConfig()), fit_user_knn(split, UserKNNConfig(weighting="bm25"))):
        assert not scores(folded(scorer, nothing, 2), [0, 1]).any()


def test_unknown_items_are_refused(small: Dataset) -> None:
    scorer = fit_ease(leave_one_out(small), EASEConfig())
    log = Interactions(np.zeros(1, np.int32), np.full(1, 20, np.int32), np.ones(1, np.float32), np.zeros(1, np.int64))
    with pytest.raises(InputError, match="item 20: expected ids from 0 to 19"):
        folded(scorer, log, 1)
