"""Lists against a sort in numpy, under ties against chance, and every error."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from rec_jax.data.interactions import Dataset
from rec_jax.data.splits import leave_one_out
from rec_jax.errors import InputError, UndefinedScore
from rec_jax.evaluate.lists import top_lists
from rec_jax.evaluate.protocol import Questions, ask
from rec_jax.models.base import Query, Scorer


def scores(table: jnp.ndarray, query: Query) -> jnp.ndarray:
    return table[query.user]


def score_candidates(table: jnp.ndarray, query: Query, ids: jnp.ndarray) -> jnp.ndarray:
    return jnp.take_along_axis(table[query.user], ids, axis=1)


def scorer(table: np.ndarray) -> Scorer:
    return Scorer("table", jnp.asarray(table, jnp.float32), scores, score_candidates)


def questions(
    n_users: int, n_items: int, seen: list[list[int]] | None = None, excluded: tuple[int, ...] = ()
) -> Questions:
    return Questions(
        rule="full",
        user=np.arange(n_users, dtype=np.int32),
        time=np.zeros(n_users, np.int64),
        positives=[np.array([0], np.int32)] * n_users,
        seen=[np.array(row, np.int32) for row in seen or [[]] * n_users],
        candidates=None,
        excluded=np.isin(np.arange(n_items), excluded),
        dropped={},
    )


def random_case(seed: int, n_users: int = 23, n_items: int = 40) -> tuple[np.random.Generator, Questions]:
    rng = np.random.default_rng(seed)
    seen = [rng.choice(n_items, rng.integers(0, 20), replace=False).tolist() for _ in range(n_users)]
    return rng, questions(n_users, n_items, seen, excluded=(3, 17))


def allowed(asked: Questions, row: int) -> list[int]:
    hidden = {*asked.seen[row].tolist(), *np.flatnonzero(asked.excluded).tolist()}
    return [i for i in range(len(asked.excluded)) if i not in hidden]


@pytest.mark.parametrize("pairs", [2**19, 400, 40, 1])
def test_without_ties_lists_are_the_sorted_catalogue(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one batch, in batches that do not divide the users, and one user at a time."""
    monkeypatch.setattr("rec_jax.evaluate.ranking.PAIRS_PER_BATCH", pairs)
    rng, asked = random_case(0)
    table = rng.normal(size=(23, 40)).astype(np.float32)
    asked = dataclasses.replace(asked, user=rng.permutation(23).astype(np.int32))  # rows are not in the users' order
    found = top_lists(scorer(table), asked, 7)
    assert (found.shape, found.dtype) == ((23, 7), np.int32)
    for row, user in enumerate(asked.user):
        hidden = np.array(table[user])
        hidden[asked.excluded] = -np.inf
        hidden[asked.seen[row]] = -np.inf
        assert found[row].tolist() == np.argsort(-hidden)[:7].tolist()


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_with_ties_a_list_holds_the_best_scores_in_order(levels: int) -> None:
    rng, asked = random_case(levels)
    table = rng.integers(0, levels, (23, 40)).astype(float)
    found = top_lists(scorer(table), asked, 9)
    for row in range(23):
        left = allowed(asked, row)
        assert set(found[row].tolist()) <= set(left)
        assert len(set(found[row].tolist())) == 9
        assert table[row, found[row]].tolist() == sorted((float(table[row, i]) for i in left), reverse=True)[:9]


