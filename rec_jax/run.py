"""A whole run, from an Experiment to its result record: the one place where all layers meet."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rec_jax import registry
from rec_jax.config import Experiment, Runtime, to_json
from rec_jax.errors import InputError
from rec_jax.evaluate.metrics import ERRORS, parse
from rec_jax.evaluate.ratings import mae, rating_errors, rmse
from rec_jax.evaluate.report import evaluate, evaluate_ratings, validation
from rec_jax.files import read_json, write_json
from rec_jax.models.base import Scorer
from rec_jax.objectives.base import Recommender
from rec_jax.problem import Problem, pose
from rec_jax.randomness import device_key
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.rundir import RunDir
from rec_jax.tracking.weights_and_biases import Tracker
from rec_jax.train.checkpoints import Checkpoints
from rec_jax.train.devices import Devices, agree, agree_tree, is_writer, select
from rec_jax.train.loop import Epoch, Progress, fit
from rec_jax.train.optimizer import optimizer
from rec_jax.train.step import TrainState, create

Show = Callable[[str, Progress], None]


@dataclass(frozen=True)
class Outcome:
    """What a run leaves: its record, its directory, and the recommender itself."""

    result: dict[str, Any]
    path: Path
    scorer: Scorer
    problem: Problem


def build(experiment: Experiment, problem: Problem) -> Recommender:
    """The module and its objective, for the problem's sizes. InputError: an option out of range."""
    objective = registry.row(registry.OBJECTIVES, experiment.objective, "objective")
    module = registry.row(registry.MODELS, experiment.model, "model").module(
        experiment.architecture, problem.dataset.n_users, problem.dataset.n_items
    )
    return objective.build(module, experiment.loss, problem.train, experiment.optimization.batch_size)


def scorer_of(experiment: Experiment, recommender: Recommender, params: Any, extra: Any) -> Scorer:
    """The trained recommender as evaluation sees it."""
    cache = jax.jit(recommender.prepare)(params, extra)
    return Scorer(experiment.model, cache, recommender.scores, recommender.score_candidates)


def run(
    experiment: Experiment,
    runtime: Runtime,
    problem: Problem | None = None,
    show: Show = lambda stage, progress: None,
) -> Outcome:
    """Train, score the test split once, and write the record. InputError before any work starts; Diverged.

    A run that was complete, resumed, returns its record unchanged. `problem` saves loading the data again.
    """
    began, code = time.monotonic(), code_state()
    check(experiment)
    devices = select(runtime.devices, experiment.optimization.batch_size)
    problem = problem or pose(experiment, runtime.data_dir)
    recommender = build(experiment, problem)
    directory = RunDir((runtime.run_dir or runtime.runs / experiment.name).expanduser())
    loaded = time.monotonic()
    state = _train(_Session(experiment, runtime, problem, devices, directory, show), recommender)
    scorer = scorer_of(experiment, recommender, state.best_params, state.best_extra)
    before = read_json(directory.result) if directory.result.exists() else None
    if before is not None and before["training"]["steps"] == int(state.step):
        return Outcome(before, directory.path, scorer, problem)
    trained = time.monotonic()
    metrics = score(experiment, scorer, problem, runtime)
    done = time.monotonic()
    result = {
        "name": experiment.name,
        "experiment_hash": experiment.hash,
        "seed": experiment.seed,
        "metrics": metrics,
        "test_scored": 1 + (before["test_scored"] if before else 0),
        "training": _training_record(experiment, recommender, state),
        **problem.record(),
        "experiment": to_json(experiment),
        "runtime": to_json(runtime),
        "code": code,
        "machine": machine(devices.count),
        "times": {
            "load_seconds": loaded - began,
            **directory.seconds(),
            "test_seconds": done - trained,
            "total_seconds": done - began,
        },
    }
    if is_writer():
        problem.store_candidates(directory.path)
        write_json(directory.result, result)
    return Outcome(result, directory.path, scorer, problem)


def check(experiment: Experiment) -> None:
    """InputError: options that cannot be meant, found before any data is loaded."""
    stopping, rating = experiment.stopping, predicts_ratings(experiment)
    if stopping.metric in ERRORS and not rating:
        raise InputError(f"--metric {stopping.metric} is for --objective rating, not {experiment.objective}")
    if stopping.metric not in ERRORS:
        parse(stopping.metric)
    for flag, value in (("epochs", experiment.epochs), ("every", stopping.every)):
        if value < 1:
            raise InputError(f"--{flag} {value}: at least 1 is needed")
    if stopping.every > experiment.epochs:
        raise InputError(f"--every {stopping.every} with --epochs {experiment.epochs}: no validation would take place")
    if experiment.optimization.batch_size < 1:
        raise InputError(f"--batch-size {experiment.optimization.batch_size}: at least 1 is needed")
    optimizer(experiment.optimization, 1)


def predicts_ratings(experiment: Experiment) -> bool:
    """Whether the scores are ratings."""
    return registry.row(registry.OBJECTIVES, experiment.objective, "objective").metric in ERRORS


def score(experiment: Experiment, scorer: Scorer, problem: Problem, runtime: Runtime) -> dict[str, Any]:
    """The test split under every candidate rule, and its rating errors where scores are ratings, by rule and name."""
    found = {rule: evaluate(scorer, q, runtime.k, runtime.bootstrap) for rule, q in problem.test.items()}
    if predicts_ratings(experiment):
        found["ratings"] = evaluate_ratings(scorer, problem.split.test, runtime.bootstrap)
    return {rule: {name: to_json(e) for name, e in estimates.items()} for rule, estimates in found.items()}


