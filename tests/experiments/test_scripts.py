"""The list of experiments, recommending, and the first command."""

import json
from functools import partial
from pathlib import Path

import pytest

from experiments import quickstart, recommend
from experiments.__main__ import listing
from experiments.benchmarks import train_ncf
from experiments.train import train
from rec_jax.config import Runtime
from rec_jax.errors import InputError
from tests.experiments.test_train import flags


def test_every_experiment_is_listed_with_a_line() -> None:
    found = listing()
    assert {"experiments.train", "experiments.recommend", "experiments.quickstart"} <= found.keys()
    assert "experiments.benchmarks.train_ncf" in found
    assert "experiments.cli" not in found
    assert all(len(line) > 20 for line in found.values())


def test_recommend_to_a_user_and_to_a_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(flags(tmp_path))
    run = str(tmp_path / "run")
    capsys.readouterr()
    recommend.script([run, "--user", "3", "--k", "4"])
    out = capsys.readouterr().out
    assert "recommended to user 3" in out
    assert out.count("item ") >= 4
    recommend.script([run, "--history", "2", "4", "6"])
    assert "recommended to this history" in capsys.readouterr().out
    with pytest.raises(InputError, match="either --user"):
        recommend.script([run])


@pytest.mark.many_steps
def test_quickstart_on_the_real_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quickstart, "Runtime", partial(Runtime, devices=1))
    quickstart.script(["--epochs", "2", "--runs", str(tmp_path), "--wandb", "off"])
    out = capsys.readouterr().out
    for text in ("popularity", "neumf", "HR@10", "NDCG@10", "ncf-99", "95 % bootstrap", "history", "result.json"):
        assert text in out
    (folder,) = tmp_path.iterdir()
    assert sorted(p.name for p in folder.iterdir()) == ["learning_curve.png", "mf", "neumf", "summary.json"]


def test_the_training_benchmark_on_a_small_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_ncf, "SIZES", (60, 2000, 5000))
    monkeypatch.setattr(train_ncf, "in_a_process", lambda function, *arguments: function(*arguments))
    log = train_ncf.random_log((60, 2000, 5000))
    assert len(set(zip(log.user.tolist(), log.item.tolist()))) == len(log) == 5000
    assert len(set(log.user.tolist())) == 60
    train_ncf.script(["--peer", "none", "--epochs", "1", "--out", str(tmp_path / "record.json")])
    assert "M examples/s" in capsys.readouterr().out
    record = json.loads((tmp_path / "record.json").read_text())
    assert [row["batch"] for row in record["rows"]] == ["2,048 events", "2,048 examples"]
    assert all(row["ours"]["examples_per_second"] > 0 for row in record["rows"])
