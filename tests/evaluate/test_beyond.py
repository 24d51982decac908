"""Beyond accuracy: values computed by hand, the same metrics as loops in plain Python, known limits, every error."""

import dataclasses
import itertools
import math
from collections import Counter

import numpy as np
import pytest

from rec_jax.data.interactions import Dataset, build_dataset
from rec_jax.data.splits import Split, leave_one_out
from rec_jax.errors import InputError
from rec_jax.evaluate import beyond as metrics
from rec_jax.evaluate.beyond import all_names, beyond, item_vectors, parse
from rec_jax.evaluate.protocol import Questions, ask
from tests.helpers import log_of

CATEGORIES = [("A",), ("A", "B"), ("B", "C"), ("B",), (), ("A",)]
VECTORS = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
LISTS = np.array([[2, 3], [4, 3], [1, 3], [3, 1]], np.int32)


def by_hand(categories: list[tuple[str, ...]] = CATEGORIES) -> tuple[Split, Questions]:
    """Train users by item: item 0 has four, item 1 two, item 2 one, items 3 to 5 none. Item 5 is excluded."""
    items = {str(i): (f"film {i}", 0, row) for i, row in enumerate(categories)}
    every = {"user": np.arange(6) % 4, "item": np.arange(6), "rating": np.ones(6), "time": np.zeros(6, np.int64)}
    data = build_dataset("hand", every, items=items)
    # User 0 has item 0 twice, which counts once.
    train = log_of([(0, 0), (0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 2), (3, 0)])
    split = Split(data, train, log_of([]), log_of([(0, 2), (1, 4), (2, 1), (3, 3)]), "by hand")
    rows = lambda found: [np.array(row, np.int32) for row in found]  # noqa: E731
    asked = Questions(
        rule="full",
        user=np.arange(4, dtype=np.int32),
        time=np.zeros(4, np.int64),
        positives=rows([[2], [4], [1], [3]]),
        seen=rows([[0, 1], [0, 1], [0, 2], [0, 0]]),  # once or twice is the same
        candidates=None,
        excluded=np.array([False] * 5 + [True]),
        dropped={},
    )
    return split, asked


def test_values_computed_by_hand() -> None:
    split, asked = by_hand()
    found = beyond(LISTS, asked, split, vectors=VECTORS)
    assert list(found.per_user) + list(found.overall) == all_names((2,))
    assert found.left_out == {}
    half = 1 - math.sqrt(0.5)  # 1 - cosine of 45 degrees
    expected = {
        # 4 of 4 users is 0 bits, 2 of 4 is 1 bit, 1 of 4 is 2 bits; none counts as 1 of 4.
        "novelty@2": [2, 2, 1.5, 1.5],
        "popularity@2": [0.5, 0, 1, 1],
        # 7 train pairs: the head needs 5.6 of them, so items 0 (4) and 1 (4 + 2).
        "long_tail@2": [1, 1, 0.5, 0.5],
        # {B, C} with {B}; item 4 has no category; {A, B} with {B}, twice.
        "diversity_categories@2": [1 / 2, math.nan, 1 / 2, 1 / 2],
        "diversity_embeddings@2": [half, math.nan, half, half],
        # The two most popular unseen items: {2, 3}, {2, 3}, {1, 3}, {1, 2}. Relevant: 2, 4, 1, 3.
        "serendipity@2": [0, 1 / 2, 0, 1 / 2],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found.per_user[name], values, rtol=1e-12, err_msg=name)
    # Shown 0, 2, 1, 4, 1 times. In order 0 1 1 2 4, weights -4 -2 0 2 4: 18 / (5 * 8). Shares 1/4 1/8 1/2 1/8.
    assert found.overall == pytest.approx({"coverage@2": 4 / 5, "gini@2": 18 / 40, "entropy@2": 1.75}, rel=1e-12)


def random_lists(asked: Questions, k: int) -> np.ndarray:
    """k items for each user, neither seen nor excluded."""
    rng, items = np.random.default_rng(1), np.flatnonzero(~asked.excluded)
    rows = [rng.choice(np.setdiff1d(items, seen), k, replace=False) for seen in asked.seen]
    return np.stack(rows).astype(np.int32)


