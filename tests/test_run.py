"""Whole runs: resuming, diverging, recording, and what is left on disk."""

import dataclasses
import json
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rec_jax.building import build
from rec_jax.data.interactions import Dataset
from rec_jax.errors import Diverged, InputError, Interrupted
from rec_jax.files import read_json
from rec_jax.recommend import load
from rec_jax.registry import experiment, parse_experiment
from rec_jax.run import Outcome, run
from rec_jax.tracking.rundir import RunDir
from rec_jax.train import loop
from rec_jax.train.checkpoints import Checkpoints
from rec_jax.train.loop import Progress
from rec_jax.training import blank_state
from tests.helpers import quick, small_experiment, write_small_csv


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return write_small_csv(tmp_path / "log.csv")


def stripped(result: dict[str, Any]) -> dict[str, Any]:
    """The result without what may differ between equal runs: times, and where they ran."""
    return {k: v for k, v in result.items() if k not in ("times", "runtime")}


def final_state(outcome: Outcome) -> Any:
    """Everything that decides the future, as the last checkpoint holds it."""
    what = RunDir(outcome.path).experiment()
    blank = blank_state(what, build(what, outcome.problem), outcome.problem)
    with closing(Checkpoints(outcome.path / "checkpoints", read_only=True)) as store:
        return store.restore(jax.device_get(blank))


def assert_equal_runs(a: Outcome, b: Outcome) -> None:
    assert (a.path / "metrics.jsonl").read_bytes() == (b.path / "metrics.jsonl").read_bytes()
    assert stripped(a.result) == stripped(b.result)
    for x, y in zip(jax.tree.leaves(final_state(a)), jax.tree.leaves(final_state(b)), strict=True):
        np.testing.assert_array_equal(x, y)


class Stop(Exception):
    pass


