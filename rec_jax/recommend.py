"""A saved run is usable: `load(run)` gives the recommender back, `recommend` gives titles and scores."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from rec_jax import registry
from rec_jax.config import Experiment
from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError
from rec_jax.models.base import Query, Scorer
from rec_jax.objectives.base import Recommender, TrainData
from rec_jax.problem import Problem, pose
from rec_jax.run import blank_state, build, predicts_ratings, scorer_of
from rec_jax.tracking.rundir import RunDir
from rec_jax.train.checkpoints import Checkpoints
from rec_jax.train.fold_in import fold_in


@dataclass(frozen=True)
class Saved:
    """A run read back: its best parameters, and what they were trained on."""

    experiment: Experiment
    problem: Problem
    params: Any
    extra: Any
    scorer: Scorer


@dataclass(frozen=True)
class Recommendation:
    """One recommended item."""

    item: str
    """Its original id."""
    label: str
    """Its title and year, where known."""
    score: float


def load(run: Path, data_dir: Path | None = None) -> Saved:
    """The recommender of a run directory; nothing in it is changed. The data lie where they did, or in `data_dir`.

    InputError: not a run, no validated checkpoint yet, or the data are not those it was trained on.
    """
    directory = RunDir(run)
    experiment = directory.experiment()
    problem = pose(experiment, data_dir or directory.data_dir())
    directory.check_data(problem.dataset.fingerprint)
    recommender = build(experiment, problem)
    if not directory.checkpoints.is_dir():
        raise InputError(f"{run}: has no checkpoint yet")
    with closing(Checkpoints(directory.checkpoints, read_only=True)) as store:
        state = store.restore(blank_state(experiment, recommender, problem))
    if state is None or int(state.best_epoch) == 0:
        raise InputError(f"{run}: has no validated parameters yet; train on with --resume")
    scorer = scorer_of(experiment, recommender, state.best_params, state.best_extra)
    return Saved(experiment, problem, state.best_params, state.best_extra, scorer)


def recommend(saved: Saved, user: str, k: int = 10) -> list[Recommendation]:
    """The k best items for a user of the log (original id) that the user has no event with in any part of it.

    InputError: no such user.
    """
    index = saved.problem.dataset.user_index(user)
    log = saved.problem.dataset.interactions
    return top(saved.scorer, saved.problem, index, log.item[log.user == index], k)


def recommend_to_history(saved: Saved, items: Sequence[str], k: int = 10) -> list[Recommendation]:
    """The k best items for an unseen user with a history of items (original ids): the user is folded in.

    InputError: an unknown item, an empty history, or a model of ratings (a history of items has none).
    """
    if not items:
        raise InputError("a history needs at least one item")
    if predicts_ratings(saved.experiment):
        raise InputError(f"{saved.experiment.objective} models need ratings to fold a user in, and a history has none")
    dataset, experiment = saved.problem.dataset, saved.experiment
    history = np.unique([dataset.item_index(item) for item in items]).astype(np.int32)
    ones = np.ones(len(history))
    log = Interactions(np.zeros(len(history), np.int32), history, ones.astype(np.float32), ones.astype(np.int64))
    recommender, params = fold_in_users(experiment, saved.params, saved.extra, log, 1, dataset.n_items)
    return top(scorer_of(experiment, recommender, params, saved.extra), saved.problem, 0, history, k)


def fold_in_users(
    experiment: Experiment, params: Any, extra: Any, log: Interactions, n_users: int, n_items: int
) -> tuple[Recommender, Any]:
    """(recommender, params) for the users of `log`, none of whom training has seen."""
    model = registry.MODELS[experiment.model]
    objective = registry.OBJECTIVES[experiment.objective]

    def for_users(data: TrainData) -> Recommender:
        module = model.module(experiment.architecture, data.n_users, data.n_items)
        return objective.build(module, experiment.loss, data, len(data.user))

    tables = model.module(experiment.architecture, n_users, n_items).user_tables
    return fold_in(for_users, tables, params, extra, TrainData.of(log, n_users, n_items))


def top(scorer: Scorer, problem: Problem, user: int, without: np.ndarray, k: int) -> list[Recommendation]:
    """The k items that score highest for a user, `without` left out; equal scores in the order of their ids.

    Items that train never saw are left out too: nothing is known of them.
    """
    dataset = problem.dataset
    if k < 1:
        raise InputError(f"--k {k}: at least 1 is needed")
    scores = np.array(scorer.scores(scorer.cache, Query(jnp.array([user])))[0], np.float64)
    scores[np.setdiff1d(np.arange(dataset.n_items), problem.split.train.item)] = -np.inf
    scores[without] = -np.inf
    best = np.argsort(-scores, kind="stable")[:k]
    best = best[np.isfinite(scores[best])]
    return [Recommendation(str(dataset.item_ids[i]), dataset.item_label(int(i)), float(scores[i])) for i in best]


def history_of(problem: Problem, user: str, last: int) -> list[str]:
    """Titles of a user's last events, newest first."""
    dataset = problem.dataset
    items = dataset.interactions.item[dataset.interactions.user == dataset.user_index(user)]
    return [dataset.item_label(int(item)) for item in items[::-1][:last]]
