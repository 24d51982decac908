"""A saved run is usable: `load(run)` gives the recommender back, `recommend` gives titles and scores."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from rec_jax import registry
from rec_jax.building import build, scorer_of
from rec_jax.config import Experiment
from rec_jax.data.histories import Histories
from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError
from rec_jax.models.base import Query, Scorer
from rec_jax.problem import Problem, pose
from rec_jax.run import predicts_ratings
from rec_jax.tracking.rundir import RunDir
from rec_jax.train.checkpoints import Checkpoints
from rec_jax.training import REFIT, blank_state, fit_baseline


@dataclass(frozen=True)
class Saved:
    """A run read back: the recommender, and what it was trained on. A baseline has no parameters."""

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

    A baseline is fitted again. InputError: not a run, no validated checkpoint yet, or the data are not those it was
    trained on.
    """
    directory = RunDir(run)
    experiment = directory.experiment()
    problem = pose(experiment, data_dir or directory.data_dir())
    directory.check_data(problem.dataset.fingerprint)
    if experiment.objective == registry.OWN:
        return Saved(experiment, problem, None, None, fit_baseline(experiment, problem.split))
    if experiment.protocol.refit:
        directory = RunDir(run / REFIT)
    trained_on = problem.whole if experiment.protocol.refit else problem
    recommender = build(experiment, trained_on)
    if not directory.checkpoints.is_dir():
        raise InputError(f"{run}: has no {'final ' if experiment.protocol.refit else ''}checkpoint yet")
    with closing(Checkpoints(directory.checkpoints, read_only=True)) as store:
        state = store.restore(blank_state(experiment, recommender, trained_on))
    refit = experiment.protocol.refit
    unfinished = state is None or int(state.best_epoch) == 0
    if refit and state is not None:
        unfinished = int(state.step) < directory.experiment().epochs * recommender.steps_per_epoch
    if state is None or unfinished:
        raise InputError(f"{run}: has no validated parameters yet; train on with --resume")
    scorer = scorer_of(experiment, recommender, state.best_params, state.best_extra)
    return Saved(experiment, problem, state.best_params, state.best_extra, scorer)


def recommend(saved: Saved, user: str, k: int = 10) -> list[Recommendation]:
    """The k best items for a user of the log (original id) that the user has no event with in any part of it.

    InputError: no such user.
    """
    index = saved.problem.dataset.user_index(user)
    log = saved.problem.dataset.interactions
    return top(saved.scorer, saved.problem, index, log, k)


def recommend_to_history(saved: Saved, items: Sequence[str], k: int = 10) -> list[Recommendation]:
    """The k best items for an unseen user with a history of items (original ids), the oldest first, folded in.

    InputError: an unknown item, an empty history, or a model of ratings (a history of items has none).
    """
    if not items:
        raise InputError("a history needs at least one item")
    if saved.scorer.fold_in is None:
        raise InputError(f"{saved.experiment.model} cannot fold in unseen users")
    if predicts_ratings(saved.experiment):
        raise InputError(f"{saved.experiment.objective} models need ratings to fold a user in, and a history has none")
    dataset = saved.problem.dataset
    events = [dataset.item_index(item) for item in items]
    # A model of sequences reads an item again where it comes again, as it did in training; of others it is a set.
    history = np.array(events if saved.scorer.reads else [*dict.fromkeys(events)], np.int32)
    m = len(history)
    log = Interactions(np.zeros(m, np.int32), history, np.ones(m, np.float32), np.zeros(m, np.int64))
    return top(saved.scorer.fold_in(log, 1), saved.problem, 0, log, k)


def top(scorer: Scorer, problem: Problem, user: int, log: Interactions, k: int) -> list[Recommendation]:
    """The k items that score highest for a user of `log`, whose own there are left out; ties in the order of ids.

    Items that the recommender never saw in training are left out too: nothing is known of them.
    """
    query = Query.at(np.array([user], np.int32), np.zeros(1, np.int64), Histories.of(log, user + 1), scorer.reads)
    return best(np.asarray(scorer.scores(scorer.cache, query)[0]), problem, log.item[log.user == user], k)


def best(scores: Float[np.ndarray, "n"], problem: Problem, own: Int[np.ndarray, "m"], k: int) -> list[Recommendation]:
    """The k items of the highest scores, `own` and those never seen in training left out; ties in the order of ids."""
    dataset, scores = problem.dataset, scores.astype(np.float64)
    trained_on = problem.whole if problem.protocol.refit else problem
    if k < 1:
        raise InputError(f"--k {k}: at least 1 is needed")
    scores[np.setdiff1d(np.arange(dataset.n_items), trained_on.split.train.item)] = -np.inf
    scores[own] = -np.inf
    found = np.argsort(-scores, kind="stable")[:k]
    found = found[np.isfinite(scores[found])]
    return [Recommendation(str(dataset.item_ids[i]), dataset.item_label(int(i)), float(scores[i])) for i in found]


def history_of(problem: Problem, user: str, last: int) -> list[str]:
    """Titles of a user's last events, newest first."""
    dataset = problem.dataset
    items = dataset.interactions.item[dataset.interactions.user == dataset.user_index(user)]
    return [dataset.item_label(int(item)) for item in items[::-1][:last]]
