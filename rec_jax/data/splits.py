"""Splits: which events train, validate and test. Each is a function of the log and, where drawn, of a seed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int8, Int32

from rec_jax.data.interactions import Dataset, Interactions
from rec_jax.errors import InputError
from rec_jax.randomness import host_rng

TRAIN, VALID, TEST = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Split:
    """A dataset's events in three parts, each sorted as the log is.

    `short_users` had too few events: theirs all train, and they are not evaluated. `candidates` are the
    published negatives of each user's test item, where the split's authors gave them.
    """

    dataset: Dataset
    train: Interactions
    valid: Interactions
    test: Interactions
    description: str
    short_users: int = 0
    candidates: Int32[np.ndarray, "n_users k"] | None = None

    def part(self, name: str) -> Interactions:
        """The events of 'train', 'valid' or 'test'."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]


def make_split(dataset: Dataset, kind: str, ratios: tuple[float, float, float], seed: int) -> Split:
    """Split by `kind`: leave-one-out, ratio, time or authors. InputError: unknown kind, or nobody left to evaluate."""
    makers = {
        "leave-one-out": lambda: leave_one_out(dataset),
        "ratio": lambda: ratio_per_user(dataset, ratios, seed),
        "time": lambda: global_time(dataset, ratios),
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
