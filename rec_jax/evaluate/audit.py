"""The leak audit of a split, the questions asked on it, and a fit: what could make its numbers too good, or wrong.

Each check says one sentence, fit to stand under a table. A 'leak' is information that the recommender must not have,
or an order that the split claims and does not keep; a 'warning' is a known limit of the numbers, with its counts.
Checked on splits made by hand with each flaw once, and on fits that cheat (tests/evaluate/test_audit.py).
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rec_jax.data.histories import Histories
from rec_jax.data.interactions import Interactions
from rec_jax.data.splits import Split, merged
from rec_jax.errors import InputError, UndefinedScore
from rec_jax.evaluate.pairs import among, distinct, numbers
from rec_jax.evaluate.protocol import DRAWN_RULES, Questions
from rec_jax.evaluate.ranking import in_blocks
from rec_jax.models.base import Query, Scorer
from rec_jax.randomness import host_rng

Severity = Literal["leak", "warning", "ok"]
CHRONOLOGICAL = ("leave-one-out", "global time")
"""How the description of a split begins that claims to be in the order of time."""

# Two fits on equal events differ by float32 noise, about 1e-6 of the largest score; one event more of a popular
# item, of 3,428 in MovieLens-1M, is 3e-4 of it.
_TOLERANCE = 1e-4
REFIT = "fit without held-out events"
"""Name of the check that fits anew."""

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Finding:
    """What a check found: how much of it, how bad, and a sentence."""

    check: str
    severity: Severity
    count: int
    detail: str


def audit(
    split: Split,
    questions: Mapping[str, Questions],
    fit: Callable[[Split], Scorer] | None = None,
    *,
    test_scored: int | None = None,
    trained_on_validation: bool = False,
    sample_users: int = 200,
    seed: int = 0,
) -> list[Finding]:
    """Every check on a split, its test questions by candidate rule, and a fit; in the order of the checks.

    `fit(split)` trains from scratch, and is called twice: with the split, and with `without_held_out(split)`; so its
    choices (epochs, hyper-parameters) must be made beforehand. `trained_on_validation` says that it may use the
    validation events: these then count as train events. `sample_users` with test events are scored over all items.
    `test_scored` is how often the test split was scored, as the result records it. What is None is not checked.
    InputError: the split has no test event. UndefinedScore: a score is NaN.
    """
    if len(split.test) == 0:
        raise InputError(f"{split.dataset.name}: the split '{split.description}' has no test event to audit")
    trained, before = split.whole.train if trained_on_validation else split.train, merged(split.history, split.valid)
    found = [*_times(split, trained, before), _repeats(split, before), _unseen(split, trained)]
    for rule, asked in questions.items():
        found += _candidates(split, rule, asked)
    if fit is not None:
        found.append(_refit(split, fit, trained_on_validation, sample_users, seed))
    if test_scored is not None:
        often = f"the test split was scored {_of(test_scored, 'time')}"
        chosen = "; whatever was chosen after the first was chosen on the test split" if test_scored > 1 else ""
        found.append(Finding("test scored", _warn(test_scored > 1), test_scored, often + chosen))
    return found


def lines(findings: Sequence[Finding]) -> list[str]:
    """One line a finding: leaks, then warnings, then what is in order."""
    order = ["leak", "warning", "ok"]
    return [f"{f.severity}: {f.check}: {f.detail}" for f in sorted(findings, key=lambda f: order.index(f.severity))]


def without_held_out(split: Split, keep_validation: bool = False) -> Split:
    """The split as if its test and, unless kept, validation events had never happened: same users, items and ids.

    They are gone from `dataset.interactions` too, and with them the authors' parts and candidates.
    """
    log, nothing = _without(split.dataset.interactions, split.test), split.test.take(np.zeros(0, np.int64))
    if not keep_validation:
        log = _without(log, split.valid)
    dataset = dataclasses.replace(split.dataset, interactions=log, authors=None)
    valid = split.valid if keep_validation else nothing
    return dataclasses.replace(split, dataset=dataset, valid=valid, test=nothing, candidates=None)


def _times(split: Split, trained: Interactions, before: Interactions) -> Iterator[Finding]:
    """Unknown times; the order within each user; train events later than a test event, whoever's."""
    unknown = int((before.time == 0).sum() + (split.test.time == 0).sum())
    if unknown:
        total = len(before) + len(split.test)
        detail = f"{unknown:,} of {_of(total, 'event')} have no time: whether they are in order cannot be checked"
        yield Finding("times", "warning", unknown, detail)
    first = np.full(split.dataset.n_users, _NEVER)
    dated = split.test.take(split.test.time > 0)
    np.minimum.at(first, dated.user, dated.time)
    if len(dated) == 0 or not before.time.any():
        return
    late = [log.take(log.time > first[log.user]) for log in (split.history, split.valid)]
    count = len(late[0]) + len(late[1])
    users = len(np.union1d(late[0].user, late[1].user))
    detail = (
        f"after the same user's first test event: {_of(len(late[0]), 'train event')} and "
        f"{_of(len(late[1]), 'validation event')}, of {_of(users, 'user')}"
    )
    claimed = split.description.startswith(CHRONOLOGICAL)
    yield Finding("order within users", "leak" if claimed and count else _warn(count > 0), count, detail)

    ordered = np.sort(trained.time[trained.time > 0])
    count = len(ordered) - int(np.searchsorted(ordered, first.min(), side="right"))
    own = np.bincount(trained.user[trained.time > first[trained.user]], minlength=len(first))
    of_others = len(ordered) - np.searchsorted(ordered, first, side="right") - own
    detail = (
        f"after the earliest test event: {count:,} of {_of(len(trained), 'train event')}; with train events of others "
        f"after their own test event: {(of_others > 0).sum():,} of {_of(int((first < _NEVER).sum()), 'test user')}"
    )
    if count:
        detail += "; what people liked later is known when the test is taken (Ji et al., TOIS 2023)"
    broken = split.description.startswith("global time") and count > 0
    yield Finding("global timeline", "leak" if broken else _warn(count > 0), count, detail)


