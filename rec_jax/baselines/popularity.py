"""Popularity, of all time or lately: every user is shown the same items. And the floor below it: chance.

Checked against counts in plain Python (tests/baselines/test_popularity.py).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.models.base import Query, Scorer
from rec_jax.randomness import device_key


@dataclass(frozen=True)
class PopularityConfig:
    """Popularity's hyper-parameter."""

    days: float = 0.0
    """Count only events of this many days before the last train event (0: all events)."""


@dataclass(frozen=True)
class RandomConfig:
    """Chance has no hyper-parameters."""


def fit_popularity(split: Split, config: PopularityConfig | None = None, seed: int = 0) -> Scorer:
    """Count the train events of each item; held-out events are not counted.

    InputError: recent popularity is asked for, and train events have no times.
    """
    log, days = split.train, config.days if config else 0.0
    items = log.item
    if days > 0:
        if not log.time.all():
            raise InputError(
                f"{split.dataset.name}: popularity of the last {days:g} days needs the time of every event"
            )
        items = items[log.time > log.time.max() - days * 86400]
    counts = np.bincount(items, minlength=split.dataset.n_items)
    return _popular(jnp.asarray(counts, jnp.float32))


def fit_random(split: Split, config: RandomConfig, seed: int = 0) -> Scorer:
    """Uniform scores, fixed for each (seed, user, item)."""
    cache = {"key": device_key(seed, "random scores"), "items": jnp.arange(split.dataset.n_items)}
    return _chance(cache)


def _popular(counts: Float[Array, "n"]) -> Scorer:
    return Scorer("popularity", counts, _scores, _score_candidates, lambda log, n_users: _popular(counts))


def _chance(cache: dict[str, Array]) -> Scorer:
    return Scorer("random", cache, _random_scores, _random_candidates, lambda log, n_users: _chance(cache))


def _scores(counts: Float[Array, "n"], query: Query) -> Float[Array, "b n"]:
    return jnp.broadcast_to(counts, (len(query.user), len(counts)))


def _score_candidates(counts: Float[Array, "n"], query: Query, ids: Int[Array, "b k"]) -> Float[Array, "b k"]:
    return counts[ids]


def _random_scores(cache: dict[str, Array], query: Query) -> Float[Array, "b n"]:
    keys = jax.vmap(lambda user: jax.random.fold_in(cache["key"], user))(query.user)
    return jax.vmap(lambda key: jax.random.uniform(key, cache["items"].shape))(keys)


def _random_candidates(cache: dict[str, Array], query: Query, ids: Int[Array, "b k"]) -> Float[Array, "b k"]:
    return jnp.take_along_axis(_random_scores(cache, query), ids, axis=1)
