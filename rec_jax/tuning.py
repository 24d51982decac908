"""Choosing hyper-parameters on validation alone, by a fixed budget of trials: resumable, every trial on record.

The search is optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011). Its random state is a
function of the seed and the trial's number, and every finished trial is a line of `trials.jsonl`, so that a search
which was cut off goes on as if it had not been.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rec_jax import registry
from rec_jax.choice import lower_is_better, validate
from rec_jax.config import Experiment, Runtime, changed, to_json
from rec_jax.errors import Diverged, InputError, UndefinedScore
from rec_jax.files import append_line, make_folder, read_json, read_lines, write_json, write_lines
from rec_jax.problem import Problem
from rec_jax.randomness import host_rng
from rec_jax.run import check
from rec_jax.space import Choice, Range, Real, Whole
from rec_jax.train.devices import select
from rec_jax.training import Session, Show, fit_baseline, prepared, train

if TYPE_CHECKING:
    import optuna

RANDOM_TRIALS = 6
"""Trials drawn at random, the first of all (the defaults) among them, before the estimator has something to go by."""


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
    that diverges or whose setting is not possible counts as a trial.
    InputError: the folder holds a search of something else, or no trial succeeded.
    """
    check(experiment, runtime)
    space, plain = registry.space(experiment), searched(experiment)
    _open(folder, plain, space, problem)
    path = folder / "trials.jsonl"
    done = [Trial(**row) for row in read_lines(path)]
    write_lines(path, map(dataclasses.asdict, done))  # without a line that a crash cut off
    budget = trials if space else 1
    for number in range(len(done), budget):
        changes = _ask(space, plain, done, number)
        trial = _try(changed(plain, changes), changes, number, problem, runtime, show)
        append_line(path, dataclasses.asdict(trial))
        done.append(trial)
        told(trial)
    used = done[:budget]
    good = [t for t in used if t.value is not None]
    if not good:
        raise InputError(f"{folder}: none of {len(used)} trials of {experiment.model} succeeded ({used[0].error})")
    best = (min if lower_is_better(plain) else max)(good, key=lambda t: t.value or 0.0)
    record = {
        "trials": len(used),
        "failed": len(used) - len(good),
        "seconds": sum(t.seconds for t in used),
        "metric": plain.stopping.metric,
        "rule": plain.stopping.rule,
        "seed": plain.seed,
        "best": dataclasses.asdict(best),
        "default_value": used[0].value,
        "space": {name: to_json(r) for name, r in space.items()},
    }
    write_json(folder / "best.json", {**record, "experiment": to_json(changed(experiment, best.changes))})
    return Tuned(changed(experiment, best.changes), record)


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
    experiment: Experiment, changes: dict[str, Any], number: int, problem: Problem, runtime: Runtime, show: Show
) -> Trial:
    began, epochs = time.monotonic(), None
    value: float | None = None
    error: str | None = None
    try:
        check(experiment, runtime)
        if experiment.objective == registry.OWN:
            scorer = fit_baseline(experiment, problem.split)
            value = validate(experiment, scorer, problem)[experiment.stopping.metric]
        else:
            devices = select(runtime.devices, experiment.optimization.batch_size)
            runtime = dataclasses.replace(runtime, resume=False)
            session = Session(experiment, runtime, problem, devices, show)
            choice = train(session, prepared(session)).choice
            value, epochs = choice.valid, choice.epoch
    except (InputError, UndefinedScore, Diverged) as failure:
        error = str(failure)
    return Trial(number, changes, value, time.monotonic() - began, epochs, error)