@pytest.mark.parametrize("model", ["neumf", "mf"])
@pytest.mark.parametrize("after", [0.3, 0.6])
def test_resume_equals_never_stopping_bit_for_bit(
    csv: Path, tmp_path: Path, model: str, after: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted by a real SIGINT in the middle of an epoch: chunks are one step long."""
    what = small_experiment(csv, model)
    whole = run(what, quick(tmp_path / "whole"))
    monkeypatch.setattr(loop, "FIRST_CHUNK_STEPS", 1)
    monkeypatch.setattr(loop, "SECONDS_PER_CHUNK", 0.0)
    steps = []

    def interrupt(stage: str, progress: Progress) -> None:
        steps.append(round(progress.fraction * 16))
        if progress.fraction >= after:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match=r"step \d+ is saved"):
        run(what, quick(tmp_path / "cut"), show=interrupt)
    assert steps == list(range(1, steps[-1] + 1))
    assert steps[-1] % 4 != 0
    assert not (tmp_path / "cut" / "result.json").exists()
    resumed = run(what, quick(tmp_path / "cut", resume=True))
    assert resumed.result["training"]["epochs"] == 4
    assert_equal_runs(whole, resumed)


def test_a_crash_loses_only_what_came_after_the_checkpoint(csv: Path, tmp_path: Path) -> None:
    """Killed without warning after several checkpoints: metrics are cut back, then made again the same."""
    what = small_experiment(csv, "mf")
    whole = run(what, quick(tmp_path / "whole"))

    def crash(stage: str, progress: Progress) -> None:
        if progress.epoch == 4:
            raise Stop

    with pytest.raises(Stop):
        run(what, quick(tmp_path / "cut", checkpoint_seconds=0.0), show=crash)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 9, "step": 999, "loss": 0.0}\n{"epoch": 10, "st')
    assert_equal_runs(whole, run(what, quick(tmp_path / "cut", resume=True)))


def test_a_damaged_newest_checkpoint_costs_an_epoch_not_the_run(
    csv: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    what = small_experiment(csv, "mf")
    whole = run(what, quick(tmp_path / "whole"))
    run(dataclasses.replace(what, epochs=3), quick(tmp_path / "cut", checkpoint_seconds=0.0))
    newest = tmp_path / "cut" / "checkpoints" / "12" / "state"
    for file in [p for p in newest.rglob("*") if p.is_file()]:
        file.write_bytes(file.read_bytes()[:40])
    resumed = run(what, quick(tmp_path / "cut", resume=True))
    assert "checkpoint 12" in caplog.text
    assert resumed.result["metrics"] == whole.result["metrics"]
    assert (resumed.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()


def test_more_epochs_prolong_a_run(csv: Path, tmp_path: Path) -> None:
    what = small_experiment(csv, "mf")
    short = dataclasses.replace(what, epochs=2)
    assert short.hash == what.hash
    first = run(short, quick(tmp_path / "a"))
    longer = run(what, quick(tmp_path / "a", resume=True))
    whole = run(what, quick(tmp_path / "b"))
    assert first.result["test_scored"] == 1
    assert longer.result["test_scored"] == 2
    assert longer.result["metrics"] == whole.result["metrics"]
    again = run(what, quick(tmp_path / "a", resume=True))
    assert again.result == longer.result  # nothing left to do: the record stands


def test_early_stopping_keeps_the_best_epoch(csv: Path, tmp_path: Path) -> None:
    what = small_experiment(csv, "mf")
    what = dataclasses.replace(what, epochs=60, stopping=dataclasses.replace(what.stopping, patience=2))
    outcome = run(what, quick(tmp_path / "a"))
    rows = [json.loads(line) for line in (outcome.path / "metrics.jsonl").read_text().splitlines()]
    values = [row["valid/ndcg@3"] for row in rows]
    training = outcome.result["training"]
    assert training["stopped_by"] == "patience"
    assert len(rows) == training["epochs"] == training["best_epoch"] + 2 < 60
    assert training["best_epoch"] == 1 + int(np.argmax(values))
    assert training["best_valid_ndcg@3"] == pytest.approx(max(values), rel=1e-6)


def test_pretraining_is_a_run_inside_the_run_and_resumes(csv: Path, tmp_path: Path) -> None:
    what = small_experiment(csv, "neumf")
    what = dataclasses.replace(
        what,
        architecture=dataclasses.replace(what.architecture, pretrain_epochs=2),
        optimization=dataclasses.replace(what.optimization, optimizer="sgd"),
    )
    whole = run(what, quick(tmp_path / "whole"))
    assert sorted(p.name for p in whole.path.iterdir() if p.is_dir()) == ["checkpoints", "pretrain-gmf", "pretrain-mlp"]
    assert "adam" in (whole.path / "pretrain-gmf" / "config.json").read_text()

    def stop_in_mlp(stage: str, progress: Progress) -> None:
        if stage == "mlp" and progress.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(what, quick(tmp_path / "cut"), show=stop_in_mlp)
    assert_equal_runs(whole, run(what, quick(tmp_path / "cut", resume=True)))


def test_a_loss_that_is_not_finite_stops_the_run(csv: Path, tmp_path: Path) -> None:
    what = small_experiment(csv, "mf")
    wild = dataclasses.replace(what.optimization, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(Diverged, match=r"NaN or infinite at step \d+; no checkpoint was saved before"):
        run(dataclasses.replace(what, optimization=wild), quick(tmp_path / "a"))
    assert not (tmp_path / "a" / "result.json").exists()


@pytest.mark.parametrize("objective", ["pointwise", "rating"])
def test_parameters_that_are_not_finite_stop_the_run_before_they_are_saved(
    csv: Path, tmp_path: Path, objective: str
) -> None:
    """The last step of an epoch breaks them, after a finite loss: validation must not see them, nor a checkpoint."""
    what = small_experiment(csv, "mf", objective)
    size = len(run(dataclasses.replace(what, epochs=1), quick(tmp_path / "size")).problem.split.train)
    wild = dataclasses.replace(what.optimization, optimizer="sgd", learning_rate=3e38, batch_size=size)
    what = dataclasses.replace(
        what, optimization=wild, architecture=dataclasses.replace(what.architecture, init_sd=10.0)
    )
    with pytest.raises(Diverged, match=r"at step 0; no checkpoint was saved before"):
        run(what, quick(tmp_path / "a", checkpoint_seconds=0.0))


def test_a_run_stopped_before_its_first_validation_recommends_nothing(csv: Path, tmp_path: Path) -> None:
    what = small_experiment(csv, "mf")
    what = dataclasses.replace(what, stopping=dataclasses.replace(what.stopping, every=4))

    def interrupt(stage: str, progress: Progress) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        run(what, quick(tmp_path / "a"), show=interrupt)
    with pytest.raises(InputError, match="has no validated parameters yet"):
        load(tmp_path / "a")


def test_stored_candidates_are_those_that_were_asked(csv: Path, tmp_path: Path) -> None:
    what = small_experiment(csv, "mf")
    what = dataclasses.replace(what, protocol=dataclasses.replace(what.protocol, candidates=("full", "ncf-99")))
    outcome = run(what, quick(tmp_path / "a"))
    questions, dataset = outcome.problem.test["ncf-99"], outcome.problem.dataset
    path = outcome.path / "candidates-test-ncf-99.npz"
    with np.load(path) as stored:
        users, rows = stored["user"], stored["candidates"]
    assert questions.candidates is not None
    assert users.tolist() == dataset.user_ids[questions.user].tolist()
    for row, ids in zip(rows, questions.candidates):
        assert [i for i in row.tolist() if i] == dataset.item_ids[ids].tolist()
    np.savez_compressed(path, user=users, candidates=rows[:, ::-1])
    with pytest.raises(InputError, match="holds other candidates"):
        run(dataclasses.replace(what, epochs=5), quick(tmp_path / "a", resume=True))


def test_diverging_later_names_the_last_good_checkpoint(csv: Path, tmp_path: Path) -> None:
    what = small_experiment(csv, "mf")
    rising = dataclasses.replace(what.optimization, optimizer="sgd", learning_rate=1e12, warmup_steps=10**9)
    what = dataclasses.replace(
        what, optimization=rising, epochs=400, stopping=dataclasses.replace(what.stopping, every=1)
    )
    with pytest.raises(Diverged, match=r"step \d+; the last good checkpoint is that of step \d+"):
        run(what, quick(tmp_path / "a", checkpoint_seconds=0.0))


def test_the_record_is_complete_and_repeats(csv: Path, tmp_path: Path) -> None:
    what = small_experiment(csv, "neumf")
    a, b = (run(what, quick(tmp_path / name)) for name in "ab")
    assert stripped(a.result) == stripped(b.result)
    assert read_json(a.path / "result.json") == a.result
    for field in (
        "metrics",
        "experiment",
        "experiment_hash",
        "runtime",
        "seed",
        "data",
        "protocol",
        "code",
        "machine",
        "times",
    ):
        assert field in a.result
    assert a.result["data"]["fingerprint"] == a.problem.dataset.fingerprint
    assert a.result["test_scored"] == 1
    assert parse_experiment(a.result["experiment"]) == what
    assert set(a.result["code"]) == {"commit", "differs_from_commit"}
    estimate = a.result["metrics"]["full"]["ndcg@3"]
    assert estimate["low"] <= estimate["mean"] <= estimate["high"]
    assert not [p for p in tmp_path.rglob("*.part")]


def test_another_seed_is_another_run(csv: Path, tmp_path: Path) -> None:
    one = small_experiment(csv, "mf")
    two = dataclasses.replace(one, seed=2)
    assert one.hash == two.hash
    assert one.name != two.name
    a, b = run(one, quick(tmp_path / "a")), run(two, quick(tmp_path / "b"))
    assert a.result["training"] != b.result["training"]


@pytest.mark.many_steps
def test_neumf_beats_popularity_on_ml_100k(ml_100k: Dataset, tmp_path: Path) -> None:
    """Five epochs on the real log, ranked among 99: better than popularity by far more than the intervals' width."""
    from rec_jax.baselines.popularity import fit_popularity
    from rec_jax.run import score

    what = experiment("neumf", epochs=5)
    what = dataclasses.replace(what, optimization=dataclasses.replace(what.optimization, learning_rate=0.003))
    runtime = quick(tmp_path / "a", k=(10,), bootstrap=500)
    outcome = run(what, runtime)
    assert outcome.problem.dataset.fingerprint == ml_100k.fingerprint
    popular = score(what, fit_popularity(outcome.problem.split), outcome.problem, runtime).metrics
    for rule in ("full", "ncf-99"):
        assert outcome.result["metrics"][rule]["ndcg@10"]["mean"] > popular[rule]["ndcg@10"]["mean"]
    assert outcome.result["metrics"]["ncf-99"]["hr@10"]["low"] > popular["ncf-99"]["hr@10"]["high"]


@pytest.mark.many_steps
def test_ratings_are_predicted_better_than_by_the_mean(ml_100k: Dataset, tmp_path: Path) -> None:
    """RMSE of biased MF on a random split of ML-100K: the literature's SVDs reach .93 to .95, the mean 1.12."""
    what = experiment("mf", "rating", epochs=8)
    what = dataclasses.replace(
        what,
        protocol=dataclasses.replace(what.protocol, split="ratio", ratios=(0.7, 0.1, 0.2), candidates=("full",)),
        optimization=dataclasses.replace(what.optimization, learning_rate=0.003),
        stopping=dataclasses.replace(what.stopping, patience=0),
    )
    outcome = run(what, quick(tmp_path / "a", bootstrap=200))
    test = outcome.problem.split.test
    mean = float(np.sqrt(((test.rating - outcome.problem.split.train.rating.mean()) ** 2).mean()))
    rmse = outcome.result["metrics"]["ratings"]["rmse"]
    assert rmse["high"] < mean - 0.1
    assert rmse["mean"] < 0.97
