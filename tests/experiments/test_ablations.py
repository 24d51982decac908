"""The ablations: every system can be run as it is named, and one ablation on a small log."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import pytest

from experiments.ablations import bias, length, loss, q_weight, size, slateq, switches, tying
from experiments.ablations.switches import Ablation, ablate
from experiments.policy import PolicyExperiment
from rec_jax.comparison import system
from rec_jax.config import Protocol, Runtime
from rec_jax.errors import InputError
from rec_jax.registry import experiment
from rec_jax.run import check
from tests.helpers import write_small_csv

ALL = [bias.ABLATION, length.ABLATION, loss.ABLATION, q_weight.ABLATION, size.ABLATION, tying.ABLATION]


@pytest.mark.parametrize("ablation", ALL, ids=lambda a: a.name)
def test_every_system_differs_from_the_others_and_can_be_run(ablation: Ablation) -> None:
    base = experiment("popularity", data=ablation.data, protocol=Protocol())
    found = {system(name, base, ablation.common).experiment for name in ablation.systems}
    assert len(found) == len(ablation.systems) == sum(len(line) for line in ablation.lines.values())
    for each in found:
        check(each, Runtime())
        assert each.data == ablation.data


def test_a_pair_is_one_step_of_the_switch() -> None:
    lines = {"a": {"1": "a1", "2": "a2", "3": "a3"}, "b": {"1": "b1", "3": "b3"}, "c": {"all": "c"}}
    assert Ablation("x", "a title", "an axis", lines).pairs == (
        *(("a2", "a1"), ("a3", "a2"), ("b3", "b1")),
        *(("b1", "a1"), ("b3", "a3")),
    )


def test_an_ablation_draws_its_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = "width=8,max_length=8,blocks=1,positions=last,optimization.batch_size=16,stopping.patience=2"
    lines = {label: {"8": f"sasrec:positions={p}"} for label, p in (("first", "first"), ("none", "none"))}
    csv = write_small_csv(tmp_path / "log.csv")
    flags = ["--seeds", "2", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--data", str(csv)]
    flags += ["--candidates", "full", "--k", "3", "--metric", "ndcg@3", "--bootstrap", "50", "--no-progress"]
    ablate(Ablation("x", "a title", "an axis", lines, common=small), flags, "what it is")
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["ablation"] == {"axis": "an axis", "lines": lines}
    assert record["common"] == small
    trained = [of["experiment"]["architecture"] for of in record["systems"].values()]
    assert [(of["width"], of["positions"]) for of in trained] == [(8, "first"), (8, "none")]
    assert all(len(line["seeds"]) == 2 for line in record["systems"].values())
    assert [(of["first"], of["second"]) for of in record["pairs"]] == [(lines["none"]["8"], lines["first"]["8"])]
    table = (tmp_path / "out" / "table.md").read_text()
    assert "the best system on this very test split" in table
    assert "Pairs that differ by one step" in table
    assert f"Of all: `{small}`" in table
    assert (tmp_path / "out" / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "written to" in capsys.readouterr().out
    assert switches.Options().data == ""


def test_parts_of_slateq_are_tried_on_validation_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them reads what users did; trainings that are there are not made again, and give the same record."""
    small = dataclasses.replace(slateq.PLAIN, layers=(8,), torso_width=4, users=8, batch=16, remembered=40, warmup=20)
    monkeypatch.setattr(slateq, "PLAIN", small)
    monkeypatch.setattr(slateq, "REMEMBERED", 3)
    monkeypatch.setattr(slateq, "PolicyExperiment", partial(PolicyExperiment, valid_users=40))
    names = (slateq.BASE, "reads 20 steps: dense layer")
    monkeypatch.setattr(slateq, "PARTS", {name: slateq.PARTS[name] for name in names})
    flags = ["--seeds", "2", "--steps", "400", "--users", "40", "--runs", str(tmp_path / "runs")]
    slateq.script([*flags, "--out", str(tmp_path / "out")])
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert (tmp_path / "out" / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert [of["pair"] for of in record["tests"]] == [[names[1], names[0]]]
    assert all(len(set(record["by_seed"][name])) == 2 for name in names)
    saved = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/checkpoints/*")}
    assert len(saved) >= 4
    again = slateq.run(slateq.Options(seeds=2, steps=400, users=40, runs=tmp_path / "runs"))
    assert {path: path.stat().st_mtime_ns for path in saved} == saved
    assert again["curves"] == record["curves"]
    assert again["by_seed"] == record["by_seed"]


def test_every_part_of_slateq_is_another_policy() -> None:
    found = {slateq.experiment(part, slateq.Options(), 1) for part in slateq.PARTS}
    assert len(found) == len(slateq.PARTS)
    assert slateq.asked(slateq.Options()) == list(slateq.PARTS)
    published = slateq.Options(choosing_none=False)
    assert {slateq.experiment(part, published, 1).agent.q_none for part in slateq.PARTS} == {False}
    without = "choosing none counts 0"
    assert slateq.asked(published) == [part for part in slateq.PARTS if part != without]
    assert slateq.asked(slateq.Options(parts=("double",))) == [slateq.BASE, "double"]
    with pytest.raises(InputError, match="--parts 'dubble': did you mean double"):
        slateq.asked(slateq.Options(parts=("dubble",)))
    with pytest.raises(InputError, match=f"--parts '{without}': is what the first has, .* by --no-choosing-none"):
        slateq.asked(slateq.Options(parts=("double", without), choosing_none=False))
