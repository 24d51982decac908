"""From an Experiment to a fitted Scorer: a baseline's own method, or training with its pre-training and its refit."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from rec_jax import registry
from rec_jax.building import build, scorer_of
from rec_jax.choice import Choice, best_valid, lower_is_better, trace, validate
from rec_jax.config import Experiment, Optimization, Runtime
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.files import alone
from rec_jax.models.base import Scorer
from rec_jax.objectives.base import Recommender
from rec_jax.problem import Problem
from rec_jax.randomness import device_key
from rec_jax.tracking.rundir import RunDir
from rec_jax.tracking.weights_and_biases import Tracker
from rec_jax.train.checkpoints import Checkpoints
from rec_jax.train.devices import Devices, agree, agree_tree, is_writer
from rec_jax.train.loop import Epoch, Plan, Progress, Watchers, fit
from rec_jax.train.step import TrainState, create
from rec_jax.train.update import make_update
from rec_jax.workers import forget_programs

Show = Callable[[str, Progress], None]
CHOICES = "choices"
"""Folder, inside --runs, of the trainings in which validation chooses for all seeds."""
REFIT = "refit"
"""Folder, inside a run's, of the training on train and validation events together."""


@dataclass(frozen=True)
class Session:
    """One training: what, where and how, on what, and who watches. Without a directory nothing is written."""

    experiment: Experiment
    runtime: Runtime
    problem: Problem
    devices: Devices
    show: Show
    directory: RunDir | None = None
    tracker: Tracker | None = None

    def inside(self, name: str, **changes: Any) -> "Session":
        """A stage of this training, in a folder of its own inside the run's; not tracked."""
        directory = RunDir(self.directory.path / name) if self.directory else None
        return dataclasses.replace(self, directory=directory, tracker=None, **changes)


@dataclass(frozen=True)
class Prepared:
    """What a training starts from: the recommender, and its state before the first step."""

    recommender: Recommender
    blank: TrainState


@dataclass(frozen=True)
class Trained:
    """What training leaves: the parameters that are used, what chose their epoch, and the test split by epoch, if
    that was asked for.
    """

    params: Any
    extra: Any
    choice: Choice
    trace: list[dict[str, Any]]


def fit_baseline(experiment: Experiment, split: Split) -> Scorer:
    """Fit a baseline on the train events, with the validation events where the protocol refits."""
    forget_programs()
    row = registry.BASELINES[experiment.model]
    fitted: Scorer = row.fit(
        split.whole if experiment.protocol.refit else split, experiment.architecture, experiment.seed
    )
    return fitted


def fitter(experiment: Experiment, problem: Problem) -> Callable[[Split], Scorer] | None:
    """How a baseline is fitted to any split and put before the problem's questions; None for a trained model."""
    if experiment.objective != registry.OWN:
        return None
    return lambda split: problem.asked(fit_baseline(experiment, split))


def blank_state(experiment: Experiment, recommender: Recommender, problem: Problem, params: Any = None) -> TrainState:
    """The state before the first step; `params` replaces the drawn ones."""
    drawn, extra = jax.jit(recommender.init)(device_key(experiment.seed, "init"), problem.train)
    update = make_update(experiment.optimization, recommender.steps_per_epoch)
    return create(drawn if params is None else params, extra, update)


def restore(store: Checkpoints | None, blank: TrainState) -> TrainState | None:
    """The newest good checkpoint, read by process 0 and given to all; None where there is none."""
    host = jax.device_get(blank)
    found = store.restore(host) if store is not None else None
    if not bool(agree(found is not None)):
        return None
    return jax.tree.map(np.asarray, agree_tree(host if found is None else found))


def open_directory(session: Session, candidates: bool = False) -> None:
    """Open the run's directory in process 0, and store the `candidates` that are asked for in it.

    If it refuses, every process ends with an InputError.
    """
    refusal: InputError | None = None
    if is_writer() and session.directory is not None:
        try:
            session.directory.open(session.experiment, session.runtime, session.problem.dataset.fingerprint)
            if candidates:
                session.problem.store_candidates(session.directory.path)
        except InputError as error:
            refusal = error
    if not bool(agree(refusal is None)):
        raise refusal or InputError("process 0 could not open the run; its message says why")


def prepared(session: Session) -> Prepared:
    """What a training starts from. InputError: an option out of range."""
    forget_programs()
    recommender = build(session.experiment, session.problem)
    return Prepared(recommender, blank_state(session.experiment, recommender, session.problem))


