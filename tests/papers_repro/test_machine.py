"""The machine for tables on a small log: order, records, budget, pages, and what check finds."""

import dataclasses
import json
import shutil
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from papers_repro import __main__ as command
from papers_repro import bands, check, paper, plots, records, render, rewritten, standing, verdicts, work
from papers_repro.paper import Cell
from rec_jax.config import Runtime, changed
from rec_jax.errors import InputError
from rec_jax.registry import experiment
from rec_jax.tracking.plots import picture
from tests.helpers import small_experiment, write_small_csv

TOML = """
title = "A paper"
authors = "A. Author"
venue = "A venue"
link = "https://example.org"
data = "a small log"
protocol = "the last event held out"
rule = "full"
differences = ["None but size."]
learned = "Little."
curves = ["mf"]

[[cells]]
name = "mf"
values = { "hr@10" = 0.5, "ndcg@10" = 0.3 }
band = 1.0
against = "best on test"

[[series]]
title = "both"
cells = ["mf", "popularity"]
x = [1, 2]

[[claims]]
statement = "MF is better than popularity"
pairs = [["mf", "popularity"]]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of papers with one, 'small', whose cells run in a second; its commits are all as committed."""
    csv = write_small_csv(tmp_path / "log.csv")
    there = tmp_path / "papers"
    (there / "small").mkdir(parents=True)
    (there / "small" / "paper.toml").write_text(TOML)
    (there / "small" / "cells.py").write_text("# known to the test")
    mf = small_experiment(csv, "mf", epochs=2)
    mf = dataclasses.replace(mf, protocol=dataclasses.replace(mf.protocol, refit=True, choice_seed=1, trace_test=True))
    popular = experiment("popularity", data=mf.data, columns=mf.columns, protocol=mf.protocol, stopping=mf.stopping)
    plain = dataclasses.replace(mf.protocol, choice_seed=0, trace_test=False)
    ease = experiment("ease", data=mf.data, columns=mf.columns, protocol=plain, stopping=mf.stopping)
    module = types.ModuleType("papers_repro.small.cells")
    module.cells = lambda: [  # type: ignore[attr-defined]
        Cell("mf", mf, 2),
        Cell("popularity", dataclasses.replace(popular, protocol=plain), headline=True, seeds=2),
        Cell("ease", ease, trials=2),
        Cell("far", mf, not_run="data"),
    ]
    monkeypatch.setitem(sys.modules, "papers_repro.small.cells", module)
    for place in (paper, records, verdicts, render, check, bands, work):
        monkeypatch.setattr(place, "FOLDER", there, raising=False)
    of_records = (records.path_of, records.append, records.read, records.counted, records.choice_of)
    for function in (paper.read, paper.names, *of_records):
        monkeypatch.setattr(function, "__defaults__", (there,))
    monkeypatch.setattr(bands, "paper_at", lambda commit, name: paper.read(name))
    for place in (standing, check):
        monkeypatch.setattr(place, "paper_at", lambda commit, name: paper.read(name))
    for place in ("rec_jax.run", "papers_repro.work"):
        monkeypatch.setattr(f"{place}.code_state", lambda: {"commit": "c" * 40, "differs_from_commit": False})
    return there


def runtime(tmp_path: Path) -> Runtime:
    return Runtime(runs=tmp_path / "runs", wandb="off", progress=False, bootstrap=50)


def run_all(tmp_path: Path, **options: Any) -> list[str]:
    said: list[str] = []
    work.run_paper("small", runtime(tmp_path), tell=said.append, **options)
    return said


def test_seed_1_of_every_cell_comes_first_then_headlines(folder: Path) -> None:
    assert [(u.cell.name, u.seed) for u in work.units("small")] == [
        ("mf", 1),
        ("popularity", 1),
        ("ease", 1),
        ("popularity", 2),
        ("mf", 2),
    ]
    assert {u.seed for u in work.units("small", seeds=1)} == {1}
    assert {u.cell.name for u in work.units("small", "m*")} == {"mf"}
    with pytest.raises(InputError, match="--cells q\\*: no cell of small"):
        work.units("small", "q*")


