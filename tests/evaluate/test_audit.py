"""The audit: each flaw made by hand once and counted exactly, plain Python on random splits, and fits that cheat."""

import collections
import dataclasses
import itertools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.baselines.neighbours import ItemKNNConfig, fit_item_knn
from rec_jax.baselines.popularity import PopularityConfig, fit_popularity
from rec_jax.data.interactions import Dataset, Interactions, build_dataset
from rec_jax.data.splits import Split, authors, global_time, held_out_users, leave_one_out, merged
from rec_jax.errors import InputError, UndefinedScore
from rec_jax.evaluate.audit import Finding, audit, lines, without_held_out
from rec_jax.evaluate.protocol import Questions, ask
from rec_jax.models.base import Query, Scorer
from tests.evaluate.test_metrics import scorer

# (user, item, time, part): in order for each user and for all, every test item has train events.
CLEAN = [
    *[(0, 0, 1, 0), (0, 1, 2, 0), (0, 2, 10, 1), (0, 3, 20, 2)],
    *[(1, 2, 3, 0), (1, 3, 4, 0), (1, 4, 5, 0), (1, 0, 11, 1), (1, 1, 21, 2)],
    *[(2, 3, 6, 0), (2, 0, 7, 0), (2, 5, 8, 0), (2, 1, 12, 1), (2, 2, 22, 2)],
]
LEAVE_ONE_OUT = "leave-one-out, by hand"


def made(events: list[tuple[int, int, int, int]], description: str = LEAVE_ONE_OUT) -> Split:
    user, item, time, part = np.array(events).T
    columns = {"user": user, "item": item, "rating": np.ones(len(user)), "time": time}
    return dataclasses.replace(authors(build_dataset("made", columns, authors=(part, None))), description=description)


