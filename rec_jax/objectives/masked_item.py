"""Masked items of a sequence, found from those before and after: what BERT4Rec is trained on."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from rec_jax.errors import InputError
from rec_jax.models.base import Query
from rec_jax.objectives.base import Recommender, TrainData
from rec_jax.objectives.next_item import LossName, NextItem, drawer, trained_by
from rec_jax.objectives.sampling import below
from rec_jax.objectives.sequences import SequenceBatch


@dataclass(frozen=True)
class MaskedItem(NextItem):
    """Some items of a history are masked, and are to be found at their places. Sun et al., CIKM 2019, Sec. 3.6."""

    loss: LossName = "softmax"
    """Cross-entropy over the whole catalogue, or any other of the next item's losses."""
    masked: float = 0.2
    """Share of a history's items that are masked, at least one."""
    only_last: float = 0.1
    """Share of the histories of which the last item alone is masked, as it is when items are recommended."""


def masked_item(module: Any, config: MaskedItem, data: TrainData, batch_size: int) -> Recommender:
    """The average loss over all masked items. Only their logits are made. Errors: as `next_item`, and a share out of
    range.
    """
    for name in ("masked", "only_last"):
        if not 0 <= getattr(config, name) <= 1 or (name == "masked" and config.masked == 0):
            raise InputError(f"--{name.replace('_', '-')} {getattr(config, name)}: expected a number from 0 to 1")
    negatives = drawer(config, data)

    def draw(data: TrainData, key: Key[Array, ""], past: Query, real: Bool[Array, "b"]) -> SequenceBatch:
        chosen = masks(jax.random.fold_in(key, 0), past.history >= 0, config.masked, config.only_last)
        history = jnp.where(chosen, module.mask, past.history)
        target = jnp.where(chosen, past.history, -1)
        batch = SequenceBatch(past.user, history, past.times, target, real.astype(jnp.float32))
        return batch.replace(negatives=negatives(data, jax.random.fold_in(key, 1), batch))  # type: ignore[attr-defined]

    return trained_by(config, module, data, batch_size, draw, lambda length: count_of(config.masked, length), first=0)


def count_of(share: float, events: int) -> int:
    """How many items of so many events are masked: the share, rounded, but at least one."""
    return max(1, math.floor(share * events + 0.5))


def masks(key: Key[Array, ""], real: Bool[Array, "b t"], share: float, only_last: float) -> Bool[Array, "b t"]:
    """Which items are masked: the same share of every history, or its last item alone; none that is not `real`."""
    b, t = real.shape
    events = real.sum(axis=1)
    wanted = jnp.array([count_of(share, n) for n in range(t + 1)])[events]
    drawn: Int[Array, "b t"] = jnp.where(real, below(jax.random.fold_in(key, 0), (b, t), 2**31 - 1), 2**31 - 1)
    order = jnp.argsort(drawn, axis=1)
    rank = jnp.argsort(order, axis=1)
    last_alone = below(jax.random.fold_in(key, 1), (b, 1), 2**16) < round(only_last * 2**16)
    last = jnp.arange(t) == events[:, None] - 1
    return jnp.where(last_alone, last, rank < wanted[:, None]) & real
