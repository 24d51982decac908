"""Metrics against enumerated permutations (ties), pytrec-eval-terrier (no ties), and chance (constant scores)."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
import pytrec_eval

from rec_jax.errors import InputError
from rec_jax.evaluate.metrics import all_names, parse, per_user
from rec_jax.evaluate.protocol import Questions
from rec_jax.evaluate.ranking import rank
from rec_jax.models.base import Query, Scorer


def scorer(table: np.ndarray) -> Scorer:
    return Scorer(
        "table",
        jnp.asarray(table, jnp.float32),
        lambda cache, query: cache[query.user],
        lambda cache, query, ids: jnp.take_along_axis(cache[query.user], ids, axis=1),
    )


def questions(positives: list[list[int]], n_items: int, seen: list[list[int]] | None = None) -> Questions:
    ints = lambda rows: [np.array(row, np.int32) for row in rows]  # noqa: E731
    users = np.arange(len(positives), dtype=np.int32)
    times, free = np.zeros(len(users), np.int64), np.zeros(n_items, bool)
    return Questions("full", users, times, ints(positives), ints(seen or [[]] * len(users)), None, free, {})


def by_definition(order: tuple[int, ...], positives: set[int], k: int) -> dict[str, float]:
    """Every metric of one strict ranking, as the textbooks write it."""
    hits = [1 if item in positives else 0 for item in order]
    gains = sum(h / math.log2(place + 2) for place, h in enumerate(hits[:k]))
    ideal = lambda count: sum(1 / math.log2(place + 2) for place in range(count))  # noqa: E731
    found, total = sum(hits[:k]), len(positives)
    first = next((place + 1 for place, h in enumerate(hits) if h), math.inf)
    others = len(order) - total
    right = sum(1 for a, b in itertools.combinations(hits, 2) if a > b)
    precision, recall = found / k, found / total
    return {
        "hr": float(found > 0),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if found else 0.0,
        "ndcg": gains / ideal(min(k, total)),
        "ndcg_all": gains / ideal(total),
        "mrr": 1 / first if first <= k else 0.0,
        "map": sum(sum(hits[: p + 1]) / (p + 1) for p, h in enumerate(hits[:k]) if h) / min(k, total),
        "auc": right / (total * others) if others else math.nan,
    }


def expected_by_enumeration(scores: np.ndarray, items: list[int], positives: set[int], k: int) -> dict[str, float]:
    """The average over every order of the tied items."""
    groups = [[i for i in items if scores[i] == value] for value in sorted({scores[i] for i in items}, reverse=True)]
    orders = [sum(order, ()) for order in itertools.product(*(itertools.permutations(g) for g in groups))]
    rows = [by_definition(order, positives, k) for order in orders]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


@pytest.mark.parametrize("k", [1, 2, 3, 5, 9])
def test_ties_give_the_mean_over_all_their_orders(k: int) -> None:
    rng = np.random.default_rng(k)
    n, users = 7, 25
    table = rng.integers(0, 3, (users, n)).astype(float)
    positives = [rng.choice(n, rng.integers(1, 5), replace=False).tolist() for _ in range(users)]
    seen = [[i for i in rng.choice(n, 2, replace=False).tolist() if i not in positives[u]] for u in range(users)]
    found = per_user(rank(scorer(table), questions(positives, n, seen)), all_names((k,)))
    for u in range(users):
        items = [i for i in range(n) if i not in seen[u]]
        expected = expected_by_enumeration(table[u], items, set(positives[u]), k)
        for name, values in found.items():
            key = name.partition("@")[0]
            assert values[u] == pytest.approx(expected[key], rel=1e-9, abs=1e-12, nan_ok=True), (u, name)


def test_without_ties_metrics_equal_pytrec_eval() -> None:
    rng = np.random.default_rng(0)
    n, users, k = 60, 40, 10
    table = np.stack([rng.permutation(n) for _ in range(users)]).astype(float)
    positives = [rng.choice(n, rng.integers(1, 25), replace=False).tolist() for _ in range(users)]
    found = per_user(rank(scorer(table), questions(positives, n)), [*all_names((k,)), f"map@{n}", f"mrr@{n}"])
    measures = {f"ndcg_cut.{k}", f"P.{k}", f"recall.{k}", f"success.{k}", "map", "recip_rank"}
    truth = {str(u): {str(i): 1 for i in positives[u]} for u in range(users)}
    runs = {str(u): {str(i): float(table[u, i]) for i in range(n)} for u in range(users)}
    oracle = pytrec_eval.RelevanceEvaluator(truth, measures).evaluate(runs)
    same = {
        f"ndcg@{k}": f"ndcg_cut_{k}",
        f"precision@{k}": f"P_{k}",
        f"recall@{k}": f"recall_{k}",
        f"hr@{k}": f"success_{k}",
        f"map@{n}": "map",
        f"mrr@{n}": "recip_rank",
    }
    for ours, theirs in same.items():
        np.testing.assert_allclose(found[ours], [oracle[str(u)][theirs] for u in range(users)], rtol=1e-6, err_msg=ours)


def test_a_constant_scorer_gets_exactly_chance() -> None:
    users, n = 50, 100
    found = per_user(rank(scorer(np.zeros((users, n))), questions([[u] for u in range(users)], n)), all_names((10,)))
    np.testing.assert_allclose(found["hr@10"], 0.1, rtol=1e-9)
    np.testing.assert_allclose(found["recall@10"], 0.1, rtol=1e-9)
    np.testing.assert_allclose(found["auc"], 0.5, rtol=1e-9)
    chance = sum(1 / math.log2(place + 1) for place in range(1, 11)) / n
    np.testing.assert_allclose(found["ndcg@10"], chance, rtol=1e-9)


def test_candidates_rank_as_the_full_catalogue_restricted_to_them() -> None:
    rng = np.random.default_rng(1)
    users, n = 30, 40
    table = rng.integers(0, 9, (users, n)).astype(float)
    rows = [rng.choice(n, rng.integers(5, 12), replace=False).astype(np.int32) for _ in range(users)]
    asked = questions([row[:2].tolist() for row in rows], n)
    sampled = Questions("ncf-99", asked.user, asked.time, asked.positives, asked.seen, rows, asked.excluded, {})
    hidden = questions(
        [row[:2].tolist() for row in rows], n, [[i for i in range(n) if i not in row.tolist()] for row in rows]
    )
    a, b = (per_user(rank(scorer(table), q), all_names((3,))) for q in (sampled, hidden))
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("where", ["full", "ncf-99"])
def test_a_nan_score_raises(where: str) -> None:
    table = np.zeros((3, 5))
    table[1, 4] = np.nan
    asked = questions([[0], [1], [2]], 5)
    if where == "ncf-99":
        rows = [np.array([u, 4], np.int32) for u in range(3)]
        asked = Questions(where, asked.user, asked.time, asked.positives, asked.seen, rows, asked.excluded, {})
    with pytest.raises(ValueError, match="score of user 1 is NaN"):
        rank(scorer(table), asked)


def test_a_nan_score_of_an_item_nobody_may_see_is_no_matter() -> None:
    table = np.zeros((1, 5))
    table[0, 4] = np.nan
    assert rank(scorer(table), questions([[0]], 5, [[4]])).candidates.tolist() == [4]


def test_batches_do_not_change_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    table = rng.normal(size=(23, 11))
    asked = questions([rng.choice(11, rng.integers(1, 6), replace=False).tolist() for _ in range(23)], 11)
    whole = per_user(rank(scorer(table), asked), all_names((3,)))
    monkeypatch.setattr("rec_jax.evaluate.ranking.PAIRS_PER_BATCH", 44)
    for name, values in per_user(rank(scorer(table), asked), all_names((3,))).items():
        np.testing.assert_array_equal(values, whole[name])


@pytest.mark.parametrize("name", ["ndgc@10", "ndcg@0", "ndcg", "hr@ten", ""])
def test_unknown_metrics_are_named(name: str) -> None:
    with pytest.raises(InputError, match="known are"):
        parse(name)


def test_near_metrics_are_proposed() -> None:
    for name, message in (("ndgc@10", "did you mean ndcg@10"), ("recal@5", "did you mean recall@5"), ("auk", "auc")):
        with pytest.raises(InputError, match=message):
            parse(name)


def test_query_is_what_scorers_get() -> None:
    seen = []

    def scores(cache: jnp.ndarray, query: Query) -> jnp.ndarray:
        seen.append(query.user.shape)
        return cache[query.user]

    table = scorer(np.eye(4))
    rank(Scorer("spy", table.cache, scores, table.score_candidates), questions([[0], [1]], 4))
    assert set(seen) == {(2,)}
