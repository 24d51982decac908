"""Choosing hyper-parameters on validation alone, by a fixed budget of trials: resumable, every trial on record.

The search is optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011). Its random state is a
function of the seed and the trial's number, and every finished trial is a line of `trials.jsonl`, so that a search
which was cut off goes on as if it had not been: within a trial, too, where a model is trained. The best trial's
training is kept, and becomes the run of its setting.
"""

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rec_jax import registry
from rec_jax.choice import lower_is_better, validate
from rec_jax.config import Experiment, Runtime, changed, to_json
from rec_jax.errors import Diverged, InputError, UndefinedScore
from rec_jax.files import alone, append_line, make_folder, read_json, read_lines, write_json, write_lines
from rec_jax.problem import Problem
from rec_jax.randomness import host_rng
from rec_jax.run import check
from rec_jax.space import Choice, Range, Real, Whole
from rec_jax.tracking.rundir import RunDir
from rec_jax.train.devices import is_writer, select
from rec_jax.training import Session, Show, fit_baseline, open_directory, prepared, train

if TYPE_CHECKING:
    import optuna

RANDOM_TRIALS = 6
"""Trials drawn at random, the first of all (the defaults) among them, before the estimator has something to go by."""
TRIALS = "trials"
"""Folder, inside a search's, of the trainings of the trial that is made and of the best one so far."""


@dataclass(frozen=True)
class Trial:
    """One setting and what validation said of it: `value` is None where it failed, and `error` says how."""

    number: int
    changes: dict[str, Any]
    value: float | None
    seconds: float
    epochs: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class Tuned:
    """The experiment with the best trial's hyper-parameters, and the record of the search."""

    experiment: Experiment
    record: dict[str, Any]


def tune(
    experiment: Experiment,
    trials: int,
    problem: Problem,
    folder: Path,
    runtime: Runtime,
    show: Show = lambda stage, progress: None,
    told: Callable[[Trial], None] = lambda trial: None,
) -> Tuned:
    """Search the space that the registry gives the model, `trials` settings of it, the defaults first.

    A trial is fitted on the train events and valued by `experiment.stopping`'s metric and rule on validation; the
    test split is never asked. `folder` keeps what was found; a search of the same experiment goes on in it. A trial
    that diverges or whose setting is not possible counts as a trial. The best trial's training is left in the folder
    of runs, as one that has yet to be scored, where a run of it would be the same training and there is none. Another
    process that searches in the folder is waited for, and its trials are taken.
    InputError: the folder holds a search of something else, or no trial succeeded.
    """
    check(experiment, runtime)
    with alone(folder) if is_writer() else contextlib.nullcontext():
        return _tune(experiment, trials, problem, folder, runtime, show, told)


def _tune(
    experiment: Experiment,
    trials: int,
    problem: Problem,
    folder: Path,
    runtime: Runtime,
    show: Show,
    told: Callable[[Trial], None],
) -> Tuned:
    space, plain = registry.space(experiment), searched(experiment)
    _open(folder, plain, space, problem)
    path = folder / "trials.jsonl"
    done = [Trial(**row) for row in read_lines(path)]
    write_lines(path, map(dataclasses.asdict, done))  # without a line that a crash cut off
    budget = trials if space else 1
    for number in range(len(done), budget):
        changes = _ask(space, plain, done, number)
        directory = RunDir(folder / TRIALS / str(number))
        trial = _try(changed(plain, changes), changes, number, problem, runtime, show, directory)
        append_line(path, dataclasses.asdict(trial))
        done.append(trial)
        _remove_others(folder / TRIALS, _best(plain, done))
        told(trial)
    used = done[:budget]
    best = _best(plain, used)
    if best is None:
        raise InputError(f"{folder}: none of {len(used)} trials of {experiment.model} succeeded ({used[0].error})")
    chosen = changed(experiment, best.changes)
    _hand_over(folder / TRIALS / str(best.number), changed(plain, best.changes), chosen, runtime.runs)
    record = {
        "trials": len(used),
        "failed": sum(t.value is None for t in used),
        "seconds": sum(t.seconds for t in used),
        "metric": plain.stopping.metric,
        "rule": plain.stopping.rule,
        "seed": plain.seed,
        "best": dataclasses.asdict(best),
        "default_value": used[0].value,
        "space": {name: to_json(r) for name, r in space.items()},
    }
    write_json(folder / "best.json", {**record, "experiment": to_json(chosen)})
    return Tuned(chosen, record)