def _repeats(split: Split, before: Interactions) -> Finding:
    n_items = split.dataset.n_items
    pairs = distinct(_pairs(split.test, n_items))
    again = pairs[among(pairs, _pairs(before, n_items))]
    users = _of(len(np.unique(again // n_items)), "user")
    detail = f"pairs of user and item that are in test and in train or validation too: {len(again):,}, of {users}"
    return Finding("repeated pairs", _warn(len(again) > 0), len(again), detail)


def _unseen(split: Split, trained: Interactions) -> Finding:
    known = np.zeros(split.dataset.n_items, bool)
    known[trained.item] = True
    new = split.test.take(~known[split.test.item])
    items, users = len(np.unique(new.item)), len(np.unique(new.user))
    detail = f"without a train event: {_of(items, 'test item')}, of {_of(users, 'user')}"
    return Finding("unseen items", _warn(items > 0), items, detail)


def _candidates(split: Split, rule: str, asked: Questions) -> Iterator[Finding]:
    """Drawn or published candidates that are positives or repeated, lists that are too short, what was dropped."""
    if asked.candidates is not None:
        n_items = split.dataset.n_items
        rest = [row[len(held) :] for row, held in zip(asked.candidates, asked.positives)]
        lengths = np.array([len(row) for row in rest])
        drawn = numbers(asked.user, rest, n_items)
        logs = [_pairs(log, n_items) for log in (split.history, split.valid, split.test)]
        told = [numbers(asked.user, rows, n_items) for rows in (asked.positives, asked.seen)]
        wrong = drawn[among(drawn, np.concatenate(logs + told))]
        detail = (
            "ranked as negatives though the user's own, held out or seen: "
            f"{_of(len(wrong), 'candidate')}, of {_of(len(np.unique(wrong // n_items)), 'user')}"
        )
        yield Finding(f"{rule} positives", _warn(len(wrong) > 0), len(wrong), detail)
        repeated = len(drawn) - len(distinct(drawn))
        detail = f"in their list a second time: {_of(repeated, 'candidate')}"
        yield Finding(f"{rule} duplicates", _warn(repeated > 0), repeated, detail)
        wanted = DRAWN_RULES[rule].count if rule in DRAWN_RULES else int(lengths.max())
        short = int((lengths < wanted).sum())
        detail = f"with fewer than {_of(wanted, 'negative')}: {short:,} of {_of(len(lengths), 'list')}"
        yield Finding(f"{rule} short lists", _warn(short > 0), short, detail)
    dropped = {reason.replace("_", " "): count for reason, count in asked.dropped.items() if count}
    detail = ", ".join(f"{reason} {count:,}" for reason, count in dropped.items()) or "nothing"
    yield Finding(f"{rule} left out", _warn(bool(dropped)), sum(dropped.values()), detail)


def _refit(
    split: Split, fit: Callable[[Split], Scorer], keep_validation: bool, sample_users: int, seed: int
) -> Finding:
    """Whether a fit that never sees the held-out events scores the same; if not, whether it ever does."""
    if sample_users < 1:
        raise InputError(f"sample_users = {sample_users}: expected at least 1")
    users, first = np.unique(split.test.user, return_index=True)
    some = np.sort(host_rng(seed, "audit users").permutation(len(users))[:sample_users])
    user, time = users[some], split.test.time[first[some]]  # the log is in the order of time within a user
    known, name = Histories.of(split.history, split.dataset.n_users), REFIT

    def scores(of: Split) -> np.ndarray:
        return _scores(fit(of), user, time, known, split.dataset.n_items)

    before = scores(split)
    changed = _differ(before, scores(without_held_out(split, keep_validation)))
    held = "test" if keep_validation else "validation and test"
    if changed == 0:
        detail = f"the scores of {_of(len(user), 'user')} are the same when the {held} events are removed everywhere"
        return Finding(name, "ok", 0, detail)
    again = _differ(before, scores(split))
    if again:
        detail = (
            f"two fits on the same events differ in the scores of {again:,} of {_of(len(user), 'user')}: whether "
            f"{held} events are counted cannot be checked; make the fit a function of its seed"
        )
        return Finding(name, "warning", again, detail)
    detail = (
        f"the scores of {changed:,} of {_of(len(user), 'user')} change when the {held} events are removed everywhere: "
        "the fit has counted them"
    )
    return Finding(name, "leak", changed, detail)


def _scores(scorer: Scorer, user: np.ndarray, time: np.ndarray, known: Histories, n_items: int) -> np.ndarray:
    """[users, n_items]. UndefinedScore: one is NaN."""

    def query(rows: np.ndarray) -> Query:
        return Query.at(user[rows], time[rows], known, scorer.reads)

    blocks = [x for _, x in in_blocks(scorer.scores, scorer.cache, query, len(user), n_items)]
    found = np.concatenate(blocks).astype(np.float64)
    if np.isnan(found).any():
        at = int(user[int(np.isnan(found).any(axis=1).argmax())])
        raise UndefinedScore(f"{scorer.name}: a score of user {at} is NaN; two fits cannot be compared")
    return found


def _differ(one: np.ndarray, other: np.ndarray) -> int:
    """How many users (rows) have a score that differs by more than noise. Infinite ones must be the same."""
    finite = np.isfinite(one) & np.isfinite(other)
    left, right = np.where(finite, one, 0.0), np.where(finite, other, 0.0)
    scale = np.maximum(np.abs(left), np.abs(right)).max(axis=1, keepdims=True)
    differs = np.where(finite, np.abs(left - right) > _TOLERANCE * scale, one != other)
    return int(differs.any(axis=1).sum())


def _without(log: Interactions, gone: Interactions) -> Interactions:
    """The log less the events of `gone`, one for one: equal events are taken from the end of the log."""
    columns = zip(gone.columns().values(), log.columns().values())
    both = [np.concatenate(pair) for pair in columns]
    both[2] = both[2].view(np.int32)  # ratings by their bits, so that an unknown one (NaN) equals itself
    order = np.lexsort(both[::-1])  # stable: of equal events those of `gone` come first
    new = np.zeros(len(order), bool)
    new[1:] = np.any([column[order][1:] != column[order][:-1] for column in both], axis=0)
    group = np.cumsum(new)
    ours = order >= len(gone)
    size, taken = (np.bincount(group[which], minlength=group[-1] + 1) for which in (ours, ~ours))
    rows, of = order[ours] - len(gone), group[ours]
    place = np.arange(len(rows)) - (np.cumsum(size) - size)[of]
    return log.take(np.sort(rows[place < size[of] - taken[of]]))


def _pairs(log: Interactions, n_items: int) -> np.ndarray:
    """A number for each event's user and item."""
    return log.user.astype(np.int64) * n_items + log.item


def _warn(found: bool) -> Severity:
    return "warning" if found else "ok"


def _of(count: int, what: str) -> str:
    """'1 event', '1,200 events'."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
