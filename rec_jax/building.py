"""From an Experiment to its Recommender, and a trained one as evaluation sees it."""

from collections.abc import Hashable
from typing import Any

import jax

from rec_jax import registry
from rec_jax.config import Experiment
from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError
from rec_jax.models.base import Scorer
from rec_jax.objectives.base import Recommender, TrainData
from rec_jax.problem import Problem
from rec_jax.train.fold_in import fold_in

MOST_BUILT = 8
"""Recommenders kept with what was compiled of them (a model that is trained from two others, and refitted, takes 6)."""

_built: dict[Hashable, Recommender] = {}


def build(experiment: Experiment, problem: Problem) -> Recommender:
    """The module and its objective, for the problem's sizes.

    InputError: an option out of range, a model of sequences where a user's events have no order, or a bias by time
    where no event has one.
    """
    recommender = build_for(experiment, problem.train, experiment.optimization.batch_size)
    if recommender.reads and recommender.ordered and not problem.dataset.chronological:
        raise InputError(
            f"{experiment.model} reads events in the order they happened, which {problem.dataset.name} does not tell; "
            "take a log with times"
        )
    if getattr(experiment.architecture, "time_bias", False) and not problem.split.train.time.any():
        raise InputError(f"--time-bias: {problem.dataset.name} tells no event's time; take a log with times")
    return recommender


def build_for(experiment: Experiment, data: TrainData, batch_size: int) -> Recommender:
    """The same for any users and items.

    What is made of the same arguments is the same object, so that runs that differ in seed, epochs or optimiser share
    what is compiled.
    """
    objective = registry.row(registry.OBJECTIVES, experiment.objective, "objective")
    model = registry.row(registry.MODELS, experiment.model, "model")
    key = objective.build, model.module, experiment.architecture, experiment.loss, data.digest(), batch_size
    built = _built.pop(key, None)
    if built is None:
        module = model.module(experiment.architecture, data.n_users, data.n_items)
        built = objective.build(module, experiment.loss, data, batch_size)
        if len(_built) == MOST_BUILT:
            del _built[next(iter(_built))]  # the one that was asked for longest ago
    _built[key] = built
    return built


def scorer_of(experiment: Experiment, recommender: Recommender, params: Any, extra: Any) -> Scorer:
    """The trained recommender as evaluation sees it."""
    # Put on a device, as those of a training are: what is compiled for the ones then serves those of a file too.
    cache = jax.jit(recommender.prepare)(*jax.device_put((params, extra), jax.local_devices()[0]))

    def folded(log: Interactions, n_users: int) -> Scorer:
        if not registry.MODELS[experiment.model].module.user_tables:  # type: ignore[attr-defined]
            return scorer_of(experiment, recommender, params, extra)  # nothing is learnt of a user
        found, fitted = fold_in_users(experiment, params, extra, log, n_users, recommender.n_items)
        return scorer_of(experiment, found, fitted, extra)

    can = registry.folds_in(experiment.model)
    functions = recommender.scores, recommender.score_candidates
    fold = folded if can else None
    return Scorer(experiment.model, cache, *functions, fold, recommender.reads, recommender.stream)


def fold_in_users(
    experiment: Experiment, params: Any, extra: Any, log: Interactions, n_users: int, n_items: int
) -> tuple[Recommender, Any]:
    """(recommender, params) for the users of `log`, none of whom training has seen."""
    tables = registry.MODELS[experiment.model].module(experiment.architecture, n_users, n_items).user_tables

    def for_users(data: TrainData) -> Recommender:
        return build_for(experiment, data, len(data.user))

    return fold_in(for_users, tables, params, extra, TrainData.of(log, n_users, n_items))
