"""Policies that learn nothing: random slates, and the best by a given score. Their parameters are None.

Checked against counts of every slate, and rows written out by hand (tests/simulate/test_draws.py, test_simulators.py).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from rec_jax.simulate.base import Observation, check_slate
from rec_jax.simulate.draws import distinct


def random_slates(params: Any, key: Key[Array, ""], observation: Observation, k: int) -> Int[Array, "n k"]:
    """k different candidates in random order, every such slate as likely. InputError: there are fewer."""
    del params
    n, candidates, _ = observation.documents.shape
    check_slate(k, candidates)
    return distinct(jax.random.bits(key, (n, k), jnp.uint32), candidates)


def best(scores: Float[Array, "n c"], k: int) -> Int[Array, "n k"]:
    """The k candidates with the highest scores, the best first; of equals the first. A score of -inf is the lowest.

    By k passes over the candidates: `lax.top_k` sorts each row, which for few candidates takes ten times as long.
    InputError: there are fewer than k.
    """
    check_slate(k, scores.shape[1])
    places = jnp.arange(scores.shape[1])
    # Places that are taken are lower than any score, which -inf would not be.
    found, left = list[Array](), jnp.maximum(scores, jnp.finfo(scores.dtype).min)
    for _ in range(k):
        found.append(jnp.argmax(left, axis=1).astype(jnp.int32))
        left = jnp.where(places == found[-1][:, None], -jnp.inf, left)
    return jnp.stack(found, axis=1)


def scored(
    score: Callable[[Observation], Float[Array, "n c"]], k: int
) -> Callable[[Any, Key[Array, ""], Observation], Int[Array, "n k"]]:
    """The policy that shows the best k by `score`, the same at every call with the same observation."""
    return lambda params, key, observation: best(score(observation), k)


def interest(observation: Observation) -> Float[Array, "n c"]:
    """A user's interest in each candidate: the product of both features (the myopic policy of interest_evolution)."""
    topics = observation.documents.shape[2]
    return jnp.einsum("nd,ncd->nc", observation.user[:, :topics], observation.documents)
