"""Every model, objective and baseline by its name, one row each; data sets have theirs in `rec_jax/data/registry.py`.

A model is added by a file in `rec_jax/models/` and a row in MODELS: `experiments.train`, the checkpoints,
`load` and the common tests then know it.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn

from rec_jax.baselines import ease, graph, ials, neighbours, popularity, svd
from rec_jax.config import Experiment, Optimization, Stopping, from_json
from rec_jax.data.registry import DATASETS
from rec_jax.errors import InputError
from rec_jax.models import mf, ncf
from rec_jax.models.base import Scorer
from rec_jax.objectives import pairwise, pointwise, rating
from rec_jax.objectives.base import Recommender

__all__ = [
    "BASELINES",
    "DATASETS",
    "MODELS",
    "OBJECTIVES",
    "Baseline",
    "Model",
    "Objective",
    "experiment",
    "parse_experiment",
    "row",
]


@dataclass(frozen=True)
class Objective:
    """An objective's row: its hyper-parameters, `build(module, config, data, batch_size)`, its validation metric."""

    summary: str
    config: type
    build: Callable[..., Recommender]
    metric: str = "ndcg@10"


@dataclass(frozen=True)
class Pretraining:
    """Models trained first and glued: their names, and `glue(*their params, alpha) -> params`."""

    models: tuple[str, ...]
    glue: Callable[..., Any]


@dataclass(frozen=True)
class Model:
    """A model's row: `config` holds its hyper-parameters, `module(config, n_users, n_items)` is linen.

    `defaults` overrides fields of Experiment where the model's are other than the house's.
    """

    summary: str
    config: type
    module: Callable[..., nn.Module]
    objective: str = "pointwise"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    pretraining: Pretraining | None = None


@dataclass(frozen=True)
class Baseline:
    """A baseline's row: its hyper-parameters, and `fit(split, config) -> Scorer`."""

    summary: str
    config: type
    fit: Callable[..., Scorer]


OBJECTIVES: dict[str, Objective] = {
    "pointwise": Objective("cross-entropy over positives and negatives", pointwise.Pointwise, pointwise.pointwise),
    "bpr": Objective("pairs of a positive and a negative", pairwise.Pairwise, pairwise.pairwise),
    "rating": Objective("squared error on ratings", rating.Rating, rating.rating, metric="rmse"),
}

MODELS: dict[str, Model] = {
    "gmf": Model("generalised matrix factorisation (He et al. 2017)", ncf.GMFConfig, ncf.GMF),
    "mlp": Model("multi-layer perceptron over both vectors (He et al. 2017)", ncf.MLPConfig, ncf.MLP),
    "neumf": Model(
        "neural matrix factorisation: GMF and MLP together (He et al. 2017)",
        ncf.NeuMFConfig,
        ncf.NeuMF,
        pretraining=Pretraining(("gmf", "mlp"), ncf.glue),
    ),
    "mf": Model("dot-product matrix factorisation with biases", mf.MFConfig, mf.MF),
}


BASELINES: dict[str, Baseline] = {
    "random": Baseline("chance", popularity.RandomConfig, popularity.fit_random),
    "popularity": Baseline(
        "most train events, of all time or lately", popularity.PopularityConfig, popularity.fit_popularity
    ),
    "itemknn": Baseline("nearest items by cosine", neighbours.ItemKNNConfig, neighbours.fit_item_knn),
    "userknn": Baseline("nearest users by cosine", neighbours.UserKNNConfig, neighbours.fit_user_knn),
    "p3alpha": Baseline("random walks of three steps", graph.P3alphaConfig, graph.fit_p3alpha),
    "rp3beta": Baseline("random walks, popularity discounted", graph.RP3betaConfig, graph.fit_rp3beta),
    "ease": Baseline("linear autoencoder in closed form", ease.EASEConfig, ease.fit_ease),
    "puresvd": Baseline("truncated singular value decomposition", svd.PureSVDConfig, svd.fit_pure_svd),
    "ials": Baseline("implicit alternating least squares", ials.IALSConfig, ials.fit_ials),
}


def row(table: Mapping[str, Any], name: str, kind: str) -> Any:
    """A row by its name. InputError: unknown, with near names."""
    if name not in table:
        near = difflib.get_close_matches(name, table, n=3)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise InputError(f"unknown {kind} {name!r}: {meant}known are {', '.join(table)}")
    return table[name]


def experiment(model: str, objective: str | None = None, **changes: Any) -> Experiment:
    """The default experiment of a model, under its own objective or another one, with `changes` to its fields."""
    chosen = row(MODELS, model, "model")
    objective = objective or chosen.objective
    trained_by = row(OBJECTIVES, objective, "objective")
    default = Experiment(
        model=model,
        architecture=chosen.config(),
        objective=objective,
        loss=trained_by.config(),
        optimization=Optimization(),
        stopping=Stopping(metric=trained_by.metric),
    )
    return dataclasses.replace(default, **{**chosen.defaults, **changes})


def parse_experiment(stored: dict[str, Any]) -> Experiment:
    """An Experiment from its JSON, into today's dataclasses. InputError: unknown names, fields or types."""
    parsed: Experiment = from_json(Experiment, stored)
    return dataclasses.replace(
        parsed,
        architecture=from_json(row(MODELS, parsed.model, "model").config, parsed.architecture),
        loss=from_json(row(OBJECTIVES, parsed.objective, "objective").config, parsed.loss),
    )
