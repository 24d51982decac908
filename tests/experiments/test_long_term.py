"""Choc and kale, on few users."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from experiments import long_term
from experiments.long_term import chosen
from experiments.long_term import tests_of as compared
from rec_jax.errors import InputError


def test_looking_ahead_pays_and_the_record_says_by_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(long_term, "DISCOUNTS", (0.0, 0.9))
    monkeypatch.setattr(long_term, "CONSTANT", (0.0, 1.0))
    long_term.script(["--seeds", "1", "--steps", "40000", "--users", "500", "--out", str(tmp_path)])
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


def test_tests_are_of_each_discount_and_of_the_ceiling() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=300)
    returns = {
        "clickbait 0": base + 2,
        "clickbait 1": base,
        "discount 0": base,
        "discount 0.9": base + rng.normal(1, 0.1, 300),
    }
    found = compared(returns, "discount 0.9", "clickbait 0")
    assert [test["pair"] for test in found] == [["discount 0.9", "discount 0"], ["discount 0.9", "clickbait 0"]]
    assert found[0]["low"] < 1 < found[0]["high"]
    assert found[1]["difference"] == pytest.approx(-1, abs=0.05)
    assert max(test["p"] for test in found) < 0.01


def test_the_best_are_chosen_by_validation_users_and_not_by_the_returns_that_are_tested() -> None:
    """On the test users discount .9 and clickbait 0 look best by chance; validation users say .5 and 1."""
    valid = {"clickbait 0": 1.0, "clickbait 1": 2.0, "discount 0": 3.0, "discount 0.5": 5.0, "discount 0.9": 4.0}
    assert chosen(valid) == ("discount 0.5", "clickbait 1")
    base = np.random.default_rng(0).normal(size=300)
    returns = {"clickbait 0": base + 9, "clickbait 1": base, "discount 0": base, "discount 0.5": base + 1}
    found = compared(returns | {"discount 0.9": base + 7}, *chosen(valid))
    assert found[-1]["pair"] == ["discount 0.5", "clickbait 1"]
    assert found[-1]["difference"] == pytest.approx(1)


def test_nothing_to_learn_on_is_refused() -> None:
    with pytest.raises(InputError, match="--seeds 0"):
        long_term.script(["--seeds", "0"])
