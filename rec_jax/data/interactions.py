"""A log is columns: `Interactions`, and the `Dataset` that knows whose and what they are."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int8, Int32, Int64

from rec_jax.errors import InputError


@dataclass(frozen=True, eq=False)
class Interactions:
    """Four equal-length columns with dense ids, sorted by (user, time, input order).

    `time` is in seconds since 1970; 0 means unknown. The arrays are read-only.
    """

    user: Int32[np.ndarray, "m"]
    item: Int32[np.ndarray, "m"]
    rating: Float32[np.ndarray, "m"]
    time: Int64[np.ndarray, "m"]

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns().items()}
        if len(set(lengths.values())) != 1:
            raise InputError(f"the columns of a log differ in length: {lengths}")
        for column in self.columns().values():
            column.flags.writeable = False

    def __len__(self) -> int:
        return len(self.user)

    def columns(self) -> dict[str, np.ndarray]:
        """The four columns by name."""
        return {"user": self.user, "item": self.item, "rating": self.rating, "time": self.time}

    def take(self, index: np.ndarray) -> "Interactions":
        """The events at `index` (positions or a mask), in the log's own order."""
        return Interactions(*(column[index] for column in self.columns().values()))

    def by_user(self, n_users: int) -> Int64[np.ndarray, "n_users_plus_1"]:
        """Where each user's events start: user u owns rows start[u]:start[u + 1]."""
        return np.searchsorted(self.user, np.arange(n_users + 1)).astype(np.int64)


@dataclass(frozen=True)
class Catalogue:
    """What is known of each item, in the order of the dense ids; empty strings and 0 where unknown."""

    title: Sequence[str]
    year: Sequence[int]
    categories: Sequence[tuple[str, ...]]

    def take(self, index: np.ndarray) -> "Catalogue":
        """The items at `index`."""
        return Catalogue(
            title=[self.title[i] for i in index],
            year=[self.year[i] for i in index],
            categories=[self.categories[i] for i in index],
        )


@dataclass(frozen=True, eq=False)
class AuthorsSplit:
    """A split that its authors published: `part` 0 train, 1 validation, 2 test, one entry an event.

    `candidates` holds the negatives that each user's test item is ranked against, as published
    (duplicates, or the positive itself among them, are the evaluation's to drop and count).
    """

    part: Int8[np.ndarray, "m"]
    candidates: Int32[np.ndarray, "n_users k"] | None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions with their catalogue, user attributes and the way back to the original ids.

    `chronological` says that a user's events stand in the order they happened.
    `preparation` records what was done to the log, one line a step, with counts.
    """

    name: str
    interactions: Interactions
    user_ids: np.ndarray
    item_ids: np.ndarray
    catalogue: Catalogue
    user_attributes: Mapping[str, np.ndarray] = field(default_factory=dict)
    chronological: bool = True
    authors: AuthorsSplit | None = None
    preparation: tuple[str, ...] = ()
    licence: str = "the user's own data"

    @property
    def n_users(self) -> int:
        """How many users there are."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """How many items there are: the catalogue that full ranking ranks."""
        return len(self.item_ids)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the sizes and the four columns, little-endian: equal for equal logs on every machine."""
        digest = hashlib.sha256(f"rec_jax log {self.n_users} {self.n_items} {len(self.interactions)}".encode())
        for column in self.interactions.columns().values():
            digest.update(np.ascontiguousarray(column.astype(column.dtype.newbyteorder("<"))).tobytes())
        return digest.hexdigest()

    def user_index(self, original: str) -> int:
        """The dense id of a user. InputError: no such user."""
        return _index(self.user_ids, original, "user", self.name)

    def item_index(self, original: str) -> int:
        """The dense id of an item. InputError: no such item."""
        return _index(self.item_ids, original, "item", self.name)

    def item_label(self, item: int) -> str:
        """The item's title with its year, or its original id where the title is unknown."""
        title, year = self.catalogue.title[item], self.catalogue.year[item]
        return (f"{title} ({year})" if year else title) or f"item {self.item_ids[item]}"


def _index(ids: np.ndarray, original: str, kind: str, name: str) -> int:
    where = np.flatnonzero(ids == original)
    if len(where) == 0:
        raise InputError(f"{name} has no {kind} {original!r}; its {len(ids):,} {kind}s run from {ids[0]} to {ids[-1]}")
    return int(where[0])


