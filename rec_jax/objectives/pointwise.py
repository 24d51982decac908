"""Pointwise cross-entropy: the event's item is labelled 1, its negatives 0. He et al., WWW 2017, Eq. 7."""

import dataclasses
from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rec_jax.objectives.base import Batch, Extra, Recommender, TrainData, build
from rec_jax.objectives.losses import binary_cross_entropy
from rec_jax.objectives.negatives import Negatives, drawer


@dataclass(frozen=True)
class Pointwise(Negatives):
    """Binary cross-entropy over a positive and its negatives."""

    shuffled: bool = False
    """Positives and negatives are examples of their own, shuffled together, and --batch-size counts examples (as in
    the NCF authors' code); else it counts positives, each beside its negatives."""


def pointwise(module: nn.Module, config: Pointwise, data: TrainData, batch_size: int) -> Recommender:
    """The average, over all pairs, of the cross-entropy of sigmoid(score). Errors: as `build` and `drawer`."""

    def example_loss(scores: Float[Array, "b k"], batch: Batch, extra: Extra) -> Float[Array, "b"]:
        labels = jnp.zeros_like(scores).at[:, 0].set(1.0 if batch.label is None else batch.label)
        return binary_cross_entropy(scores, labels).mean(axis=1)

    # An example of its own draws one item, and may not use it.
    draw = drawer(dataclasses.replace(config, negatives=1) if config.shuffled else config, data)
    return build(
        module, data, batch_size, config.negatives, example_loss, draw=draw, l2=config.l2, apart=config.shuffled
    )
