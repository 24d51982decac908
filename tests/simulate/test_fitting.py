"""Users fitted to a world that was drawn from the model itself, and what is saved of them."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from rec_jax.data.interactions import Dataset, Interactions, build_dataset
from rec_jax.errors import InputError
from rec_jax.evaluate.calibration import ece, reliability
from rec_jax.simulate.effects import Effect, bootstrap, fixed_logit, remembered
from rec_jax.simulate.fitting import TABLES, Fit, fit, genre_rows, load_fitted, platform_estimate, save
from rec_jax.simulate.preferences import Factors, Ratings
from tests.helpers import small_columns, small_dataset

USERS, ITEMS, EVENTS, GENRES = 250, 80, 60, 4
BOREDOM, DRIFT, MEMORY = 1.5, 0.6, 5.0
RATINGS = Ratings((1.0, 2.0, 3.0, 4.0, 5.0), (3.0, 5.0, 7.0, 9.0), 2.0, 4.0)
QUICK = Fit(factors=2, l2=(1.0, 3.0), memory=MEMORY, folds=3, resamples=100)


def world(seed: int = 0) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """(log, rested score of each pair, vectors of items): users who rate at random, are weary of genres and drawn by
    what they liked."""
    rng = np.random.default_rng(seed)
    p, q = rng.normal(size=(USERS, 2)), rng.normal(size=(ITEMS, 2)) * 0.7
    a, b = rng.normal(size=USERS) * 0.3, rng.normal(size=ITEMS) * 0.3
    rested = 3.5 + a[:, None] + b + p @ q.T
    genre = np.eye(GENRES)[np.arange(ITEMS) % GENRES]
    columns: dict[str, list[float]] = {"user": [], "item": [], "rating": [], "time": []}
    for user in range(USERS):
        h, v = np.zeros(GENRES), np.zeros(2)
        for time, item in enumerate(rng.permutation(ITEMS)[:EVENTS], 1):
            score = rested[user, item] - BOREDOM * genre[item] @ h + DRIFT * q[item] @ v
            edges = [1 / (1 + math.exp(RATINGS.slope * score - cut)) for cut in RATINGS.cuts]
            mark = rng.random()
            rating = 1 + sum(mark > edge for edge in edges)
            for name, value in zip(columns, (user, item, rating, time)):
                columns[name].append(value)
            h = (1 - 1 / MEMORY) * h + genre[item] / MEMORY
            v = (1 - 1 / MEMORY) * v + (q[item] if rating >= 4 else 0) / MEMORY
    items = {str(i): (f"film {i}", 2000, (f"genre {i % GENRES}",)) for i in range(ITEMS)}
    dataset = build_dataset("drawn", {name: np.array(x) for name, x in columns.items()}, items=items)
    users, ids = (np.array([int(name) for name in names]) for names in (dataset.user_ids, dataset.item_ids))
    return dataset, rested[users][:, ids], q[ids]


def nearness(log: Interactions, vectors: np.ndarray) -> np.ndarray:
    """[m]: of each event's item to what its user liked last."""
    rows = vectors[log.item].astype(np.float64)
    return (rows * remembered(log, rows, log.rating >= 4, log.by_user(USERS), MEMORY)).sum(axis=1)


def test_boredom_and_drift_are_found_where_the_vectors_are_known() -> None:
    dataset, rested, vectors = world()
    log, genres = dataset.interactions, genre_rows(dataset)[0]
    rows, starts = genres[log.item], log.by_user(USERS)
    same = (rows * remembered(log, rows, np.ones(len(log), bool), starts, MEMORY)).sum(axis=1)
    columns, score = np.stack([same, nearness(log, vectors)], axis=1), rested[log.user, log.item]
    found, step = fixed_logit(columns, score, log.rating.astype(np.float64), starts, RATINGS)
    low, high = bootstrap(found, step, 1000)
    assert (low < [-BOREDOM, DRIFT]).all()
    assert (high > [-BOREDOM, DRIFT]).all()
    assert (high - low < [0.3, 0.3]).all()


def test_the_fit_finds_the_world_that_the_log_was_drawn_from() -> None:
    dataset, rested, vectors = world()
    fitted, report = fit(dataset, QUICK)
    user, item = np.indices((USERS, ITEMS)).reshape(2, -1)
    found = fitted.scores(user, item)
    assert np.corrcoef(found, rested.ravel())[0, 1] > 0.93
    assert fitted.boredom.source == fitted.drift.source == "log"
    assert fitted.boredom.used == pytest.approx(BOREDOM, rel=0.2)
    # Fitted vectors are shorter than those of the world, and drift larger: what counts is what it does to a rating.
    shorter = nearness(dataset.interactions, fitted.item).std() / nearness(dataset.interactions, vectors).std()
    assert shorter < 0.8
    assert fitted.drift.used * shorter == pytest.approx(DRIFT, rel=0.2)
    test = report.split.test
    chance = fitted.ratings.like(fitted.scores(test.user, test.item))
    assert ece(reliability(chance, (test.rating >= 4).astype(float))) < 0.05
    # The platform, which saw ten ratings, knows less than the fit, and more than nothing.
    known = fitted.scores(user, item, known=True)
    assert 0.6 < np.corrcoef(known, rested.ravel())[0, 1] < np.corrcoef(found, rested.ravel())[0, 1]
    assert report.l2 == min(report.validation, key=lambda of: report.validation[of])
    assert set(report.recency) == {"2.5", "5", "10"}


