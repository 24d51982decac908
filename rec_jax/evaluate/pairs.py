"""Pairs of a row and an item as single numbers, row * n + item, so that sets of them are sorted arrays.

np.unique and np.isin hash, which on a million such numbers takes ten times as long as a sort. Checked where they are
used, against plain Python (tests/evaluate/test_audit.py, test_beyond.py).
"""

from collections.abc import Sequence

import numpy as np


def entries(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(row, item) of every entry of ragged rows of items."""
    return np.repeat(np.arange(len(rows)), [len(row) for row in rows]), np.concatenate([*rows, np.zeros(0, np.int64)])


def numbers(owner: np.ndarray, rows: Sequence[np.ndarray], n: int) -> np.ndarray:
    """A number for every entry of ragged rows of items, of which row i belongs to owner[i]."""
    row, item = entries(rows)
    return owner.astype(np.int64)[row] * n + item


def distinct(pairs: np.ndarray) -> np.ndarray:
    """The different ones, sorted."""
    ordered = np.sort(pairs)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)]]


def among(pairs: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of the pairs, none of them negative, are among the known ones; of the shape of `pairs`."""
    ordered = np.sort(np.append(known, -1))  # below every pair: known may be empty
    return ordered[np.searchsorted(ordered, pairs, side="right") - 1] == pairs
