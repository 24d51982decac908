"""A whole run, from an Experiment to its result record: the one place where all layers meet."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rec_jax import registry
from rec_jax.config import Experiment, Optimization, Runtime, check_numbers, to_json
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


@dataclass(frozen=True)
class _Session:
    """One training: what, where and how, on what, and who watches."""

    experiment: Experiment
    runtime: Runtime
    problem: Problem
    devices: Devices
    directory: RunDir
    show: Show
    tracker: Tracker | None = None


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
    check(experiment, runtime)
    devices = select(runtime.devices, experiment.optimization.batch_size)
    problem = problem or pose(experiment, runtime.data_dir)
    recommender = build(experiment, problem)
    directory = RunDir((runtime.run_dir or runtime.runs / experiment.name).expanduser())
    loaded = time.monotonic()
    session = _Session(experiment, runtime, problem, devices, directory, show)
    blank = blank_state(experiment, recommender, problem)  # what is wrong with a model shows before a file is made
    _open(session)
    with closing(_tracker(session)) as tracker:
        state = _train(dataclasses.replace(session, tracker=tracker), recommender, blank)
        scorer = scorer_of(experiment, recommender, state.best_params, state.best_extra)
        result = _result(session, recommender, scorer, state, code, began, loaded)
        tracker.summarise({f"{r}/{n}": e["mean"] for r, of in result["metrics"].items() for n, e in of.items()})
    return Outcome(result, directory.path, scorer, problem)


def _result(
    session: _Session,
    recommender: Recommender,
    scorer: Scorer,
    state: TrainState,
    code: dict[str, Any],
    began: float,
    loaded: float,
) -> dict[str, Any]:
    """Score the test split and write the record, or give the one that stands, where no step was made since."""
    experiment, runtime, problem, directory = session.experiment, session.runtime, session.problem, session.directory
    before = read_json(directory.result) if directory.result.exists() else None
    if before is not None and before["training"]["steps"] == int(state.step):
        return dict(before)
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
        "machine": machine(session.devices.count),
        "times": {
            "load_seconds": loaded - began,
            **directory.seconds(),
            "test_seconds": done - trained,
            "total_seconds": done - began,
        },
    }
    if is_writer():
        write_json(directory.result, result)
    return result


def check(experiment: Experiment, runtime: Runtime) -> None:
    """InputError: options that cannot be meant, found before any data is loaded."""
    check_numbers(experiment)
    check_numbers(runtime)
    for part in (experiment, *pretraining_parts(experiment)):
        stopping = part.stopping
        if stopping.metric in ERRORS and not predicts_ratings(part):
            raise InputError(f"--metric {stopping.metric} is for --objective rating, not {part.objective}")
        if stopping.metric not in ERRORS:
            parse(stopping.metric)
        if stopping.every > part.epochs:
            raise InputError(
                f"--every {stopping.every} with {part.epochs} epochs of {part.model}: no validation would take place"
            )
        optimizer(part.optimization, 1)


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


def _open(session: _Session) -> None:
    """Open the run's directory in process 0; if it refuses, every process ends with an InputError."""
    refusal: InputError | None = None
    if is_writer():
        try:
            session.directory.open(session.experiment, session.runtime, session.problem.dataset.fingerprint)
            session.problem.store_candidates(session.directory.path)
        except InputError as error:
            refusal = error
    if not bool(agree(refusal is None)):
        raise refusal or InputError("process 0 could not open the run; its message says why")


def _tracker(session: _Session) -> Tracker:
    experiment, runtime = session.experiment, session.runtime
    config = {"experiment": to_json(experiment), "runtime": to_json(runtime)}
    mode = runtime.wandb if is_writer() else "off"
    return Tracker(mode, runtime.wandb_project, session.directory.path, experiment.name, config, experiment.hash)


def _train(session: _Session, recommender: Recommender, blank: TrainState) -> TrainState:
    """The final state; epochs, checkpoints and W&B are written on the way, by process 0."""
    experiment, problem, metric = session.experiment, session.problem, session.experiment.stopping.metric
    if (glued := _pretrain(session)) is not None:
        blank = blank_state(experiment, recommender, problem, glued)

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
    directory = session.directory

    def on_epoch(epoch: Epoch) -> None:
        place = {"epoch": epoch.epoch, "step": epoch.step}
        directory.append(directory.metrics, place | epoch.metrics)
        directory.append(directory.timings, place | epoch.timings)
        if session.tracker is not None:
            session.tracker.log(epoch.step, epoch.metrics | epoch.timings)

    def on_pause(step: int, seconds: float) -> None:
        directory.append(directory.timings, {"step": step, "train_seconds": seconds})

    with closing(Checkpoints(directory.checkpoints)) as store:
        show = functools.partial(session.show, session.experiment.model)
        yield store, {"on_chunk": show, "on_epoch": on_epoch, "on_pause": on_pause}


def pretraining_parts(experiment: Experiment) -> list[Experiment]:
    """The experiments of the models that are trained first; none where that is not asked for."""
    how = registry.row(registry.MODELS, experiment.model, "model").pretraining
    architecture = experiment.architecture
    if how is None or architecture.pretrain_epochs == 0:
        return []
    parts = []
    for name in how.models:
        config = registry.MODELS[name].config
        shared = {f.name: getattr(architecture, f.name) for f in dataclasses.fields(config)}
        plain = Optimization(
            batch_size=experiment.optimization.batch_size, learning_rate=architecture.pretrain_learning_rate
        )
        changes = {"architecture": config(**shared), "epochs": architecture.pretrain_epochs, "optimization": plain}
        parts.append(dataclasses.replace(experiment, model=name, **changes))
    return parts


def _pretrain(session: _Session) -> Any:
    """Parameters glued from models trained first, each in a directory inside the run's; None if not asked."""
    how, trained = registry.MODELS[session.experiment.model].pretraining, []
    for part in pretraining_parts(session.experiment):
        inside = RunDir(session.directory.path / f"pretrain-{part.model}")
        stage = dataclasses.replace(session, experiment=part, directory=inside, tracker=None)
        recommender = build(part, session.problem)
        _open(stage)
        trained.append(_train(stage, recommender, blank_state(part, recommender, session.problem)).best_params)
    if how is None or not trained:
        return None
    return how.glue(*trained, session.experiment.architecture.alpha)


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
