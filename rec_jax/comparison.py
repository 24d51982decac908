"""Several recommenders on one problem: tuned alike, run over seeds, tested in pairs, audited; and what is on record.

Finished parts are not run again: a run whose result holds the same Experiment on the same data is taken as it is,
and its commit is kept, so that a reader sees where commits differ.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rec_jax import registry
from rec_jax.choice import Choice
from rec_jax.config import Experiment, Runtime, changed, from_json, to_json
from rec_jax.errors import InputError
from rec_jax.evaluate import audit
from rec_jax.evaluate.report import intervals
from rec_jax.evaluate.significance import compare_over_seeds, compare_to, seed_interval
from rec_jax.files import read_json, write_json
from rec_jax.problem import Problem
from rec_jax.registry import parse_experiment
from rec_jax.run import run, shown_k
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.rundir import RunDir
from rec_jax.training import Show, fitter
from rec_jax.tuning import Trial, search_folder, tune

RESAMPLES = 10_000
Tell = Callable[[str], None]


@dataclass(frozen=True)
class System:
    """One line of the table: what is run, under which name; `tuning` is the record of how it was chosen."""

    label: str
    experiment: Experiment
    tuning: dict[str, Any] | None = None


@dataclass(frozen=True)
class Part:
    """One finished run: its record, its values by '<rule>/<metric>' and user, and whether it was there before."""

    result: dict[str, Any]
    per_user: dict[str, np.ndarray]
    reused: bool

    @property
    def fit_seconds(self) -> float:
        """Of training and validation, in all sessions of the run and in the trial that it may have been."""
        times: dict[str, float] = self.result["times"]
        return max(times["fit_seconds"], times["train_seconds"] + times["valid_seconds"])


def system(name: str, base: Experiment, common: str = "") -> System:
    """'ease', 'sasrec:objective=sqn', or 'ials:factors=192,reg=0.007': hyper-parameters that are given and not tuned.

    Data, protocol and validation are those of `base`. `common`: what else is given, in the same form, and not part of
    the name; where the name says otherwise, that holds. InputError: unknown names or fields, values of another type, or
    an objective that is not for the model.
    """
    model, _, given = name.partition(":")
    changes = _changes(name, f"{common},{given}")
    objective = changes.pop("objective", None)
    experiment = registry.experiment(
        model, objective, data=base.data, columns=base.columns, preparation=base.preparation
    )
    stopping = dataclasses.replace(experiment.stopping, metric=base.stopping.metric, rule=base.stopping.rule)
    experiment = dataclasses.replace(experiment, protocol=base.protocol, stopping=stopping)
    for field, text in changes.items():
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        path = field if "." in field else f"architecture.{field}"
        experiment = changed(experiment, {path: value})
    return System(name, experiment, {"trials": 0, "given": given} if changes else None)


def _changes(name: str, given: str) -> dict[str, str]:
    """Of 'a=1,b=2' the fields with what they are set to; of what is set twice, the last."""
    found = {}
    for change in filter(None, given.split(",")):
        field, equals, text = change.partition("=")
        if not equals:
            raise InputError(f"{name}: expected FIELD=VALUE after the colon, found {change!r}")
        found[field] = text
    return found


def tuned(found: System, trials: int, problem: Problem, runtime: Runtime, show: Show, tell: Tell) -> System:
    """The system with its hyper-parameters chosen on validation; as it is where they were given, or for no trials."""
    if trials == 0 or found.tuning is not None:
        return found

    def told(trial: Trial) -> None:
        value = "failed" if trial.value is None else f"{trial.value:.4f}"
        tell(f"{found.label}: trial {trial.number + 1}/{trials}  {value}  {trial.seconds:.1f} s  {trial.changes}")

    folder = search_folder(runtime.runs, found.experiment)
    best = tune(found.experiment, trials, problem, folder, runtime, show, told)
    return System(found.label, best.experiment, best.record)


def part(
    found: System, seed: int, problem: Problem, runtime: Runtime, show: Show, choice: Choice | None = None
) -> Part:
    """A system's run under a seed: the finished one, or a new one (or one cut off, resumed). `choice`: as in `run`."""
    experiment = dataclasses.replace(found.experiment, seed=seed)
    directory = RunDir(runtime.runs / experiment.name)
    if (finished := _finished(directory, experiment, problem, runtime)) is not None:
        return finished
    placed = dataclasses.replace(runtime, run_dir=directory.path, resume=True)
    result = run(experiment, placed, problem, show, {"tuning": found.tuning}, choice).result
    return Part(result, _per_user(directory), False)


