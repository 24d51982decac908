"""The world with a known truth: its value by drawing, and what the estimators' table must show."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments import off_policy_truth
from experiments.off_policy_truth import made, of_items
from rec_jax.errors import InputError


def test_the_truth_is_what_the_judged_policy_earns() -> None:
    world, rng = made(1, 1.0), np.random.default_rng(0)
    kind = rng.integers(0, len(world.rewards), 200_000)
    action = (rng.random(len(kind))[:, None] > np.cumsum(world.judged, axis=1)[kind]).sum(axis=1)
    earned = rng.random(len(kind)) < world.rewards[kind, np.minimum(action, 9)]
    assert earned.mean() == pytest.approx(world.value, abs=4 * (0.25 / len(kind)) ** 0.5)
    for policy in (world.logging, world.judged):
        np.testing.assert_allclose(policy.sum(axis=1), 1)


def test_logs_are_of_the_logging_policy_and_its_model_of_the_other_half() -> None:
    world = made(1, 1.0)
    kind, log = world.log(np.random.default_rng(1), 50_000)
    counted = np.zeros_like(world.logging)
    np.add.at(counted, (kind, log.action), 1)
    share = counted / counted.sum(axis=1, keepdims=True)
    assert np.abs(share - world.logging).max() < 5 * (0.25 / (50_000 / len(share))) ** 0.5
    np.testing.assert_array_equal(log.propensity, world.logging[kind, log.action])
    model, even = of_items(log), np.arange(50_000) % 2 == 0
    for arm in range(3):
        other = log.reward[~even & (log.action == arm)].mean()
        np.testing.assert_allclose(model[even, arm], other)
        assert len(np.unique(model[:, arm])) == 2


def test_the_model_keeps_its_bias_and_weighting_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--sizes", "100", "1600", "--repetitions", "40", "--resamples", "50"]
    off_policy_truth.script([*sizes, "--out", str(tmp_path)])
    found = json.loads((tmp_path / "record.json").read_text())["estimators"]
    assert abs(found["dm"]["1600"]["bias"]) > 5 * found["dm"]["1600"]["bias_se"]
    for name in ("ips", "dr"):
        assert abs(found[name]["1600"]["bias"]) < 4 * found[name]["1600"]["bias_se"]
        assert found[name]["1600"]["sd"] < 0.6 * found[name]["100"]["sd"]
        of = found[name]["1600"]
        assert of["rmse"] ** 2 == pytest.approx(of["bias"] ** 2 + of["sd"] ** 2 * 39 / 40)
    assert found["dm"]["1600"]["coverage"] < 0.2 < found["snips"]["1600"]["coverage"]
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    assert "coverage" in capsys.readouterr().out
    with pytest.raises(InputError, match="--repetitions 1"):
        off_policy_truth.script(["--repetitions", "1"])
