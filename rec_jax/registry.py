"""Every model and objective by its name, one row each; baselines have theirs in `baseline_rows.py`, data sets in
`data/registry.py`.

A model is added by a file in `rec_jax/models/` and a row in MODELS: `experiments.train`, `tune` and `compare`, the
checkpoints, `load` and the common tests then know it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from rec_jax.baseline_rows import BASELINES
from rec_jax.config import Experiment, Optimization, Stopping, from_json
from rec_jax.data.registry import DATASETS
from rec_jax.errors import InputError, did_you_mean
from rec_jax.models import (
    bert4rec,
    caser,
    din,
    dmf,
    esasrec,
    gat,
    gru4rec,
    hstu,
    lightgcn,
    mf,
    multvae,
    nais,
    ncf,
    sasrec,
)
from rec_jax.objectives import masked_item, multinomial, next_item, pairwise, pointwise, q_learning, rating
from rec_jax.rows import COMMON, OWN, Baseline, Model, Objective, OwnMethod, Pretraining, Space
from rec_jax.space import Choice, Real

__all__ = [
    "BASELINES",
    "DATASETS",
    "MODELS",
    "OBJECTIVES",
    "Baseline",
    "Model",
    "Objective",
    "experiment",
    "folds_in",
    "names",
    "parse_experiment",
    "row",
    "space",
]


# Hidden layers are up to eight times as wide as the last: 64 factors cost ten times the time of 16.
TOWERS: Space = {**COMMON, "architecture.factors": Choice((8, 16, 32))}


_Q: Space = {"loss.q_weight": Real(0.1, 3.0)}

OBJECTIVES: dict[str, Objective] = {
    "pointwise": Objective("cross-entropy over positives and negatives", pointwise.Pointwise, pointwise.pointwise),
    "bpr": Objective("pairs of a positive and a negative", pairwise.Pairwise, pairwise.pairwise),
    "rating": Objective("squared error on ratings", rating.Rating, rating.rating, metric="rmse"),
    "next-item": Objective(
        "the next item at every position of a history", next_item.NextItem, next_item.next_item, sequences=True
    ),
    "masked-item": Objective(
        "masked items, from those before and after", masked_item.MaskedItem, masked_item.masked_item, sequences=True
    ),
    "sqn": Objective(
        "the next item, and beside it Q-learning from ratings as rewards (Xin et al. 2020)",
        q_learning.SQN,
        q_learning.sqn,
        sequences=True,
        space=_Q,
    ),
    "sac": Objective(
        "the next item, its loss weighted by a Q that is learnt beside it (Xin et al. 2020)",
        q_learning.SAC,
        q_learning.sqn,
        sequences=True,
        space={**_Q, "loss.warm_up": Choice((2, 5, 10))},
    ),
    "cql": Objective(
        "the next item, and beside it conservative Q-learning from ratings (Kumar et al. 2020)",
        q_learning.CQL,
        q_learning.sqn,
        sequences=True,
        space={**_Q, "loss.alpha": Real(0.01, 1.0)},
    ),
    "multinomial": Objective(
        "all of a user's items at once, by the multinomial likelihood", multinomial.Multinomial, multinomial.multinomial
    ),
}

# A user of a step is a whole sequence; Adam's beta2 as SASRec's authors have it.
_SEQUENCES: Mapping[str, Any] = {
    "optimization": Optimization(batch_size=128, beta2=0.98),
    # On a small log an epoch is a few steps, and nothing is learnt for the first dozens of them.
    "stopping": Stopping(patience=30),
    "epochs": 200,
}
_WIDTHS: Space = {
    "architecture.width": Choice((32, 64, 128)),
    "architecture.dropout": Real(0.1, 0.6, log=False),
    "optimization.learning_rate": Real(3e-4, 3e-3),
}

# The authors of LightGCN halve their penalty of 1e-4; ours also averages over the pair's two items.
_GRAPH: Mapping[str, Any] = {
    "loss": pairwise.Pairwise(l2=5e-5),
    "optimization": Optimization(batch_size=2048),
    "stopping": Stopping(patience=20),
    "epochs": 200,
}
_GRAPHS: Space = {"optimization.learning_rate": Real(3e-4, 1e-2), "loss.l2": Real(1e-6, 1e-2)}

COSINES = next_item.NextItem(
    loss="sampled-softmax", negatives=128, negatives_for="place", normalised=True, temperature=0.05
)
"""Sampled softmax of cosines, as HSTU's authors train it and SASRec beside it."""