def in_plain_python(lists: list[list[int]], asked: Questions, split: Split, vectors: np.ndarray) -> dict[str, list]:
    """Every metric by its definition, one user, one pair and one item at a time."""
    k, n = len(lists[0]), split.dataset.n_items
    pairs = set(zip(split.train.user.tolist(), split.train.item.tolist()))
    count = Counter(item for _, item in pairs)
    users = len({user for user, _ in pairs})
    recommendable = [i for i in range(n) if not asked.excluded[i]]
    ranked = sorted(range(n), key=lambda i: (-count[i], i))
    head: set[int] = set()
    for item in ranked:
        if 10 * sum(count[i] for i in head) >= 8 * len(pairs):
            break
        head.add(item)
    sets = [set(row) for row in split.dataset.catalogue.categories]
    rows = [[float(x) for x in row] for row in vectors]
    norm = [math.sqrt(sum(x * x for x in row)) for row in rows]
    found: dict[str, list] = {name: [] for name in (*metrics.PER_USER, *metrics.OVERALL)}
    mean = lambda values: sum(values) / len(values) if values else math.nan  # noqa: E731
    for shown, positives, seen in zip(lists, asked.positives, asked.seen):
        both = list(itertools.combinations(shown, 2))
        found["novelty"].append(mean([math.log2(users / max(count[i], 1)) for i in shown]))
        found["popularity"].append(mean([count[i] for i in shown]))
        found["long_tail"].append(mean([i not in head for i in shown]))
        apart = [1 - len(sets[i] & sets[j]) / len(sets[i] | sets[j]) for i, j in both if sets[i] and sets[j]]
        found["diversity_categories"].append(mean(apart))
        cosines = [
            sum(x * y for x, y in zip(rows[i], rows[j])) / norm[i] / norm[j] for i, j in both if norm[i] and norm[j]
        ]
        found["diversity_embeddings"].append(mean([1 - c for c in cosines]))
        before, held = set(seen.tolist()), set(positives.tolist())
        expected = [i for i in ranked if i not in before and not asked.excluded[i]][:k]
        found["serendipity"].append(mean([i in held and i not in expected for i in shown]))
    shown_to = Counter(item for shown in lists for item in shown)
    exposure, total = [shown_to[i] for i in recommendable], len(lists) * k
    found["coverage"] = [mean([x > 0 for x in exposure])]
    apart = sum(abs(a - b) for a, b in itertools.combinations(exposure, 2))  # half the mean absolute difference
    found["gini"] = [apart / (len(exposure) * total)]
    found["entropy"] = [-sum(x / total * math.log2(x / total) for x in exposure if x)]
    return found


def with_categories(data: Dataset) -> Dataset:
    rng = np.random.default_rng(0)
    drawn = [tuple(f"c{c}" for c in np.flatnonzero(rng.random(5) < 0.3)) for _ in range(data.n_items)]
    return dataclasses.replace(data, catalogue=dataclasses.replace(data.catalogue, categories=drawn))


@pytest.mark.parametrize(
    ("which", "part", "unseen", "k"), [("small", "valid", "keep", 6), ("small", "test", "drop", 2)]
)
def test_small_lists_against_plain_python(which: str, part: str, unseen: str, k: int, small: Dataset) -> None:
    compare(with_categories(small), part, unseen, k)


def test_real_lists_against_plain_python(ml_100k: Dataset) -> None:
    compare(ml_100k, "test", "drop", 10)


def compare(data: Dataset, part: str, unseen: str, k: int) -> None:
    """Random lists, every other with a relevant item put in, so that serendipity has something to find.

    The most popular item is excluded too, which makes room among the expected ones.
    """
    split = leave_one_out(data)
    asked = ask(split, part, "full", seed=0, unseen_items=unseen)
    asked.excluded[np.bincount(split.train.item).argmax()] = True
    lists = random_lists(asked, k)
    for row, positives in enumerate(asked.positives):
        if row % 2 and positives[0] not in lists[row] and not asked.excluded[positives[0]]:
            lists[row, row % k] = positives[0]
    vectors = item_vectors(split, 7)
    found = beyond(lists, asked, split, vectors=vectors)
    expected = in_plain_python(lists.tolist(), asked, split, vectors)
    assert sum(expected["serendipity"]) > 0
    assert 0 < sum(expected["long_tail"]) < len(lists)
    for name, values in expected.items():
        ours = found.per_user.get(f"{name}@{k}", found.overall.get(f"{name}@{k}"))
        np.testing.assert_allclose(ours, values[0] if name in metrics.OVERALL else values, rtol=1e-9, err_msg=name)


def test_a_cut_off_below_k_is_of_the_first_items(ml_100k: Dataset) -> None:
    split = leave_one_out(ml_100k)
    asked = ask(split, "test", "full", seed=0)
    lists = random_lists(asked, 10)
    names, vectors = all_names((4,)), item_vectors(split, 5)
    long, short = (beyond(found, asked, split, names, vectors) for found in (lists, lists[:, :4]))
    assert long.overall == short.overall
    for name, values in short.per_user.items():
        np.testing.assert_array_equal(long.per_user[name], values)


def test_only_what_is_asked_for_is_found() -> None:
    split, asked = by_hand()
    found = beyond(LISTS, asked, split, ["gini@2", "novelty@1"])
    assert (list(found.per_user), list(found.overall), found.left_out) == (["novelty@1"], ["gini@2"], {})
    assert found.per_user["novelty@1"].tolist() == [2, 2, 1, 2]