def test_the_order_of_ties_is_a_function_of_user_and_item_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same again, in other batches, among other users, in other rows, and for another length of list."""
    rng, asked = random_case(5)
    table = rng.integers(0, 3, (23, 40)).astype(float)
    found = top_lists(scorer(table), asked, 9)
    np.testing.assert_array_equal(top_lists(scorer(table), asked, 9), found)
    for k in (1, 4, 8):
        np.testing.assert_array_equal(top_lists(scorer(table), asked, k), found[:, :k])
    rows = rng.permutation(23)[:11]
    fewer = dataclasses.replace(asked, user=asked.user[rows], time=asked.time[rows], seen=[asked.seen[r] for r in rows])
    np.testing.assert_array_equal(top_lists(scorer(table), fewer, 9), found[rows])
    monkeypatch.setattr("rec_jax.evaluate.ranking.PAIRS_PER_BATCH", 120)
    np.testing.assert_array_equal(top_lists(scorer(table), asked, 9), found)


def test_a_constant_scorer_shows_every_item_as_often_in_every_place() -> None:
    """Chi-square of the counts of items, in each place of the list, against equal chances."""
    users, n, k = 2000, 40, 5
    found = top_lists(scorer(np.zeros((users, n))), questions(users, n), k)
    assert len({tuple(row) for row in found.tolist()}) > 0.99 * users
    for place in range(k):
        counts = np.bincount(found[:, place], minlength=n)
        assert ((counts - users / n) ** 2 / (users / n)).sum() < chi2.ppf(0.999, n - 1)


def test_only_the_contested_places_are_drawn() -> None:
    """One item above all, one below; the other eighteen share four places, and all get their turn."""
    table = np.ones((300, 20))
    table[:, 7], table[:, 11] = 2.0, 0.0
    found = top_lists(scorer(table), questions(300, 20), 5)
    assert (found[:, 0] == 7).all()
    counts = np.bincount(found[:, 1:].ravel(), minlength=20)
    assert counts[[7, 11]].tolist() == [0, 0]
    expected = 300 * 4 / 18
    assert ((np.delete(counts, [7, 11]) - expected) ** 2 / expected).sum() < chi2.ppf(0.999, 17)


def test_minus_zero_equals_zero() -> None:
    signs = np.where(np.random.default_rng(0).random((50, 30)) < 0.5, -0.0, 0.0)
    plain = top_lists(scorer(np.zeros((50, 30))), questions(50, 30), 6)
    np.testing.assert_array_equal(top_lists(scorer(signs), questions(50, 30), 6), plain)


def test_what_may_not_be_shown_stays_below_scores_of_minus_infinity() -> None:
    _, asked = random_case(8)
    table = np.full((23, 40), -np.inf)
    table[:, 5] = -1e30
    found = top_lists(scorer(table), asked, 12)
    for row in range(23):
        left = allowed(asked, row)
        assert set(found[row].tolist()) <= set(left)
        assert (found[row, 0] == 5) == (5 in left)


def test_a_constant_scorer_covers_the_real_catalogue(ml_100k: Dataset) -> None:
    """9,430 places among 1,600 items or so: an item is missed with a chance of about exp(-5.8), so about 5 are."""
    asked = ask(leave_one_out(ml_100k), "test", "full", seed=0, unseen_items="drop")
    found = top_lists(scorer(np.zeros((ml_100k.n_users, ml_100k.n_items))), asked, 10)
    assert not asked.excluded[found].any()
    assert not any(np.isin(row, seen).any() for row, seen in zip(found, asked.seen))
    assert len(np.unique(found)) > 0.99 * (~asked.excluded).sum()


def test_scorers_are_told_the_time() -> None:
    """A scorer that recommends the item of the hour."""
    asked = dataclasses.replace(questions(5, 24), time=np.array([3600, 7200, 86400 * 9 + 1, 82800, 50400], np.int64))
    of_the_hour = Scorer(
        "hour",
        jnp.arange(24),
        lambda items, query: (items == query.context[:, :1]).astype(jnp.float32),
        lambda items, query, ids: (ids == query.context[:, :1]).astype(jnp.float32),
    )
    assert top_lists(of_the_hour, asked, 1)[:, 0].tolist() == [1, 2, 0, 23, 14]


def test_one_shape_is_compiled_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rec_jax.evaluate.ranking.PAIRS_PER_BATCH", 160)
    traced = []

    def spied(cache: jnp.ndarray, query: Query) -> jnp.ndarray:
        traced.append(query.user.shape)
        return cache[query.user]

    table = scorer(np.eye(23, 40))
    spy = Scorer("spy", table.cache, spied, table.score_candidates)
    _, asked = random_case(9)
    top_lists(spy, asked, 3)
    top_lists(dataclasses.replace(spy, cache=spy.cache + 1), asked, 3)
    assert traced.count((4,)) == 1
    assert set(traced) <= {(4,), (2,)}  # of two users only the shape is asked


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_undefined_score_names_the_user(bad: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rec_jax.evaluate.ranking.PAIRS_PER_BATCH", 10)
    table = np.zeros((5, 5))
    table[3, 2] = bad
    with pytest.raises(UndefinedScore, match="table: a score of user 3 is NaN or infinite"):
        top_lists(scorer(table), questions(5, 5), 2)
    hidden = questions(5, 5, [[], [], [], [2], []])
    assert 2 not in top_lists(scorer(table), hidden, 2)[3]
    assert (top_lists(scorer(table), questions(5, 5, excluded=(2,)), 4) != 2).all()


def test_k_larger_than_what_is_left_for_some_user() -> None:
    asked = questions(3, 6, [[0], [1, 2, 5], [0, 1]], excluded=(5,))
    assert top_lists(scorer(np.eye(3, 6)), asked, 3).shape == (3, 3)
    with pytest.raises(InputError, match="k = 4 is larger than the catalogue: user 1 can be recommended 3 items only"):
        top_lists(scorer(np.eye(3, 6)), asked, 4)


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one(k: int) -> None:
    with pytest.raises(InputError, match=f"k = {k}: a list needs at least 1 item"):
        top_lists(scorer(np.eye(3)), questions(3, 3), k)


def test_questions_with_candidates(small: Dataset) -> None:
    asked = ask(leave_one_out(small), "test", "ncf-99", seed=0)
    with pytest.raises(InputError, match=r"candidates \(ncf-99\); ask under the rule 'full'"):
        top_lists(scorer(np.zeros((30, 20))), asked, 2)


@pytest.mark.parametrize(("wrong", "shape"), [(lambda s: s[:, :-1], r"\(2, 7\)"), (lambda s: s.sum(1), r"\(2,\)")])
def test_scores_of_a_wrong_shape(wrong, shape: str) -> None:
    table = scorer(np.zeros((4, 8)))
    crooked = Scorer("crooked", table.cache, lambda cache, q: wrong(cache[q.user]), table.score_candidates)
    with pytest.raises(InputError, match=rf"crooked: its scores have shape {shape} where \(2, 8\) was expected"):
        top_lists(crooked, questions(4, 8), 2)
