"""The benchmarks on small shapes, without their peers."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments.benchmarks import ease, evaluate, ials, peers, tables, train_sequence, train_slateq
from experiments.benchmarks.ials import Run
from papers_repro.paper import cells
from rec_jax.data import fetch
from rec_jax.errors import InputError
from rec_jax.models.sasrec import SASRecConfig
from rec_jax.objectives.next_item import NextItem


def test_ials_is_tuned_and_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ials, "SYNTHETIC", (80, 200, 40))
    flags = [
        "--data",
        "synthetic",
        "--peer",
        "none",
        "--factors",
        "4",
        "--trials",
        "2",
        "--iterations",
        "3",
        "--repeats",
        "1",
        "--out",
    ]
    ials.script([*flags, str(tmp_path / "record.json")])
    assert "synthetic: 80 users" in capsys.readouterr().out
    record = json.loads((tmp_path / "record.json").read_text())
    (row,) = record["rows"]
    own = row["rec_jax"]
    assert record["rule"] == "full"
    assert own["chosen"]["best"] == max(max(trial["ndcg"]) for trial in own["trials"])
    assert own["chosen"]["best"] > 2 * 4.54 / 160  # chance: sum of the first ten discounts over the candidates
    assert row["target"] == pytest.approx(own["chosen"]["best"] - 0.002)
    (run,) = own["runs"]
    assert len(run["seconds"]) == len(run["ndcg"]) == 3
    assert 0 < run["seconds"][0] < run["seconds"][1] < run["seconds"][2]


def test_a_run_reaches_a_target_at_its_first_iteration_that_does() -> None:
    run = Run([0.5, 0.7, 0.9], [0.01, 0.04, 0.03])
    assert (run.reaches(0.02), run.reaches(0.04), run.reaches(0.05), run.best) == (0.7, 0.7, None, 0.04)


def test_both_systems_try_the_same_draws() -> None:
    own, other = np.array(ials.settings("rec_jax", 50)), np.array(ials.settings("implicit", 50))
    np.testing.assert_array_equal(own[:, 0], other[:, 0])
    assert np.corrcoef(np.log(own[:, 1]), np.log(other[:, 1]))[0, 1] == pytest.approx(1)
    ranges = (ials.CONTRAST, ials.PENALTY["rec_jax"], ials.PENALTY["implicit"])
    for drawn, (low, high) in zip((own[:, 0], own[:, 1], other[:, 1]), ranges):
        assert low <= drawn.min() < low * 1.5
        assert high / 1.5 < drawn.max() <= high


def test_without_the_real_log_the_synthetic_one_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: object) -> None:
        raise fetch.Unreachable("no network")

    monkeypatch.setattr(fetch, "download", unreachable)
    monkeypatch.setattr(ials, "SYNTHETIC", (30, 40, 20))
    split = ials.posed(ials.Options(data_dir=tmp_path), Console())
    assert split.dataset.name == "synthetic"
    assert "on a synthetic log instead" in capsys.readouterr().out
    with pytest.raises(InputError, match="--trials 0"):
        ials.script(["--trials", "0"])


def test_evaluation_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluate, "SIZES", (60, 200, 2000))
    evaluate.script(["--peer", "none", "--repeats", "2", "--out", str(tmp_path / "record.json")])
    assert "users/s" in capsys.readouterr().out
    rows = json.loads((tmp_path / "record.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["dot product", "NeuMF"]
    for row in rows:
        own = row["ours"]
        assert own["users"] == 60
        assert own["median"] == pytest.approx(sum(own["seconds"]) / 2)
        result = own["result"]  # of one held-out item a user
        assert result["recall@10"] == pytest.approx(result["hr@10"]) == pytest.approx(10 * result["precision@10"])
        assert result["mrr@10"] <= result["ndcg@10"] <= result["hr@10"]


def test_ease_solves_the_equations_that_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ease, "USERS", 300)
    for system in ("rec_jax", "numpy"):
        assert ease.timed(system, 70, 1)["error"] < 1e-9
    ease.script(["--peer", "none", "--items", "70", "--out", str(tmp_path / "record.json")])
    assert "peak memory" in capsys.readouterr().out
    assert json.loads((tmp_path / "record.json").read_text())["rec_jax"]["error"] < 1e-9


def test_a_peer_prints_json_or_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "HERE", tmp_path)
    lines = ("import json, os, sys", "print('noise')", "print(json.dumps({'given': [sys.argv[2], os.environ['A']]}))")
    (tmp_path / "good.py").write_text("\n".join(lines))
    (tmp_path / "bad.py").write_text("raise SystemExit('out of memory')")
    python = Path(sys.executable)
    assert peers.measured(python, "good.py", tmp_path, 7, environment={"A": "b"}) == {"given": ["7", "b"]}
    with pytest.raises(RuntimeError, match="out of memory"):
        peers.measured(python, "bad.py", tmp_path)


def test_the_tables_models_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "SIZES", (60, 200, 2000))
    monkeypatch.setattr(tables, "in_a_process", lambda function, *arguments: function(*arguments))
    tables.script(["--only", "neumf-8, sparse", "--epochs", "1", "--out", str(tmp_path / "record.json")])
    assert "60 users, 200 items, 2,000 events" in capsys.readouterr().out
    one, three = json.loads((tmp_path / "record.json").read_text())["rows"]
    assert (one["seeds"], three["seeds"], one["steps"]) == (1, 3, 8)
    assert three["seconds"] == pytest.approx(three["epoch_seconds"][0] / 3)
    with pytest.raises(InputError, match="expected the start of neumf-8, dense"):
        tables.script(["--only", "svd"])


def test_sequences_are_timed_and_the_race_ends_at_its_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str, folder: Path) -> None:
        raise InputError(f"{folder}: no {name}")

    small = SASRecConfig(width=8, max_length=10)
    monkeypatch.setattr(train_sequence, "load", absent)
    monkeypatch.setattr(train_sequence, "share_cores", lambda devices: None)
    monkeypatch.setattr(train_sequence, "in_a_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(train_sequence, "USERS", 256)
    monkeypatch.setattr(train_sequence, "CASES", {"BCE": {"architecture": small, "loss": NextItem()}})
    monkeypatch.setattr(train_sequence, "RACE", small)
    train_sequence.script(["--peer", "none", "--epochs", "2", "--target", "0", "--out", str(tmp_path / "record.json")])
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["data"], record["users"], record["items"]) == ("random items", 256, train_sequence.ITEMS)
    (row,) = record["rows"]
    assert len(row["epoch_seconds"]) == 2
    assert row["peak_bytes"] > 2**20
    of = record["races"]["rec_jax"]
    assert len(of["ndcg"]) == 1  # the first epoch reaches a target of 0
    assert of["seconds"] == of["epoch_seconds"][0] > 0
    assert "s until NDCG@10 0" in capsys.readouterr().out
    assert train_sequence.reached({"ndcg": [0.1, 0.2, 0.3], "epoch_seconds": [5.0, 1.0, 1.0]}, 0.2) == 6.0
    assert train_sequence.reached({"ndcg": [0.1], "epoch_seconds": [5.0]}, 0.2) is None
    shown = train_sequence.cells_of(row | {"epoch_seconds": [2.0, 1.0, 6.0], "pytorch": {"epoch_seconds": [8.0]}})
    assert (shown[1], shown[-1]) == ("2.0 (1.0–6.0)", "4.0")
    with pytest.raises(InputError, match="--epochs 0"):
        train_sequence.script(["--epochs", "0"])


def test_slateq_is_trained_and_held_against_the_paper(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_slateq, "in_a_process", lambda function, *arguments: function(*arguments))
    cell = cells("slateq")["MYOP-TS"]
    quick = replace(cell.experiment.agent, layers=(8,), users=8, batch=16, remembered=60, warmup=20)
    small = replace(cell, experiment=replace(cell.experiment, agent=quick, valid_users=20, test_users=100))
    monkeypatch.setattr(train_slateq, "cells", lambda paper: {"MYOP-TS": small})
    train_slateq.script(["--policies", "MYOP-TS", "--steps", "800", "--out", str(tmp_path / "record.json")])
    (row,) = json.loads((tmp_path / "record.json").read_text())["rows"]
    assert row["seconds"] > 0
    assert 100 < row["return"] < 250  # minutes of a session
    assert f"{row['published']:.1f}" in capsys.readouterr().out
    with pytest.raises(InputError, match="--policies QL: no policy of the table that learns"):
        train_slateq.script(["--policies", "QL"])
