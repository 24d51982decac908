"""Diversity and novelty of what a user consumes, step by step, where documents fall into categories.

Checked against the definitions in plain Python (tests/evaluate/test_over_time.py).
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rec_jax.errors import InputError


def diversity(category: Int[Array, "t n"], categories: int, last: int) -> Float[Array, "t n"]:
    """Entropy of the categories among the `last` documents up to each step, over its largest value.

    0 where all are of one category (a single document too), 1 where as many categories as can be come as often. The
    largest value is that of min(`last`, `categories`) categories. InputError: nothing to be diverse in.
    """
    _check(categories, last)
    one_hot = _one_hot(category, categories)
    total = jnp.cumsum(one_hot, axis=0)
    before = jnp.concatenate([jnp.zeros_like(total[:last]), total[:-last]])[: len(total)]
    share = (total - before) / jnp.minimum(jnp.arange(1, len(total) + 1), last)[:, None, None]
    return -jnp.where(share > 0, share * jnp.log(jnp.maximum(share, 1e-9)), 0).sum(axis=2) / jnp.log(
        min(last, categories)
    )


def novelty(category: Int[Array, "t n"], categories: int) -> Float[Array, "t n"]:
    """1 less the share of a user's earlier documents that are of the same category: 1 for the first.

    InputError: no category.
    """
    _check(categories, 2)
    one_hot = _one_hot(category, categories)
    before = jnp.cumsum(one_hot, axis=0) - one_hot
    same = (before * one_hot).sum(axis=2)
    return 1 - same / jnp.maximum(jnp.arange(len(category)), 1)[:, None]


def mean_over_time(values: Float[Array, "t n"], live: Bool[Array, "t n"]) -> Float[Array, "t"]:
    """The mean over the users whose session goes on; NaN where nobody's does."""
    count = live.sum(axis=1)
    return jnp.where(count > 0, jnp.where(live, values, 0).sum(axis=1) / jnp.maximum(count, 1), jnp.nan)


def _check(categories: int, last: int) -> None:
    if categories < 2 or last < 2:
        raise InputError(f"categories {categories}, last {last}: expected at least 2 of each")


def _one_hot(category: Int[Array, "t n"], categories: int) -> Float[Array, "t n g"]:
    return (category[:, :, None] == jnp.arange(categories)).astype(jnp.float32)