def _finished(directory: RunDir, experiment: Experiment, problem: Problem, runtime: Runtime) -> Part | None:
    if not (directory.result.exists() and directory.per_user.exists()):
        return None
    result = read_json(directory.result)
    same = parse_experiment(result["experiment"]) == experiment
    if not same or result["data"]["fingerprint"] != problem.dataset.fingerprint:
        raise InputError(f"{directory.path}: holds another experiment or other data; choose another --runs")
    asked = {rule: questions.fingerprint for rule, questions in problem.test.items()}
    found = {rule: of["fingerprint"] for rule, of in result["protocol"]["rules"].items()}
    if asked != found:
        raise InputError(f"{directory.path}: was asked other questions; choose another --runs")
    if missing := set(runtime.k) - set(result["runtime"]["k"]):
        raise InputError(f"{directory.path}: was not scored at k = {min(missing)}; choose another --runs, or less --k")
    return Part(result, _per_user(directory), True)


def _per_user(directory: RunDir) -> dict[str, np.ndarray]:
    with np.load(directory.per_user) as stored:
        return {name: stored[name].astype(np.float64) for name in stored.files}


def audited(found: System, problem: Problem, runtime: Runtime) -> list[audit.Finding]:
    """Whether a baseline counted held-out events, by fitting it without them; kept beside its run."""
    fit = fitter(found.experiment, problem)
    if fit is None:
        return []
    path = runtime.runs / found.experiment.name / "audit.json"
    if path.exists():
        return [from_json(audit.Finding, finding) for finding in read_json(path)]
    checked = audit.audit(problem.split, {}, fit, trained_on_validation=found.experiment.protocol.refit)
    kept = [finding for finding in checked if finding.check == audit.REFIT]
    write_json(path, [to_json(finding) for finding in kept])
    return kept


def summary(
    systems: dict[str, tuple[System, list[Part]]],
    problem: Problem,
    runtime: Runtime,
    pairs: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Everything that the table says and where it comes from, as JSON; `pairs` as in `compare`.

    By system, rule and metric: the mean, its interval over users (bootstrap of the values averaged over seeds) and
    over seeds (Student's t), kept apart; and the paired tests against the best baseline, adjusted (Holm) over the
    systems of a column. The best baseline is the one with the highest NDCG on the test split itself: the choice
    favours the opponent.
    """
    k, rules = shown_k(runtime.k), list(problem.test)
    columns = [f"{rule}/{metric}@{k}" for rule in rules for metric in ("hr", "ndcg")]
    averaged = {
        label: {c: np.mean([p.per_user[c] for p in parts], axis=0) for c in parts[0].per_user}
        for label, (_, parts) in systems.items()
    }
    baselines = [label for label, (s, _) in systems.items() if s.experiment.objective == registry.OWN]
    ranked = columns[1]
    reference = max(baselines or averaged, key=lambda label: float(np.nanmean(averaged[label][ranked])))
    against = {c: compare_to(reference, {label: of[c] for label, of in averaged.items()}, RESAMPLES) for c in columns}
    lines = {}
    for label, (found, parts) in systems.items():
        over_users = intervals({c: v for c, v in averaged[label].items() if c.endswith(f"@{k}")}, runtime.bootstrap)
        values = {}
        for column, estimate in over_users.items():
            by_seed = [float(np.nanmean(p.per_user[column])) for p in parts]
            spread = seed_interval(by_seed)
            values[column] = {
                "mean": estimate.mean,
                "users": [estimate.low, estimate.high],
                "seeds": None if spread.low is None else [spread.low, spread.high],
                "by_seed": by_seed,
            }
        lines[label] = {
            "model": found.experiment.model,
            "baseline": label in baselines,
            "seeds": [p.result["seed"] for p in parts],
            "values": values,
            "against": {c: to_json(against[c][label]) for c in columns if label != reference},
            "lists": {
                name: float(np.mean([p.result["beyond"]["lists"][name] for p in parts]))
                for name in parts[0].result["beyond"].get("lists", {})
            },
            "tuning": found.tuning,
            "epochs": [p.result["training"].get("best_epoch") for p in parts],
            "stopped_by": [p.result["training"].get("stopped_by") for p in parts],
            "experiment": to_json(found.experiment),
            "fit_seconds": float(np.mean([p.fit_seconds for p in parts])),
            "test_scored": [p.result["test_scored"] for p in parts],
            "commits": sorted({str(p.result["code"]["commit"]) for p in parts}),
            "differs_from_commit": any(p.result["code"]["differs_from_commit"] for p in parts),
            "audit": [to_json(finding) for finding in audited(found, problem, runtime)],
        }
    scored = max(max(line["test_scored"]) for line in lines.values())
    findings = audit.audit(
        problem.split, problem.test, test_scored=scored, trained_on_validation=problem.protocol.refit
    )
    first = next(iter(systems.values()))[1][0].result
    return {
        "k": k,
        "columns": columns,
        "reference": reference,
        "resamples": RESAMPLES,
        "systems": lines,
        "pairs": paired({label: parts for label, (_, parts) in systems.items()}, pairs, ranked),
        "audit": [to_json(finding) for finding in findings],
        "data": first["data"],
        "protocol": {**first["protocol"], "asked": to_json(problem.protocol)},
        "code": code_state(),
        "machine": machine(1),
    }


def paired(
    systems: Mapping[str, Sequence[Part]], pairs: Sequence[tuple[str, str]], column: str
) -> list[dict[str, Any]]:
    """The first of each pair against the second, in that column: a paired test over users of values averaged over
    seeds, adjusted (Holm) over the pairs, and Welch's interval of the difference over seeds. The verdict takes both.
    """
    by_seed = {label: np.stack([p.per_user[column] for p in parts]) for label, parts in systems.items()}
    found = []
    for (a, b), (test, seeds) in compare_over_seeds(by_seed, pairs, RESAMPLES).items():
        told: dict[str, Any] = {"over_seeds": None if seeds.low is None else [seeds.low, seeds.high]}
        told |= {"verdict": "not significant"} if seeds.holds_zero else {}
        found.append({"first": a, "second": b, "column": column, **to_json(test), **told})
    return found


def compare(
    names: Sequence[str],
    base: Experiment,
    problem: Problem,
    runtime: Runtime,
    *,
    seeds: int,
    trials: int,
    show: Show = lambda stage, progress: None,
    tell: Tell = lambda line: None,
    pairs: Sequence[tuple[str, str]] = (),
    common: str = "",
) -> dict[str, Any]:
    """Tune, run and test every system of `names` (as `system` reads them, with what they have in `common`), and besides
    the `pairs` of these names.

    InputError: as `run` and `tune`.
    """
    found = [system(name, base, common) for name in names]
    if len({s.label for s in found}) < max(2, len(found)):
        raise InputError(f"--models {' '.join(names)}: expected two or more, each once")
    done: dict[str, tuple[System, list[Part]]] = {}
    for each in found:
        chosen = tuned(each, trials, problem, runtime, show, tell)
        count = seeds if registry.recommender_row(each.experiment.model).seeded else 1
        parts = []
        for seed in range(1, count + 1):
            parts.append(part(chosen, seed, problem, runtime, show))
            told = " ".join(
                f"{rule} {of[f'ndcg@{shown_k(runtime.k)}']['mean']:.4f}"
                for rule, of in parts[-1].result["metrics"].items()
                if rule in problem.test
            )
            tell(
                f"{each.label}: seed {seed}/{count}  NDCG@{shown_k(runtime.k)} {told}"
                + " (there already)" * parts[-1].reused
            )
        done[each.label] = (chosen, parts)
    return summary(done, problem, runtime, pairs) | ({"common": common} if common else {})
