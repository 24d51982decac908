"""Rating prediction: squared error around the mean rating. Koren et al., IEEE Computer 2009, Eqs. 3-5."""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rec_jax.objectives.base import Batch, Extra, Penalty, Recommender, TrainData, build
from rec_jax.objectives.losses import squared_error


@dataclass(frozen=True)
class Rating(Penalty):
    """Squared error on ratings; scores are ratings: the train mean plus what the module adds."""

    l2: float = 0.02
    """Penalty on the squared vectors of each (user, item) pair of the batch."""


def rating(module: nn.Module, config: Rating, data: TrainData, batch_size: int) -> Recommender:
    """The average squared error of (mean rating + score). Errors: as `build`."""

    def example_loss(scores: Float[Array, "b k"], batch: Batch, extra: Extra) -> Float[Array, "b"]:
        return squared_error(scores[:, 0], batch.rating)

    def mean_rating(data: TrainData) -> Float[Array, ""]:
        return jnp.mean(data.rating)

    return build(module, data, batch_size, 0, example_loss, penalty=config, offset=mean_rating)