def test_the_same_list_for_all_is_concentrated() -> None:
    n, k = 50, 8
    shown = metrics.exposure(np.tile(np.arange(k), (30, 1)), np.zeros(n, bool))
    assert metrics.coverage(shown) == k / n
    assert metrics.gini(shown) == pytest.approx((n - k) / n, rel=1e-12)
    assert metrics.entropy(shown) == pytest.approx(math.log2(k), rel=1e-12)


def test_equal_exposure_is_equal() -> None:
    n = 48
    shown = metrics.exposure(np.arange(3 * n).reshape(-1, 6) % n, np.zeros(n, bool))
    assert (metrics.coverage(shown), metrics.gini(shown)) == (1.0, 0.0)
    assert metrics.entropy(shown) == pytest.approx(math.log2(n), rel=1e-12)


def test_excluded_items_are_no_part_of_the_catalogue() -> None:
    lists = np.array([[0, 1], [2, 3]])
    shown = metrics.exposure(lists, np.array([False] * 4 + [True] * 6))
    assert (metrics.coverage(shown), metrics.gini(shown), metrics.entropy(shown)) == (1.0, 0.0, 2.0)


def test_one_item_for_all() -> None:
    shown = metrics.exposure(np.zeros((9, 1), np.int64), np.zeros(10, bool))
    assert metrics.gini(shown) == pytest.approx(9 / 10, rel=1e-12)
    assert str(metrics.entropy(shown)) == "0.0"  # and not -0.0


def test_limits_of_diversity() -> None:
    lists = np.array([[0, 1, 2], [2, 1, 0]])
    same, apart = np.ones((3, 4), bool), np.eye(3, 4, dtype=bool)
    assert metrics.diversity_categories(lists, same).tolist() == [0, 0]
    assert metrics.diversity_categories(lists, apart).tolist() == [1, 1]
    parallel = np.outer([1.0, 2.0, 5.0], [0.3, -0.4])
    np.testing.assert_allclose(metrics.diversity_embeddings(lists, parallel), 0, atol=1e-12)
    np.testing.assert_allclose(metrics.diversity_embeddings(lists, np.eye(3)), 1, rtol=1e-12)
    opposite = np.array([[1.0], [-3.0], [0.0]])
    np.testing.assert_allclose(metrics.diversity_embeddings(lists, opposite), 2, rtol=1e-12)


