"""Tuning, comparing and auditing from the command line."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from experiments import audit, compare, tune
from experiments.train import train
from rec_jax.baselines.popularity import PopularityConfig
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.models.base import Scorer
from rec_jax.registry import BASELINES
from rec_jax.tracking.tables import comma_separated, markdown, verdict
from tests.experiments.test_train import flags
from tests.helpers import write_small_csv


def shared(tmp_path: Path) -> list[str]:
    log = write_small_csv(tmp_path / "log.csv")
    named = {"data": log, "rating-column": "rating", "time-column": "time", "runs": tmp_path / "runs", "k": 3}
    named |= {"bootstrap": 50, "candidates": "full", "metric": "ndcg@3"}
    return [str(word) for name, value in named.items() for word in (f"--{name}", value)]


def test_compare_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paper = tmp_path / "paper.toml"
    paper.write_text(
        'rule = "full"\n[[cells]]\nsystem = "ease"\nvalues = {"hr@3" = 0.5, "ndcg@3" = 0.4}\ngrade = "V"\nband = 1.0\n'
        'banded = ["hr@3"]\n'
    )
    arguments = ["--models", "popularity", "ease", "random", *shared(tmp_path), "--seeds", "2", "--trials", "2"]
    compare.script([*arguments, "--out", str(tmp_path / "out"), "--published", str(paper)])
    out = capsys.readouterr().out
    for text in ("ease: trial 2/2", "random: seed 2/2", "NDCG@3", "Holm", "Audit:", "Runs made at commit"):
        assert text in out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["plot.png", "record.json", "table.csv", "table.md"]
    assert (tmp_path / "out" / "plot.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    table = (tmp_path / "out" / "table.md").read_text()
    assert table == markdown(record, record["published"])
    assert (tmp_path / "out" / "table.csv").read_text() == comma_separated(record)
    (line,) = [row for row in table.splitlines() if row.startswith("| ease |")]
    assert f"{record['systems']['ease']['values']['full/ndcg@3']['mean']:.4f}" in line
    assert ".5000/.4000 [V] | reproduced |" in line
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").read_text().splitlines()))
    assert {row["system"] for row in rows} == {"popularity", "ease", "random"}
    compare.script([*arguments, "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out.count("there already") == 4


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--metric", "ndgc@10"], "unknown metric"),
        (["--rule", "ncf"], "did you mean ncf-99"),
        (["--models", "ease", "eaze"], "did you mean ease"),
        (["--seeds", "0"], "--seeds 0"),
        (["--published", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["--k", "30"], "larger than the catalogue of 20"),
    ],
)
def test_bad_input_ends_before_any_work(tmp_path: Path, extra: list[str], message: str) -> None:
    arguments = [*shared(tmp_path), "--models", "popularity", "ease", *extra]
    with pytest.raises(InputError, match=message):
        compare.script(arguments)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("hr", "ndcg", "expected"),
    [
        (0.501, 0.1, "reproduced"),
        (0.60, 0.4, "better"),
        (0.48, 0.4, "not reproduced (hr@3 -0.0200)"),
    ],
)
def test_verdicts(hr: float, ndcg: float, expected: str) -> None:
    """The rule that the paper used counts, not another one that stands beside it."""
    values = {"full/hr@3": {"mean": hr}, "full/ndcg@3": {"mean": ndcg}, "ncf-99/hr@3": {"mean": 0.9}}
    line: dict[str, Any] = {"values": values}
    cell = {"values": {"hr@3": 0.5, "ndcg@3": 0.4}, "rule": "full", "grade": "V", "band": 0.005, "banded": ["hr@3"]}
    assert verdict(line, cell) == expected


def test_tune_says_how_to_train_with_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tune.script(["ease", *shared(tmp_path), "--trials", "3"])
    out = capsys.readouterr().out
    assert "trial 3/3" in out
    assert "python -m experiments.train ease" in out
    assert "on validation (full)" in out
    assert "--resume" not in out  # a baseline's trials leave nothing to go on with


def test_train_goes_on_with_the_best_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["mf", *shared(tmp_path), "--epochs", "2", "--batch-size", "64", "--wandb", "off", "--devices", "1"]
    tune.script([*given, "--trials", "1"])
    assert capsys.readouterr().out.rstrip().endswith("--resume")
    (folder,) = [path for path in (tmp_path / "runs").iterdir() if path.name.startswith("mf")]
    trained = (folder / "timings.jsonl").read_bytes()
    train([*given, "--resume"])
    assert (folder / "result.json").exists()
    assert (folder / "timings.jsonl").read_bytes() == trained


def test_auditing_a_run_and_a_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = flags(tmp_path)
    train(given)
    capsys.readouterr()
    audit.script([str(tmp_path / "run")])
    out = capsys.readouterr().out
    assert "the test split was scored 1 time" in out
    assert "leak:" not in out
    audit.script([str(tmp_path / "log.csv"), "--rating-column", "rating", "--time-column", "time"])
    assert "after the earliest test event" in capsys.readouterr().out


def test_scoring_the_test_split_twice_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(flags(tmp_path))
    record = tmp_path / "run" / "result.json"
    record.write_text(record.read_text().replace('"test_scored": 1', '"test_scored": 2'))
    audit.script([str(tmp_path / "run")])
    assert "the test split was scored 2 times" in capsys.readouterr().out


def test_a_leak_is_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A popularity that counts the whole log, as a run of its own."""
    honest = BASELINES["popularity"].fit
    given = shared(tmp_path)[:-2]
    train(["popularity", *given, "--run-dir", str(tmp_path / "run"), "--wandb", "off"])

    def cheat(split: Split, config: PopularityConfig, seed: int) -> Scorer:
        scorer: Scorer = honest(dataclasses.replace(split, train=split.dataset.interactions), config, seed)
        return scorer

    monkeypatch.setitem(BASELINES, "popularity", dataclasses.replace(BASELINES["popularity"], fit=cheat))
    with pytest.raises(SystemExit) as ending:
        audit.script([str(tmp_path / "run")])
    assert ending.value.code == 1
