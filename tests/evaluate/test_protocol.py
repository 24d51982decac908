"""Questions: who is asked, what is masked, which candidates, what is dropped and counted."""

import dataclasses

import numpy as np
import pytest

from rec_jax.data.interactions import Dataset, build_dataset
from rec_jax.data.splits import Split, authors, leave_one_out, make_split
from rec_jax.errors import InputError
from rec_jax.evaluate.protocol import DRAWN_RULES, _drawn, ask


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


@pytest.mark.parametrize("rule", ["uniform-100", "pop-100"])
def test_a_hundred_drawn_candidates(ml_100k: Dataset, rule: str) -> None:
    split = leave_one_out(ml_100k)
    asked, again = (ask(split, "test", rule, seed=0) for _ in range(2))
    assert asked.fingerprint == again.fingerprint != ask(split, "test", rule, seed=1).fingerprint
    assert asked.candidates is not None
    trained = np.bincount(split.train.item, minlength=ml_100k.n_items)
    drawn = [row[1:] for row in asked.candidates]
    for user, row in zip(asked.user, drawn):
        assert len(set(row.tolist())) == 100
        assert not np.isin(row, ml_100k.interactions.item[ml_100k.interactions.user == user]).any()
    mean = trained[np.concatenate(drawn)].mean()
    if rule == "pop-100":
        assert trained[np.concatenate(drawn)].min() > 0
        assert mean > 2 * trained.mean()
    else:
        assert mean < trained.mean()  # what a user has not seen is less popular than the average


def test_drawing_by_popularity_is_in_proportion(small: Dataset) -> None:
    """The first of a user's draws without replacement falls on each free item with its share of the train events."""
    split = leave_one_out(small)
    count = np.bincount(split.train.item, minlength=small.n_items).astype(float)
    how = dataclasses.replace(DRAWN_RULES["pop-100"], count=1)
    asked, rng = ask(split, "test", "full", seed=0), np.random.default_rng(0)
    first = np.array([[row[-1] for row in _drawn(asked, how, split, rng).candidates or ()] for _ in range(800)])
    for place, user in enumerate(asked.user[:5]):
        free = np.setdiff1d(np.arange(small.n_items), small.interactions.item[small.interactions.user == user])
        expected = count[free] / count[free].sum()
        found = np.array([(first[:, place] == item).mean() for item in free])
        np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / 800))


def test_candidates_that_hold_a_positive_are_refused(small: Dataset) -> None:
    asked = ask(leave_one_out(small), "test", "ncf-99", seed=0)
    assert asked.candidates is not None
    spoilt = [np.append(asked.candidates[0], asked.positives[0]), *asked.candidates[1:]]
    with pytest.raises(InputError, match=f"candidates of user {asked.user[0]} under 'ncf-99'"):
        dataclasses.replace(asked, candidates=spoilt)


def test_under_user_hold_out_the_folded_in_items_are_seen(small: Dataset) -> None:
    split = make_split(small, "users", (0.6, 0.2, 0.2), 0, 0.7)
    assert split.fold_in is not None
    for part in ("valid", "test"):
        asked = ask(split, part, "full", seed=0)
        assert not np.isin(asked.user, split.train.user).any()
        for row, user in enumerate(asked.user):
            assert set(asked.seen[row]) == set(split.fold_in.item[split.fold_in.user == user])
            assert set(asked.positives[row]) == set(split.part(part).item[split.part(part).user == user])


def test_the_question_knows_when(ml_100k: Dataset) -> None:
    split = leave_one_out(ml_100k)
    asked = ask(split, "test", "full", seed=0)
    last = {u: max(ml_100k.interactions.time[ml_100k.interactions.user == u].tolist()) for u in (0, 5, 942)}
    assert {u: int(asked.time[asked.user.tolist().index(u)]) for u in last} == last


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
    with pytest.raises(InputError, match=r"did you mean ncf-99.*known are full, ncf-99, uniform-100, pop-100"):
        ask(leave_one_out(small), "test", "ncf99", seed=0)


def test_fingerprint_sees_every_field(small: Dataset) -> None:
    asked = ask(leave_one_out(small), "test", "full", seed=0)
    other = dataclasses.replace(asked, seen=[asked.seen[0][1:], *asked.seen[1:]])
    assert other.fingerprint != asked.fingerprint