def changed(at: tuple[int, int], to: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """CLEAN with the event of (user, item) `at` replaced."""
    events = [to if event[:2] == at else event for event in CLEAN]
    assert events != CLEAN
    return events


def with_candidates(split: Split, rest: list[list[int]], rule: str = "two") -> Questions:
    asked = ask(split, "test", "full", seed=0)
    rows = [np.concatenate([p, np.array(r, np.int32)]) for p, r in zip(asked.positives, rest)]
    return dataclasses.replace(asked, rule=rule, candidates=rows)


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    found = {finding.check: finding for finding in findings}
    assert len(found) == len(findings)
    return found


def only_finding(findings: list[Finding]) -> Finding:
    """The one that is not in order."""
    (found,) = [finding for finding in findings if finding.severity != "ok"]
    return found


@pytest.mark.parametrize("description", [LEAVE_ONE_OUT, "global time, by hand", "random per user"])
def test_a_clean_split_has_neither_leak_nor_warning(description: str) -> None:
    split = made(CLEAN, description)
    asked = {"full": ask(split, "test", "full", seed=0), "two": with_candidates(split, [[4], [5], [4]])}
    found = audit(split, asked, popularity, test_scored=1)
    assert {(finding.severity, finding.count) for finding in found} == {("ok", 0), ("ok", 1)}
    assert by_check(found)["test scored"].count == 1


@pytest.mark.parametrize(
    ("description", "own", "others"),
    [(LEAVE_ONE_OUT, "leak", "warning"), ("global time", "leak", "leak"), ("random per user", "warning", "warning")],
)
def test_a_train_event_after_the_users_own_test_event(description: str, own: str, others: str) -> None:
    """At time 30 it is later than all three test events, of which two are other users'."""
    found = by_check(audit(made(changed((0, 1), (0, 1, 30, 0)), description), {}))
    assert (found["order within users"].severity, found["order within users"].count) == (own, 1)
    assert "1 train event and 0 validation events, of 1 user" in found["order within users"].detail
    assert (found["global timeline"].severity, found["global timeline"].count) == (others, 1)
    assert "1 of 8 train events;" in found["global timeline"].detail
    assert "2 of 3 test users" in found["global timeline"].detail


def test_a_validation_event_after_the_users_own_test_event() -> None:
    found = only_finding(audit(made(changed((1, 0), (1, 0, 30, 1))), {}))
    assert (found.check, found.severity, found.count) == ("order within users", "leak", 1)
    assert "0 train events and 1 validation event, of 1 user" in found.detail


def test_a_train_event_after_anothers_test_event_is_the_known_limit_of_leave_one_out() -> None:
    """User 2 trains at 21 and tests at 22: later than user 0's test event at 20, not than user 1's at 21."""
    found = only_finding(audit(made(changed((2, 5), (2, 5, 21, 0))), {}))
    assert (found.check, found.severity, found.count) == ("global timeline", "warning", 1)
    assert "1 of 3 test users" in found.detail


def test_validation_events_count_where_they_train() -> None:
    events = changed((2, 1), (2, 1, 21, 1))
    assert by_check(audit(made(events), {}))["global timeline"].count == 0
    assert by_check(audit(made(events), {}, trained_on_validation=True))["global timeline"].count == 1


def test_unknown_times_are_said_to_be_unknown() -> None:
    one = only_finding(audit(made(changed((1, 2), (1, 2, 0, 0))), {}))
    assert (one.check, one.severity, one.count) == ("times", "warning", 1)
    none = by_check(audit(made([(u, i, 0, p) for u, i, _, p in CLEAN]), {}))
    assert (none["times"].severity, none["times"].count) == ("warning", len(CLEAN))
    assert "cannot be checked" in none["times"].detail
    assert "order within users" not in none
    assert "global timeline" not in none


@pytest.mark.parametrize("seen_in", [0, 1])
def test_a_test_pair_that_was_seen_before(seen_in: int) -> None:
    seen = {0: 1, 1: 2}[seen_in]
    found = only_finding(audit(made(changed((0, 3), (0, seen, 20, 2))), {}))
    assert (found.check, found.severity, found.count) == ("repeated pairs", "warning", 1)


def test_a_test_item_without_train_events() -> None:
    """Item 6 tests two users; item 7 validates a user and tests another."""
    events = [*changed((0, 3), (0, 6, 20, 2)), (3, 0, 5, 0), (3, 7, 13, 1), (3, 6, 23, 2)]
    events = [(1, 7, 21, 2) if event[:2] == (1, 1) else event for event in events]
    found = only_finding(audit(made(events), {}))
    assert (found.check, found.severity, found.count) == ("unseen items", "warning", 2)
    assert "2 test items, of 3 users" in found.detail
    with_valid = only_finding(audit(made(events), {}, trained_on_validation=True))
    assert with_valid.count == 1


@pytest.mark.parametrize(
    ("rest", "check", "count"),
    [
        ([[0], [5], [4]], "two positives", 1),  # train
        ([[2], [5], [4]], "two positives", 1),  # validation
        ([[4, 5], [5], [4]], "two short lists", 2),
        ([[4], [5, 5], [4]], "two duplicates", 1),
    ],
)
def test_candidates(rest: list[list[int]], check: str, count: int) -> None:
    split = made(CLEAN)
    found = by_check(audit(split, {"two": with_candidates(split, rest)}))
    assert (found[check].severity, found[check].count) == ("warning", count)
    for other in {"two positives", "two duplicates"} - {check}:
        assert found[other].severity == "ok"


def test_a_held_out_item_that_is_not_asked_for_is_a_positive_too() -> None:
    """Item 6 has no train event: not asked of user 0, who has it all the same."""
    split = made([*CLEAN, (0, 6, 21, 2)])
    asked = dataclasses.replace(with_candidates(split, [[], [5], [4]]), positives=[np.array([i]) for i in (3, 1, 2)])
    asked = dataclasses.replace(asked, candidates=[np.array(row) for row in ([3, 6], [1, 5], [2, 4])])
    assert by_check(audit(split, {"two": asked}))["two positives"].count == 1


def test_a_train_item_is_a_positive_whatever_the_questions_say_was_seen() -> None:
    split = made(CLEAN)
    forgetful = dataclasses.replace(with_candidates(split, [[0], [5], [4]]), seen=[np.zeros(0, np.int32)] * 3)
    assert by_check(audit(split, {"two": forgetful}))["two positives"].count == 1


def test_short_lists_are_measured_by_the_rule() -> None:
    split = made(CLEAN)
    found = by_check(audit(split, {"ncf-99": ask(split, "test", "ncf-99", seed=0)}))
    assert found["ncf-99 short lists"].count == 3
    assert found["ncf-99 left out"].count == 3
    assert "users with fewer than 99 candidates 3" in found["ncf-99 left out"].detail


def test_the_number_of_times_that_test_was_scored() -> None:
    found = only_finding(audit(made(CLEAN), {}, test_scored=3))
    assert (found.check, found.severity, found.count) == ("test scored", "warning", 3)


def test_times_equal_plain_python_on_random_splits() -> None:
    rng = np.random.default_rng(0)
    for description in ("random per user", LEAVE_ONE_OUT):
        parts = rng.choice(3, 300, p=[0.8, 0.1, 0.1]).tolist()
        user, item = rng.integers(0, 25, 300).tolist(), np.floor(120 * rng.random(300) ** 3).astype(int).tolist()
        time = rng.integers(1, np.where(np.array(parts) == 2, 500, 200))  # some test events are the last of all
        events = list(zip(user, item, time.tolist(), parts))
        tested = {u: min(t for v, _, t, p in events if (v, p) == (u, 2)) for u, _, _, p in events if p == 2}
        late = [e for e in events if e[3] != 2 and e[0] in tested and e[2] > tested[e[0]]]
        after = [e for e in events if e[3] == 0 and e[2] > min(tested.values())]
        concerned = [u for u, t in tested.items() if any(e[3] == 0 and e[0] != u and e[2] > t for e in events)]
        before = {e[:2] for e in events if e[3] != 2}
        again = {e[:2] for e in events if e[3] == 2} & before
        unseen = {e[1] for e in events if e[3] == 2} - {e[1] for e in events if e[3] == 0}
        assert min(len(late), len(after), len(again), len(unseen)) > 0
        assert 0 < len(concerned) < len(tested)
        found = by_check(audit(made(events, description), {}))
        assert found["order within users"].count == len(late)
        assert found["global timeline"].count == len(after)
        assert f"{len(concerned)} of {len(tested)} test users" in found["global timeline"].detail
        assert found["repeated pairs"].count == len(again)
        assert found["unseen items"].count == len(unseen)


def test_without_held_out_events_everything_else_stays() -> None:
    """Equal events, of which some are held out, lose as many as are held out; the order stays."""
    rng = np.random.default_rng(1)
    events = list(zip(*(rng.integers(0, high, 400).tolist() for high in (6, 5, 3)), rng.integers(0, 3, 400).tolist()))
    split = dataclasses.replace(made(events), candidates=np.zeros((6, 1), np.int32))
    for keep, gone in ((False, {1, 2}), (True, {2})):
        left = without_held_out(split, keep_validation=keep)
        expected = collections.Counter(e[:3] for e in events if e[3] not in gone)
        columns = left.dataset.interactions.columns()
        rows = list(zip(*(columns[name].tolist() for name in ("user", "item", "time"))))
        assert collections.Counter(rows) == expected
        assert rows == sorted(rows, key=lambda row: (row[0], row[2]))
        assert max(expected.values()) > 1
        assert len(left.test) == 0
        assert len(left.valid) == (len(split.valid) if keep else 0)
        assert left.train is split.train
        assert left.dataset.n_items == split.dataset.n_items
        assert left.dataset.authors is None
        assert left.candidates is None


def test_unknown_ratings_are_removed_too_and_folded_in_events_stay(small: Dataset) -> None:
    log = small.interactions
    unrated = Interactions(log.user, log.item, np.full(len(log), np.nan, np.float32), log.time)
    split = held_out_users(dataclasses.replace(small, interactions=unrated), (0.6, 0.2, 0.2), 0, 0.5)
    left = without_held_out(split).dataset.interactions
    for name, column in split.history.columns().items():
        assert np.array_equal(left.columns()[name], column, equal_nan=name == "rating")


def counted(log: Interactions, n_items: int) -> Scorer:
    return Scorer("counts", jnp.asarray(np.bincount(log.item, minlength=n_items), jnp.float32), _scores, _candidates)


def _scores(counts: jnp.ndarray, query: Query) -> jnp.ndarray:
    return jnp.broadcast_to(counts, (len(query.user), len(counts)))


def _candidates(counts: jnp.ndarray, query: Query, ids: jnp.ndarray) -> jnp.ndarray:
    return counts[ids]


def popularity(split: Split) -> Scorer:
    return fit_popularity(split, PopularityConfig())


def item_knn(split: Split) -> Scorer:
    return fit_item_knn(split, ItemKNNConfig())


def cheat_with_the_whole_log(split: Split) -> Scorer:
    return counted(split.dataset.interactions, split.dataset.n_items)


def cheat_with_validation(split: Split) -> Scorer:
    return counted(merged(split.train, split.valid), split.dataset.n_items)


FIT = "fit without held-out events"


@pytest.mark.parametrize("fit", [popularity, item_knn])
def test_real_baselines_do_not_count_held_out_events(ml_100k: Dataset, fit: Callable[[Split], Scorer]) -> None:
    split = leave_one_out(ml_100k)
    asked = {rule: ask(split, "test", rule, seed=0) for rule in ("full", "ncf-99")}
    found = audit(split, asked, fit, sample_users=50)
    assert not [finding for finding in found if finding.severity == "leak"]
    assert by_check(found)[FIT].severity == "ok"
    assert by_check(found)["global timeline"].count > 0.9 * len(split.train)  # the limit of leave-one-out


def test_a_popularity_of_the_whole_log_is_caught(ml_100k: Dataset) -> None:
    found = by_check(audit(leave_one_out(ml_100k), {}, cheat_with_the_whole_log, sample_users=50))[FIT]
    assert (found.severity, found.count) == ("leak", 50)


def test_validation_events_may_be_counted_where_that_is_said() -> None:
    split = made(CLEAN)
    found = only_finding(audit(split, {}, cheat_with_validation))
    assert (found.check, found.severity, found.count) == (FIT, "leak", 3)
    assert by_check(audit(split, {}, cheat_with_validation, trained_on_validation=True))[FIT].severity == "ok"
    whole = by_check(audit(split, {}, cheat_with_the_whole_log, trained_on_validation=True))[FIT]
    assert (whole.severity, whole.count) == ("leak", 3)


def test_one_user_whose_score_of_one_item_changes_is_counted() -> None:
    def fit(split: Split) -> Scorer:
        table = np.full((3, 6), 1000.0, np.float32)
        of = split.test.user == 1
        table[1, split.test.item[of]] += 1
        return scorer(table)

    found = only_finding(audit(made(CLEAN), {}, fit))
    assert (found.check, found.severity, found.count) == (FIT, "leak", 1)


def test_float_noise_is_no_leak_and_infinite_scores_must_agree() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(0, 100, (3, 6)).astype(np.float32)
    table[0, 0] = -np.inf

    def noisy(split: Split) -> Scorer:
        return scorer(table * (1 + 1e-6 * rng.normal(size=table.shape)).astype(np.float32))

    def masked(split: Split) -> Scorer:
        other = table.copy()
        other[split.test.user, split.test.item] = -np.inf
        return scorer(other)

    assert by_check(audit(made(CLEAN), {}, noisy))[FIT].severity == "ok"
    assert by_check(audit(made(CLEAN), {}, masked))[FIT].count == 3


def test_a_fit_without_a_seed_cannot_be_checked() -> None:
    calls = itertools.count()

    def fit(split: Split) -> Scorer:
        return scorer(np.random.default_rng(next(calls)).normal(size=(3, 6)).astype(np.float32))

    found = only_finding(audit(made(CLEAN), {}, fit))
    assert (found.check, found.severity, found.count) == (FIT, "warning", 3)
    assert next(calls) == 3


def test_lines_put_leaks_first() -> None:
    found = audit(made(changed((0, 1), (0, 1, 30, 0))), {}, popularity, test_scored=2)
    said = lines(found)
    assert [line.split(":")[0] for line in said] == ["leak", "warning", "warning", "ok", "ok", "ok"]
    assert said[0] == (
        "leak: order within users: after the same user's first test event: 1 train event and 0 validation events, "
        "of 1 user"
    )


def test_a_global_time_split_is_in_order(ml_100k: Dataset) -> None:
    found = by_check(audit(global_time(ml_100k, (0.8, 0.1, 0.1)), {}))
    assert found["order within users"].severity == found["global timeline"].severity == "ok"


def test_what_cannot_be_audited() -> None:
    split = made(CLEAN)
    with pytest.raises(InputError, match="no test event to audit"):
        audit(without_held_out(split), {})
    with pytest.raises(InputError, match="sample_users = 0"):
        audit(split, {}, popularity, sample_users=0)
    with pytest.raises(UndefinedScore, match="user 2 is NaN"):
        audit(split, {}, lambda _: scorer(np.vstack([np.ones((2, 6)), np.full((1, 6), np.nan)]).astype(np.float32)))
