"""Splits: which events train, validate and test. Each is a function of the log and, where drawn, of a seed."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int8, Int32

from rec_jax.data.interactions import Dataset, Interactions
from rec_jax.errors import InputError
from rec_jax.randomness import host_rng

TRAIN, VALID, TEST, FOLDED = 0, 1, 2, 3


@dataclass(frozen=True, eq=False)
class Split:
    """A dataset's events in three parts, each sorted as the log is.

    `short_users` had too few events: theirs all train, and they are not evaluated. `candidates` are the
    published negatives of each user's test item, where the split's authors gave them. `fold_in` holds the histories
    of users that are not in train (strong generalisation): a recommender is given them after training.
    """

    dataset: Dataset
    train: Interactions
    valid: Interactions
    test: Interactions
    description: str
    short_users: int = 0
    candidates: Int32[np.ndarray, "n_users k"] | None = None
    fold_in: Interactions | None = None

    @cached_property
    def history(self) -> Interactions:
        """What is known of each user before validation: the train events, and those that are folded in."""
        return self.train if self.fold_in is None else merged(self.train, self.fold_in)

    @cached_property
    def whole(self) -> "Split":
        """The same with the validation events among the train events: what is trained on after all choices. None are
        left to validate on, or what is asked of this split would count them twice."""
        none = self.valid.take(np.zeros(0, np.int64))
        return dataclasses.replace(self, train=merged(self.train, self.valid), valid=none)

    def part(self, name: str) -> Interactions:
        """The events of 'train', 'valid' or 'test'."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]


def merged(first: Interactions, second: Interactions) -> Interactions:
    """The events of both, sorted by user and time; ties in time keep the first's before the second's."""
    pairs = zip(first.columns().values(), second.columns().values())
    user, item, rating, time = (np.concatenate(pair) for pair in pairs)
    order = np.lexsort((time, user))
    return Interactions(user[order], item[order], rating[order], time[order])


def make_split(
    dataset: Dataset, kind: str, ratios: tuple[float, float, float], seed: int, fold_in: float = 0.8
) -> Split:
    """Split by `kind`: leave-one-out, ratio, time, users or authors.

    InputError: unknown kind, or nobody left to evaluate.
    """
    makers = {
        "leave-one-out": lambda: leave_one_out(dataset),
        "ratio": lambda: ratio_per_user(dataset, ratios, seed),
        "time": lambda: global_time(dataset, ratios),
        "users": lambda: held_out_users(dataset, ratios, seed, fold_in),
        "authors": lambda: authors(dataset),
    }
    if kind not in makers:
        raise InputError(f"unknown split {kind!r}: known are {', '.join(makers)}")
    return makers[kind]()


def leave_one_out(dataset: Dataset) -> Split:
    """Each user's last event tests, the one before validates, the rest train; ties in time keep the input order.

    Users with fewer than three events only train. InputError: the log's order means nothing.
    """
    if not dataset.chronological:
        raise InputError(
            f"{dataset.name}: its events have neither times nor a chronological order, so there is no last one; "
            "use --split authors or --split ratio"
        )
    starts = dataset.interactions.by_user(dataset.n_users)
    counts = np.diff(starts)
    long = counts >= 3
    part = np.zeros(len(dataset.interactions), np.int8)
    part[starts[1:][long] - 1] = TEST
    part[starts[1:][long] - 2] = VALID
    return _split(dataset, part, "leave-one-out (last tests, second last validates)", int((~long).sum()), "3 events")


def ratio_per_user(dataset: Dataset, ratios: tuple[float, float, float], seed: int) -> Split:
    """Each user's events fall at random: floor(share * count) validate and test, the rest train.

    Users who would have no validation or no test event only train.
    """
    check_ratios(ratios)
    log = dataset.interactions
    starts = log.by_user(dataset.n_users)
    counts = np.diff(starts)
    order = np.lexsort((host_rng(seed, "ratio split").random(len(log)), log.user))
    place = np.arange(len(log)) - np.repeat(starts[:-1], counts)  # the event's place in its user's random order
    share = np.floor(counts[:, None] * np.array(ratios[1:]) + 1e-9).astype(np.int64)
    share[(share == 0).any(axis=1)] = 0
    valid, test = np.repeat(share, counts, axis=0).T
    part = np.zeros(len(log), np.int8)
    part[order] = np.where(place < test, TEST, np.where(place < test + valid, VALID, TRAIN))
    named = ":".join(f"{r:g}" for r in ratios)
    return _split(dataset, part, f"random per user {named}, seed {seed}", int((share[:, 0] == 0).sum()), "more events")