def train(session: Session, start: Prepared, choice: Choice | None = None) -> Trained:
    """Train to the epoch that validation chooses; where the protocol refits, then once more on all but test.

    `choice`, where it is shared by all seeds: what validation chose in an earlier run, instead of choosing again.

    The refit is on train and validation events together, for as many epochs as validation chose; with a trace it goes
    on to the last, and the parameters are those of the chosen epoch all the same.
    """
    protocol = session.experiment.protocol
    if not protocol.refit:
        state, choice = _validated(session, start)
        return Trained(state.best_params, state.best_extra, choice, [])
    if protocol.choice_seed and choice is None:
        session = dataclasses.replace(session, runtime=dataclasses.replace(session.runtime, resume=True))
        choosing = chooser(session, session.experiment)
        start = start if choosing.experiment == session.experiment else prepared(choosing)
        with _alone(choosing):
            open_directory(choosing)
            choice = _validated(choosing, start)[1]
    elif choice is None:
        choice = _validated(session, start)[1]
    experiment = dataclasses.replace(
        session.experiment, epochs=session.experiment.epochs if protocol.trace_test else choice.epoch
    )
    again = session.inside(REFIT, experiment=experiment, problem=session.problem.whole)
    # Where the choice is shared by all seeds, this is the training that W&B follows.
    again = dataclasses.replace(again, tracker=session.tracker if protocol.choice_seed else None)
    open_directory(again)
    state = _train(again, prepared(again), choice)[0]
    return Trained(state.best_params, state.best_extra, choice, _trace(again))


def chooser(session: Session, experiment: Experiment) -> Session:
    """The training in which validation chooses for all seeds of an experiment, in a folder that they share."""
    experiment = dataclasses.replace(experiment, seed=experiment.protocol.choice_seed)
    directory = RunDir(session.runtime.runs / CHOICES / experiment.name) if session.directory else None
    return dataclasses.replace(session, experiment=experiment, directory=directory, tracker=None)


@contextmanager
def _alone(session: Session) -> Iterator[None]:
    """Hold the lock of a folder that several runs share: who comes second finds the work done."""
    if session.directory is None or not is_writer():
        yield
        return
    with alone(session.directory.path):
        yield


def _validated(session: Session, start: Prepared) -> tuple[TrainState, Choice]:
    """The training that validation watches: its state, and what was chosen."""
    experiment, stopping = session.experiment, session.experiment.stopping
    state, pretrain_epochs = _train(session, start, None)
    choice = Choice(
        seed=experiment.seed,
        epoch=int(state.best_epoch),
        valid=best_valid(experiment, state),
        epochs=int(state.step) // start.recommender.steps_per_epoch,
        steps=int(state.step),
        stopped_by="patience" if stopping.patience and state.stale >= stopping.patience else "epochs",
        pretrain_epochs=pretrain_epochs,
    )
    return state, choice


def _trace(session: Session) -> list[dict[str, Any]]:
    """The test metrics of a refit's epochs, where they were asked for."""
    if session.directory is None or not session.experiment.protocol.trace_test:
        return []
    rows = session.directory.rows(session.directory.metrics)
    return [
        {"epoch": row["epoch"]} | {k.removeprefix("test/"): v for k, v in row.items() if k.startswith("test/")}
        for row in rows
        if any(k.startswith("test/") for k in row)
    ]


def _plan(experiment: Experiment, choice: Choice | None) -> Plan:
    """Validation chooses; or, where it has, the chosen epoch is kept, and test may be traced on the way."""
    if choice is None:
        return Plan(experiment.epochs, experiment.stopping, lower_is_better(experiment))
    if not experiment.protocol.trace_test:
        return Plan(choice.epoch, None, keep=choice.epoch)
    traced = dataclasses.replace(experiment.stopping, patience=0)
    return Plan(experiment.epochs, traced, keep=choice.epoch, part="test")


def _train(session: Session, start: Prepared, choice: Choice | None) -> tuple[TrainState, dict[str, int]]:
    """(the last state, the epochs of what was trained first); epochs, checkpoints and W&B are written on the way."""
    experiment, problem, recommender = session.experiment, session.problem, start.recommender
    glued, pretrain_epochs = _pretrain(session, choice)
    blank = start.blank if glued is None else blank_state(experiment, recommender, problem, glued)
    plan = _plan(experiment, choice)

    def watched_metrics(params: Any, extra: Any) -> dict[str, float]:
        scorer = scorer_of(experiment, recommender, params, extra)
        if plan.part == "test":
            return trace(scorer, problem, session.runtime.k)
        return validate(experiment, scorer, problem)

    with _watchers(session) as watchers:
        state = (restore(watchers.store, blank) if session.runtime.resume else None) or blank  # type: ignore[arg-type]
        if is_writer() and session.directory is not None:
            session.directory.truncate(int(state.step))
        state = fit(
            recommender,
            make_update(experiment.optimization, recommender.steps_per_epoch),
            state,
            problem.train,
            device_key(experiment.seed, "train"),
            devices=session.devices,
            plan=plan,
            validate=watched_metrics,
            watchers=watchers,
        )
    return state, pretrain_epochs