def dense_ids(original: np.ndarray) -> tuple[np.ndarray, Int32[np.ndarray, "m"]]:
    """(original ids sorted, dense id of each entry): numeric order where all are whole numbers, else text order.

    Sorting makes the ids a function of the log's content alone, not of the order of its rows.
    """
    if original.dtype.kind in "iu":
        numbers, inverse = np.unique(original, return_inverse=True)
        return numbers.astype(str), inverse.reshape(-1).astype(np.int32)
    unique, inverse = np.unique(original.astype(str), return_inverse=True)
    try:
        order = np.argsort(unique.astype(np.int64), kind="stable")
    except (ValueError, OverflowError):
        order = np.arange(len(unique))
    rank = np.empty(len(unique), np.int32)
    rank[order] = np.arange(len(unique), dtype=np.int32)
    return unique[order], rank[inverse.reshape(-1)]


def build_dataset(
    name: str,
    columns: Mapping[str, np.ndarray],
    *,
    items: Mapping[str, tuple[str, int, tuple[str, ...]]] | None = None,
    users: Mapping[str, Mapping[str, str]] | None = None,
    authors: tuple[np.ndarray, np.ndarray | None] | None = None,
    chronological: bool = True,
    licence: str = "the user's own data",
) -> Dataset:
    """Make a Dataset from raw columns `user`, `item` (original ids), `rating`, `time`, in input order.

    `items` gives (title, year, categories) by original item id, `users` attributes by original user id;
    `authors` a part (0, 1, 2) an input row and, by dense user in sorted order, original ids of candidates.
    InputError: the log is empty, or a candidate is not an item of the log.
    """
    if len(columns["user"]) == 0:
        raise InputError(f"{name}: the log is empty; at least one event is needed")
    user_ids, user = dense_ids(columns["user"])
    item_ids, item = dense_ids(columns["item"])
    time = columns["time"].astype(np.int64)
    order = np.lexsort((time, user))  # stable: ties in time keep the input order
    interactions = Interactions(user[order], item[order], columns["rating"].astype(np.float32)[order], time[order])
    known = items or {}
    rows = [known.get(i, ("", 0, ())) for i in item_ids.tolist()]
    fields = sorted({key for attributes in (users or {}).values() for key in attributes})
    split = None
    if authors is not None:
        part, negatives = authors
        candidates = None
        if negatives is not None:
            at = np.searchsorted(item_ids.astype(np.int64), negatives.astype(np.int64)).clip(max=len(item_ids) - 1)
            if not np.array_equal(item_ids[at].astype(np.int64), negatives.astype(np.int64)):
                raise InputError(f"{name}: the published candidates name items that the log never mentions")
            candidates = at.astype(np.int32)
        split = AuthorsSplit(part.astype(np.int8)[order], candidates)
    return Dataset(
        name=name,
        interactions=interactions,
        user_ids=user_ids,
        item_ids=item_ids,
        catalogue=Catalogue([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]),
        user_attributes={f: np.array([(users or {}).get(u, {}).get(f, "") for u in user_ids.tolist()]) for f in fields},
        chronological=chronological,
        authors=split,
        licence=licence,
    )


def restrict(dataset: Dataset, keep: np.ndarray, step: str) -> Dataset:
    """The dataset with only the events in the mask `keep`; users and items without events leave, ids close up.

    `step` is recorded with the counts after it. InputError: nothing is left.
    """
    log = dataset.interactions.take(keep)
    if len(log) == 0:
        raise InputError(f"{dataset.name}: no event is left after '{step}'; ask for less")
    users, user = np.unique(log.user, return_inverse=True)
    items, item = np.unique(log.item, return_inverse=True)
    line = f"{step}: {len(dataset.interactions):,} -> {len(log):,} events, {len(users):,} users, {len(items):,} items"
    return dataclasses.replace(
        dataset,
        interactions=Interactions(user.astype(np.int32), item.astype(np.int32), log.rating, log.time),
        user_ids=dataset.user_ids[users],
        item_ids=dataset.item_ids[items],
        catalogue=dataset.catalogue.take(items),
        user_attributes={name: column[users] for name, column in dataset.user_attributes.items()},
        preparation=(*dataset.preparation, line),
    )
