"""Bayesian personalised ranking: the event's item should outscore each of its negatives. Rendle et al., UAI 2009."""

from dataclasses import dataclass

import flax.linen as nn
from jaxtyping import Array, Float

from rec_jax.objectives.base import Batch, Extra, Recommender, TrainData, build
from rec_jax.objectives.losses import bpr
from rec_jax.objectives.negatives import Negatives, drawer


@dataclass(frozen=True)
class Pairwise(Negatives):
    """BPR over pairs of a positive and a negative."""

    negatives: int = 1
    """Negatives a positive, each a pair."""
    even_users: bool = False
    """A pair is of a user drawn evenly, and of one of its events (as LightGCN's authors do); else of each event once an
    epoch, so that users count by their events."""


def pairwise(module: nn.Module, config: Pairwise, data: TrainData, batch_size: int) -> Recommender:
    """The average, over all pairs, of -log sigmoid(positive - negative). Errors: as `build` and `drawer`."""

    def example_loss(scores: Float[Array, "b k"], batch: Batch, extra: Extra) -> Float[Array, "b"]:
        return bpr(scores[:, :1], scores[:, 1:]).mean(axis=1)

    draw = drawer(config, data)
    return build(
        module,
        data,
        batch_size,
        config.negatives,
        example_loss,
        draw=draw,
        penalty=config,
        even_users=config.even_users,
    )
