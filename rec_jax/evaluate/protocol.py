"""What is asked of a recommender: which users, which held-out items, among which candidates.

A protocol is a split times a candidate rule. 'full' ranks the whole catalogue without the items that the user has
already seen. The others rank the held-out items among fixed unseen ones: 'ncf-99' among 99 drawn uniformly (He et
al., WWW 2017, Sec. 4.1) or published with the split, 'uniform-100' among 100 drawn uniformly (Kang and McAuley,
ICDM 2018, Sec. IV-D), 'pop-100' among 100 drawn in proportion to their train events, without replacement (Sun et
al., BERT4Rec, CIKM 2019, Sec. 4.2).
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int32, Int64

from rec_jax.data.histories import Histories
from rec_jax.data.interactions import Interactions
from rec_jax.data.splits import Split
from rec_jax.errors import InputError, did_you_mean
from rec_jax.models.base import Query
from rec_jax.randomness import host_rng


@dataclass(frozen=True)
class Drawn:
    """How a rule draws its candidates."""

    count: int
    by_popularity: bool = False
    published: bool = False
    """Take the candidates that the split's authors published, where there are any."""


DRAWN_RULES = {
    "ncf-99": Drawn(99, published=True),
    "uniform-100": Drawn(100),
    "pop-100": Drawn(100, by_popularity=True),
}
CANDIDATE_RULES = ("full", *DRAWN_RULES)


@dataclass(frozen=True, eq=False)
class Questions:
    """One entry a user: held-out items, items already seen, and the candidates (None: all items), positives first.

    `time` is that of the user's first held-out event, in seconds since 1970 (0: unknown). `excluded` marks items
    that nobody can be recommended. `dropped` counts, by reason, what was left out. `known` holds what each user did
    before, in order, for recommenders that read it.
    """

    rule: str
    user: Int32[np.ndarray, "q"]
    time: Int64[np.ndarray, "q"]
    positives: Sequence[np.ndarray]
    seen: Sequence[np.ndarray]
    candidates: Sequence[np.ndarray] | None
    excluded: np.ndarray
    dropped: dict[str, int]
    known: Histories | None = None

    def query(self, rows: np.ndarray, reads: int) -> Query:
        """The query at the places `rows` [b], with the last `reads` events of each user. Errors as in `Query.at`."""
        return Query.at(self.user[rows], self.time[rows], self.known, reads)

    def __post_init__(self) -> None:
        if self.candidates is None:
            return
        for user, positives, row in zip(self.user.tolist(), self.positives, self.candidates):
            rest = row[len(positives) :]
            if not np.array_equal(row[: len(positives)], positives) or np.isin(rest, positives).any():
                raise InputError(
                    f"candidates of user {user} under {self.rule!r}: expected the held-out items first and nowhere "
                    "else; drop a drawn candidate that is a held-out item"
                )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all of it but the order of what is known, which is the log's: equal for equal questions."""
        digest = hashlib.sha256(f"{self.rule} {len(self.user)}".encode())
        for rows in (
            [self.user, self.time],
            self.positives,
            self.seen,
            self.candidates or (),
            [self.excluded.astype(np.int8)],
        ):
            for row in rows:
                digest.update(np.int64(len(row)).tobytes() + np.ascontiguousarray(row).tobytes())
        return digest.hexdigest()


def ask(split: Split, part: str, rule: str, *, seed: int, unseen_items: str = "keep") -> Questions:
    """The questions of a part ('valid' or 'test') under one candidate rule, as `ask_all` poses them."""
    return ask_all(split, part, (rule,), seed=seed, unseen_items=unseen_items)[rule]


