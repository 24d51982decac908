"""Questions: who is asked, what is masked, which candidates, what is dropped and counted."""

import dataclasses

import numpy as np
import pytest

from rec_jax.data.interactions import Dataset, build_dataset
from rec_jax.data.splits import Split, authors, leave_one_out, make_split
from rec_jax.errors import InputError
from rec_jax.evaluate.protocol import ask


def test_full_masks_train_and_at_test_also_validation(small: Dataset) -> None:
    split = leave_one_out(small)
    for part in ("valid", "test"):
        asked = ask(split, part, "full", seed=0)
        for row, user in enumerate(asked.user):
            seen = set(split.train.item[split.train.user == user])
            if part == "test":
                seen |= set(split.valid.item[split.valid.user == user])
            assert set(asked.seen[row]) == seen
            assert asked.positives[row].tolist() == split.part(part).item[split.part(part).user == user].tolist()


def test_drawn_candidates_are_fixed_distinct_and_unseen(ml_100k: Dataset) -> None:
    split = leave_one_out(ml_100k)
    asked, again = (ask(split, "test", "ncf-99", seed=0) for _ in range(2))
    assert asked.fingerprint == again.fingerprint != ask(split, "test", "ncf-99", seed=1).fingerprint
    assert asked.candidates is not None
    for row, user in enumerate(asked.user[:100]):
        drawn = asked.candidates[row][1:]
        history = ml_100k.interactions.item[ml_100k.interactions.user == user]
        assert len(set(drawn.tolist())) == 99
        assert not np.isin(drawn, history).any()
        assert asked.candidates[row][0] == asked.positives[row][0]


def test_a_repeated_item_cannot_be_recommended_again() -> None:
    """User 0's test item was seen in train: dropped and counted. User 1 is asked as usual."""
    columns = {
        "user": np.array([0, 0, 0, 0, 1, 1, 1]),
        "item": np.array([5, 6, 7, 5, 5, 6, 7]),
        "rating": np.ones(7),
        "time": np.arange(1, 8),
    }
    asked = ask(leave_one_out(build_dataset("repeats", columns)), "test", "full", seed=0)
    assert asked.user.tolist() == [1]
    assert asked.dropped["held_out_items_seen_before"] == 1


def test_users_without_train_events_are_dropped_and_counted() -> None:
    columns = {
        "user": np.array([0, 0, 0, 0, 1, 1]),
        "item": np.array([0, 1, 2, 3, 0, 1]),
        "rating": np.ones(6),
        "time": np.array([1, 2, 3, 8, 5, 9]),
    }
    split = make_split(build_dataset("late", columns), "time", (0.5, 0.2, 0.3), 0)
    asked = ask(split, "test", "full", seed=0)
    assert asked.user.tolist() == [0]
    assert asked.dropped["users_without_train_events"] == 1


def test_items_unseen_in_train_can_be_left_out_on_both_sides() -> None:
    columns = {
        "user": np.repeat([0, 1], 4),
        "item": np.array([0, 1, 2, 9, 2, 1, 0, 3]),
        "rating": np.ones(8),
        "time": np.tile(np.arange(1, 5), 2),
    }
    split = leave_one_out(build_dataset("unseen", columns))
    kept = ask(split, "test", "full", seed=0)
    assert len(kept.user) == 2
    assert not kept.excluded.any()
    with pytest.raises(InputError, match="nobody is left"):
        ask(split, "test", "full", seed=0, unseen_items="drop")
    dropped = ask(split, "valid", "full", seed=0, unseen_items="drop")
    assert dropped.excluded.tolist() == [not i for i in np.isin(np.arange(5), split.train.item)]


def published(candidates: list[list[int]]) -> Split:
    columns = {
        "user": np.repeat([0, 1], 4),
        "item": np.array([0, 1, 2, 3, 4, 5, 6, 7]),
        "rating": np.ones(8),
        "time": np.zeros(8, np.int64),
    }
    part = np.array([0, 0, 1, 2] * 2)
    return authors(build_dataset("published", columns, authors=(part, np.array(candidates)), chronological=False))


def test_published_candidates_are_a_set() -> None:
    """A negative that equals the positive, and a repeated one, are dropped and counted."""
    asked = ask(published([[3, 4, 5], [0, 0, 1]]), "test", "ncf-99", seed=0)
    assert asked.candidates is not None
    assert [row.tolist() for row in asked.candidates] == [[3, 4, 5], [7, 0, 1]]
    assert asked.dropped["published_candidates"] == 2


def test_too_few_candidates_are_counted(small: Dataset) -> None:
    asked = ask(leave_one_out(small), "test", "ncf-99", seed=0)
    assert asked.dropped["users_with_fewer_than_99_candidates"] == small.n_users


def test_unknown_rule(small: Dataset) -> None:
    with pytest.raises(InputError, match="known are full, ncf-99"):
        ask(leave_one_out(small), "test", "ncf99", seed=0)


def test_fingerprint_sees_every_field(small: Dataset) -> None:
    asked = ask(leave_one_out(small), "test", "full", seed=0)
    other = dataclasses.replace(asked, seen=[asked.seen[0][1:], *asked.seen[1:]])
    assert other.fingerprint != asked.fingerprint