def test_run_render_check_and_run_again(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run_all(tmp_path)
    assert sum("HR@10" in line for line in said) == 5
    assert any(line.startswith("[1/5] mf seed 1: about 1.0 min of 5") for line in said)
    assert run_all(tmp_path) == []  # all has a record
    lines = (folder / "small" / "records" / "mf.jsonl").read_text().splitlines()
    (first, second) = (json.loads(line) for line in lines)
    assert (first["seed"], second["seed"], first["cell"]) == (1, 2, "mf")
    assert len(first["training"]["trace"]["by_epoch"]) == 2
    assert records.unpack(first["per_user"]["hr@10"]).mean() == pytest.approx(first["metrics"]["full"]["hr@10"]["mean"])
    assert json.loads((folder / "small" / "records" / "ease.jsonl").read_text())["tuning"]["trials"] == 2
    command.script(["render"])
    page = (folder / "small" / "README.md").read_text()
    best = np.mean([max(e["hr@10"] for e in r["training"]["trace"]["by_epoch"]) for r in (first, second)])
    assert f"{best:.4f}".lstrip("0") in page
    for text in (
        "| mf | .5/.3 [V] |",
        "| reproduced |",
        "MF is better than popularity",
        "1. None but size.",
        "Little.",
    ):
        assert text in page
    assert "1 cannot be run here" in page
    for name in ("plot.png", "curves.png"):
        assert (folder / "small" / name).read_bytes().startswith(b"\x89PNG")
    assert "| [A paper](small/README.md), A venue | 1 | 0 | 0 | 1 |" in (folder / "README.md").read_text()
    assert check.check_all() == []
    capsys.readouterr()
    command.script(["check"])
    command.script(["list"])
    out = capsys.readouterr().out
    assert "every table equals its records" in out
    assert "small" in out


def test_check_names_what_does_not_belong_together(folder: Path, tmp_path: Path) -> None:
    run_all(tmp_path, pattern="popularity", seeds=1)
    command.script(["render"])
    path = folder / "small" / "records" / "popularity.jsonl"
    record = json.loads(path.read_text())
    record["experiment"]["seed"] = 9
    record["metrics"]["full"]["hr@10"]["mean"] += 0.1
    path.write_text(json.dumps(record) + "\n")
    (folder / "small" / "records" / "gone.jsonl").write_text(json.dumps(record) + "\n")
    found = "\n".join(check.check_all())
    for text in ("no cell of this name", "its Experiment is not the cell's", "README.md: is not what the records say"):
        assert text in found
    with pytest.raises(InputError, match="of another experiment than the cell"):
        work.units("small")
    shutil.rmtree(folder / "small" / "records")
    with pytest.raises(InputError, match="is not what the records say"):
        command.script(["check"])


def test_a_further_rule_has_rows_of_its_own(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["papers_repro.small.cells"]
    both = [
        dataclasses.replace(cell, experiment=changed(cell.experiment, {"protocol.candidates": ("full", "uniform-100")}))
        for cell in module.cells()
    ]
    monkeypatch.setattr(module, "cells", lambda: both)
    text = TOML.replace('rule = "full"', 'rule = "full"\nrules = ["uniform-100"]')
    claim = text.index("[[claims]]")
    published = '[[cells]]\nname = "mf @ uniform-100"\nvalues = { "hr@10" = 2.0, "ndcg@10" = 2.0 }\n\n'
    text = text[:claim].replace("[[series]]", published + "[[series]]") + text[claim:].replace(
        'pairs = [["mf", "popularity"]]', 'pairs = [["mf @ uniform-100", "popularity @ uniform-100"]]'
    )
    (folder / "small" / "paper.toml").write_text(text)
    run_all(tmp_path)
    command.script(["render"])
    found = standing.standing("small")
    record = json.loads((folder / "small" / "records" / "mf.jsonl").read_text().splitlines()[0])
    for row, rule in paper.rows_of(found.about, "mf").items():
        mean = np.mean([r["metrics"][rule]["ndcg@10"]["mean"] for r in records.counted("small", "mf").values()])
        assert found.lines[row].chosen["ndcg@10"].mean == pytest.approx(mean)
        values = records.unpack(found.counted[row][1]["per_user"]["ndcg@10"])
        assert values.mean() == pytest.approx(record["metrics"][rule]["ndcg@10"]["mean"])
    assert found.verdicts["mf @ uniform-100"].startswith("not reproduced")
    page = (folder / "small" / "README.md").read_text()
    assert "| mf @ uniform-100 – popularity @ uniform-100 |" in page
    assert check.check_all() == []


def test_a_commit_that_is_gone_needs_a_seed_that_was_run_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewritten, "REWRITTEN", {"c" * 40: "d" * 40})
    run_all(tmp_path, pattern="mf")
    command.script(["render"])
    assert "2 records name a commit" in (folder / "small" / "README.md").read_text()
    assert any("no seed was run again" in line for line in check.check_all())
    path = folder / "small" / "records" / "mf.jsonl"
    again = json.loads(path.read_text().splitlines()[1])
    again["code"]["commit"] = "d" * 40
    gone = path.read_text()
    other = {**again["per_user"], "hr@10": records.pack(1 - records.unpack(again["per_user"]["hr@10"]))}
    for values, said in ((again["per_user"], []), (other, ["small: mf, seed 2, came out"])):
        path.write_text(gone + json.dumps(again | {"per_user": values}) + "\n")
        found = [line for line in check.check_all() if "README.md" not in line]
        assert [line[: len("small: mf, seed 2, came out")] for line in found] == said
    assert "of them 1 were run again" in "".join(rewritten.told(standing.standing("small").made))


def test_a_record_of_changed_code_stays_out_of_tables(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rec_jax.run.code_state", lambda: {"commit": "c" * 40, "differs_from_commit": True})
    run_all(tmp_path, pattern="popularity", seeds=1)
    assert len(records.read("small", "popularity")) == 1
    assert records.counted("small", "popularity") == {}
    assert "popularity" not in standing.standing("small").lines


def test_who_runs_changed_code_is_told_first(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("papers_repro.work.code_state", lambda: {"commit": None, "differs_from_commit": None})
    said = run_all(tmp_path, pattern="popularity", seeds=1)
    assert "no table shows them; commit first" in said[0]


def test_what_is_on_record_is_run_again_beside_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_all(tmp_path, pattern="popularity")
    kept = records.path_of("small", "popularity").read_bytes()
    flags = ["--cells", "popularity", "--seeds", "1", "--again", str(tmp_path / "again"), "--wandb", "off"]
    command.script(["run", "small", *flags, "--no-progress"])
    (new,) = records.read("small", "popularity", tmp_path / "again")
    assert records.path_of("small", "popularity").read_bytes() == kept
    assert new["per_user"] == records.counted("small", "popularity")[1]["per_user"]
    means = (
        f"HR@10 {new['metrics']['full']['hr@10']['mean']:.4f} NDCG@10 {new['metrics']['full']['ndcg@10']['mean']:.4f}"
    )
    assert f"popularity seed 1: {means} (on record: {means})" in capsys.readouterr().out


def test_a_wide_band_does_not_hide_that_the_value_is_outside_our_interval(folder: Path, tmp_path: Path) -> None:
    run_all(tmp_path, pattern="mf")
    text = TOML.replace('against = "best on test"', 'against = "chosen on validation"').replace(
        '"hr@10" = 0.5', '"hr@10" = 0.999'
    )
    for toml, wide in ((text, True), (TOML, False)):
        (folder / "small" / "paper.toml").write_text(toml)
        found = standing.standing("small")
        page = render.page(found, [found])
        (row,) = (line for line in page.splitlines() if line.startswith("| mf | .") and "[V]" in line)
        assert "| HR ±1 |" in row
        assert row.endswith("reproduced; published outside our interval |" if wide else "reproduced |")


# It ends wherever the process is by then, and that may be where a file has just been opened.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_the_budget_ends_cleanly_and_the_next_call_goes_on(folder: Path, tmp_path: Path) -> None:
    said = run_all(tmp_path, budget=0.0005)
    assert said[-1].startswith("the budget of 0.0005 minutes is used up")
    run_all(tmp_path)
    assert {name: len(records.counted("small", name)) for name in ("mf", "popularity", "ease")} == {
        "mf": 2,
        "popularity": 2,
        "ease": 1,
    }


def test_what_validation_chose_for_all_seeds_is_taken_from_the_record(folder: Path, tmp_path: Path) -> None:
    run_all(tmp_path, pattern="mf")
    (cell,) = (unit.cell for unit in work.units("small", "popularity", 1)[:1])
    assert records.choice_of("small", cell) is None
    path = folder / "small" / "records" / "mf.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(first + "\n")
    shutil.rmtree(tmp_path / "runs")
    run_all(tmp_path, pattern="mf")
    again = json.loads(path.read_text().splitlines()[1])
    assert not (tmp_path / "runs" / "choices").exists()
    second = json.loads(second)
    assert (again["metrics"], again["per_user"]) == (second["metrics"], second["per_user"])
    assert again["training"] == second["training"]


def test_what_another_process_runs_is_passed_over(folder: Path, tmp_path: Path) -> None:
    with work._held(tmp_path / "runs" / ".small-popularity-1.lock") as mine:
        assert mine
        run_all(tmp_path, pattern="popularity")
    assert list(records.counted("small", "popularity")) == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "is not TOML"),
        (TOML.replace('rule = "full"\n', ""), "missing 1 required positional argument: 'rule'"),
        (TOML.replace("band =", "bend ="), "has no field 'bend'"),
        (TOML.replace("band = 1.0", 'band = "wide"'), "band: expected float, got 'wide'"),
        (TOML + TOML[TOML.index("[[cells]]") : TOML.index("[[series]]")], "the cell 'mf' stands there twice"),
        ('variants = { "ours" = "-ours" }' + TOML, "variants: no panel takes the cells that no ending fits"),
    ],
)
def test_what_is_wrong_with_a_paper_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        paper.parse(text, Path("paper.toml"))


