"""Judging estimators on a small log in the data set's format, whose parts are known."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments import off_policy
from experiments.off_policy import RULE, OffPolicyExperiment, estimates, predicted, run
from papers_repro import kinds, records
from papers_repro.paper import Cell
from rec_jax.config import from_json, to_json
from rec_jax.data import open_bandit
from rec_jax.errors import InputError
from tests.data.test_open_bandit import HEADER

N, ARMS = 600, 4
QUICK = OffPolicyExperiment("dr", campaign="men", bootstraps=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 rounds of each policy: arm a is clicked with chance (a + 1) / 10, whatever the user."""
    top = tmp_path_factory.mktemp("data")
    folder = top / "open-bandit"
    folder.mkdir()
    for name in open_bandit.WHEEL.members.values():
        (folder / name).touch()
    items = ",item_id," + ",".join(f"item_feature_{i}" for i in range(4)) + "\n"
    items += "".join(f"{a},{a},{a / 10},{'abcd'[a]},u,{'xyxy'[a]}\n" for a in range(ARMS))
    (folder / open_bandit.PRIOR).write_text(
        "men:\n  alpha:\n    - 1\n    - 2\n    - 3\n    - 6\n  beta:\n    - 9\n    - 8\n    - 7\n    - 4\n"
    )
    for policy, chance in (("random", [0.25] * 4), ("bts", [0.01, 0.09, 0.2, 0.7])):
        rng = np.random.default_rng(len(policy))
        rows = [HEADER]
        for i in range(N):
            arm = rng.choice(ARMS, p=chance)
            click = int(rng.random() < (arm + 1) / 10)
            user = ",".join(rng.choice(["p", "q", "r"], 4))
            at = f"2019-11-24 00:{i // 60:02d}:{i % 60:02d}+00:00"
            rows.append(f"{i},{at},{arm},{rng.integers(1, 3)},{click},{chance[arm]},{user}")
        (folder / f"{policy}-men.csv").write_text("\n".join(rows) + "\n")
        (folder / f"{policy}-men-items.csv").write_text(items)
    return top


def test_the_model_does_not_see_the_round_that_it_predicts(data: Path) -> None:
    log = open_bandit.load("random", "men", data)
    with pytest.raises(InputError, match=f"--folds {len(log) + 1}: the log has"):
        predicted(log, dataclasses.replace(QUICK, folds=len(log) + 1))
    found = predicted(log, QUICK)
    assert found.shape == (N, ARMS)
    assert (np.diff(found.mean(axis=0)) > 0).all()  # the order of the arms is learnt
    changed = log.reward.copy()
    changed[0] = 1 - changed[0]
    other = predicted(open_bandit.BanditLog(**{**vars(log), "reward": changed}), QUICK)
    assert np.array_equal(found[0], other[0])
    assert not np.array_equal(found, other)
    nothing = predicted(open_bandit.BanditLog(**{**vars(log), "reward": np.zeros(N)}), QUICK)
    assert (nothing == 0).all()
    mean = predicted(log, OffPolicyExperiment(reward_model="mean"))
    same_fold = (mean == mean[0, 0]).all(axis=1)
    assert mean[0, 0] == log.reward[~same_fold].mean()


def test_estimates_are_the_sums_and_limits_are_candidates(data: Path) -> None:
    log = open_bandit.load("random", "men", data)
    chances = np.array([[0.1, 0.4], [0.2, 0.3], [0.3, 0.2], [0.4, 0.1]])
    found, limits = estimates(log, chances, QUICK, 50)
    by_hand = sum(
        chances[a][k] / 0.25 * r for a, k, r in zip(log.action.tolist(), log.position.tolist(), log.reward.tolist())
    )
    assert found["ips"].value == pytest.approx(by_hand / N)
    assert set(limits.values()) <= set(QUICK.limits)
    truth = sum(np.bincount(log.position)[k] / N * chances[a][k] * (a + 1) / 10 for a in range(4) for k in range(2))
    for of in found.values():
        assert of.value == pytest.approx(truth, abs=0.08)


