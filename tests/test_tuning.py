"""Tuning: validation alone decides, a search resumes as if it had never stopped, and every trial is on record."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rec_jax import registry, tuning
from rec_jax.comparison import System, part
from rec_jax.config import Experiment, changed, check_numbers, to_json
from rec_jax.errors import InputError
from rec_jax.evaluate.metrics import per_user
from rec_jax.evaluate.ranking import rank
from rec_jax.files import read_json
from rec_jax.problem import Problem, pose
from rec_jax.registry import BASELINES, MODELS, experiment, parse_experiment
from rec_jax.run import run
from rec_jax.space import Choice, Real, Whole
from rec_jax.train.loop import Progress
from rec_jax.tuning import Trial, tune
from tests.helpers import quick, small_experiment, write_small_csv


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_csv(tmp_path_factory.mktemp("log") / "log.csv")


@pytest.fixture
def ease(csv: Path) -> Experiment:
    base = small_experiment(csv, "mf")
    shared = {name: getattr(base, name) for name in ("data", "columns", "protocol", "stopping")}
    return experiment("ease", **shared)


@pytest.fixture
def problem(ease: Experiment, tmp_path: Path) -> Problem:
    return pose(ease, tmp_path)


def rows(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_a_search_that_was_cut_off_goes_on_as_if_it_had_not_been(
    ease: Experiment, problem: Problem, tmp_path: Path
) -> None:
    whole = tune(ease, 10, problem, tmp_path / "a", quick(tmp_path))
    tune(ease, 4, problem, tmp_path / "b", quick(tmp_path))
    with (tmp_path / "b" / "trials.jsonl").open("a") as file:
        file.write('{"number": 4, "chan')
    told: list[Trial] = []
    again = tune(ease, 10, problem, tmp_path / "b", quick(tmp_path), told=told.append)
    assert [trial.number for trial in told] == list(range(4, 10))
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert whole.experiment == again.experiment


def test_two_who_search_in_one_folder_share_its_trials(ease: Experiment, problem: Problem, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(tune, ease, 3, problem, tmp_path / "search", quick(tmp_path)) for _ in range(2)]
        one, other = (each.result() for each in waiting)
    lines = [json.loads(line) for line in (tmp_path / "search" / "trials.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == [0, 1, 2]
    assert one.record == other.record


def test_the_best_trial_is_what_validation_says(ease: Experiment, problem: Problem, tmp_path: Path) -> None:
    """Each value is that of a fit of its own, ranked on the validation questions; the largest is taken."""
    found = tune(ease, 6, problem, tmp_path / "a", quick(tmp_path))
    values = []
    for row in rows(tmp_path / "a"):
        config = changed(ease, row["changes"]).architecture
        scorer = BASELINES["ease"].fit(problem.split, config, 1)
        expected = per_user(rank(scorer, problem.valid), ["ndcg@3"])["ndcg@3"].mean()
        assert row["value"] == pytest.approx(float(expected), rel=1e-12)
        values.append(row["value"])
    best = rows(tmp_path / "a")[int(np.argmax(values))]
    assert found.record["best"]["value"] == max(values)
    assert found.experiment == changed(ease, best["changes"])
    assert found.record["trials"] == 6
    assert rows(tmp_path / "a")[0]["changes"] == {}
    stored = read_json(tmp_path / "a" / "best.json")
    assert parse_experiment(stored["experiment"]) == found.experiment


def test_the_test_split_is_never_asked(
    ease: Experiment, problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = Problem._ask

    def watched(self: Problem, part: str, rules: tuple[str, ...]) -> Any:
        asked.append(part)
        return real(self, part, rules)

    monkeypatch.setattr(Problem, "_ask", watched)
    tune(ease, 3, problem, tmp_path / "a", quick(tmp_path))
    assert asked == ["valid"]


def test_a_trained_model_is_tuned_by_its_best_epoch(csv: Path, tmp_path: Path) -> None:
    base = small_experiment(csv, "mf")
    problem = pose(base, tmp_path)
    found = tune(base, 2, problem, tmp_path / "a", quick(tmp_path))
    assert {row["epochs"] for row in rows(tmp_path / "a")} <= {1, 2, 3, 4}
    assert set(rows(tmp_path / "a")[1]["changes"]) == set(registry.space(base))
    assert found.experiment.protocol == base.protocol
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["best.json", "search.json", "trials.jsonl"]


def test_a_trial_that_was_cut_off_goes_on_within_its_training(csv: Path, tmp_path: Path) -> None:
    base = small_experiment(csv, "mf")
    problem, runtime = pose(base, tmp_path), quick(tmp_path, checkpoint_seconds=0.0)
    made: list[int] = []

    def cut(stage: str, progress: Progress) -> None:
        if (tmp_path / "a" / "trials" / "1").exists() and progress.epoch == 3:
            raise KeyboardInterrupt

    whole = tune(base, 2, problem, tmp_path / "whole", runtime)
    with pytest.raises(KeyboardInterrupt):
        tune(base, 2, problem, tmp_path / "a", runtime, cut)
    again = tune(base, 2, problem, tmp_path / "a", runtime, lambda stage, progress: made.append(progress.epoch))
    assert set(made) <= {3, 4}
    assert rows(tmp_path / "a") == rows(tmp_path / "whole")
    assert again.experiment == whole.experiment


def test_the_best_trial_s_training_is_the_run_of_its_setting(csv: Path, tmp_path: Path) -> None:
    base = small_experiment(csv, "mf")
    problem, runtime = pose(base, tmp_path), quick(tmp_path)
    found = tune(base, 3, problem, tmp_path / "a", runtime)
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name == found.experiment.name
    assert not (folder / "result.json").exists()
    trained = (folder / "metrics.jsonl").read_bytes()
    epochs: list[int] = []
    chosen = System("mf", found.experiment)
    done = part(chosen, base.seed, problem, runtime, lambda stage, progress: epochs.append(progress.epoch))
    assert epochs == []
    assert (folder / "metrics.jsonl").read_bytes() == trained
    alone = run(found.experiment, quick(tmp_path / "alone"), problem).result
    assert done.result["metrics"] == alone["metrics"]
    assert done.result["training"] == alone["training"]
    assert done.result["test_scored"] == 1
    rest = {"train_seconds": 5.0, "valid_seconds": 2.0}
    assert dataclasses.replace(done, result={"times": {"fit_seconds": 1.0, **rest}}).fit_seconds == 7
    assert dataclasses.replace(done, result={"times": {"fit_seconds": 9.0, **rest}}).fit_seconds == 9


def test_a_run_that_is_there_or_that_is_refitted_is_left_alone(csv: Path, tmp_path: Path) -> None:
    base = small_experiment(csv, "mf")
    problem, runtime = pose(base, tmp_path), quick(tmp_path)
    (tmp_path / "runs" / base.name).mkdir(parents=True)
    for number, given in enumerate((base, changed(base, {"protocol.refit": True}))):
        tune(given, 1, problem, tmp_path / str(number), runtime)
        assert not (tmp_path / str(number) / "trials").exists()
    assert [(path.name, list(path.iterdir())) for path in (tmp_path / "runs").iterdir()] == [(base.name, [])]


def test_an_error_is_tuned_downwards(csv: Path, tmp_path: Path) -> None:
    base = dataclasses.replace(small_experiment(csv, "mf", "rating"), epochs=2)
    found = tune(base, 3, pose(base, tmp_path), tmp_path / "a", quick(tmp_path))
    assert found.record["best"]["value"] == min(row["value"] for row in rows(tmp_path / "a"))


def test_a_setting_that_is_not_possible_is_a_failed_trial(
    ease: Experiment, problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"architecture.l2": Choice((-1.0, 10.0))}
    monkeypatch.setitem(registry.BASELINES, "ease", dataclasses.replace(BASELINES["ease"], space=space))
    found = tune(ease, 8, problem, tmp_path / "a", quick(tmp_path))
    failed = [row for row in rows(tmp_path / "a") if row["value"] is None]
    assert 0 < len(failed) == found.record["failed"] < 8
    assert all(row["changes"] == {"architecture.l2": -1.0} for row in failed)
    assert all("-1" in row["error"] for row in failed)
    assert found.record["best"]["changes"] in ({}, {"architecture.l2": 10.0})


def test_a_folder_of_another_search_is_refused(ease: Experiment, problem: Problem, tmp_path: Path) -> None:
    tune(ease, 1, problem, tmp_path / "a", quick(tmp_path))
    other = changed(ease, {"stopping.metric": "hr@3"})
    with pytest.raises(InputError, match="is of another search"):
        tune(other, 1, problem, tmp_path / "a", quick(tmp_path))


@pytest.mark.parametrize("name", [*BASELINES, *MODELS])
def test_every_space_names_fields_that_exist_and_values_that_are_taken(name: str) -> None:
    base = experiment(name)
    for path, given in registry.space(base).items():
        ends = given.options if isinstance(given, Choice) else (given.low, given.high)
        for end in ends:
            assert to_json(changed(base, {path: end})) != to_json(changed(base, {path: ends[0]})) or end == ends[0]
            check_numbers(changed(base, {path: end}))
        if isinstance(given, (Real, Whole)):
            assert given.low < given.high
            assert given.low > 0 or not given.log


def test_draws_are_unlike_from_trial_to_trial(ease: Experiment) -> None:
    space = {"architecture.l2": Real(1.0, 1000.0)}
    drawn = [tuning._ask(space, ease, [], number)["architecture.l2"] for number in range(1, 200)]
    share = np.mean(np.log(drawn) < np.log(1000) / 2)
    assert abs(share - 0.5) < 4 * (0.25 / 199) ** 0.5
    assert abs(np.corrcoef(np.log(drawn[:-1]), np.log(drawn[1:]))[0, 1]) < 4 / 198**0.5


def test_changes_name_their_field(ease: Experiment) -> None:
    with pytest.raises(InputError, match="EASEConfig has no field 'l3'; its fields are l2"):
        changed(ease, {"architecture.l3": 1.0})
    with pytest.raises(InputError, match=r"architecture.l2: expected float, got 'much'"):
        changed(ease, {"architecture.l2": "much"})
