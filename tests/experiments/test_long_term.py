"""Choc and kale, on few users."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments import long_term
from experiments.long_term import chosen
from experiments.long_term import tests_of as compared
from rec_jax.errors import InputError


@pytest.mark.many_steps
def test_looking_ahead_pays_and_the_record_says_by_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(long_term, "DISCOUNTS", (0.0, 0.9))
    monkeypatch.setattr(long_term, "CONSTANT", (0.0, 1.0))
    agent = long_term.agent
    monkeypatch.setattr(long_term, "agent", lambda discount: replace(agent(discount), batch=128, remembered=300))
    sizes = ["--seeds", "1", "--steps", "40000", "--users", "500"]
    long_term.script([*sizes, "--out", str(tmp_path), "--runs", str(tmp_path / "trainings")])
    record = json.loads((tmp_path / "record.json").read_text())
    policies = record["policies"]
    # Chosen on users of their own: their returns are near those of the test users, and not the same.
    assert record["chosen"]["by"] == "validation users"
    assert record["chosen"]["best"] == list(chosen(record["chosen"]["returns"])) == record["tests"][-1]["pair"]
    for name, value in record["chosen"]["returns"].items():
        test = np.mean(policies[name]["returns"])
        assert value != test
        assert value == pytest.approx(test, rel=0.05)
    kale, choc = policies["clickbait 0"], policies["clickbait 1"]
    assert kale["returns"][0] > 1.1 * choc["returns"][0]
    # After many documents of clickbait c exposure is near -2 (c - .5) / (1 - .7), and satisfaction its sigmoid.
    for of in (kale, choc):
        shown = np.mean(of["over_time"]["clickbait"])
        wanted = 1 / (1 + math.exp(0.1 * 2 * (shown - 0.5) / 0.3))
        assert of["over_time"]["satisfaction"][-1] == pytest.approx(wanted, abs=0.01)
    ahead, now = (np.mean(policies[f"discount {d}"]["over_time"]["clickbait"][20:]) for d in ("0.9", "0"))
    assert ahead < now - 0.1
    assert len(policies["random"]["over_time"]["novelty"]) == 60
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    out = capsys.readouterr().out
    assert "discount 0.9 – discount 0" in out
    assert "best on 500 validation users: discount 0.9; of those always shown: clickbait 0" in out


def drawn(shift: dict[str, float], of_seed: float = 0.001) -> dict[str, np.ndarray]:
    """Returns [seeds users]: documents always shown have one seed, discounts three that lie apart."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=300)
    spread = of_seed * np.array([[-1.0], [0.0], [1.0]])
    return {
        name: base + by + rng.normal(0, 0.1, 300) + (spread if name.startswith("discount") else np.zeros((1, 1)))
        for name, by in shift.items()
    }


def test_tests_are_of_each_discount_and_of_the_ceiling() -> None:
    shift = {"random": -1.0, "clickbait 0": 2.0, "clickbait 1": 0.0, "discount 0": 0.0, "discount 0.9": 1.0}
    found = compared(drawn(shift), "discount 0.9", "clickbait 0")
    assert [test["pair"] for test in found] == [["discount 0.9", "discount 0"], ["discount 0.9", "clickbait 0"]]
    assert found[0]["low"] < 1 < found[0]["high"]
    assert found[1]["difference"] == pytest.approx(-1, abs=0.05)
    assert max(test["p_holm"] for test in found) < 0.01
    assert [test["verdict"] for test in found] == ["better", "worse"]


@pytest.mark.parametrize(("of_seed", "verdict"), [(0.001, "better"), (1.0, "not significant")])
def test_a_difference_counts_where_seeds_say_so_too(of_seed: float, verdict: str) -> None:
    """Three seeds of s apart, against three: the standard error is s sqrt(2 / 3), at four degrees of freedom."""
    shift = {"clickbait 0": 0.0, "discount 0": 0.0, "discount 0.9": 1.0}
    test = compared(drawn(shift, of_seed), "discount 0.9", "clickbait 0")[0]
    half = stats.t.ppf(0.975, 4) * of_seed * (2 / 3) ** 0.5
    assert test["over_seeds"] == pytest.approx([test["difference"] - half, test["difference"] + half])
    assert test["p"] < 0.05
    assert test["verdict"] == verdict


def test_the_best_are_chosen_by_validation_users_and_not_by_the_returns_that_are_tested() -> None:
    """On the test users discount .9 and clickbait 0 look best by chance; validation users say .5 and 1."""
    valid = {"clickbait 0": 1.0, "clickbait 1": 2.0, "discount 0": 3.0, "discount 0.5": 5.0, "discount 0.9": 4.0}
    assert chosen(valid) == ("discount 0.5", "clickbait 1")
    shift = {"clickbait 0": 9.0, "clickbait 1": 0.0, "discount 0": 0.0, "discount 0.5": 1.0, "discount 0.9": 7.0}
    found = compared(drawn(shift), *chosen(valid))
    assert found[-1]["pair"] == ["discount 0.5", "clickbait 1"]
    assert found[-1]["difference"] == pytest.approx(1, abs=0.05)


def test_nothing_to_learn_on_is_refused() -> None:
    with pytest.raises(InputError, match="--seeds 0"):
        long_term.script(["--seeds", "0"])