@contextmanager
def _watchers(session: Session) -> Iterator[Watchers]:
    """Checkpoints, and who writes epochs down; nobody in a process that does not write."""
    show = functools.partial(session.show, session.experiment.model)
    directory = session.directory
    if not is_writer() or directory is None:
        yield Watchers(on_chunk=show) if is_writer() else Watchers()
        return

    def on_epoch(epoch: Epoch) -> None:
        place = {"epoch": epoch.epoch, "step": epoch.step}
        directory.append(directory.metrics, place | epoch.metrics)
        directory.append(directory.timings, place | epoch.timings)
        if session.tracker is not None:
            session.tracker.log(epoch.step, epoch.metrics | epoch.timings)

    def on_pause(step: int, seconds: float) -> None:
        directory.append(directory.timings, {"step": step, "train_seconds": seconds})

    with closing(Checkpoints(directory.checkpoints)) as store:
        yield Watchers(store, session.runtime.checkpoint_seconds, show, on_epoch, on_pause)


def pretraining_parts(experiment: Experiment) -> list[Experiment]:
    """The experiments of the models that are trained first; none where that is not asked for."""
    if isinstance(registry.recommender_row(experiment.model), registry.Baseline):
        return []
    how, architecture = registry.MODELS[experiment.model].pretraining, experiment.architecture
    if how is None or architecture.pretrain_epochs == 0:
        return []
    parts = []
    for name in how.models:
        config = registry.MODELS[name].config
        shared = {f.name: getattr(architecture, f.name) for f in dataclasses.fields(config)}
        plain = Optimization(
            batch_size=experiment.optimization.batch_size,
            learning_rate=architecture.pretrain_learning_rate,
            sparse_rows=experiment.optimization.sparse_rows,
        )
        changes = {"architecture": config(**shared), "epochs": architecture.pretrain_epochs, "optimization": plain}
        parts.append(dataclasses.replace(experiment, model=name, **changes))
    return parts


def _pretrain(session: Session, choice: Choice | None) -> tuple[Any, dict[str, int]]:
    """(parameters glued from models trained first, the epoch of each); None if not asked for.

    Each is trained in a directory of its own; what a finished run of the same experiment left is taken as it is.
    Validation chooses the epoch of each, or has, as `choice` says.
    """
    how, trained, best = registry.MODELS[session.experiment.model].pretraining, [], {}
    for part in pretraining_parts(session.experiment):
        if choice is None:
            shared = part.protocol.refit and part.protocol.choice_seed
            stage = chooser(session, part) if shared else session.inside(f"pretrain-{part.model}", experiment=part)
            with _alone(stage):
                open_directory(stage)
                state, of_part = _validated(stage, prepared(stage))
            best[part.model] = of_part.epoch
        else:
            best[part.model] = epochs = choice.pretrain_epochs[part.model]
            state = _refitted(session, part) or _refit_part(session, part, dataclasses.replace(choice, epoch=epochs))
        trained.append(state.best_params)
    if how is None or not trained:
        return None, {}
    return how.glue(*trained, session.experiment.architecture.alpha), best


def _refit_part(session: Session, part: Experiment, choice: Choice) -> TrainState:
    """A model that is trained first, refitted to its chosen epoch."""
    part = dataclasses.replace(part, epochs=choice.epoch, protocol=dataclasses.replace(part.protocol, trace_test=False))
    stage = session.inside(f"pretrain-{part.model}", experiment=part)
    open_directory(stage)
    return _train(stage, prepared(stage), choice)[0]


def _refitted(session: Session, part: Experiment) -> TrainState | None:
    """The refit that a finished run of the very experiment left in --runs."""
    directory = RunDir(session.runtime.runs / part.name / REFIT)
    if session.directory is None or not bool(agree(RunDir(directory.path.parent).result.exists())):
        return None
    stage = dataclasses.replace(session, experiment=part, directory=directory, tracker=None)
    with _watchers(stage) as watchers:
        return restore(watchers.store, prepared(stage).blank)  # type: ignore[arg-type]
