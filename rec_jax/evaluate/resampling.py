"""Users, or rounds, drawn with replacement: how often each is in each resample of a bootstrap.

Checked against the chances of every resample, and with means and intervals against scipy's bootstrap
(tests/evaluate/test_resampling.py, test_significance.py).
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, UInt8

_NUMBERS = 2**20  # drawn at once: 8 MB as float64


def counts(rng: np.random.Generator, n: int, resamples: int) -> Iterator[UInt8[np.ndarray, "rows n"]]:
    """How often each of `n` is in each of `resamples` resamples of size `n`, a block of these at a time.

    Of whole numbers that are drawn and counted: `rng.multinomial` takes longer, a binomial number for each of `n`.
    """
    for rows in blocks(resamples, n):
        drawn = rng.integers(0, n, (rows, n), dtype=np.int32) + n * np.arange(rows, dtype=np.int64)[:, None]
        found = np.bincount(drawn.ravel(), minlength=rows * n)
        # More than 255 copies of one of n in n draws: its chance is below 1e-300.
        yield np.minimum(found, 255).astype(np.uint8).reshape(rows, n)


def sums(rng: np.random.Generator, values: Float[np.ndarray, "n c"], resamples: int) -> Float[np.ndarray, "r c"]:
    """The columns' sums over each resample of the rows."""
    return np.concatenate([block.astype(np.float64) @ values for block in counts(rng, len(values), resamples)])


def blocks(rows: int, width: int) -> Iterator[int]:
    """Sizes of blocks of rows that sum to `rows`, each of bounded memory."""
    block = max(1, _NUMBERS // width)
    return (min(block, rows - done) for done in range(0, rows, block))
