"""The fusion script: its table, its paired tests, its record, and what it refuses."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from threadpoolctl import threadpool_limits

from experiments import fuse
from experiments.fuse import FUSIONS
from rec_jax.errors import InputError
from rec_jax.evaluate.protocol import ask_all
from rec_jax.evaluate.significance import Against
from rec_jax.problem import Problem
from tests.helpers import write_small_csv


def record_of(folder: Path) -> dict[str, Any]:
    (made,) = (folder / "runs").glob("fuse-*/record.json")
    found: dict[str, Any] = json.loads(made.read_text())
    return found


def flags(folder: Path, **changes: str) -> list[str]:
    values = {
        "data": str(write_small_csv(folder / "log.csv")),
        "parts": "popularity ease",
        "runs": str(folder / "runs"),
        "bootstrap": "200",
        "split": "ratio",
        **changes,
    }
    return [word for name, value in values.items() for word in (f"--{name}", *value.split())]


def test_one_table_of_parts_and_fusions_with_paired_tests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = ask_all
    monkeypatch.setattr(
        "rec_jax.problem.ask_all", lambda s, part, *a, **k: (asked.append(part), real(s, part, *a, **k))[1]
    )
    values: dict[str, dict[str, np.ndarray]] = {}
    per_user = fuse.per_test_user

    def kept(scorer: Any, problem: Problem, options: fuse.Options) -> dict[str, dict[str, np.ndarray]]:
        assert asked.count("test") <= len(options.candidates)
        found = per_user(scorer, problem, options)
        assert scorer.name not in values  # scored once
        values[scorer.name] = {rule: of[options.metric] for rule, of in found.items()}
        return found

    monkeypatch.setattr(fuse, "per_test_user", kept)
    with threadpool_limits(1):
        fuse.script(flags(tmp_path, metric="ndcg@5"))
    out, record = capsys.readouterr().out, record_of(tmp_path)
    best = record["best_part"]
    fused = ["weighted", *FUSIONS, f"boosted {best}"]
    assert list(record["metrics"]) == ["popularity", "ease", *fused]
    assert list(record["learned"]) == fused
    for text in (*record["metrics"], "NDCG@5", "HR@10", "ncf-99", "verdict", "record.json", f"against {best}"):
        assert text in out, text
    valid = record["valid_ndcg@5"]
    assert valid[best] == max(valid[name] for name in ("popularity", "ease"))
    assert min(valid["weighted"], valid[f"boosted {best}"]) >= valid[best] - 1e-9
    for rule in ("full", "ncf-99"):
        assert list(record["against_best_part"][rule]) == fused
        for name, against in record["against_best_part"][rule].items():
            difference = values[record["learned"][name]][rule].mean() - values[best][rule].mean()
            assert against["difference"] == pytest.approx(difference, abs=1e-12)
            mean = record["metrics"][name][rule]["ndcg@5"]
            assert mean["low"] <= mean["mean"] <= mean["high"]
            assert mean["mean"] == pytest.approx(values[record["learned"][name]][rule].mean())
    assert record["data"]["users"] == 30
    assert {"commit", "differs_from_commit"} == record["code"].keys()


def test_a_table_of_comparisons() -> None:
    console = Console(record=True, width=80)
    better = Against(100, 0.0123, 0.001, 0.02, 0.01, 0.0121, 0.0242, "better")
    console.print(
        fuse.comparisons(
            {"reciprocal ranks": better, "weighted": dataclasses.replace(better, verdict="not significant")},
            "NDCG@10, full: against ease",
        )
    )
    text = console.export_text()
    for piece in (
        "reciprocal ranks",
        "not significant",
        "+0.0123",
        "+0.0010 to +0.0200",
        "0.0242",
        "better",
        "against ease",
    ):
        assert piece in text


def test_refuses_before_it_reads_the_data(tmp_path: Path) -> None:
    for changes, message in (
        ({"parts": "ease"}, "at least two"),
        ({"parts": "ease ease"}, "each once"),
        ({"parts": "ease eaze"}, "unknown baseline 'eaze'"),
        ({"metric": "ndcg"}, "unknown metric 'ndcg'"),
        ({"bootstrap": "20"}, "expected at least 120"),
    ):
        with pytest.raises(InputError, match=message):
            fuse.script(flags(tmp_path, **{**changes, "data": "/nowhere/log.csv"}))
