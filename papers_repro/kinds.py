"""The kinds of experiment that a cell can be: how each is run, how its record is read, what it is compared with.

A new kind is a row of KINDS, and a name in `AnyExperiment`.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from experiments import off_policy, policy
from experiments.off_policy import OffPolicyExperiment
from experiments.policy import PolicyExperiment
from rec_jax import registry
from rec_jax.choice import Choice
from rec_jax.comparison import System, part, tuned
from rec_jax.config import Experiment, Runtime, changed, from_json, to_json
from rec_jax.errors import InputError
from rec_jax.files import make_folder
from rec_jax.problem import Problem, pose
from rec_jax.registry import OWN, parse_experiment
from rec_jax.training import Show

AnyExperiment: TypeAlias = Experiment | PolicyExperiment | OffPolicyExperiment
Made: TypeAlias = tuple[dict[str, Any], dict[str, np.ndarray]]
"""A run's result, and its values by unit: 'rule/metric' -> one value a user, or whatever the kind counts."""
K = tuple(range(1, 11))


@dataclass(frozen=True)
class Job:
    """A seed of a cell, and what running it may need; `problems` and what is `shown` are those of the paper."""

    name: str
    seed: int
    trials: int
    choice: Choice | None
    """What validation chose for all seeds, where that is on record."""
    shown: tuple[str, str]
    runtime: Runtime
    problems: dict[tuple[object, ...], Problem]
    show: Show
    tell: Callable[[str], None]


@dataclass(frozen=True)
class Kind:
    """What the machine asks of an experiment; functions take an experiment of this kind."""

    of: type
    field: str
    """A field that no other kind's experiment has: a record's kind is told by it."""
    parse: Callable[[dict[str, Any]], AnyExperiment]
    """From a record's JSON. InputError: today's configuration does not know it."""
    run: Callable[[Any, Job], Made]
    unit: str = "users"
    """What the values are by."""
    epochs: bool = True
    """Whether its tables say which epoch was chosen, and how."""
    choice_seed: Callable[[Any], int] = lambda experiment: 0
    """The seed whose choice on validation holds for all; 0: each has its own, or none."""
    tuned_as: Callable[[Any, Any], Any] = lambda expected, found: expected
    """The first with those values of the second that validation chooses."""
    log: Callable[[Any], str | None] = lambda experiment: None
    """The log whose tuned baselines it stands beside; None: there are none."""
    baseline: Callable[[Any], bool] = lambda experiment: False
    """Whether it is such a baseline."""


def _train(experiment: Experiment, job: Job) -> Made:
    key = (experiment.data, experiment.preparation, experiment.protocol, experiment.stopping.rule)
    problem = job.problems.get(key) or job.problems.setdefault(key, pose(experiment, job.runtime.data_dir))
    ks = sorted({*K, *(int(metric.split("@")[1]) for metric in job.shown)})
    runtime = dataclasses.replace(job.runtime, k=tuple(k for k in ks if k <= problem.dataset.n_items))
    system = tuned(System(job.name, experiment), job.trials, problem, runtime, job.show, job.tell)
    made = part(system, job.seed, problem, runtime, job.show, job.choice)
    return made.result, made.per_user


def _tuned_as(expected: Experiment, found: Experiment) -> Experiment:
    values = to_json(found)
    for path in registry.space(expected):
        value: Any = values
        for name in path.split("."):
            value = value[name]
        expected = changed(expected, {path: value})
    return expected


def _act(experiment: PolicyExperiment, job: Job) -> Made:
    experiment = dataclasses.replace(experiment, seed=job.seed)
    return policy.run(experiment, folder=make_folder(job.runtime.runs / experiment.name))


def _judge(experiment: OffPolicyExperiment, job: Job) -> Made:
    return off_policy.run(dataclasses.replace(experiment, seed=job.seed), job.runtime.data_dir)


KINDS = (
    Kind(
        Experiment,
        "model",
        parse_experiment,
        _train,
        choice_seed=lambda experiment: experiment.protocol.choice_seed,
        tuned_as=_tuned_as,
        log=lambda experiment: experiment.data,
        baseline=lambda experiment: experiment.objective == OWN,
    ),
    Kind(PolicyExperiment, "policy", lambda stored: from_json(PolicyExperiment, stored), _act, epochs=False),
    Kind(
        OffPolicyExperiment,
        "estimator",
        lambda stored: from_json(OffPolicyExperiment, stored),
        _judge,
        unit="bootstraps",
        epochs=False,
    ),
)


def kind_of(experiment: AnyExperiment) -> Kind:
    """The kind of a cell's experiment."""
    (kind,) = (kind for kind in KINDS if type(experiment) is kind.of)
    return kind


def parse(stored: dict[str, Any]) -> AnyExperiment:
    """The experiment of a record. InputError: of no kind, or today's configuration does not know it."""
    for kind in KINDS:
        if kind.field in stored:
            return kind.parse(stored)
    raise InputError(f"an experiment without {' or '.join(kind.field for kind in KINDS)}: of no known kind")
