"""Weighted sums of normalised scores, and the search for their weights.

Checked against the formulas in plain Python, each part alone and a grid of weights (tests/fusion/test_weights.py).
"""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rec_jax.errors import InputError
from rec_jax.evaluate.metrics import parse
from rec_jax.evaluate.protocol import Questions
from rec_jax.evaluate.report import validation
from rec_jax.fusion.base import NORMALISATIONS, fused, linear, scored, take
from rec_jax.models.base import Query, Scorer
from rec_jax.randomness import host_rng

# Normalised scores that the search for weights holds at once: 2^27 are 512 MB.
NUMBERS_HELD = 2**27


@dataclass(frozen=True)
class WeightedConfig:
    """How scores are made comparable, and how their weights are searched."""

    normalisation: Literal["z-score", "min-max"] = "z-score"
    """What is done to a user's scores over the catalogue."""
    metric: str = "ndcg@10"
    """Validation metric that the weights maximise."""
    draws: int = 64
    """Random weights that are tried after each part alone and equal weights."""
    rounds: int = 4
    """Rounds of refinement, each moving one weight at a time by half the step before."""


def fuse_weighted(parts: Sequence[Scorer], questions: Questions, config: WeightedConfig, seed: int) -> Scorer:
    """score(u, i) = sum of w_p z_p(u, i), z_p normalised over the catalogue, w as `learn_weights` finds them.

    As good as the best part on the validation, up to the rounding of normalised scores. InputError: fewer than two
    parts, parts of unlike catalogues, an unknown metric. UndefinedScore: a part's score is NaN or infinite.
    """
    return weighted(parts, learn_weights(parts, questions, config, seed), config.normalisation)


def weighted(parts: Sequence[Scorer], weights: Float[np.ndarray, "p"], normalisation: str = "z-score") -> Scorer:
    """The weighted sum of normalised scores (CombSUM of Fox and Shaw, TREC-2 1994, with weights).

    z-score: (s - mean) / standard deviation; min-max: (s - min) / (max - min), per user over the catalogue; a
    constant is 0. InputError: not one weight a part.
    """
    if len(weights) != len(parts):
        raise InputError(f"{len(weights)} weights for {len(parts)} parts: expected one each")
    name = f"weighted({' + '.join(f'{w:.3f} {part.name}' for w, part in zip(weights, parts))})"
    learned = {"weights": jnp.asarray(weights, jnp.float32), "intercept": jnp.zeros(())}
    return fused(name, NORMALISATIONS[normalisation], linear, parts, learned)


def learn_weights(
    parts: Sequence[Scorer], questions: Questions, config: WeightedConfig, seed: int
) -> Float[np.ndarray, "p"]:
    """Weights of at least 0 that sum to 1 and maximise the validation metric.

    Tried are each part alone, equal weights, and draws from the uniform (Dirichlet) distribution; then one weight at
    a time of the best is moved towards 1 or towards 0, by half, a quarter, ... Where the scores of all users are more
    than fit in memory, the search is on users drawn by `seed`. Errors as in `fuse_weighted`.
    """
    parse(config.metric)
    if min(config.draws, config.rounds) < 0:
        raise InputError(f"draws = {config.draws}, rounds = {config.rounds}: expected 0 or more")
    count, rng = len(parts), host_rng(seed, "fusion weights")
    asked = len(questions.user)
    held = min(asked, max(1, NUMBERS_HELD // max(1, len(questions.excluded) * count)))
    some = take(questions, np.sort(rng.choice(asked, held, replace=False))) if held < asked else questions
    blocks = [x for _, x in scored(NORMALISATIONS[config.normalisation], parts, some)]
    table = {"table": jnp.asarray(np.concatenate(blocks, axis=1)), "intercept": jnp.zeros(())}
    renumbered = dataclasses.replace(some, user=np.arange(held, dtype=np.int32))

    def value(weights: np.ndarray) -> float:
        cache = table | {"weights": jnp.asarray(weights, jnp.float32)}
        return validation(Scorer("weights", cache, _table_scores, _table_candidates), renumbered, config.metric)

    alone = np.eye(count)
    tried = [*alone, np.full(count, 1 / count), *rng.dirichlet(np.ones(count), config.draws)]
    best, found = max(((value(w), w) for w in tried), key=lambda pair: pair[0])
    for step in (0.5 ** (r + 1) for r in range(config.rounds)):
        for part, towards in itertools.product(range(count), (1.0, 0.0)):
            moved = found.copy()
            moved[part] += step * (towards - moved[part])
            others = np.delete(np.arange(count), part)
            if found[others].sum() == 0:
                continue  # the only part with a weight
            moved[others] *= (1 - moved[part]) / found[others].sum()
            if (now := value(moved)) > best:
                best, found = now, moved
    return np.asarray(found, np.float64)


def _table_scores(cache: Any, query: Query) -> Array:
    return linear(cache, cache["table"][:, query.user])


def _table_candidates(cache: Any, query: Query, ids: Array) -> Array:
    return jnp.take_along_axis(_table_scores(cache, query), ids, axis=1)