def _next_item(
    summary: str, config: type, module: Callable[..., nn.Module], loss: next_item.NextItem, **defaults: Any
) -> Model:
    """The row of a model that is trained on the next item at every position."""
    return Model(
        summary,
        config,
        module,
        objective="next-item",
        objectives=("next-item", "sqn", "sac", "cql"),
        defaults={**_SEQUENCES, "loss": loss, **defaults},
        space=_WIDTHS,
    )


MODELS: dict[str, Model] = {
    "gmf": Model("generalised matrix factorisation (He et al. 2017)", ncf.GMFConfig, ncf.GMF),
    "mlp": Model("multi-layer perceptron over both vectors (He et al. 2017)", ncf.MLPConfig, ncf.MLP, space=TOWERS),
    "neumf": Model(
        "neural matrix factorisation: GMF and MLP together (He et al. 2017)",
        ncf.NeuMFConfig,
        ncf.NeuMF,
        pretraining=Pretraining(("gmf", "mlp"), ncf.glue),
        space=TOWERS,
    ),
    "mf": Model("dot-product matrix factorisation with biases", mf.MFConfig, mf.MF),
    "bprmf": Model(
        "matrix factorisation by BPR (Rendle et al. 2009)",
        mf.MFConfig,
        mf.MF,
        objective="bpr",
        # Pairs say less than an event with four negatives: more of them a step, and more epochs, in less time.
        defaults={"optimization": Optimization(batch_size=1024, learning_rate=0.005), "epochs": 60},
    ),
    "dmf": Model(
        "deep matrix factorisation: towers over rows of ratings (Xue et al. 2017)",
        dmf.DMFConfig,
        dmf.DMF,
        defaults={
            "loss": pointwise.Pointwise(negatives=7, graded=True),
            "optimization": Optimization(learning_rate=1e-4),
        },
        space={"optimization.learning_rate": Real(3e-5, 3e-3)},
    ),
    "sasrec": _next_item(
        "self-attention over a user's last events (Kang and McAuley 2018)",
        sasrec.SASRecConfig,
        sasrec.SASRec,
        next_item.NextItem(exclude_positives=True),
    ),
    "gsasrec": _next_item(
        "SASRec with many negatives and a calibrated loss (Petrov and Macdonald 2023)",
        sasrec.SASRecConfig,
        sasrec.SASRec,
        next_item.NextItem(loss="gbce", negatives=256, negatives_for="place", calibration=0.75),
        architecture=sasrec.SASRecConfig(width=128, dropout=0.5),
    ),
    "gru4rec": _next_item(
        "a recurrent network over a user's last events (Hidasi et al. 2016)",
        gru4rec.GRU4RecConfig,
        gru4rec.GRU4Rec,
        next_item.NextItem(loss="softmax"),
    ),
    "hstu": _next_item(
        "pointwise aggregated attention with biases by place and time (Zhai et al. 2024)",
        hstu.HSTUConfig,
        hstu.HSTU,
        COSINES,
    ),
    "esasrec": _next_item(
        "self-attention with gated blocks and sampled softmax (Tikhonovich et al. 2025)",
        esasrec.ESASRecConfig,
        esasrec.ESASRec,
        next_item.NextItem(loss="sampled-softmax", negatives=256, negatives_for="place"),
    ),
    "caser": dataclasses.replace(
        _next_item(
            "convolutions over a window of a user's last events (Tang and Wang 2018)",
            caser.CaserConfig,
            caser.Caser,
            next_item.NextItem(loss="softmax"),
        ),
        space={**_WIDTHS, "architecture.window": Choice((3, 5, 9))},
    ),
    "bert4rec": Model(
        "a bidirectional transformer that fills in masked items (Sun et al. 2019)",
        bert4rec.BERT4RecConfig,
        bert4rec.BERT4Rec,
        objective="masked-item",
        objectives=("masked-item",),
        defaults=_SEQUENCES,
        space=_WIDTHS,
    ),
    "din": Model(
        "a user's last events, weighted by an activation unit for the candidate (Zhou et al. 2018)",
        din.DINConfig,
        din.DIN,
        objectives=("pointwise", "bpr"),
        space={
            "architecture.width": Choice((16, 32, 64)),
            "optimization.learning_rate": Real(3e-4, 1e-2),
            "loss.l2": Real(1e-6, 1e-2),
        },
    ),
    "nais": Model(
        "similarities to a user's last events, weighted by attention (He et al. 2018)",
        nais.NAISConfig,
        nais.NAIS,
        objectives=("pointwise", "bpr"),
        space={**COMMON, "architecture.beta": Real(0.3, 1.0, log=False)},
    ),
    "lightgcn": Model(
        "vectors of neighbourhoods in the graph of users and items, averaged (He et al. 2020)",
        lightgcn.LightGCNConfig,
        lightgcn.LightGCN,
        objective="bpr",
        objectives=("bpr", "pointwise"),
        defaults=_GRAPH,
        space={
            **_GRAPHS,
            "architecture.factors": Choice((32, 64, 128)),
            "architecture.layers": Choice((1, 2, 3, 4)),
        },
    ),
    "gat": Model(
        "graph attention over users and items (Velickovic et al. 2018)",
        gat.GATConfig,
        gat.GAT,
        objective="bpr",
        objectives=("bpr",),
        defaults=_GRAPH,
        space={**_GRAPHS, "architecture.layers": Choice((1, 2, 3)), "architecture.heads": Choice((1, 2, 4))},
    ),
    "multvae": Model(
        "a variational autoencoder of a user's items (Liang et al. 2018)",
        multvae.MultVAEConfig,
        multvae.MultVAE,
        objective="multinomial",
        objectives=("multinomial",),
        defaults={"optimization": Optimization(batch_size=500), "stopping": Stopping(patience=20), "epochs": 200},
        space={
            "architecture.latent": Choice((64, 100, 200)),
            "architecture.dropout": Real(0.2, 0.8, log=False),
            "loss.beta": Real(0.05, 1.0),
            "loss.anneal_steps": Choice((0, 1_000, 10_000, 40_000)),
            "optimization.learning_rate": Real(3e-4, 3e-3),
        },
    ),
}


