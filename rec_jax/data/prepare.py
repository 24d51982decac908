"""Preparing a log: explicit, and recorded in the dataset. Order of the steps: threshold, duplicates, k-core."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rec_jax.data.interactions import Dataset, Interactions, restrict
from rec_jax.errors import InputError


@dataclass(frozen=True)
class Preparation:
    """What becomes of a log before it is split."""

    min_rating: float | None = None
    """Keep events rated at least this much (None: all, as in implicit feedback)."""
    duplicates: Literal["keep", "first", "last"] = "keep"
    """Of a user's repeated events with one item: keep all, or only the first or the last."""
    k_core: int = 0
    """Remove users and items with fewer events than this, again and again until none is left (0: off)."""


def prepare(dataset: Dataset, how: Preparation) -> Dataset:
    """Apply `how`; each step that is asked for leaves a line in `dataset.preparation`.

    InputError: nothing is left, or the set brings its authors' own split, which must stay as published.
    """
    if how == Preparation():
        return dataset
    if dataset.authors is not None:
        raise InputError(
            f"{dataset.name} brings its authors' split, which preparation would break; drop the options {how}"
        )
    if how.min_rating is not None:
        keep = dataset.interactions.rating >= how.min_rating
        dataset = restrict(dataset, keep, f"ratings of at least {how.min_rating:g}")
    if how.duplicates != "keep":
        dataset = restrict(dataset, ~repeated(dataset.interactions, how.duplicates), f"{how.duplicates} of duplicates")
    if how.k_core > 0:
        dataset = restrict(dataset, k_core(dataset.interactions, how.k_core), f"{how.k_core}-core")
    return dataset


def repeated(log: Interactions, survivor: Literal["first", "last"] = "first") -> np.ndarray:
    """A mask of the events that repeat a (user, item) pair, other than its first or last in the log's order."""
    step = 1 if survivor == "first" else -1
    pairs = (log.user.astype(np.int64) << 32 | log.item)[::step]
    _, first = np.unique(pairs, return_index=True)
    mask = np.ones(len(log), bool)
    mask[first] = False
    return mask[::step]


def k_core(log: Interactions, k: int) -> np.ndarray:
    """A mask of the events in the largest sub-log where every user and every item has at least k events."""
    keep = np.ones(len(log), bool)
    while True:
        users = np.bincount(log.user[keep], minlength=int(log.user.max()) + 1)
        items = np.bincount(log.item[keep], minlength=int(log.item.max()) + 1)
        next_keep = keep & (users[log.user] >= k) & (items[log.item] >= k)
        if np.array_equal(next_keep, keep):
            return keep
        keep = next_keep
