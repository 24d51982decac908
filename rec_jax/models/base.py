"""What models and baselines share: the query they answer and the functions that evaluation calls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from flax import struct
from jaxtyping import Array, Float, Int

Leaf: TypeAlias = Any
"""A field of a pytree: an array of the shape that stands behind it, or what a transformation puts in its place."""


@struct.dataclass
class Query:
    """Who is asking: one entry a user of the batch."""

    user: Leaf  # int32 [b]


@dataclass(frozen=True)
class Scorer:
    """A fitted recommender as evaluation sees it: two pure functions over a cache, whoever made them.

    Higher scores rank earlier. The functions are compared by identity: make them once a model, and give every
    new set of parameters as a new cache, so that nothing is compiled again.
    """

    name: str
    cache: Any
    scores: Callable[[Any, Query], Float[Array, "b n"]]
    score_candidates: Callable[[Any, Query, Int[Array, "b k"]], Float[Array, "b k"]]
