"""Rank votes: Borda count and reciprocal ranks. The scales of the parts' scores do not matter.

Checked against a count in plain Python, ties included (tests/fusion/test_votes.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from rec_jax.errors import InputError
from rec_jax.evaluate.protocol import Questions
from rec_jax.fusion.base import fused, ranks, scored
from rec_jax.models.base import Scorer


@dataclass(frozen=True)
class BordaConfig:
    """Borda count has no hyper-parameter."""


@dataclass(frozen=True)
class ReciprocalRankConfig:
    """Reciprocal rank fusion's hyper-parameter."""

    constant: float = 60.0
    """Added to every rank: the larger, the less the first places count."""


def fuse_borda(parts: Sequence[Scorer], questions: Questions, config: BordaConfig, seed: int) -> Scorer:
    """score(u, i) = sum over parts of n - rank_p(u, i): the items that i beats, a tie counting one half less.

    Aslam and Montague, "Models for Metasearch", SIGIR 2001, Sec. 3; ranks from 1, tied items share their mean rank.
    Nothing is learned; the questions show that every score is a number. Errors as in `fuse_weighted`.
    """
    for _ in scored(_as_they_are, parts, questions):
        pass  # scoring them all is the check
    name = f"borda({', '.join(part.name for part in parts)})"
    return fused(name, ranks, _borda, parts, jnp.asarray(len(questions.excluded), jnp.float32))


def fuse_reciprocal_ranks(
    parts: Sequence[Scorer], questions: Questions, config: ReciprocalRankConfig, seed: int
) -> Scorer:
    """score(u, i) = sum over parts of 1 / (constant + rank_p(u, i)); tied items share their mean rank.

    Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion Outperforms Condorcet and Individual Rank Learning Methods",
    SIGIR 2009, with their constant of 60. Errors as in `fuse_borda`; InputError: a negative constant.
    """
    if not config.constant >= 0:
        raise InputError(f"constant = {config.constant:g}: expected 0 or more")
    for _ in scored(_as_they_are, parts, questions):
        pass  # scoring them all is the check
    name = f"reciprocal ranks({', '.join(part.name for part in parts)})"
    return fused(name, ranks, _reciprocal, parts, jnp.asarray(config.constant, jnp.float32))


def _as_they_are(scores: Float[Array, "b n"]) -> Float[Array, "b n"]:
    return scores


def _borda(n: Array, ranks: Float[Array, "f b k"]) -> Float[Array, "b k"]:
    return (n - ranks).sum(axis=0)


def _reciprocal(constant: Array, ranks: Float[Array, "f b k"]) -> Float[Array, "b k"]:
    return (1 / (constant + ranks)).sum(axis=0)
