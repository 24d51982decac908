"""Simulated users' tables, fitted to a real log of ratings.

1. Ratings: a biased matrix factorisation of train ratings, its penalty chosen on validation, and an ordered logit over
   the levels of the scale, fitted on validation (`preferences.py`).
2. What a platform knows: the vector of each user folded in from the first ratings of the user's history alone, as a
   posterior mean under the population's prior, N(0, 1) for each coordinate.
3. Boredom and drift: an ordered logit over all events, each predicted by a fit that had not seen it (`effects.py`).

Test ratings are looked at by 3 alone, and no rested user's chance of a like depends on it: how well these hold is told
on test.

Checked on a world drawn from the model itself (tests/simulate/test_fitting.py): where its vectors are known, boredom
and drift are found; where they are fitted, boredom and what drift does to a rating come out within a fifth. Drift
itself is larger than the world's, since fitted vectors are shorter.
"""

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Float32, Int

from rec_jax.data.interactions import Dataset, Interactions
from rec_jax.data.splits import Split, make_split
from rec_jax.errors import InputError
from rec_jax.files import atomic, read_json, write_json
from rec_jax.randomness import host_rng
from rec_jax.simulate import effects
from rec_jax.simulate.effects import Effect
from rec_jax.simulate.preferences import Factorisation, Factors, Ratings, factorise, levels_of, ordered_logit, ridge

Interval: TypeAlias = tuple[float, float, float]
"""A coefficient with the ends of its interval."""
TABLES = ("user", "user_bias", "known", "known_bias", "item", "item_bias", "genres", "count")


@dataclass(frozen=True)
class Fit:
    """How users are fitted. InputError: nothing to choose from, or a number out of its range."""

    like_from: float = 4.0
    """The lowest rating that is a like."""
    factors: int = 8
    """Width of the vectors."""
    l2: tuple[float, ...] = (7.0, 10.0, 14.0, 20.0, 28.0)
    """Penalties that validation chooses from."""
    known_events: int = 10
    """Of a user's first train ratings, those that a platform knows."""
    memory: float = 10.0
    """Events that a user remembers."""
    boredom: float = 0.5
    """Declared, where the log shows none: units of rating lost by a film of the genres of all the last ones."""
    drift: float = 2.0
    """Declared, where the log shows none: what is gained by nearness to what was liked last."""
    folds: int = 5
    resamples: int = 1000
    """Of users, for intervals."""
    seed: int = 1
    """Seed of the split, the folds and the factors."""

    def __post_init__(self) -> None:
        if not self.l2 or min(self.known_events, self.resamples) < 1 or self.memory < 1 or self.folds < 2:
            raise InputError(
                f"l2 {self.l2}, known_events {self.known_events}, memory {self.memory:g}, folds {self.folds}, "
                f"resamples {self.resamples}: expected some penalty, at least 2 folds, and at least 1 of the others"
            )
        if min(self.boredom, self.drift) < 0:
            raise InputError(f"boredom {self.boredom:g}, drift {self.drift:g}: expected numbers of at least 0")


@dataclass(frozen=True, eq=False)
class Fitted:
    """What simulated users are made of. Compared by identity: a compiled function may hold it."""

    name: str
    """Of the log."""
    mean: float
    ratings: Ratings
    memory: float
    boredom: Effect
    drift: Effect
    genre_names: tuple[str, ...]
    user: Float32[np.ndarray, "u d"]
    user_bias: Float32[np.ndarray, "u"]
    known: Float32[np.ndarray, "u d"]
    """As the platform estimates them."""
    known_bias: Float32[np.ndarray, "u"]
    item: Float32[np.ndarray, "n d"]
    item_bias: Float32[np.ndarray, "n"]
    genres: Float32[np.ndarray, "n g"]
    """Unit rows, zeros for an item of none; g is at least 1."""
    count: Float32[np.ndarray, "n"]
    """Train ratings."""

    def scores(self, user: Int[np.ndarray, "m"], item: Int[np.ndarray, "m"], known: bool = False) -> np.ndarray:
        """Of rested users [m], or as the platform has them."""
        vector, bias = (self.known, self.known_bias) if known else (self.user, self.user_bias)
        products = np.einsum("md,md->m", vector[user], self.item[item], dtype=np.float64)
        return self.mean + bias[user] + self.item_bias[item] + products

    def of_users(self, index: Int[np.ndarray, "_"]) -> "Fitted":
        """The same world with these users alone. InputError: none."""
        if len(index) == 0:
            raise InputError(f"users of {self.name}: none was chosen")
        rows = {name: getattr(self, name)[index] for name in ("user", "user_bias", "known", "known_bias")}
        return dataclasses.replace(self, **rows)