def ask_all(
    split: Split, part: str, rules: Sequence[str], *, seed: int, unseen_items: str = "keep"
) -> dict[str, Questions]:
    """The questions of a part ('valid' or 'test') under each candidate rule: the same users and held-out items.

    Seen are the train items, under user hold-out the folded-in ones and, at test, the validation items too. A
    held-out item that was seen cannot be recommended again: it is dropped and counted, as are users without any
    history. Candidates are the authors' where the rule and the split bring them for the test part, else drawn by
    `seed`: neither seen nor held out, all distinct. A published candidate that equals the held-out item, or comes
    twice, is dropped and counted. InputError: unknown rule, or nobody is left.
    """
    for rule in rules:
        check_rule(rule)
    n_users, n_items = split.dataset.n_users, split.dataset.n_items
    train, valid = _rows(split.history, n_users), _rows(split.valid, n_users)
    events = split.part(part)
    held, first = _rows(events, n_users), events.by_user(n_users)
    trained = np.zeros(n_items, bool)
    trained[split.train.item] = True
    excluded = ~trained if unseen_items == "drop" else np.zeros(n_items, bool)
    dropped = {"users_with_too_few_events": split.short_users, "users_without_train_events": 0}
    dropped |= {"held_out_items_seen_before": 0, "held_out_items_not_in_train": 0}
    users, positives, seen = [], [], []
    for user in range(n_users):
        if len(held[user]) == 0:
            continue
        if len(train[user]) == 0:
            dropped["users_without_train_events"] += 1
            continue
        before = np.union1d(train[user], valid[user]) if part == "test" else np.unique(train[user])
        items = np.unique(held[user])
        fresh = items[~np.isin(items, before)]
        allowed = fresh[~excluded[fresh]]
        dropped["held_out_items_seen_before"] += len(items) - len(fresh)
        dropped["held_out_items_not_in_train"] += len(fresh) - len(allowed)
        if len(allowed):
            users.append(user)
            positives.append(allowed.astype(np.int32))
            seen.append(before.astype(np.int32))
    if not users:
        raise InputError(f"{split.dataset.name}: nobody is left to evaluate in the {part} part ({dropped})")
    asked = np.array(users, np.int32)
    known = Histories.of((split.whole if part == "test" else split).history, n_users)
    time = events.time[first[asked]]
    full = Questions("full", asked, time, positives, seen, None, excluded, dropped, known)
    found = {}
    for rule in rules:
        questions, how = dataclasses.replace(full, rule=rule), DRAWN_RULES.get(rule)
        if how is None:
            found[rule] = questions
        elif how.published and part == "test" and split.candidates is not None:
            found[rule] = _published(questions, split.candidates)
        else:
            found[rule] = _drawn(questions, how, split, host_rng(seed, f"{rule} candidates {part}"))
    return found


def check_rule(rule: str) -> None:
    """InputError: the candidate rule is unknown; near names are proposed."""
    if rule not in CANDIDATE_RULES:
        meant = did_you_mean(rule, CANDIDATE_RULES, n=2)
        raise InputError(f"unknown candidate rule {rule!r}: {meant}known are {', '.join(CANDIDATE_RULES)}")


def _published(questions: Questions, candidates: np.ndarray) -> Questions:
    rows, lost = [], 0
    for user, positives in zip(questions.user, questions.positives):
        distinct = np.unique(candidates[user])
        kept = distinct[~np.isin(distinct, positives) & ~questions.excluded[distinct]]
        lost += candidates.shape[1] - len(kept)
        rows.append(np.concatenate([positives, kept]).astype(np.int32))
    dropped = questions.dropped | {"published_candidates": lost}
    return dataclasses.replace(questions, candidates=rows, dropped=dropped)


def _drawn(questions: Questions, how: Drawn, split: Split, rng: np.random.Generator) -> Questions:
    """Items that the user has in no part of the log; by popularity, those without train events are never drawn."""
    everything = _rows(split.dataset.interactions, split.dataset.n_users)
    weight = np.bincount(split.train.item, minlength=split.dataset.n_items).astype(np.float64)
    rows, short = [], 0
    for user, positives in zip(questions.user, questions.positives):
        free = ~questions.excluded & (weight > 0 if how.by_popularity else True)
        free[everything[user]] = False
        pool = np.flatnonzero(free)
        short += len(pool) < how.count
        chance = weight[pool] / weight[pool].sum() if how.by_popularity and len(pool) else None
        drawn = rng.choice(pool, min(how.count, len(pool)), replace=False, p=chance)
        rows.append(np.concatenate([positives, drawn]).astype(np.int32))
    dropped = questions.dropped | {f"users_with_fewer_than_{how.count}_candidates": short}
    return dataclasses.replace(questions, candidates=rows, dropped=dropped)


def _rows(log: Interactions, n_users: int) -> list[np.ndarray]:
    """Each user's items (a log is sorted by user)."""
    return np.split(log.item, log.by_user(n_users)[1:-1])
