"""The committed comparisons: their tables follow from their records, and the records from today's experiments."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import before_after, explore, explore_log, long_term, offline_rl, reinforce
from experiments.ablations import bias, length, loss, size, tying
from experiments.ablations.switches import Ablation, Options, base_of
from experiments.compare import read_published
from experiments.logged_users_page import page
from rec_jax.comparison import system
from rec_jax.config import to_json
from rec_jax.evaluate.off_policy import ESTIMATORS
from rec_jax.evaluate.significance import holm
from rec_jax.registry import BASELINES, parse_experiment
from rec_jax.tracking.tables import comma_separated, markdown

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "experiments" / "records"
FOLDERS = sorted(path.parent for path in RECORDS.rglob("record.json") if "audit" in json.loads(path.read_text()))
ABLATIONS = (bias.ABLATION, length.ABLATION, loss.ABLATION, size.ABLATION, tying.ABLATION)


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return found


def test_there_are_some() -> None:
    assert {"ml-100k", "ml-1m-ncf"} <= {folder.name for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_tables_follow_from_the_record(folder: Path) -> None:
    record = read(folder)
    assert (folder / "table.md").read_text() == markdown(record, record.get("published"))
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
    # As many trials for every system that has something to tune; of an ablation none has.
    assert len(budgets) == ("ablation" not in record)
    assert not any(finding["severity"] == "leak" for finding in record["audit"])
    best = max(
        [label for label, line in record["systems"].items() if line["baseline"]] or record["systems"],
        key=lambda label: record["systems"][label]["values"][record["columns"][1]]["mean"],
    )
    assert record["reference"] == best
    for column in record["columns"]:
        tests = {label: line["against"][column] for label, line in record["systems"].items() if label != best}
        assert holm({label: t["p_randomization"] for label, t in tests.items()}) == pytest.approx(
            {label: t["p_holm"] for label, t in tests.items()}
        )


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda ablation: ablation.name)
def test_ablations_are_on_record_as_they_are_today(ablation: Ablation) -> None:
    record = read(RECORDS / "ablations" / ablation.name)
    assert (record["title"], record["common"], record["data"]["name"]) == (
        *(ablation.title, ablation.common, ablation.data),
    )
    assert record["ablation"] == {"axis": ablation.axis, "lines": ablation.lines}
    base = base_of(ablation, Options())
    for name in ablation.systems:
        assert record["systems"][name]["experiment"] == to_json(system(name, base, ablation.common).experiment)
    assert [(of["first"], of["second"]) for of in record["pairs"]] == list(ablation.pairs)


def test_what_is_said_of_one_switch_at_a_time_is_on_record() -> None:
    records = {name: read(RECORDS / "ablations" / name) for name in ("bias", "length", "tying", "size", "loss")}
    verdicts = {
        name: {(pair["first"], pair["second"]): pair["verdict"] for pair in of["pairs"]} for name, of in records.items()
    }
    read_most = {n: f"sasrec:max_length={n},positions=" for n in (10, 200)}
    for positions in ("first", "last"):
        few, many = (records["length"]["systems"][read_most[n] + positions]["values"] for n in (10, 200))
        assert many["full/ndcg@10"]["users"][0] > few["full/ndcg@10"]["users"][1]
    of_positions = [of for (a, b), of in verdicts["length"].items() if "last" in a and "first" in b]
    assert of_positions == ["not significant"] * 5
    assert verdicts["tying"]["sasrec:width=64,tied=false", "sasrec:width=64,tied=true"] == "worse"
    largest = "sasrec:blocks=4,width=128"
    assert {of for pair, of in verdicts["size"].items() if largest not in pair} == {"not significant"}
    assert {of for pair, of in verdicts["size"].items() if largest in pair} == {"worse"}
    assert set(verdicts["bias"].values()) == {"not significant"}
    for name in ("bce", "gbce"):
        many, few = (loss.system(name, *of) for of in ((256, "place"), (16, "user")))
        assert verdicts["loss"][many, few] == "better"


def test_published_values_are_the_papers() -> None:
    record = read(ROOT / "experiments" / "records" / "ml-1m-ncf")
    assert record["published"] == read_published(ROOT / "papers_repro" / "troubling_analysis" / "paper.toml")


def test_the_record_of_exploration_is_of_todays_rules_and_shows_what_is_said_of_it() -> None:
    record = read(RECORDS / "explore")
    assert record["code"]["differs_from_commit"] is False
    rules = {family: list(of) for family, of in explore.rules(2, 1).items()}
    rules[explore.SHARED] = ["favourite topic", "all"]
    assert {family: list(of) for family, of in record["rules"].items()} == rules
    lost = {family: [explore.at_the_end(of) for of in amounts.values()] for family, amounts in record["rules"].items()}
    for family in ("epsilon-greedy", "UCB1, scale"):  # too little and too much cost more than what lies between
        best = min(lost[family])
        assert best[2] < min(lost[family][0][1], lost[family][-1][1])
    # Those who are known to be alike learn from one another; all of them as one learn what is right for half.
    alike, everybody = lost[explore.SHARED]
    assert alike[2] < min(of[1] for of in lost["Thompson, prior"])
    assert everybody[1] > max(of[2] for of in lost["Thompson, prior"])


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
    prices = [of["price"] for of in films["rules"]["epsilon-greedy"].values()]
    assert prices[0][0] > 0 > prices[0][1]
    assert prices[-1][1] > 0
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


def test_the_record_of_slates_shows_a_bias_just_where_users_do_more_than_is_taken_account_of() -> None:
    record = read(RECORDS / "off-policy-slates")
    assert record["code"]["differs_from_commit"] is False
    free = {"independent": ("sips", "rips", "iips"), "cascade": ("sips", "rips"), "all": ("sips",)}
    for behaviour, of in record["behaviours"].items():
        for name, of_size in of["estimators"].items():
            last = of_size[str(max(record["sizes"]))]
            biased = abs(last["bias"]) > 5 * last["bias_se"]
            assert biased == (name.removeprefix("sn-") not in free[behaviour]), (behaviour, name)
            assert (last["coverage"] > 0.85) == (not biased)


def test_the_record_of_the_long_term_is_of_todays_discounts_and_shows_what_is_said_of_it() -> None:
    record = read(RECORDS / "long_term")
    assert record["code"]["differs_from_commit"] is False
    names = [f"discount {of:g}" for of in long_term.DISCOUNTS]
    assert [name for name in record["policies"] if name.startswith("discount")] == names
    shown = {name: np.mean(of["over_time"]["clickbait"]) for name, of in record["policies"].items()}
    assert shown["discount 0"] > 0.9  # choc
    assert shown["discount 0.99"] < 0.4  # kale
    # Each against none, then the best against what is always shown: discounts up to .7 bring less than seeds differ
    # by, and the best of them falls short of kale by no more than that.
    verdicts = [test["verdict"] for test in record["tests"]]
    assert verdicts == ["not significant"] * 3 + ["better"] * 2 + ["not significant"]
    assert record["chosen"]["best"] == list(long_term.chosen(record["chosen"]["returns"]))


def test_by_recsims_own_numbers_quality_loses_less_than_bandits_and_looking_ahead_brings_nothing() -> None:
    explored, ahead = read(RECORDS / "explore-recsim"), read(RECORDS / "long_term-recsim")
    assert (explored["world"], ahead["world"]) == ("recsim", "recsim")
    assert not any(of["code"]["differs_from_commit"] for of in (explored, ahead))
    own = [(family, of) for family, of in explored["rules"].items() if family != explore.SHARED]
    lost = {name: explore.at_the_end(of) for family in own for name, of in named_alike(*family)}
    quality = lost.pop("by quality ")
    assert quality[2] < min(low for _, low, _ in lost.values())
    verdicts = [test["verdict"] for test in ahead["tests"] if test["pair"][1] == "discount 0"]
    assert len(verdicts) == len(long_term.DISCOUNTS) - 1
    assert verdicts == ["not significant"] * (len(verdicts) - 1) + ["worse"]  # the last is the largest
    always = {name: of["returns"][0] for name, of in ahead["policies"].items() if name.startswith("clickbait")}
    assert max(always, key=lambda name: always[name]) == "clickbait 1"


def named_alike(family: str, amounts: dict[str, Any]) -> list[tuple[str, Any]]:
    """Each rule of a family with its amount in its name."""
    return [(f"{family} {amount}", of) for amount, of in amounts.items()]


def test_the_page_of_fitted_users_is_of_its_record() -> None:
    record = read(RECORDS / "logged_users")
    assert record["code"]["differs_from_commit"] is False
    assert (RECORDS / "logged_users" / "README.md").read_text() == page(record)
    errors = record["calibration"]["scores"]
    assert errors["fitted users"]["log_loss"]["high"] < errors["the item's mean"]["log_loss"]["low"]


def test_training_on_fitted_users_pays_and_nearly_as_much_as_prediction() -> None:
    record = read(RECORDS / "before_after")
    assert record["code"]["differs_from_commit"] is False
    returns = {of["pair"][1]: of["verdict"] for of in record["tests"] if of["metric"] == "return"}
    assert (returns[before_after.BEFORE], returns["best predicted"]) == ("better", "worse")
    of_return = {name: of["metrics"]["return"]["mean"] for name, of in record["policies"].items()}
    assert of_return[before_after.AFTER] > 0.99 * of_return["best predicted"]


def test_a_correction_for_the_logs_policy_pays_and_goes_to_the_best_where_that_is_known() -> None:
    record = read(RECORDS / "reinforce")
    assert record["code"]["differs_from_commit"] is False
    for name, world in record["simulations"].items():
        assert (world["rewards"], world["log"], world["shown"]) == reinforce.WORLDS[name]
        pays = np.array(world["rewards"])
        for chances in world["learners"][reinforce.CORRECTED]:
            assert chances[int(pays.argmax())] > 0.99
        naive = np.array(world["log"]) * pays
        np.testing.assert_allclose(np.mean(world["learners"][reinforce.PLAIN], axis=0), naive / naive.sum(), atol=0.01)
    both = np.array(record["simulations"]["two at once"]["learners"][reinforce.TOP_K])
    assert both[:, :2].sum(axis=1).min() > 0.99
    # Where pi_1 and pi_2 share all there is, 10 (1 - pi_1) = 9 (1 - pi_2).
    np.testing.assert_allclose(both[:, 0], 10 / 19, atol=0.01)
    verdicts = {(*test["pair"], test["metric"]): test["verdict"] for test in record["tests"]}
    assert verdicts[reinforce.CORRECTED, reinforce.PLAIN, "return"] == "better"
    for metric in ("return", "clicks a slate", "likes a click"):
        assert verdicts[reinforce.TOP_K, reinforce.CORRECTED, metric] == "not significant"
    # Of today's learners: where their sessions are cut in training, which is before the users' own limit, among them.
    assert record["agent"] == to_json(reinforce.Options().agent)
    assert record["agent"]["length"] < record["world"]["budget"]
    raw = {i: test["p"] for i, test in enumerate(record["tests"])}
    assert [test["p_holm"] for test in record["tests"]] == pytest.approx(list(holm(raw).values()))


@pytest.mark.parametrize("name", ["offline_rl", "offline_rl_1m", "offline_rl_1m_gru4rec"])
def test_what_is_said_of_reinforcement_learning_follows_from_its_tests(name: str) -> None:
    folder = RECORDS / name
    record, value = read(folder), json.loads((folder / "value.json").read_text())
    assert record["code"]["differs_from_commit"] is False
    assert (folder / "table.md").read_text() == offline_rl.table(record)
    assert record["conclusion"] == offline_rl.conclusion(record["tests"])
    assert len({line["tuning"]["trials"] for line in record["systems"].values()}) == 1
    adjusted = holm({str(i): test["p"] for i, test in enumerate(record["tests"])})
    assert [test["p_holm"] for test in record["tests"]] == pytest.approx(list(adjusted.values()))
    assert set(record["systems"]) < set(value["values"])
    # In these users, as in the log, a recommender earns more than chance.
    chance = value["values"]["random"]["return"][2]
    assert all(value["values"][name]["return"][1] > chance for name in record["systems"])


@pytest.mark.parametrize("name", ["offline_rl", "offline_rl_1m_gru4rec"])
def test_what_is_said_of_reinforcement_learning_follows_from_its_runs(name: str) -> None:
    """Those that are on record with their values by user: every mean, and the paired difference, computed anew."""
    folder = RECORDS / name
    record, value = read(folder), json.loads((folder / "value.json").read_text())
    ndcg = {}
    for label, line in record["systems"].items():
        experiment = parse_experiment(line["experiment"])
        runs = [folder / "runs" / dataclasses.replace(experiment, seed=s + 1).name for s in range(record["seeds"])]
        per_user = [np.load(run / "per_user.npz") for run in runs]
        for metric in ("hr@10", "ndcg@10"):
            means = [of[f"full/{metric}"].mean(dtype=np.float64) for of in per_user]
            assert line["values"][metric]["by_seed"] == pytest.approx(means)
        earned = [np.load(next(run.glob("value-*.npz"))) for run in runs]
        assert {len(of["return"]) for of in earned} == {value["users"]}
        for metric in ("return", "clicks a slate", "likes a click"):
            means = [np.nanmean(of[metric]) for of in earned]
            assert value["by_seed"][label][metric] == pytest.approx(means)
        ndcg[label] = np.mean([of["full/ndcg@10"] for of in per_user], axis=0)
    for test in record["tests"]:
        if test["metric"] == "ndcg@10":
            first, second = (ndcg[label] for label in test["pair"])
            assert test["difference"] == pytest.approx((first - second).mean(), abs=1e-6)
