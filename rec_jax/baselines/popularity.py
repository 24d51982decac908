"""Popularity: every user is shown the items with the most train events.

Checked against a count in plain Python (tests/baselines/test_popularity.py).
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rec_jax.data.splits import Split
from rec_jax.models.base import Query, Scorer


def fit_popularity(split: Split) -> Scorer:
    """Count the train events of each item; held-out events are not counted."""
    counts = np.bincount(split.train.item, minlength=split.dataset.n_items)
    return Scorer("popularity", jnp.asarray(counts, jnp.float32), _scores, _score_candidates)


def _scores(counts: Float[Array, "n"], query: Query) -> Float[Array, "b n"]:
    return jnp.broadcast_to(counts, (len(query.user), len(counts)))


def _score_candidates(counts: Float[Array, "n"], query: Query, ids: Int[Array, "b k"]) -> Float[Array, "b k"]:
    return counts[ids]