def test_a_result_holds_the_errors_of_the_published_draws(data: Path) -> None:
    result, values = run(QUICK, data)
    error, truth = values[f"{RULE}/error"], open_bandit.load("bts", "men", data).reward.mean()
    assert len(error) == 4
    log = open_bandit.load("random", "men", data)
    alpha, beta = open_bandit.prior("men", data)
    chances = off_policy.place_chances(alpha, beta, 2)
    again, _ = estimates(log.rows(np.random.RandomState(2).choice(N, N)), chances, QUICK, 1)
    assert error[2] == pytest.approx(abs(again["dr"].value / truth - 1))
    of = result["metrics"][RULE]
    assert (of["error"]["mean"], of["sd"]["mean"]) == pytest.approx((error.mean(), error.std(ddof=1)))
    assert result["estimate"]["truth"] == truth
    second, _ = run(OffPolicyExperiment("switch-dr", campaign="men", bootstraps=4), data)
    assert len(second["estimate"]["limits"]) == 4
    json.dumps(second, allow_nan=False)


def test_estimated_propensities_are_shares_at_each_place_and_say_so(data: Path, tmp_path: Path) -> None:
    """Of a log that has none: what is read of the others does not count."""
    shutil.copytree(data, tmp_path / "data")
    path = tmp_path / "data" / "open-bandit" / "random-men.csv"
    path.write_text(path.read_text().replace("propensity_score", "weather", 1))
    asked = dataclasses.replace(QUICK, estimator="ips", propensities="estimated")
    result, _ = run(asked, tmp_path / "data")
    assert result["estimate"]["propensities"] == "estimated"
    assert "propensities are estimated, not logged" in result["estimate"]["warning"]
    log = open_bandit.load("random", "men", data)
    alpha, beta = open_bandit.prior("men", data)
    chances, pairs = off_policy.place_chances(alpha, beta, 2), list(zip(log.action.tolist(), log.position.tolist()))
    shown = [sum(place == k for _, place in pairs) for k in range(2)]
    by_hand = sum(chances[a][k] * shown[k] / pairs.count((a, k)) * r for (a, k), r in zip(pairs, log.reward.tolist()))
    assert result["estimate"]["value"] == pytest.approx(by_hand / N)
    assert asked.hash != QUICK.hash
    with pytest.raises(InputError, match="--propensities estimated"):
        run(dataclasses.replace(QUICK, seed=2), tmp_path / "data")


def test_a_record_is_of_its_kind(data: Path) -> None:
    stored = json.loads(json.dumps(to_json(QUICK)))
    assert kinds.parse(stored) == from_json(OffPolicyExperiment, stored) == QUICK
    assert kinds.kind_of(QUICK).unit == "bootstraps"
    assert records.matches({"experiment": stored, "seed": 1}, Cell("x", QUICK))
    assert not records.matches({"experiment": stored, "seed": 1}, Cell("x", OffPolicyExperiment("ips", "men")))
    assert records.choice_of("open_bandit", Cell("x", QUICK)) is None
    with pytest.raises(InputError, match="of no known kind"):
        kinds.parse({"seed": 1})


def test_the_command_prints_a_campaign(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--campaign", "men", "--bootstraps", "4", "--data-dir", str(data), "--out", str(tmp_path)]
    off_policy.script(flags)
    out = capsys.readouterr().out
    assert "campaign men" in out
    assert "sndr" in out
    assert len(list(tmp_path.glob("*.json"))) == 7


def test_bad_settings_are_told() -> None:
    with pytest.raises(InputError, match="--folds 1: expected at least 2"):
        OffPolicyExperiment(folds=1)
    with pytest.raises(InputError, match="no estimator 'drr': did you mean dr"):
        OffPolicyExperiment("drr")
    for limits in ((), (1.0, 0.0), (float("inf"),), (1.0, float("nan"))):
        with pytest.raises(InputError, match="expected finite numbers above 0"):
            OffPolicyExperiment(limits=limits)
