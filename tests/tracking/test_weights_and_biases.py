"""W&B: a real offline run read back from its file, and failures that cost a warning."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from rec_jax.run import run
from rec_jax.tracking.weights_and_biases import Tracker, logged_in
from tests.helpers import quick, small_experiment, write_small_csv
from tests.tracking.offline import complete, history


# W&B's own start-up leaves warnings of its own behind.
@pytest.mark.filterwarnings("ignore")
def test_an_offline_run_holds_configuration_and_epochs(tmp_path: Path) -> None:
    what = small_experiment(write_small_csv(tmp_path / "log.csv"), "mf")
    outcome = run(what, quick(tmp_path / "run", wandb="offline"))
    (file,) = (tmp_path / "run" / "wandb").rglob("*.wandb")
    found = complete(file)
    logged = history(found)
    rows = [json.loads(line) for line in (outcome.path / "metrics.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in logged] == [row["loss"] for row in rows]
    assert [row["valid/ndcg@3"] for row in logged] == [row["valid/ndcg@3"] for row in rows]
    started = next(record.run for record in found if record.WhichOneof("record_type") == "run")
    config = {item.key: json.loads(item.value_json) for item in started.config.update}
    assert config["experiment"]["model"] == "mf"
    assert started.display_name == what.name
    summary = {
        item.key or "/".join(item.nested_key): json.loads(item.value_json)
        for record in found
        if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }
    assert summary["full/ndcg@3"] == outcome.result["metrics"]["full"]["ndcg@3"]["mean"]
    identity = started.run_id
    again = run(dataclasses.replace(what, epochs=5), quick(tmp_path / "run", wandb="offline", resume=True))
    assert again.result["test_scored"] == 2
    for file in (tmp_path / "run" / "wandb").rglob("*.wandb"):  # a resumed run is the same W&B run
        (run_record,) = [r.run for r in complete(file) if r.WhichOneof("record_type") == "run"]
        assert run_record.run_id == identity


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_is_followed_late_has_its_first_epochs_too(tmp_path: Path) -> None:
    what = small_experiment(write_small_csv(tmp_path / "log.csv"), "mf")
    run(dataclasses.replace(what, epochs=2), quick(tmp_path / "run"))
    outcome = run(what, quick(tmp_path / "run", wandb="offline", resume=True))
    (file,) = (tmp_path / "run" / "wandb").rglob("*.wandb")
    logged = history(complete(file))
    rows = [json.loads(line) for line in (outcome.path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["_step"], row["loss"]) for row in logged] == [(row["step"], row["loss"]) for row in rows]
    assert len(rows) == 4
    assert all("train_seconds" in row for row in logged)


@pytest.mark.filterwarnings("ignore")
def test_wandb_failing_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    def broken(**_: Any) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(wandb, "init", broken)
    what = small_experiment(write_small_csv(tmp_path / "log.csv"), "mf")
    with caplog.at_level(logging.WARNING):
        outcome = run(what, quick(tmp_path / "run", wandb="offline"))
    assert "W&B failed (RuntimeError: no room)" in caplog.text
    assert outcome.result["training"]["epochs"] == 4


def test_failing_while_logging_is_a_warning_too(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    class Broken:
        def log(self, *_: Any, **__: Any) -> None:
            raise OSError("disk full")

    tracker = Tracker("off", "p", tmp_path, "n", {}, "g")
    tracker._run = Broken()
    tracker.log(1, {"loss": 1.0})
    tracker.log(2, {"loss": 1.0})
    tracker.close()
    assert caplog.text.count("W&B failed") == 1


def test_auto_follows_wandb_s_own_mode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import wandb

    asked = []
    monkeypatch.setattr(wandb, "init", lambda **options: asked.append(options["mode"]))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    Tracker("auto", "p", tmp_path, "n", {}, "g")
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "x")
    Tracker("auto", "p", tmp_path, "n", {}, "g")
    assert asked == ["disabled", "online"]


def test_logged_in_means_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not logged_in()
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password 0123\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert logged_in()
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert logged_in()