def test_variants_of_a_policy_are_drawn_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    @contextmanager
    def remembered(*given: Any, **how: Any) -> Iterator[Any]:
        with picture(*given, **how) as (figure, panels):
            yield figure, panels
            drawn.extend(panels)

    monkeypatch.setattr(plots, "picture", remembered)
    values = {"a": (1.0, 3.0), "b": (2.0, 2.0), "a-late": (5.0, 7.0)}
    counted = {
        name: {
            seed: {"training": {"curve": [{"steps": 1000, "hr@10": value}, {"steps": 2000, "hr@10": 2 * value}]}}
            for seed, value in enumerate(of)
        }
        for name, of in values.items()
    }
    about = paper.parse('variants = { "at once" = "", "later" = "-late" }' + TOML, Path("paper.toml"))
    plots.learning(about, counted, tmp_path / "learning.png")
    found = {axes.get_title(): {line.get_label(): line for line in axes.lines} for axes in drawn}
    assert {title: list(of) for title, of in found.items()} == {"at once": ["a", "b"], "later": ["a"]}
    np.testing.assert_array_equal(found["at once"]["a"].get_xydata(), [[1, 2], [2, 4]])
    np.testing.assert_array_equal(found["later"]["a"].get_xydata(), [[1, 6], [2, 12]])
    assert found["at once"]["a"].get_color() == found["later"]["a"].get_color() != found["at once"]["b"].get_color()
    assert (tmp_path / "learning.png").stat().st_size > 1000


