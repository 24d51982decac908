"""The world of slates with a known truth: its value by drawing, and which estimators have a bias where."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments import off_policy_slates
from experiments.off_policy_slates import ARMS, BEHAVIOURS, KINDS, PLACES, TAKEN, made
from rec_jax.errors import InputError


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_the_truth_is_what_the_judged_policy_earns(behaviour: str) -> None:
    """Slates drawn from the judged policy, a user at a time, by the rules as the module tells them."""
    world, rng, n = made(1, 1.0), np.random.default_rng(0), 20_000
    kind = rng.integers(0, KINDS, n)
    below = np.cumsum(world.judged, axis=2)[kind]
    slate = np.minimum((rng.random((n, PLACES, 1)) >= below).sum(axis=2), ARMS - 1)
    earned = 0.0
    for s, items in zip(kind.tolist(), slate.tolist()):
        alone = [world.pleases[s, k, item] for k, item in enumerate(items)]
        for k, chance in enumerate(alone):
            others = {"independent": [], "cascade": alone[:k], "all": alone[:k] + alone[k + 1 :]}[behaviour]
            for other in others:
                chance = chance * (1 - TAKEN * other)
            earned += chance
    assert earned / n == pytest.approx(world.value(behaviour), abs=4 * PLACES / 2 / n**0.5)


def test_a_log_is_of_the_logging_policy() -> None:
    world, m = made(1, 1.0), 100_000
    log, judged = world.log(np.random.default_rng(1), m, "cascade")
    # Over all actions the judged policy's chance is 1, so that the mean weight of a place is 1.
    weights = judged / log.propensity
    assert np.abs(weights.mean(axis=0) - 1).max() < 5 * (weights.std(axis=0) / m**0.5).max()
    expected = np.mean([of @ log_of for of, log_of in zip(world.pleases[:, 0], world.logging[:, 0])])
    assert log.reward[:, 0].mean() == pytest.approx(expected, abs=4 * 0.5 / m**0.5)


def test_an_estimator_has_a_bias_where_users_do_more_than_it_takes_account_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--sizes", "3000", "--repetitions", "60", "--resamples", "20"]
    off_policy_slates.script([*sizes, "--out", str(tmp_path)])
    record = json.loads((tmp_path / "record.json").read_text())
    found = {name: of["estimators"] for name, of in record["behaviours"].items()}

    def biased(behaviour: str, estimator: str) -> float:
        of = found[behaviour][estimator]["3000"]
        return abs(of["bias"]) / of["bias_se"]

    for behaviour, free in {"independent": 3, "cascade": 2, "all": 1}.items():
        for estimator in ("sips", "rips", "iips")[:free]:
            assert biased(behaviour, estimator) < 4
        for estimator in ("sips", "rips", "iips")[free:]:
            assert biased(behaviour, estimator) > 4
    for of in found.values():
        assert of["iips"]["3000"]["sd"] < of["rips"]["3000"]["sd"] < of["sips"]["3000"]["sd"]
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    assert "coverage" in capsys.readouterr().out
    with pytest.raises(InputError, match="--repetitions 1"):
        off_policy_slates.script(["--repetitions", "1"])
