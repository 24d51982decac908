"""Reinforcement learning from a log beside supervised training: metrics by hand, the verdict, a small run."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import offline_rl
from experiments.offline_rl import METRICS, conclusion, measured, pairs, verdicts
from rec_jax.errors import InputError
from rec_jax.evaluate.significance import pair_records
from rec_jax.files import read_json
from tests.helpers import write_small_csv


def test_metrics_by_hand() -> None:
    """Of three users, one hit at rank 1 that is not liked, one at rank 3 that is, one liked event that is missed."""
    hr, ndcg = np.array([1.0, 1.0, 0.0]), np.array([1.0, 1 / math.log2(4), 0.0])
    rating = np.array([2.0, 5.0, 4.0])
    found = measured(hr, ndcg, rating, (rating - 1) / 4, liked=4.0)
    assert list(found) == list(METRICS)
    assert np.nanmean(found["hr@10"]) == pytest.approx(2 / 3)
    assert np.nanmean(found["hr@10 liked"]) == pytest.approx(1 / 2)
    assert np.nanmean(found["ndcg@10 liked"]) == pytest.approx(0.25)
    assert np.nanmean(found["reward@10"]) == pytest.approx((0.25 + 1.0) / 3)


def drawn(shift: dict[str, float]) -> list[dict[str, Any]]:
    """Tests of systems that earn `shift` more than the model alone, of three seeds that are almost alike."""
    rng = np.random.default_rng(0)
    user = rng.random(400)

    def seeds(by: float) -> list[dict[str, np.ndarray]]:
        return [{m: user + by + rng.normal(0, 0.05, 400) for m in METRICS} for _ in range(3)]

    found = {"gru4rec supervised": seeds(0.0)} | {f"gru4rec {method}": seeds(by) for method, by in shift.items()}
    return pair_records(found, pairs(found), 500)


@pytest.mark.parametrize(
    ("shift", "text"),
    [
        ({"sqn": 0.0, "sac": 0.0}, "does not help here"),
        ({"sqn": 0.1, "sac": 0.0}, "helps in 5 of 10 comparisons here, and hurts in none"),
        ({"sqn": 0.0, "sac": -0.1}, "hurts in 5 of 10 comparisons here, and helps in none"),
        ({"sqn": 0.1, "sac": -0.1}, "helps in 5 and hurts in 5 of 10 comparisons"),
    ],
)
def test_the_conclusion_follows_from_the_tests(shift: dict[str, float], text: str) -> None:
    found = drawn(shift)
    assert len(found) == 10
    for row in found:
        by = shift[row["pair"][0].split()[1]]
        expected = "better" if by > 0 else "worse" if by < 0 else "not significant"
        assert row["verdict"] == expected
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["p"] <= row["p_holm"]
    told = conclusion(found)
    assert text in told
    for method, by in shift.items():
        of = [row for row in found if row["pair"][0].endswith(method)]
        metrics = ", ".join(f"{row['metric']} {row['difference']:+.4f}" for row in of)
        assert told.count(f"gru4rec {method} ({metrics})") == (by != 0)
        if by:
            assert f"; p at most {max(row['p_holm'] for row in of):.4f}." in told
    assert "sqn-constant" not in told
    assert "over seeds" in told
    alone = conclusion([row | {"over_seeds": None} for row in found])
    assert alone.startswith(told.split(".")[0])
    assert "of one seed each, its luck is in the difference." in alone
    assert "over seeds" not in alone


def test_what_a_second_loss_brings_is_told_apart_from_what_ratings_bring() -> None:
    """Both SQNs are better than the model alone, and alike: nothing is owed to the ratings."""
    found = drawn({"sqn": 0.1, "sqn-constant": 0.1, "sac": 0.0})
    assert [row["pair"] for row in found][:: len(METRICS)] == [
        ["gru4rec sqn", "gru4rec supervised"],
        ["gru4rec sqn-constant", "gru4rec supervised"],
        ["gru4rec sac", "gru4rec supervised"],
        ["gru4rec sqn", "gru4rec sqn-constant"],
    ]
    told = conclusion(found)
    assert "helps in 5 of 10 comparisons here" in told
    assert "All 10 are with the same model alone (gru4rec; sqn, sac; 5 metrics)" in told
    assert "Where every reward is 1 (sqn-constant), of 5 such comparisons 5 are better and 0 worse" in told
    assert "of 5 of sqn with sqn-constant, which are what ratings as rewards bring, 0 are better and 0 worse" in told
    assert verdicts(found)["gru4rec sqn", "ndcg@10"] == "better"  # not its test against sqn-constant


def flags(folder: Path) -> list[str]:
    log = write_small_csv(folder / "log.csv")
    named = {"data": log, "rating-column": "rating", "time-column": "time", "runs": folder / "runs", "bootstrap": 50}
    named |= {"models": "gru4rec", "methods": "sqn", "trials": 1, "seeds": 1, "epochs": 2, "out": folder / "out"}
    named |= {"max-length": 8, "batch-size": 16}
    return [*(str(word) for name, value in named.items() for word in (f"--{name}", value)), "--no-progress"]


def test_the_script_writes_what_its_tests_say_and_does_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offline_rl.script(flags(tmp_path))
    record = read_json(tmp_path / "out" / "record.json")
    assert list(record["systems"]) == ["gru4rec supervised", "gru4rec sqn"]
    for system in record["systems"].values():
        assert system["tuning"]["trials"] == 1
        assert system["experiment"]["loss"]["loss"] == "softmax"
        value = {metric: of["mean"] for metric, of in system["values"].items()}
        assert 0 < value["reward@10"] < value["hr@10"] <= 1
        assert system["reward_of_a_hit"] == pytest.approx(value["reward@10"] / value["hr@10"])
    assert len(record["tests"]) == len(METRICS)
    assert record["conclusion"] == conclusion(record["tests"])
    text = (tmp_path / "out" / "table.md").read_text()
    assert text == offline_rl.table(record)
    assert record["conclusion"] in text
    assert (tmp_path / "out" / "plot.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    offline_rl.script(flags(tmp_path))
    assert "trial" not in capsys.readouterr().out.partition("|")[0]
    again = read_json(tmp_path / "out" / "record.json")
    assert (again["systems"], again["tests"]) == (record["systems"], record["tests"])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--models", "mf"], "--objective next-item is not for mf"),
        (["--models", "gru4rec", "gru4rec"], "each once"),
        (["--trials", "0"], "--trials 0"),
        (["--methods", "sqn-constant"], "--methods sqn-constant: expected another beside it"),
        (["--k", "5"], "--k 5: expected 10"),
    ],
)
def test_options_that_cannot_be_meant(tmp_path: Path, extra: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        offline_rl.script([*flags(tmp_path), *extra])


def test_a_log_without_ratings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(
        "user,item,time\n" + "".join(f"{u},{i},{i}\n" for u in range(4) for i in range(5))
    )
    with pytest.raises(InputError, match="every rating is 1, so that no event is worth more"):
        offline_rl.script(["--data", str(tmp_path / "log.csv"), "--time-column", "time", "--batch-size", "2"])