@dataclass(frozen=True, eq=False)
class Report:
    """What fitting saw."""

    split: Split
    validation: Mapping[float, float]
    """RMSE by penalty."""
    l2: float
    """The one chosen."""
    tied: float
    """Share of events with another of the same user at the same moment."""
    recency: Mapping[str, Mapping[str, Interval]]
    """Boredom and drift, by memory."""


def fit(dataset: Dataset, how: Fit) -> tuple[Fitted, Report]:
    """Users fitted to a log.

    InputError: ratings of one level, of none that counts as a like, or that nothing is left to chance in; events in no
    order; or users too short to split.
    """
    levels = levels_of(dataset.interactions, how.like_from, dataset.name)
    if not dataset.chronological:
        raise InputError(f"{dataset.name}: its events are in no order, so that boredom and drift cannot be told")
    split = make_split(dataset, "ratio", (0.8, 0.1, 0.1), how.seed)
    found = {l2: _factors(split.train, dataset, how, l2) for l2 in how.l2}
    errors = {l2: _rmse(factors, split.valid) for l2, factors in found.items()}
    l2 = min(errors, key=lambda of: errors[of])
    factors = found[l2]
    ratings = ordered_logit(
        factors.scores(split.valid.user, split.valid.item), split.valid.rating, how.like_from, levels
    )
    known = platform_estimate(split.train, factors, errors[l2] ** 2, how.known_events)
    genres, names = genre_rows(dataset)
    memories = sorted({max(how.memory / 2, 1.0), how.memory, how.memory * 2})
    recency = measured(dataset, genres, l2, ratings, memories, how)
    of = recency[f"{how.memory:g}"]
    single = np.float32
    fitted = Fitted(
        name=dataset.name,
        mean=factors.mean,
        ratings=ratings,
        memory=how.memory,
        boredom=Effect.of(*of["boredom"], how.boredom),
        drift=Effect.of(*of["drift"], how.drift),
        genre_names=names,
        user=factors.user.astype(single),
        user_bias=factors.user_bias.astype(single),
        known=known[:, :-1].astype(single),
        known_bias=known[:, -1].astype(single),
        item=factors.item.astype(single),
        item_bias=factors.item_bias.astype(single),
        genres=genres.astype(single),
        count=np.bincount(split.train.item, minlength=dataset.n_items).astype(single),
    )
    return fitted, Report(split, errors, l2, _tied(dataset.interactions), recency)


def _factors(log: Interactions, dataset: Dataset, how: Fit, l2: float) -> Factors:
    return factorise(log, dataset.n_users, dataset.n_items, Factorisation(how.factors, l2), how.seed)


def _rmse(factors: Factors, events: Interactions) -> float:
    return float(np.sqrt(((factors.scores(events.user, events.item) - events.rating) ** 2).mean()))


def platform_estimate(log: Interactions, factors: Factors, variance: float, events: int) -> Float[np.ndarray, "u e"]:
    """[vector, bias] of each user from the first `events` ratings in `log`: the posterior mean, where ratings vary by
    `variance` about their scores, vectors by 1 and biases by as much as the users' own do."""
    users, width = factors.user.shape
    penalty = np.diag([variance] * width + [variance / max(float(factors.user_bias.var()), 1e-6)])
    starts, found = log.by_user(users), np.zeros((users, width + 1))
    left = log.rating - factors.mean - factors.item_bias[log.item]
    for user, (first, end) in enumerate(pairwise(starts)):
        at = slice(first, min(end, first + events))
        if end > first:
            found[user] = ridge(factors.item[log.item[at]], left[at], penalty)
    return found


def genre_rows(dataset: Dataset) -> tuple[Float[np.ndarray, "n g"], tuple[str, ...]]:
    """(categories of each item as a unit vector, their names); one empty column where there are none."""
    rows = dataset.catalogue.categories
    names = tuple(sorted({name for row in rows for name in row}))
    found = np.zeros((len(rows), max(len(names), 1)))
    for item, row in enumerate(rows):
        found[item, [names.index(name) for name in row]] = 1 / max(len(set(row)), 1) ** 0.5
    return found, names


