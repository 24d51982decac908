"""Resamples come as often as the multinomial says, whatever the blocks they are drawn in."""

from collections import Counter

import numpy as np
import pytest
import scipy.stats

from rec_jax.evaluate import resampling
from rec_jax.evaluate.resampling import blocks, counts, sums


def test_every_resample_comes_as_often_as_the_multinomial_says() -> None:
    n, resamples = 4, 40_000
    found = Counter(tuple(row) for block in counts(np.random.default_rng(0), n, resamples) for row in block.tolist())
    every = [row for row in np.ndindex((n + 1,) * n) if sum(row) == n]
    assert set(found) == set(every)
    chances = scipy.stats.multinomial.pmf(every, n, np.full(n, 1 / n))
    assert scipy.stats.chisquare([found[row] for row in every], resamples * chances).pvalue > 0.001


def test_blocks_do_not_change_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(size=(50, 3))
    once = np.concatenate(list(counts(np.random.default_rng(2), 50, 20)))
    monkeypatch.setattr(resampling, "_NUMBERS", 120)
    assert list(blocks(5, 50)) == [2, 2, 1]
    assert list(blocks(2, 500)) == [1, 1]
    parts = list(counts(np.random.default_rng(2), 50, 20))
    assert len(parts) == 10
    np.testing.assert_array_equal(np.concatenate(parts), once)
    assert (once.sum(axis=1) == 50).all()
    expected = [[sum(times * x for times, x in zip(row, column)) for column in values.T] for row in once.tolist()]
    np.testing.assert_allclose(sums(np.random.default_rng(2), values, 20), expected)