def _best(experiment: Experiment, trials: Sequence[Trial]) -> Trial | None:
    """None where all failed."""
    good = [t for t in trials if t.value is not None]
    return (min if lower_is_better(experiment) else max)(good, key=lambda t: t.value or 0.0) if good else None


def _remove_others(trainings: Path, best: Trial | None) -> None:
    """Keep the best trial's training alone."""
    if is_writer() and trainings.exists():
        for path in trainings.iterdir():
            if best is None or path.name != str(best.number):
                shutil.rmtree(path)


def _hand_over(training: Path, tried: Experiment, chosen: Experiment, runs: Path) -> None:
    """The training becomes the run of `chosen`, which is not trained again then; or it goes, where it is no such run
    (one that is refitted is trained in another way), or such a run is there.
    """
    if not is_writer():
        return
    place = runs / chosen.name
    if training.exists() and tried == chosen and not place.exists():
        make_folder(runs)
        with contextlib.suppress(OSError):  # on another disk, where moving could leave half of it
            training.rename(place)
    shutil.rmtree(training.parent, ignore_errors=True)


def searched(experiment: Experiment) -> Experiment:
    """What the trials of an experiment are of: whether it is trained again at the end makes no difference."""
    protocol = dataclasses.replace(experiment.protocol, refit=False, choice_seed=0, trace_test=False)
    return dataclasses.replace(experiment, protocol=protocol)


def search_folder(runs: Path, experiment: Experiment) -> Path:
    """Where the search of an experiment is kept, in the folder of runs."""
    return runs / f"tune-{searched(experiment).name}"


def _open(folder: Path, experiment: Experiment, space: Mapping[str, Range], problem: Problem) -> None:
    """InputError: the folder holds a search of another experiment, space or log."""
    asked = {
        "experiment": to_json(experiment),
        "space": {name: to_json(r) for name, r in space.items()},
        "data_fingerprint": problem.dataset.fingerprint,
    }
    path = folder / "search.json"
    if path.exists():
        if read_json(path) != asked:
            raise InputError(f"{path}: is of another search (experiment, space or data differ); name another folder")
        return
    make_folder(folder)
    write_json(path, asked)


def _ask(space: Mapping[str, Range], plain: Experiment, done: list[Trial], number: int) -> dict[str, Any]:
    """The setting of a trial: the defaults first, then what the estimator proposes from all that was found."""
    if number == 0:
        return {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = int(host_rng(plain.seed, f"tuning, trial {number}").integers(2**31))
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS)
    study = optuna.create_study(direction="minimize" if lower_is_better(plain) else "maximize", sampler=sampler)
    distributions = {name: _distribution(r) for name, r in space.items()}
    for trial in done:
        if trial.value is not None and trial.number > 0:  # the defaults may lie outside the space
            study.add_trial(
                optuna.trial.create_trial(params=trial.changes, distributions=distributions, value=trial.value)
            )
    return dict(study.ask(distributions).params)


def _distribution(given: Range) -> "optuna.distributions.BaseDistribution":
    import optuna.distributions as d

    if isinstance(given, Real):
        return d.FloatDistribution(given.low, given.high, log=given.log)
    if isinstance(given, Whole):
        return d.IntDistribution(given.low, given.high, log=given.log)
    assert isinstance(given, Choice)
    return d.CategoricalDistribution(given.options)


def _try(
    experiment: Experiment,
    changes: dict[str, Any],
    number: int,
    problem: Problem,
    runtime: Runtime,
    show: Show,
    directory: RunDir,
) -> Trial:
    """`directory` is that of its training, which goes on where it was cut off."""
    before, began, epochs = sum(directory.seconds().values()), time.monotonic(), None
    value: float | None = None
    error: str | None = None
    try:
        check(experiment, runtime)
        if experiment.objective == registry.OWN:
            scorer = fit_baseline(experiment, problem.split)
            value = validate(experiment, scorer, problem)[experiment.stopping.metric]
        else:
            devices = select(runtime.devices, experiment.optimization.batch_size)
            runtime = dataclasses.replace(runtime, resume=True)
            session = Session(experiment, runtime, problem, devices, show, directory)
            start = prepared(session)
            open_directory(session)
            choice = train(session, start).choice
            value, epochs = choice.valid, choice.epoch
    except (InputError, UndefinedScore, Diverged) as failure:
        error = str(failure)
    return Trial(number, changes, value, before + time.monotonic() - began, epochs, error)
