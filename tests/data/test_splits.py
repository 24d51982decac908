"""Preparation and splits against plain Python."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from rec_jax.data.interactions import Dataset, build_dataset
from rec_jax.data.prepare import Preparation, prepare
from rec_jax.data.splits import leave_one_out, make_split
from rec_jax.errors import InputError
from rec_jax.evaluate.protocol import ask_all

RATIOS = (0.6, 0.2, 0.2)


def log(rows: list[tuple[int, int, float, int]], **options: object) -> Dataset:
    user, item, rating, time = (np.array(column) for column in zip(*rows))
    return build_dataset("t", {"user": user, "item": item, "rating": rating, "time": time}, **options)  # type: ignore[arg-type]


def events(part: object) -> list[tuple[int, int]]:
    return list(zip(part.user.tolist(), part.item.tolist()))  # type: ignore[attr-defined]


def test_leave_one_out_takes_the_last_two_with_ties_in_input_order() -> None:
    split = leave_one_out(log([(0, 5, 1, 9), (0, 6, 1, 9), (0, 7, 1, 1), (0, 8, 1, 9), (1, 5, 1, 1), (1, 6, 1, 2)]))
    ids = split.dataset.item_ids
    assert [ids[i] for _, i in events(split.train)[:2]] == ["7", "5"]
    assert [ids[i] for _, i in events(split.valid)] == ["6"]
    assert [ids[i] for _, i in events(split.test)] == ["8"]
    assert split.short_users == 1
    assert len(split.train) == 4  # the short user's two events train


def test_nobody_left_is_an_error() -> None:
    with pytest.raises(InputError, match="leaves no validation event"):
        leave_one_out(log([(0, 1, 1, 1), (1, 2, 1, 1)]))


def test_leave_one_out_needs_an_order() -> None:
    with pytest.raises(InputError, match="--split authors or --split ratio"):
        leave_one_out(log([(0, 1, 1, 0), (0, 2, 1, 0), (0, 3, 1, 0)], chronological=False))


def test_ratio_shares_per_user(ml_100k: Dataset) -> None:
    split = make_split(ml_100k, "ratio", RATIOS, 0)
    again, other = (make_split(ml_100k, "ratio", RATIOS, seed) for seed in (0, 1))
    counts = Counter(ml_100k.interactions.user.tolist())
    test, valid = Counter(split.test.user.tolist()), Counter(split.valid.user.tolist())
    for user, n in counts.items():
        assert test[user] == valid[user] == n // 5
    assert events(split.test) == events(again.test) != events(other.test)
    assert sorted(events(split.train) + events(split.valid) + events(split.test)) == sorted(
        events(ml_100k.interactions)
    )


def test_ratio_split_is_random_not_by_time(ml_100k: Dataset) -> None:
    split = make_split(ml_100k, "ratio", RATIOS, 0)
    assert abs(np.median(split.test.time) - np.median(split.train.time)) < 86400 * 5


def test_global_time_never_looks_ahead(ml_100k: Dataset) -> None:
    split = make_split(ml_100k, "time", (0.8, 0.1, 0.1), 0)
    assert split.train.time.max() < split.valid.time.min()
    assert split.valid.time.max() < split.test.time.min()
    assert len(split.train) == pytest.approx(80_000, abs=100)


def test_splits_that_cannot_be_made(small: Dataset) -> None:
    with pytest.raises(InputError, match="have no time"):
        make_split(log([(0, 1, 1, 0), (0, 2, 1, 5)]), "time", RATIOS, 0)
    with pytest.raises(InputError, match="brings no split of its authors'"):
        make_split(small, "authors", RATIOS, 0)
    with pytest.raises(InputError, match="three positive shares"):
        make_split(small, "ratio", (0.9, 0.2, 0.2), 0)
    with pytest.raises(InputError, match="unknown split 'loo': known are leave-one-out"):
        make_split(small, "loo", RATIOS, 0)


def test_threshold_and_duplicates() -> None:
    rows = [(0, 1, 5.0, 1), (0, 1, 2.0, 2), (0, 2, 4.0, 3), (1, 1, 3.0, 1), (1, 3, 1.0, 2)]
    first = prepare(log(rows), Preparation(duplicates="first"))
    last = prepare(log(rows), Preparation(duplicates="last"))
    assert first.interactions.rating.tolist() == [5.0, 4.0, 3.0, 1.0]
    assert last.interactions.rating.tolist() == [2.0, 4.0, 3.0, 1.0]
    liked = prepare(log(rows), Preparation(min_rating=3.0))
    assert liked.item_ids.tolist() == ["1", "2"]  # item 3 has no event left
    assert liked.preparation == ("ratings of at least 3: 5 -> 3 events, 2 users, 2 items",)
    with pytest.raises(InputError, match="no event is left"):
        prepare(log(rows), Preparation(min_rating=9.0))


def test_k_core_equals_peeling_in_plain_python() -> None:
    rng = np.random.default_rng(0)
    rows = [(int(u), int(i), 1.0, t) for t, (u, i) in enumerate(rng.integers(0, 25, (150, 2)))]
    kept = list(rows)
    while True:
        users, items = Counter(r[0] for r in kept), Counter(r[1] for r in kept)
        peeled = [r for r in kept if users[r[0]] >= 4 and items[r[1]] >= 4]
        if len(peeled) == len(kept):
            break
        kept = peeled
    found = prepare(log(rows), Preparation(k_core=4))
    got = sorted(zip(found.user_ids[found.interactions.user], found.item_ids[found.interactions.item]))
    assert got == sorted((str(u), str(i)) for u, i, *_ in kept)
    assert 0 < len(kept) < len(rows)


def test_preparation_leaves_an_authors_split_alone() -> None:
    rows = [(0, 1, 1.0, 0), (0, 2, 1.0, 0), (0, 3, 1.0, 0)]
    with pytest.raises(InputError, match="authors' split, which preparation would break"):
        prepare(log(rows, authors=(np.array([0, 1, 2]), None)), Preparation(k_core=2))


def test_a_log_is_sorted_stably_and_read_only(small: Dataset) -> None:
    rows = [(1, 0, 1.0, 5), (0, 1, 1.0, 5), (1, 2, 1.0, 5), (0, 3, 1.0, 4)]
    made = log(rows).interactions
    by_user = defaultdict(list)
    for u, i, *_ in sorted(rows, key=lambda r: r[3]):
        by_user[u].append(i)
    assert made.item.tolist() == by_user[0] + by_user[1]
    with pytest.raises(ValueError, match="read-only"):
        small.interactions.user[0] = 1


def test_held_out_users_are_in_no_train_event(ml_100k: Dataset) -> None:
    split = make_split(ml_100k, "users", (0.8, 0.1, 0.1), 0, 0.8)
    assert split.fold_in is not None
    trained, valid, test = (set(log.user.tolist()) for log in (split.train, split.valid, split.test))
    assert not trained & (valid | test)
    assert not valid & test
    assert (len(trained), len(valid), len(test)) == (754, 95, 94)
    assert valid | test == set(split.fold_in.user.tolist())
    together = [split.train, split.valid, split.test, split.fold_in]
    assert sum(map(len, together)) == len(ml_100k.interactions)
    events = np.bincount(ml_100k.interactions.user)
    for user in [*valid, *test]:
        given = int((split.fold_in.user == user).sum())
        assert given == round(events[user] * 0.8)
    assert len(split.history) == len(split.train) + len(split.fold_in)


def test_holding_users_out_needs_a_share(small: Dataset) -> None:
    with pytest.raises(InputError, match="expected a share between 0 and 1"):
        make_split(small, "users", (0.6, 0.2, 0.2), 0, 1.0)


def test_train_and_validation_together_keep_the_order(ml_100k: Dataset) -> None:
    split = leave_one_out(ml_100k)
    log, whole = ml_100k.interactions, split.whole
    last = np.flatnonzero(np.diff(log.user, append=-1))
    assert np.array_equal(whole.train.item, np.delete(log.item, last))
    assert np.array_equal(whole.train.time, np.delete(log.time, last))
    assert whole.test is split.test
    assert len(whole.valid) == 0
    # What is asked of it at the end is asked of nobody twice: a history holds each event once.
    one, again = (ask_all(of, "test", ("full",), seed=0)["full"] for of in (split, whole))
    assert one.known is not None
    assert again.known is not None
    assert np.array_equal(one.known.lengths(one.user), again.known.lengths(again.user))
    assert all(np.array_equal(a, b) for a, b in zip(one.seen, again.seen))
