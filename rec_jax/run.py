"""A whole run, from an Experiment to its result record: the one place where all layers meet."""

import dataclasses
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rec_jax import registry
from rec_jax.building import scorer_of
from rec_jax.choice import Choice
from rec_jax.config import Experiment, Runtime, check_numbers, to_json
from rec_jax.errors import InputError
from rec_jax.evaluate.beyond import beyond
from rec_jax.evaluate.groups import group_gaps, user_groups
from rec_jax.evaluate.lists import recommendable, top_lists
from rec_jax.evaluate.metrics import ERRORS, parse
from rec_jax.evaluate.report import check_cut_offs, evaluate, evaluate_ratings, intervals
from rec_jax.files import atomic, read_json, write_json
from rec_jax.models.base import Scorer
from rec_jax.problem import Problem, pose
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.rundir import RunDir
from rec_jax.tracking.weights_and_biases import Tracker
from rec_jax.train.devices import Devices, is_writer, select
from rec_jax.train.update import make_update
from rec_jax.training import (
    REFIT,
    Prepared,
    Session,
    Show,
    chooser,
    fit_baseline,
    open_directory,
    prepared,
    pretraining_parts,
    train,
)


@dataclass(frozen=True)
class Outcome:
    """What a run leaves: its record, its directory, and the recommender itself."""

    result: dict[str, Any]
    path: Path
    scorer: Scorer
    problem: Problem


@dataclass(frozen=True)
class Scores:
    """The test split's numbers: estimates by rule and metric, values by rule, metric and user, and what is beyond."""

    metrics: dict[str, dict[str, Any]]
    per_user: dict[str, dict[str, np.ndarray]]
    beyond: dict[str, Any]


def run(
    experiment: Experiment,
    runtime: Runtime,
    problem: Problem | None = None,
    show: Show = lambda stage, progress: None,
    notes: dict[str, Any] | None = None,
    choice: Choice | None = None,
) -> Outcome:
    """Train or fit, score the test split once, and write the record. InputError before any work starts; Diverged.

    A run that was complete, resumed, returns its record unchanged. `problem` saves loading the data again. `notes`
    are kept in the record: what its reader should know of how the experiment came about. `choice`: as in `train`.
    """
    began, code = time.monotonic(), code_state()
    check(experiment, runtime)
    baseline = experiment.objective == registry.OWN
    one = Devices(tuple(jax.local_devices()[:1]), 1)
    devices = one if baseline else select(runtime.devices, experiment.optimization.batch_size)
    problem = problem or pose(experiment, runtime.data_dir)
    check_cut_offs(runtime.k, problem.dataset.n_items)
    check_ratings(experiment, problem)
    directory = RunDir((runtime.run_dir or runtime.runs / experiment.name).expanduser())
    session, loaded = Session(experiment, runtime, problem, devices, show, directory), time.monotonic()
    # What is wrong with a model or a baseline shows before a file is made.
    start = _fitted(session) if baseline else prepared(session)
    open_directory(session, candidates=True)
    with closing(_tracker(session)) as tracker:
        if isinstance(start, Scorer):
            scorer, training = start, {"steps": 0}
        else:
            scorer, training = _trained(dataclasses.replace(session, tracker=tracker), start, choice)
        times = {"load_seconds": loaded - began, "fit_seconds": time.monotonic() - loaded}
        result = _result(session, scorer, {"training": training, "code": code, **(notes or {})}, times)
        tracker.summarise({f"{r}/{n}": e["mean"] for r, of in result["metrics"].items() for n, e in of.items()})
    return Outcome(result, directory.path, scorer, problem)


def _fitted(session: Session) -> Scorer:
    """A baseline, fitted, where the run's directory may be opened."""
    assert session.directory is not None
    if is_writer():
        session.directory.check(session.experiment, session.runtime, session.problem.dataset.fingerprint)
    return fit_baseline(session.experiment, session.problem.split)


def _trained(session: Session, start: Prepared, choice: Choice | None) -> tuple[Scorer, dict[str, Any]]:
    """A model, trained, and what the record says of it."""
    experiment, recommender = session.experiment, start.recommender
    trained = train(session, start, choice)
    found = trained.choice.to_record(experiment)
    found["parameters"] = sum(leaf.size for leaf in jax.tree.leaves(trained.params))
    if trained.trace:
        found["trace"] = {"rule": experiment.protocol.candidates[0], "part": "test", "by_epoch": trained.trace}
    return scorer_of(experiment, recommender, trained.params, trained.extra), found


def _result(session: Session, scorer: Scorer, found: dict[str, Any], times: dict[str, float]) -> dict[str, Any]:
    """Score the test split and write the record, or give the one that stands, where no step was made since."""
    experiment, runtime, problem, directory = session.experiment, session.runtime, session.problem, session.directory
    assert directory is not None
    before = read_json(directory.result) if directory.result.exists() else None
    if before is not None and before["training"]["steps"] == found["training"]["steps"]:
        return dict(before)
    began = time.monotonic()
    scores = score(experiment, scorer, problem, runtime)
    times = {**times, **_all_seconds(session, directory), "test_seconds": time.monotonic() - began}
    times["total_seconds"] = times["load_seconds"] + times["fit_seconds"] + times["test_seconds"]
    result = {
        "name": experiment.name,
        "experiment_hash": experiment.hash,
        "seed": experiment.seed,
        "metrics": scores.metrics,
        "beyond": scores.beyond,
        "test_scored": 1
        + (before["test_scored"] if before else 0)
        + len(found["training"].get("trace", {}).get("by_epoch", ())),
        **problem.record(),
        "experiment": to_json(experiment),
        "runtime": to_json(runtime),
        "machine": machine(session.devices.count),
        **found,
        "times": times,
    }
    if is_writer():
        with atomic(directory.per_user) as file:
            flat: dict[str, Any] = {
                f"{rule}/{name}": values.astype(np.float32)
                for rule, of_rule in scores.per_user.items()
                for name, values in of_rule.items()
            }
            np.savez_compressed(file, **flat)
        write_json(directory.result, result)
    return result