def global_time(dataset: Dataset, ratios: tuple[float, float, float]) -> Split:
    """The earliest share of all events trains, the next validates, the latest tests; a moment is never cut in two.

    Events of users who have none in train stay in the parts; the evaluation drops and counts those users.
    InputError: times are missing, or a part would be empty.
    """
    check_ratios(ratios)
    time = dataset.interactions.time
    if not time.all():
        raise InputError(f"{dataset.name}: {(time == 0).sum():,} events have no time; use another split")
    ordered = np.sort(time)
    first_valid, first_test = ordered[(len(time) * np.cumsum(ratios)[:2]).astype(np.int64)]
    part = np.where(time >= first_test, TEST, np.where(time >= first_valid, VALID, TRAIN)).astype(np.int8)
    named = ":".join(f"{r:g}" for r in ratios)
    return _split(dataset, part, f"global time {named}, test from {first_test}", 0, "later events")


def held_out_users(dataset: Dataset, ratios: tuple[float, float, float], seed: int, fold_in: float) -> Split:
    """Users fall at random into train, validation and test; of a held-out user's events, drawn at random, the share
    `fold_in` is the history that a trained recommender is given, and the rest is to be found.

    Strong generalisation as Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, Sec. 4.2
    (80 % of the events folded in). Held-out users with one event only train.
    """
    check_ratios(ratios)
    if not 0 < fold_in < 1:
        raise InputError(f"--fold-in {fold_in:g}: expected a share between 0 and 1, as 0.8")
    log, rng = dataset.interactions, host_rng(seed, "user hold-out")
    starts = log.by_user(dataset.n_users)
    counts = np.diff(starts)
    place = rng.permutation(dataset.n_users)
    bounds = np.round(np.cumsum(ratios)[:2] * dataset.n_users)
    group = np.where(place < bounds[0], TRAIN, np.where(place < bounds[1], VALID, TEST))
    short = (group != TRAIN) & (counts < 2)
    group[short] = TRAIN
    order = np.lexsort((rng.random(len(log)), log.user))
    rank = np.empty(len(log), np.int64)
    rank[order] = np.arange(len(log)) - np.repeat(starts[:-1], counts)
    given = np.clip(np.round(counts * fold_in), 1, np.maximum(counts - 1, 1))
    folded = (group[log.user] != TRAIN) & (rank < given[log.user])
    part = np.where(folded, FOLDED, group[log.user]).astype(np.int8)
    named = ":".join(f"{r:g}" for r in ratios)
    description = f"users held out {named}, seed {seed}, {fold_in:.0%} of their events folded in"
    split = _split(dataset, part, description, int(short.sum()), "2 events")
    return dataclasses.replace(split, fold_in=log.take(part == FOLDED))


def authors(dataset: Dataset) -> Split:
    """The split that the set's authors published. InputError: the set brings none."""
    if dataset.authors is None:
        raise InputError(f"{dataset.name} brings no split of its authors'; use --split leave-one-out, ratio or time")
    return _split(dataset, dataset.authors.part, "authors' own", 0, "events", dataset.authors.candidates)


def check_ratios(ratios: tuple[float, float, float]) -> None:
    """InputError: the shares are not three positive numbers that sum to 1."""
    if min(ratios) <= 0 or abs(sum(ratios) - 1) > 1e-6:
        raise InputError(f"ratios {ratios}: expected three positive shares that sum to 1, as 0.6 0.2 0.2")


def _split(
    dataset: Dataset,
    part: Int8[np.ndarray, "m"],
    description: str,
    short_users: int,
    needed: str,
    candidates: np.ndarray | None = None,
) -> Split:
    train, valid, test = (dataset.interactions.take(part == p) for p in (TRAIN, VALID, TEST))
    for events, name in ((train, "train"), (valid, "validation"), (test, "test")):
        if len(events) == 0:
            raise InputError(
                f"{dataset.name}: the split '{description}' leaves no {name} event ({short_users:,} of "
                f"{dataset.n_users:,} users are too short); users need {needed}"
            )
    return Split(dataset, train, valid, test, description, short_users, candidates)