def measured(
    dataset: Dataset, genres: Float[np.ndarray, "n g"], l2: float, ratings: Ratings, memories: Sequence[float], how: Fit
) -> dict[str, dict[str, Interval]]:
    """Boredom and drift by memory. The columns and scores of each fold are those of a fit to the other folds, item
    vectors included: one fitted to an event knows how it was rated."""
    log = dataset.interactions
    fold = host_rng(how.seed, "folds").integers(0, how.folds, len(log))
    starts, everything = log.by_user(dataset.n_users), np.ones(len(log), bool)
    liked, of_genres = log.rating >= how.like_from, genres[log.item]
    place = np.arange(len(log)) - starts[log.user]
    score, columns = np.zeros(len(log)), np.zeros((len(memories), len(log), 6))
    columns[:, :, 1] = (of_genres * effects.others(of_genres, everything, starts)).sum(axis=1)
    columns[:, :, 4] = place / np.diff(starts)[log.user]
    for column, memory in zip(columns, memories):
        column[:, 0] = (of_genres * effects.remembered(log, of_genres, everything, starts, memory)).sum(axis=1)
    for part in range(how.folds):
        at = fold == part
        factors = _factors(log.take(~at), dataset, how, l2)
        score[at] = factors.scores(log.user[at], log.item[at])
        vectors = factors.item[log.item]
        columns[:, at, 3] = (vectors * effects.others(vectors, liked, starts)).sum(axis=1)[at]
        for column, memory in zip(columns, memories):
            column[at, 2] = (vectors * effects.remembered(log, vectors, liked, starts, memory)).sum(axis=1)[at]
    columns[:, :, 5] = score - score.mean()
    found: dict[str, dict[str, Interval]] = {}
    for column, memory in zip(columns, memories):
        estimate, step = effects.fixed_logit(column, score, log.rating.astype(np.float64), starts, ratings)
        low, high = effects.bootstrap(estimate, step, how.resamples, how.seed)
        found[f"{memory:g}"] = {
            "boredom": (-float(estimate[0]), -float(high[0]), -float(low[0])),
            "drift": (float(estimate[2]), float(low[2]), float(high[2])),
        }
    return found


def _tied(log: Interactions) -> float:
    same = (np.diff(log.time) == 0) & (np.diff(log.user) == 0) & (log.time[1:] != 0)
    return float((np.append(same, False) | np.append(False, same)).mean())


def save(fitted: Fitted, folder: Path) -> None:
    """Write fitted.json and fitted.npz, whole or not at all."""
    with atomic(folder / "fitted.npz") as file:
        np.savez_compressed(file, **{name: getattr(fitted, name) for name in TABLES})
    told = {f.name: getattr(fitted, f.name) for f in dataclasses.fields(fitted) if f.name not in TABLES}
    write_json(
        folder / "fitted.json",
        {name: dataclasses.asdict(x) if dataclasses.is_dataclass(x) else x for name, x in told.items()},  # type: ignore[arg-type]
    )


def load_fitted(folder: Path) -> Fitted:
    """What `save` wrote. InputError: a file is missing or not what it was, or the tables do not fit together."""
    told: dict[str, Any] = read_json(folder / "fitted.json")
    try:
        with np.load(folder / "fitted.npz") as file:
            tables: dict[str, Any] = {name: file[name] for name in TABLES}
        (users, width), items, genres = tables["user"].shape, len(tables["item"]), tables["genres"].shape[1]
        of: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in told["ratings"].items()}
        effect: dict[str, Any] = {name: Effect(**told[name]) for name in ("boredom", "drift")}
        plain: dict[str, Any] = {name: told[name] for name in ("name", "mean", "memory")}
        names, ratings = tuple(told["genre_names"]), Ratings(**of)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{folder}: holds no fitted users that can be read ({error}); fit them anew") from error
    wanted = {"user": (users, width), "known": (users, width), "user_bias": (users,), "known_bias": (users,)}
    wanted |= {"item": (items, width), "item_bias": (items,), "count": (items,), "genres": (items, genres)}
    for name, shape in wanted.items():
        if tables[name].shape != shape:
            raise InputError(f"{folder}: {name} is {tables[name].shape}, expected {shape}; fit them anew")
    return Fitted(**plain, **effect, **tables, ratings=ratings, genre_names=names)
