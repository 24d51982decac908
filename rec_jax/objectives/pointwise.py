"""Pointwise losses: the event's item is labelled 1 (or by its rating), its negatives 0. He et al., WWW 2017, Eq. 7."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rec_jax.objectives.base import Batch, Extra, Recommender, TrainData, build
from rec_jax.objectives.losses import binary_cross_entropy, squared_error
from rec_jax.objectives.negatives import Negatives, drawer


@dataclass(frozen=True)
class Pointwise(Negatives):
    """A loss of each positive and each of its negatives."""

    error: Literal["cross-entropy", "squared"] = "cross-entropy"
    """Cross-entropy of sigmoid(score), or the squared distance of the score itself."""
    graded: bool = False
    """A positive's label is its rating over the highest rating (Xue et al., IJCAI 2017, Eq. 7), not 1."""
    shuffled: bool = False
    """Positives and negatives are examples of their own, shuffled together, and --batch-size counts examples (as in
    the NCF authors' code); else it counts positives, each beside its negatives."""


def pointwise(module: nn.Module, config: Pointwise, data: TrainData, batch_size: int) -> Recommender:
    """The average loss over all pairs. Errors: as `build` and `drawer`."""
    of_pair = {"cross-entropy": binary_cross_entropy, "squared": squared_error}[config.error]

    def highest(data: TrainData) -> Float[Array, ""]:
        return jnp.max(data.rating)

    def example_loss(scores: Float[Array, "b k"], batch: Batch, extra: Extra) -> Float[Array, "b"]:
        label = jnp.ones_like(batch.rating) if batch.label is None else batch.label
        if config.graded:
            label = label * batch.rating / extra["highest"]
        return of_pair(scores, jnp.zeros_like(scores).at[:, 0].set(label)).mean(axis=1)

    # An example of its own draws one item, and may not use it.
    draw = drawer(dataclasses.replace(config, negatives=1) if config.shuffled else config, data)
    return build(
        module,
        data,
        batch_size,
        config.negatives,
        example_loss,
        draw=draw,
        penalty=config,
        apart=config.shuffled,
        kept={"highest": highest} if config.graded else {},
    )
