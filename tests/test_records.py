"""The committed comparisons: their tables follow from their records, and the records from today's experiments."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import explore, explore_log
from experiments.compare import read_published
from rec_jax.evaluate.off_policy import ESTIMATORS
from rec_jax.evaluate.significance import holm
from rec_jax.registry import BASELINES, parse_experiment
from rec_jax.tracking.tables import comma_separated, markdown

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "experiments" / "records"
FOLDERS = sorted(path.parent for path in RECORDS.glob("*/record.json") if "systems" in json.loads(path.read_text()))


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return found


def test_there_are_some() -> None:
    assert {"ml-100k", "ml-1m-ncf"} <= {folder.name for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_tables_follow_from_the_record(folder: Path) -> None:
    record = read(folder)
    assert (folder / "table.md").read_text() == markdown(record, record["published"])
    assert (folder / "table.csv").read_text() == comma_separated(record)
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_record_holds_together(folder: Path) -> None:
    record = read(folder)
    budgets = set()
    for label, line in record["systems"].items():
        experiment = parse_experiment(line["experiment"])
        assert experiment.model == line["model"] == label.partition(":")[0]
        assert (line["model"] in BASELINES) == line["baseline"]
        assert not line["differs_from_commit"], label
        assert line["test_scored"] == [1] * len(line["seeds"]), label
        assert not any(finding["severity"] == "leak" for finding in line["audit"]), label
        if line["tuning"] and line["tuning"].get("space"):
            budgets.add(line["tuning"]["trials"])
            assert line["tuning"]["best"]["value"] >= line["tuning"]["default_value"]
        for value in line["values"].values():
            assert value["mean"] == pytest.approx(np.mean(value["by_seed"]), abs=1e-6)
            assert value["users"][0] <= value["mean"] <= value["users"][1]
    assert len(budgets) == 1  # as many trials for every system that has something to tune
    assert not any(finding["severity"] == "leak" for finding in record["audit"])
    best = max(
        (label for label, line in record["systems"].items() if line["baseline"]),
        key=lambda label: record["systems"][label]["values"][record["columns"][1]]["mean"],
    )
    assert record["reference"] == best
    for column in record["columns"]:
        tests = {label: line["against"][column] for label, line in record["systems"].items() if label != best}
        assert holm({label: t["p_randomization"] for label, t in tests.items()}) == pytest.approx(
            {label: t["p_holm"] for label, t in tests.items()}
        )


def test_published_values_are_the_papers() -> None:
    record = read(ROOT / "experiments" / "records" / "ml-1m-ncf")
    assert record["published"] == read_published(ROOT / "papers_repro" / "troubling_analysis" / "paper.toml")


def test_the_record_of_exploration_is_of_todays_rules_and_shows_what_is_said_of_it() -> None:
    record = read(RECORDS / "explore")
    assert record["code"]["differs_from_commit"] is False
    rules = explore.rules(2, 1)
    assert {family: list(of) for family, of in record["rules"].items()} == {f: list(of) for f, of in rules.items()}
    lost = {family: [explore.at_the_end(of) for of in amounts.values()] for family, amounts in record["rules"].items()}
    for family in ("epsilon-greedy", "UCB1, scale"):  # too little and too much cost more than what lies between
        best = min(lost[family])
        assert best[2] < min(lost[family][0][1], lost[family][-1][1])


def test_the_record_of_replayed_logs_is_of_todays_rules_and_says_how_it_knows_their_chances() -> None:
    record = read(RECORDS / "explore-log")
    assert record["code"]["differs_from_commit"] is False
    films, rules = record["films"], explore_log.rules(record["films_shown"], 5)
    assert {family: list(of) for family, of in films["rules"].items()} == {f: list(of) for f, of in rules.items()}
    assert (films["propensities"], record["shop"]["propensities"]) == ("estimated", "logged")
    lost = [explore_log.at_the_end(of) for of in films["rules"]["epsilon-greedy"].values()]
    best = min(lost)
    assert best[0] < lost[0][0]  # too little, which some passes get away with
    assert best[2] < lost[-1][1]  # too much
    # In the shop's log there is no telling rules apart.
    ends = [explore_log.at_the_end(of) for family in record["shop"]["rules"].values() for of in family.values()]
    assert max(low for _, low, _ in ends) < min(high for _, _, high in ends)


def test_the_record_of_a_known_truth_shows_what_is_said_of_it() -> None:
    record = read(RECORDS / "off-policy-truth")
    assert record["code"]["differs_from_commit"] is False
    assert record["estimators"].keys() == ESTIMATORS.keys()
    few, many = str(min(record["sizes"])), str(max(record["sizes"]))
    for name, of_size in record["estimators"].items():
        biased = abs(of_size[many]["bias"]) > 5 * of_size[many]["bias_se"]
        assert biased == (name in ("dm", "switch-dr", "dr-os")), name
        assert of_size[few]["coverage"] < 0.95
        assert (of_size[many]["coverage"] > 0.9) == (not biased)
