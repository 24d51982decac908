"""What a row of the registry holds: of an objective, of a model, of a baseline."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn

from rec_jax.models.base import Scorer
from rec_jax.objectives.base import Recommender
from rec_jax.space import Choice, Range, Real

Space = Mapping[str, Range]
"""What is tuned, by the field's path in an Experiment ('architecture.factors')."""


@dataclass(frozen=True)
class Objective:
    """An objective's row: its hyper-parameters, `build(module, config, data, batch_size)`, its validation metric.

    `sequences`: it is over users' histories, so that the order of events matters and a step is of users. `space` is
    tuned beside the model's.
    """

    summary: str
    config: type
    build: Callable[..., Recommender]
    metric: str = "ndcg@10"
    sequences: bool = False
    space: Space = field(default_factory=dict)


@dataclass(frozen=True)
class Pretraining:
    """Models trained first and glued: their names, and `glue(*their params, alpha) -> params`."""

    models: tuple[str, ...]
    glue: Callable[..., Any]


OWN = "own"
"""The objective of a baseline: it fits by its own method."""


@dataclass(frozen=True)
class OwnMethod:
    """A baseline's place-holder for an objective's hyper-parameters: it has none."""


COMMON: Space = {
    "architecture.factors": Choice((8, 16, 32, 64)),
    "optimization.learning_rate": Real(3e-4, 1e-2),
    "loss.l2": Real(1e-6, 1e-2),
}


EVENTS = ("pointwise", "bpr", "rating")
"""The objectives over single events, for models that score a user and an item."""


@dataclass(frozen=True)
class Model:
    """A model's row: `config` holds its hyper-parameters, `module(config, n_users, n_items)` is linen.

    `defaults` overrides fields of Experiment where the model's are other than the house's. Tuned is the `space`;
    where none is given, what COMMON names and the model has. `objectives`: those it can be trained by.
    """

    summary: str
    config: type
    module: Callable[..., nn.Module]
    objective: str = "pointwise"
    objectives: tuple[str, ...] = EVENTS
    defaults: Mapping[str, Any] = field(default_factory=dict)
    pretraining: Pretraining | None = None
    space: Space | None = None
    seeded: bool = True


@dataclass(frozen=True)
class Baseline:
    """A baseline's row: its hyper-parameters, and `fit(split, config, seed) -> Scorer`.

    `seeded`: another seed gives other scores. `folds_in`: its Scorer has `fold_in`.
    """

    summary: str
    config: type
    fit: Callable[..., Scorer]
    space: Space = field(default_factory=dict)
    seeded: bool = False
    folds_in: bool = True