def blank_state(experiment: Experiment, recommender: Recommender, problem: Problem, params: Any = None) -> TrainState:
    """The state before the first step; `params` replaces the drawn ones."""
    drawn, extra = jax.jit(recommender.init)(device_key(experiment.seed, "init"), problem.train)
    tx = optimizer(experiment.optimization, recommender.steps_per_epoch)
    return create(drawn if params is None else params, extra, tx)


def restore(store: Checkpoints | None, blank: TrainState) -> TrainState | None:
    """The newest good checkpoint, read by process 0 and given to all; None where there is none."""
    host = jax.device_get(blank)
    found = store.restore(host) if store is not None else None
    if not bool(agree(found is not None)):
        return None
    return jax.tree.map(np.asarray, agree_tree(host if found is None else found))


@dataclass(frozen=True)
class _Session:
    """One training: what, where and how, on what, and who watches."""

    experiment: Experiment
    runtime: Runtime
    problem: Problem
    devices: Devices
    directory: RunDir
    show: Show


def _train(session: _Session, recommender: Recommender) -> TrainState:
    """The final state; epochs, checkpoints and W&B are written on the way, by process 0."""
    experiment, problem, metric = session.experiment, session.problem, session.experiment.stopping.metric
    if is_writer():
        session.directory.open(experiment, session.runtime, problem.dataset.fingerprint)
    blank = blank_state(experiment, recommender, problem, _pretrain(session))

    def validate(params: Any, extra: Any) -> dict[str, float]:
        scorer = scorer_of(experiment, recommender, params, extra)
        if metric in ERRORS:
            error = rating_errors(scorer, problem.split.valid)
            return {"rmse": rmse(error), "mae": mae(error)}
        return {metric: validation(scorer, problem.valid, metric)}

    with _written(session) as (store, watchers):
        state = (restore(store, blank) if session.runtime.resume else None) or blank
        if is_writer():
            session.directory.truncate(int(state.step))
        return fit(
            recommender,
            optimizer(experiment.optimization, recommender.steps_per_epoch),
            state,
            problem.train,
            device_key(experiment.seed, "train"),
            devices=session.devices,
            epochs=experiment.epochs,
            stopping=experiment.stopping,
            lower_is_better=metric in ERRORS,
            validate=validate,
            store=store,
            checkpoint_seconds=session.runtime.checkpoint_seconds,
            **watchers,
        )


@contextmanager
def _written(session: _Session) -> Iterator[tuple[Checkpoints | None, dict[str, Any]]]:
    """The checkpoints, and the watchers that write epochs down; neither in a process that does not write."""
    if not is_writer():
        yield None, {}
        return
    experiment, runtime, directory = session.experiment, session.runtime, session.directory
    with closing(Checkpoints(directory.checkpoints)) as store:
        config = {"experiment": to_json(experiment), "runtime": to_json(runtime)}
        where = (runtime.wandb, runtime.wandb_project, directory.path)
        with closing(Tracker(*where, experiment.name, config, group=experiment.hash)) as tracker:

            def on_epoch(epoch: Epoch) -> None:
                place = {"epoch": epoch.epoch, "step": epoch.step}
                directory.append(directory.metrics, place | epoch.metrics)
                directory.append(directory.timings, place | epoch.timings)
                tracker.log(epoch.step, epoch.metrics | epoch.timings)

            yield store, {"on_chunk": lambda p: session.show(experiment.model, p), "on_epoch": on_epoch}


def _pretrain(session: _Session) -> Any:
    """Parameters glued from models trained first, each in a directory inside the run's; None if not asked."""
    experiment = session.experiment
    how = registry.MODELS[experiment.model].pretraining
    epochs = getattr(experiment.architecture, "pretrain_epochs", 0)
    if how is None or epochs == 0:
        return None
    parts = []
    for name in how.models:
        config = registry.MODELS[name].config
        shared = {f.name: getattr(experiment.architecture, f.name) for f in dataclasses.fields(config)}
        part = dataclasses.replace(
            experiment,
            model=name,
            architecture=config(**shared),
            epochs=epochs,
            optimization=dataclasses.replace(
                experiment.optimization,
                optimizer="adam",
                learning_rate=experiment.architecture.pretrain_learning_rate,
                weight_decay=0.0,
            ),
        )
        inside = RunDir(session.directory.path / f"pretrain-{name}")
        state = _train(dataclasses.replace(session, experiment=part, directory=inside), build(part, session.problem))
        parts.append(state.best_params)
    return how.glue(*parts, experiment.architecture.alpha)


def _training_record(experiment: Experiment, recommender: Recommender, state: TrainState) -> dict[str, Any]:
    sign = -1 if experiment.stopping.metric in ERRORS else 1
    return {
        "steps": int(state.step),
        "epochs": int(state.step) // recommender.steps_per_epoch,
        "best_epoch": int(state.best_epoch),
        f"best_valid_{experiment.stopping.metric}": sign * float(state.best_value),
        "stopped_by": "patience"
        if experiment.stopping.patience and state.stale >= experiment.stopping.patience
        else "epochs",
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }
