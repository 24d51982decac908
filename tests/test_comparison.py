"""Comparing systems: what is finished stays, what is said follows from the runs, and baselines are told apart."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rec_jax import comparison, registry
from rec_jax.baselines.popularity import PopularityConfig
from rec_jax.comparison import compare, system
from rec_jax.config import Experiment, Runtime
from rec_jax.errors import InputError
from rec_jax.evaluate.metrics import per_user
from rec_jax.evaluate.ranking import rank
from rec_jax.models.base import Scorer
from rec_jax.problem import Problem, pose
from rec_jax.registry import BASELINES, Baseline, experiment
from rec_jax.tracking.tables import markdown
from tests.helpers import quick, small_experiment, write_small_csv

NAMES = ("popularity", "random", "ease", "itemknn:neighbours=3,shrink=1.0")
PAIRS = (("ease", "random"), ("popularity", "ease"))


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_csv(tmp_path_factory.mktemp("log") / "log.csv")


@pytest.fixture(scope="module")
def base(csv: Path) -> Experiment:
    model = small_experiment(csv, "mf")
    protocol = dataclasses.replace(model.protocol, candidates=("full", "uniform-100"), refit=True)
    return experiment("popularity", data=model.data, columns=model.columns, protocol=protocol, stopping=model.stopping)


@pytest.fixture(scope="module")
def problem(base: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return pose(base, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    return dataclasses.replace(quick(Path()), run_dir=None, runs=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def record(base: Experiment, problem: Problem, runtime: Runtime) -> dict[str, Any]:
    return compare(NAMES, base, problem, runtime, seeds=3, trials=2, pairs=PAIRS)


def test_what_is_said_follows_from_fits_of_ones_own(record: dict[str, Any], problem: Problem) -> None:
    knn = registry.BASELINES["itemknn"]
    scorer = knn.fit(problem.split.whole, knn.config(neighbours=3, shrink=1.0), 1)
    values = {rule: per_user(rank(scorer, asked), ["hr@3", "ndcg@3"]) for rule, asked in problem.test.items()}
    line = record["systems"]["itemknn:neighbours=3,shrink=1.0"]
    for rule, of in values.items():
        for name, by_user in of.items():
            found = line["values"][f"{rule}/{name}"]
            assert found["mean"] == pytest.approx(float(by_user.mean()), abs=1e-6)
            assert found["users"][0] <= found["mean"] <= found["users"][1]
            assert found["seeds"] is None


def test_seeds_where_they_matter(record: dict[str, Any]) -> None:
    line = record["systems"]["random"]
    assert line["seeds"] == [1, 2, 3]
    value = line["values"]["full/ndcg@3"]
    assert len(set(value["by_seed"])) > 1
    assert value["mean"] == pytest.approx(np.mean(value["by_seed"]))
    assert value["seeds"][0] < value["mean"] < value["seeds"][1]
    assert record["systems"]["ease"]["seeds"] == [1]


def test_the_reference_is_the_best_baseline_and_the_rest_is_tested_against_it(record: dict[str, Any]) -> None:
    best = max(record["systems"], key=lambda label: record["systems"][label]["values"]["full/ndcg@3"]["mean"])
    assert record["reference"] == best
    for label, line in record["systems"].items():
        assert (line["against"] == {}) == (label == best)
    test = record["systems"]["random"]["against"]["full/ndcg@3"]
    assert test["p_holm"] >= test["p_randomization"]
    assert test["difference"] < 0


def test_pairs_are_tested_over_users_and_over_seeds(record: dict[str, Any]) -> None:
    systems = record["systems"]
    by_seed = {label: line["values"]["full/ndcg@3"]["by_seed"] for label, line in systems.items()}
    for pair, (first, second) in zip(record["pairs"], PAIRS, strict=True):
        assert (pair["first"], pair["second"]) == (first, second)
        assert pair["difference"] == pytest.approx(np.mean(by_seed[first]) - np.mean(by_seed[second]))
        assert pair["low"] <= pair["difference"] <= pair["high"]
    low, high = record["pairs"][0]["over_seeds"]
    spread = np.std(by_seed["random"], ddof=1) / np.sqrt(3) * 4.302653  # Student's t, 2 degrees of freedom
    assert (high - low) / 2 == pytest.approx(spread, rel=1e-4)
    assert record["pairs"][1]["over_seeds"] is None  # both have one seed
    shown = markdown(record)
    assert "| ease – random | +" in shown
    assert "(•), the best baseline on this" in shown


def test_budget_and_audit_are_on_record(record: dict[str, Any]) -> None:
    tuning = {label: line["tuning"] for label, line in record["systems"].items()}
    assert tuning["ease"]["trials"] == 2
    assert tuning["popularity"]["trials"] == 1  # it has nothing to tune
    assert tuning["itemknn:neighbours=3,shrink=1.0"]["given"] == "neighbours=3,shrink=1.0"
    assert all(f["severity"] == "ok" for line in record["systems"].values() for f in line["audit"])
    assert all(len(line["audit"]) == 1 for line in record["systems"].values())
    assert all(line["test_scored"] == [1] * len(line["seeds"]) for line in record["systems"].values())


def test_finished_parts_are_not_run_again(
    record: dict[str, Any],
    base: Experiment,
    problem: Problem,
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*arguments: Any, **named: Any) -> None:
        raise AssertionError("ran again")

    monkeypatch.setattr(comparison, "run", never)
    again = compare(NAMES, base, problem, runtime, seeds=3, trials=2)
    assert again["systems"] == record["systems"]


def test_a_run_of_other_questions_is_not_taken(
    base: Experiment, record: dict[str, Any], csv: Path, runtime: Runtime, tmp_path: Path
) -> None:
    more = dataclasses.replace(runtime, k=(3, 5))
    with pytest.raises(InputError, match="was not scored at k = 5"):
        compare(NAMES, base, pose(base, tmp_path), more, seeds=1, trials=2)


def test_a_baseline_that_counts_test_events_is_caught(
    base: Experiment, problem: Problem, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = BASELINES["popularity"].fit

    def cheat(split: Any, config: PopularityConfig, seed: int) -> Scorer:
        scorer: Scorer = honest(dataclasses.replace(split, train=split.dataset.interactions), config, seed)
        return scorer

    monkeypatch.setitem(BASELINES, "cheat", Baseline("counts everything", PopularityConfig, cheat))
    found = compare(("cheat", "ease"), base, problem, runtime, seeds=1, trials=0)
    (finding,) = found["systems"]["cheat"]["audit"]
    assert finding["severity"] == "leak"
    assert finding["count"] == len(problem.test["full"].user)


def test_names_with_hyper_parameters(base: Experiment) -> None:
    found = system("mf:factors=5,loss.l2=0.5,biases=false,optimization.learning_rate=0.01", base)
    assert found.experiment.architecture.factors == 5
    assert found.experiment.architecture.biases is False
    assert found.experiment.loss.l2 == 0.5
    assert found.experiment.optimization.learning_rate == 0.01
    assert found.experiment.protocol == base.protocol
    for name, message in [
        ("eaze", "did you mean ease"),
        ("ease:l3=1", "no field 'l3'"),
        ("ease:l2", "expected FIELD=VALUE"),
        ("ease:l2=much", "expected float"),
        ("ease:objective=bpr", "a baseline fits by its own method"),
        ("mf:objective=sqn", "objective sqn is not for mf"),
        ("mf:objective=bpr,loss.q_weight=1", "no field 'q_weight'"),
    ]:
        with pytest.raises(InputError, match=message):
            system(name, base)


def test_a_name_may_choose_the_objective_which_is_no_hyper_parameter(base: Experiment) -> None:
    found = system("mf:objective=bpr", base)
    assert found.tuning is None
    assert found.experiment.objective == "bpr"
    assert found.experiment.loss == registry.experiment("mf", "bpr").loss
    given = system("gru4rec:loss.q_weight=0.5,width=8,objective=sqn", base, "width=4,loss.gamma=0.1")
    assert given.tuning == {"trials": 0, "given": "loss.q_weight=0.5,width=8,objective=sqn"}
    assert (given.experiment.loss.q_weight, given.experiment.loss.gamma) == (0.5, 0.1)
    assert given.experiment.architecture.width == 8
    assert given.experiment.protocol == base.protocol


def test_two_systems_at_least(base: Experiment, problem: Problem, runtime: Runtime) -> None:
    for names in (("ease",), ("ease", "ease")):
        with pytest.raises(InputError, match="expected two or more, each once"):
            compare(names, base, problem, runtime, seeds=1, trials=0)