def row(table: Mapping[str, Any], name: str, kind: str) -> Any:
    """A row by its name. InputError: unknown, with near names."""
    if name not in table:
        raise InputError(f"unknown {kind} {name!r}: {did_you_mean(name, table)}known are {', '.join(table)}")
    return table[name]


def names() -> list[str]:
    """Every baseline and model."""
    return [*BASELINES, *MODELS]


def recommender_row(name: str) -> Model | Baseline:
    """The row of a model or baseline. InputError: unknown, with near names."""
    found: Model | Baseline = row({**BASELINES, **MODELS}, name, "model")
    return found


def folds_in(name: str) -> bool:
    """Whether a model or baseline can be given users that it was not trained on."""
    found = recommender_row(name)
    return found.folds_in if isinstance(found, Baseline) else hasattr(found.module, "user_tables")


def space(tuned: Experiment) -> Space:
    """What is tuned of an experiment: its model's hyper-parameters, and the objective's own."""
    given = recommender_row(tuned.model).space
    own: Space = {} if tuned.objective == OWN else OBJECTIVES[tuned.objective].space
    if given is not None:
        return {**given, **own}
    parts = {"architecture": tuned.architecture, "loss": tuned.loss, "optimization": tuned.optimization}
    has = {f"{part}.{f.name}" for part, of in parts.items() for f in dataclasses.fields(of)}
    return {**{path: range_ for path, range_ in COMMON.items() if path in has}, **own}


def experiment(model: str, objective: str | None = None, **changes: Any) -> Experiment:
    """The default experiment of a model, under its own objective or another one, with `changes` to its fields.

    A baseline's objective is 'own'. InputError: unknown names, or an objective that is not for the model.
    """
    chosen = recommender_row(model)
    if isinstance(chosen, Baseline):
        if objective not in (None, OWN):
            raise InputError(f"--objective {objective} is not for {model}: a baseline fits by its own method")
        return dataclasses.replace(Experiment(model, chosen.config(), OWN, OwnMethod()), **changes)
    objective = objective or chosen.objective
    trained_by = row(OBJECTIVES, objective, "objective")
    if objective not in chosen.objectives:
        raise InputError(f"--objective {objective} is not for {model}; take {' or '.join(chosen.objectives)}")
    default = Experiment(
        model=model,
        architecture=chosen.config(),
        objective=objective,
        loss=trained_by.config(),
        optimization=Optimization(),
        stopping=Stopping(metric=trained_by.metric),
    )
    own = {k: v for k, v in chosen.defaults.items() if k != "loss" or objective == chosen.objective}
    return dataclasses.replace(default, **{**own, **changes})


def parse_experiment(stored: dict[str, Any]) -> Experiment:
    """An Experiment from its JSON, into today's dataclasses. InputError: unknown names, fields or types."""
    parsed: Experiment = from_json(Experiment, stored)
    chosen = recommender_row(parsed.model)
    loss = OwnMethod if isinstance(chosen, Baseline) else row(OBJECTIVES, parsed.objective, "objective").config
    return dataclasses.replace(
        parsed, architecture=from_json(chosen.config, parsed.architecture), loss=from_json(loss, parsed.loss)
    )