def test_where_the_log_shows_nothing_what_is_declared_is_used() -> None:
    dataset = small_dataset()  # ratings at random
    fitted, report = fit(dataset, dataclasses.replace(QUICK, boredom=0.7))
    assert fitted.boredom.source == "declared"
    assert fitted.boredom.used == 0.7
    assert fitted.genres.shape == (20, 1)  # no item has a genre
    assert not fitted.genres.any()
    assert report.tied == 0


def test_the_platforms_estimate_is_a_posterior_mean() -> None:
    """With one factor and one rating, by hand: [p, b] = (XᵀX + penalty)⁻¹ Xᵀ y."""
    factors = Factors(3.0, np.array([[1.0], [-1.0]]), np.array([0.5, -0.5]), np.array([[2.0], [1.0]]), np.zeros(2))
    dataset = build_dataset(
        "two", {"user": np.array([0, 1]), "item": np.array([0, 1]), "rating": np.array([5, 2]), "time": np.zeros(2)}
    )
    found = platform_estimate(dataset.interactions, factors, 0.8, 3)
    for row, q, y in ((0, 2.0, 2.0), (1, 1.0, -1.0)):
        a, b, d = q * q + 0.8, q, 1 + 0.8 / 0.25
        determinant = a * d - b * b
        np.testing.assert_allclose(found[row], [(d * q * y - b * y) / determinant, (a * y - b * q * y) / determinant])


def test_genres_are_unit_rows() -> None:
    items = {"0": ("a", 0, ("Drama", "Comedy")), "1": ("b", 0, ("Drama",)), "2": ("c", 0, ())}
    columns = {"user": np.zeros(3), "item": np.arange(3), "rating": np.ones(3), "time": np.arange(3)}
    rows, names = genre_rows(build_dataset("three", columns, items=items))
    assert names == ("Comedy", "Drama")
    np.testing.assert_allclose(rows, [[0.5**0.5, 0.5**0.5], [0, 1], [0, 0]])


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    fitted, _ = fit(small_dataset(), QUICK)
    save(fitted, tmp_path)
    found = load_fitted(tmp_path)
    for name in TABLES:
        np.testing.assert_array_equal(getattr(found, name), getattr(fitted, name))
    assert (found.ratings, found.boredom, found.drift) == (fitted.ratings, fitted.boredom, fitted.drift)
    assert isinstance(found.drift, Effect)
    part = found.of_users(np.array([3, 1]))
    np.testing.assert_array_equal(part.user, fitted.user[[3, 1]])
    assert part.item is found.item
    with pytest.raises(InputError, match="users of small: none was chosen"):
        found.of_users(np.array([], int))
    tables = {name: getattr(fitted, name) for name in TABLES}
    np.savez(tmp_path / "fitted.npz", **(tables | {"known": fitted.known[:-1]}))
    with pytest.raises(InputError, match=r"known is \(29, 2\), expected \(30, 2\); fit them anew"):
        load_fitted(tmp_path)
    (tmp_path / "fitted.npz").write_bytes(b"not arrays")
    with pytest.raises(InputError, match="holds no fitted users that can be read"):
        load_fitted(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        load_fitted(tmp_path / "nowhere")


@pytest.mark.parametrize("l2", [(1.0, 3.0), (7.0, 28.0)])
def test_ratings_that_items_decide_show_no_drift(l2: tuple[float, ...]) -> None:
    """Biases take all, and their penalty leaves vectors next to nothing: coefficients of these are no estimates."""
    columns = small_columns()
    certain = build_dataset("certain", {**columns, "rating": 1.0 + columns["item"] % 5})
    fitted, _ = fit(certain, dataclasses.replace(QUICK, factors=8, l2=l2))
    assert (fitted.boredom.source, fitted.drift.source) == ("declared", "declared")
    assert abs(fitted.drift.estimate) < 100


def test_logs_that_cannot_be_fitted_are_refused() -> None:
    columns = small_columns()
    with pytest.raises(InputError, match="every rating is 1"):
        fit(build_dataset("flat", {**columns, "rating": np.ones(len(columns["user"]))}), QUICK)
    with pytest.raises(InputError, match="in no order"):
        fit(build_dataset("unordered", columns, chronological=False), QUICK)
    with pytest.raises(InputError, match=r"l2 \(\)"):
        Fit(l2=())
    with pytest.raises(InputError, match="boredom -1"):
        Fit(boredom=-1.0)