def _all_seconds(session: Session, directory: RunDir) -> dict[str, float]:
    """Seconds of training and validation over all sessions: of the run, of its refit, and of the training in which
    validation chose for all seeds, which counts with the seed that it had."""
    folders = [directory, RunDir(directory.path / REFIT)]
    if session.experiment.protocol.choice_seed == session.experiment.seed:
        shared = chooser(session, session.experiment).directory
        assert shared is not None
        folders.append(shared)
    found = [folder.seconds() for folder in folders]
    return {name: sum(of[name] for of in found) for name in found[0]}


def check(experiment: Experiment, runtime: Runtime) -> None:
    """InputError: options that cannot be meant, found before any data is loaded."""
    check_numbers(experiment)
    check_numbers(runtime)
    protocol = experiment.protocol
    if protocol.split == "users" and not registry.folds_in(experiment.model):
        raise InputError(f"{experiment.model} cannot fold in unseen users; choose another --split than 'users'")
    if protocol.split == "users" and protocol.refit:
        raise InputError("--refit is not for --split users: its validation users are not among those that train")
    for name, given in (("choice-seed", protocol.choice_seed), ("trace-test", protocol.trace_test)):
        if given and not (protocol.refit and experiment.objective != registry.OWN):
            raise InputError(f"--{name} is for a model that is trained, with --refit")
    for part in (experiment, *pretraining_parts(experiment)):
        stopping = part.stopping
        if stopping.metric in ERRORS and not predicts_ratings(part):
            raise InputError(f"--metric {stopping.metric} is for --objective rating, not {part.objective}")
        if stopping.metric not in ERRORS:
            parse(stopping.metric)
        if part.objective == registry.OWN:
            continue
        if stopping.every > part.epochs:
            raise InputError(
                f"--every {stopping.every} with {part.epochs} epochs of {part.model}: no validation would take place"
            )
        make_update(part.optimization, 1)
        if part.optimization.sparse_rows and registry.row(registry.OBJECTIVES, part.objective, "objective").sequences:
            raise InputError(f"--sparse-rows is for objectives over events, not for --objective {part.objective}")


def check_ratings(experiment: Experiment, problem: Problem) -> None:
    """InputError: ratings are to be predicted, and all are the same."""
    rating = problem.split.train.rating
    if predicts_ratings(experiment) and len(rating) and (rating == rating[0]).all():
        raise InputError(
            f"--objective {experiment.objective}: every rating of {problem.dataset.name} is {rating[0]:g}; name the "
            "log's column of ratings (--rating-column), or take another objective"
        )


def predicts_ratings(experiment: Experiment) -> bool:
    """Whether the scores are ratings."""
    if experiment.objective == registry.OWN:
        return False
    return bool(registry.row(registry.OBJECTIVES, experiment.objective, "objective").metric in ERRORS)


def score(experiment: Experiment, scorer: Scorer, problem: Problem, runtime: Runtime) -> Scores:
    """The test split under every candidate rule; rating errors where scores are ratings, lists where all is ranked."""
    scorer = problem.asked(scorer)
    per_user = {rule: evaluate(scorer, questions, runtime.k) for rule, questions in problem.test.items()}
    found: dict[str, Any] = {}
    if "full" in problem.test:
        k, questions, split = shown_k(runtime.k), problem.test["full"], problem.split
        accuracy = per_user["full"][f"ndcg@{k}"]
        groups = {name: labels[questions.user] for name, labels in user_groups(split).items()}
        gaps = {name: to_json(group_gaps(accuracy, of)) for name, of in groups.items() if (of != "").any()}
        found = {"k": k, "groups": gaps}
        if k <= (fewest := int(recommendable(questions).min())):
            lists = beyond(top_lists(scorer, questions, k), questions, split, vectors=problem.item_vectors)
            per_user["full"] |= lists.per_user
            found |= {"lists": lists.overall, "left_out": lists.left_out}
        else:
            found |= {"lists": {}, "left_out": {"all": f"a user has only {fewest} items left to be recommended"}}
    metrics = {rule: intervals(values, runtime.bootstrap) for rule, values in per_user.items()}
    if predicts_ratings(experiment):
        metrics["ratings"] = evaluate_ratings(scorer, problem.split.test, runtime.bootstrap)
    named = {rule: {name: to_json(e) for name, e in estimates.items()} for rule, estimates in metrics.items()}
    return Scores(named, per_user, found)


def shown_k(ks: tuple[int, ...]) -> int:
    """The cut-off that tables show: 10, or the first one that was asked for."""
    return 10 if 10 in ks else ks[0]


def _tracker(session: Session) -> Tracker:
    experiment, runtime = session.experiment, session.runtime
    config = {"experiment": to_json(experiment), "runtime": to_json(runtime)}
    mode, directory = runtime.wandb if is_writer() else "off", session.directory
    assert directory is not None
    tracker = Tracker(mode, runtime.wandb_project, directory.path, experiment.name, config, experiment.hash)
    if tracker.new:  # of a run that goes on, the epochs that nobody followed
        for step, values in directory.epochs().items():
            tracker.log(step, values)
    return tracker
