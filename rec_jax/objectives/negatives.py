"""The choice that every objective with negatives offers: how many, and whether known positives are excluded."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Int, Key

from rec_jax.errors import InputError
from rec_jax.objectives.base import Penalty, TrainData
from rec_jax.objectives.sampling import true_negatives, uniform_negatives


@dataclass(frozen=True)
class Negatives(Penalty):
    """Items drawn uniformly beside each positive, anew each epoch."""

    negatives: int = 4
    """Negatives a positive."""
    exclude_positives: bool = False
    """Never draw an item that the user has in train."""


def drawer(config: Negatives, data: TrainData) -> Callable[[Key[Array, ""], TrainData, Int[Array, "b"]], Array]:
    """The function that draws `config.negatives` a user. InputError: none asked for, or a user has every item."""
    if config.negatives < 1:
        raise InputError(f"--negatives {config.negatives}: at least 1 is needed")
    if not config.exclude_positives:
        return lambda key, data, user: uniform_negatives(key, len(user), config.negatives, data.n_items)
    check_negatives_exist(data)
    return lambda key, data, user: true_negatives(
        key, user, config.negatives, data.n_items, data.positives, data.positives_start
    )


def check_negatives_exist(data: TrainData) -> None:
    """InputError: a user has every item, so that there is none to draw."""
    full = np.flatnonzero(np.diff(np.asarray(data.positives_start)) >= data.n_items)
    if len(full):
        raise InputError(f"--exclude-positives: {len(full):,} users have every item in train, so no negative exists")
