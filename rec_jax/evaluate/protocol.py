"""What is asked of a recommender: which users, which held-out items, among which candidates.

A protocol is a split times a candidate rule: 'full' ranks the whole catalogue without the items that the user has
already seen; 'ncf-99' ranks the held-out items among 99 fixed unseen ones (He et al., WWW 2017, Sec. 4.1).
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.randomness import host_rng

CANDIDATE_RULES = ("full", "ncf-99")
_DRAWN = 99


@dataclass(frozen=True, eq=False)
class Questions:
    """One row a user, padded with -1: held-out items, items already seen, and the candidates (None: all items).

    `excluded` marks items that nobody can be recommended. `dropped` counts, by reason, what was left out.
    """

    rule: str
    user: Int32[np.ndarray, "q"]
    positives: Sequence[np.ndarray]
    seen: Sequence[np.ndarray]
    candidates: Sequence[np.ndarray] | None
    excluded: np.ndarray
    dropped: dict[str, int]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all of it: equal for equal questions."""
        digest = hashlib.sha256(f"{self.rule} {len(self.user)}".encode())
        for rows in ([self.user], self.positives, self.seen, self.candidates or (), [self.excluded.astype(np.int8)]):
            for row in rows:
                digest.update(np.int64(len(row)).tobytes() + np.ascontiguousarray(row).tobytes())
        return digest.hexdigest()


def ask(split: Split, part: str, rule: str, *, seed: int, unseen_items: str = "keep") -> Questions:
    """The questions of a part ('valid' or 'test') under a candidate rule.

    Seen are the train items and, at test, the validation items too. A held-out item that was seen cannot be
    recommended again: it is dropped and counted, as are users without a train event. Candidates are the authors'
    where the split brings them for its test part, else drawn by `seed`: neither seen nor held out, all distinct.
    A published candidate that equals the held-out item, or comes twice, is dropped and counted.
    InputError: unknown rule, or nobody is left.
    """
    check_rule(rule)
    n_users, n_items = split.dataset.n_users, split.dataset.n_items
    train, valid, held = (_rows(log.user, log.item, n_users) for log in (split.train, split.valid, split.part(part)))
    known = np.zeros(n_items, bool)
    known[split.train.item] = True
    excluded = ~known if unseen_items == "drop" else np.zeros(n_items, bool)
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
    questions = Questions(rule, np.array(users, np.int32), positives, seen, None, excluded, dropped)
    if rule == "full":
        return questions
    if part == "test" and split.candidates is not None:
        return _published(questions, split.candidates)
    return _drawn(questions, split, seed, part)


def check_rule(rule: str) -> None:
    """InputError: the candidate rule is unknown."""
    if rule not in CANDIDATE_RULES:
        raise InputError(f"unknown candidate rule {rule!r}: known are {', '.join(CANDIDATE_RULES)}")


def _published(questions: Questions, candidates: np.ndarray) -> Questions:
    rows, lost = [], 0
    for user, positives in zip(questions.user, questions.positives):
        distinct = np.unique(candidates[user])
        kept = distinct[~np.isin(distinct, positives) & ~questions.excluded[distinct]]
        lost += candidates.shape[1] - len(kept)
        rows.append(np.concatenate([positives, kept]).astype(np.int32))
    dropped = questions.dropped | {"published_candidates": lost}
    return dataclasses.replace(questions, candidates=rows, dropped=dropped)


def _drawn(questions: Questions, split: Split, seed: int, part: str) -> Questions:
    rng = host_rng(seed, f"ncf-99 candidates {part}")
    everything = _rows(split.dataset.interactions.user, split.dataset.interactions.item, split.dataset.n_users)
    rows, short = [], 0
    for user, positives in zip(questions.user, questions.positives):
        free = ~questions.excluded
        free[everything[user]] = False
        pool = np.flatnonzero(free)
        short += len(pool) < _DRAWN
        drawn = rng.choice(pool, min(_DRAWN, len(pool)), replace=False)
        rows.append(np.concatenate([positives, drawn]).astype(np.int32))
    dropped = questions.dropped | {"users_with_fewer_than_99_candidates": short}
    return dataclasses.replace(questions, candidates=rows, dropped=dropped)


def _rows(user: np.ndarray, item: np.ndarray, n_users: int) -> list[np.ndarray]:
    """Each user's items (a log is sorted by user)."""
    return np.split(item, np.searchsorted(user, np.arange(1, n_users)))