def test_blocks_of_users_do_not_change_diversity(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    lists, categories = np.stack([rng.permutation(30)[:5] for _ in range(17)]), rng.random((30, 9)) < 0.2
    whole = metrics.diversity_categories(lists, categories)
    monkeypatch.setattr("rec_jax.evaluate.beyond._PAIRS", 2 * 5 * 9)
    np.testing.assert_array_equal(metrics.diversity_categories(lists, categories), whole)


def test_what_the_primitive_recommender_shows_is_neither_serendipitous_nor_long_tail(ml_100k: Dataset) -> None:
    split = leave_one_out(ml_100k)
    asked = ask(split, "test", "full", seed=0)
    count = np.bincount(split.train.item, minlength=ml_100k.n_items)
    order = np.argsort(-count, kind="stable")
    lists = np.stack([order[~np.isin(order, seen)][:10] for seen in asked.seen])
    assert sum(np.isin(p, row).any() for p, row in zip(asked.positives, lists)) > 20  # and it has hits
    found = beyond(lists, asked, split, ["serendipity@10", "long_tail@10"])
    assert not found.per_user["serendipity@10"].any()
    assert not found.per_user["long_tail@10"].any()


def test_the_short_head_is_the_smallest_that_holds_four_fifths() -> None:
    """10 events: 4 + 3 + 1 are exactly 8; one event more and the next item is needed."""
    assert metrics.short_head(np.array([1, 3, 4, 1, 1, 0])).tolist() == [True, True, True, False, False, False]
    assert metrics.short_head(np.array([1, 3, 4, 1, 1, 1])).tolist() == [True, True, True, True, False, False]


def test_item_vectors_are_those_of_the_full_decomposition(small: Dataset) -> None:
    """Up to signs, so by their products: V S^2 V^T over the d largest singular values."""
    split = leave_one_out(small)
    dense = np.zeros((small.n_users, small.n_items))
    dense[split.train.user, split.train.item] = 1
    _, values, right = np.linalg.svd(dense)
    for d in (1, 5, 19):
        found = item_vectors(split, d)
        assert found.shape == (small.n_items, d)
        np.testing.assert_allclose(found @ found.T, (right[:d].T * values[:d] ** 2) @ right[:d], atol=1e-9)
        np.testing.assert_array_equal(item_vectors(split, d), found)


def test_items_without_train_events_have_no_vector(ml_100k: Dataset) -> None:
    split = leave_one_out(ml_100k)
    zero = ~item_vectors(split, 8).any(axis=1)
    assert np.flatnonzero(zero).tolist() == sorted(set(range(ml_100k.n_items)) - set(split.train.item.tolist()))
    assert zero.any()


@pytest.mark.parametrize(("wanted", "d"), [(6, 6), (32, 19)])
def test_without_vectors_those_of_the_train_matrix_are_taken(
    wanted: int, d: int, small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many dimensions as by default, or as a small catalogue allows."""
    monkeypatch.setattr("rec_jax.evaluate.beyond._VECTORS", wanted)
    split, name = leave_one_out(small), "diversity_embeddings@5"
    asked = ask(split, "valid", "full", seed=0)
    lists = random_lists(asked, 5)
    default = beyond(lists, asked, split, [name]).per_user[name]
    np.testing.assert_array_equal(default, beyond(lists, asked, split, [name], item_vectors(split, d)).per_user[name])


@pytest.mark.parametrize("d", [0, 20])
def test_too_many_dimensions(d: int, small: Dataset) -> None:
    with pytest.raises(InputError, match=rf"d = {d}: expected 1 to 19, one less than the \(30, 20\) matrix is wide"):
        item_vectors(leave_one_out(small), d)


def test_metrics_that_are_not_possible_are_left_out_with_the_reason() -> None:
    split, asked = by_hand(categories=[()] * 6)
    found = beyond(LISTS, asked, split, vectors=VECTORS)
    assert found.left_out == {"diversity_categories@2": "hand has no categories"}
    assert set(found.per_user) | set(found.overall) == set(all_names((2,))) - set(found.left_out)
    found = beyond(LISTS[:, :1], asked, split)
    assert found.left_out.keys() == {"diversity_categories@1", "diversity_embeddings@1"}
    assert set(found.left_out.values()) == {"a list of one item has no pairs"}


def test_asking_for_what_is_not_possible() -> None:
    split, asked = by_hand(categories=[()] * 6)
    with pytest.raises(InputError, match="diversity_categories@2 is not possible: hand has no categories"):
        beyond(LISTS, asked, split, ["novelty@2", "diversity_categories@2"])
    with pytest.raises(InputError, match="diversity_embeddings@1 is not possible: a list of one item has no pairs"):
        beyond(LISTS, asked, split, ["diversity_embeddings@1"])
    with pytest.raises(InputError, match="novelty@3: the lists hold 2 items"):
        beyond(LISTS, asked, split, ["novelty@3"])


def test_a_train_matrix_of_one_item_has_no_vectors() -> None:
    columns = {"user": np.arange(3), "item": np.zeros(3, np.int64), "rating": np.ones(3), "time": np.zeros(3, np.int64)}
    split = Split(build_dataset("narrow", columns), log_of([(0, 0)]), log_of([]), log_of([(1, 0)]), "narrow")
    assert metrics._Known(by_hand()[1], split, None).missing("diversity_embeddings", 2) == (
        "narrow is too small for item vectors; give some"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("novelti@10", r"unknown metric 'novelti@10': did you mean novelty@10\? known are novelty@K"),
        ("diversity@5", r"did you mean .*diversity_categories@5"),
        ("novelty", r"unknown metric 'novelty': did you mean novelty@10\?"),
        ("gini@0", r"did you mean gini@10\?"),
        ("zzz@10", r"unknown metric 'zzz@10': known are novelty@K"),
    ],
)
def test_unknown_names_get_near_ones(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(name)
    split, asked = by_hand()
    with pytest.raises(InputError, match=message):
        beyond(LISTS, asked, split, [name])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([3, 6], "the list of user 3: item 6 is not one of the 6 items of hand"),
        ([-1, 3], "the list of user 3: item -1 is not one of"),
        ([1, 5], "the list of user 3: item 5 is excluded from recommendation"),
        ([0, 1], "the list of user 3: item 0 was seen by this user before"),
        ([2, 2], "the list of user 3: item 2 is shown twice"),
    ],
)
def test_lists_that_do_not_answer_the_questions(row: list[int], message: str) -> None:
    split, asked = by_hand()
    with pytest.raises(InputError, match=message):
        beyond(np.array([*LISTS[:3].tolist(), row]), asked, split)


def test_lists_of_other_questions() -> None:
    split, asked = by_hand()
    with pytest.raises(InputError, match=r"lists of shape \(3, 2\): expected one row for each of 4 users"):
        beyond(LISTS[:3], asked, split)
    with pytest.raises(InputError, match="hand has 6 items; the questions are of 7"):
        beyond(LISTS, dataclasses.replace(asked, excluded=np.zeros(7, bool)), split)
    with pytest.raises(InputError, match="hand has 6 items; the questions are of 6, and the vectors of 5"):
        beyond(LISTS, asked, split, vectors=VECTORS[:5])