def test_a_seed_that_was_resumed_took_its_epochs_and_its_test() -> None:
    at_once = {"train_seconds": 60.0, "valid_seconds": 30.0, "test_seconds": 10.0, "total_seconds": 120.0}
    assert verdicts.minutes_of({"times": at_once}) == 2.0
    assert verdicts.minutes_of({"times": at_once | {"total_seconds": 40.0}}) == pytest.approx(100 / 60)
    assert verdicts.minutes_of({"times": {"total_seconds": 6.0}}) == 0.1


def test_unknown_names(folder: Path) -> None:
    with pytest.raises(InputError, match="unknown paper 'smal': did you mean small"):
        paper.read("smal")
    (folder / "small" / "paper.toml").write_text(TOML.replace('curves = ["mf"]', 'curves = ["fm"]'))
    with pytest.raises(InputError, match="curves names the cell 'fm'"):
        paper.cells("small")


def test_values_by_user_survive_packing() -> None:
    values = np.random.default_rng(0).random(1000)
    np.testing.assert_allclose(records.unpack(records.pack(values)), values, rtol=1e-7)


def test_a_distance_to_baselines_is_judged_when_all_of_them_are_on_record(folder: Path, tmp_path: Path) -> None:
    text = TOML.replace('against = "best on test"', 'beside = { "hr@10" = 0.4, "ndcg@10" = 0.2 }')
    (folder / "small" / "paper.toml").write_text(text)
    run_all(tmp_path, pattern="mf")
    run_all(tmp_path, pattern="popularity")
    assert standing.standing("small").verdicts["mf"] == "not judged: not all tuned baselines are on record"
    run_all(tmp_path, pattern="ease")
    assert standing.standing("small").verdicts["mf"] == "reproduced"
