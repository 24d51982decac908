"""Policies trained and scored by the script, on few users."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from experiments import policy
from experiments.policy import RULE, PolicyExperiment
from papers_repro import records
from papers_repro.paper import Cell
from rec_jax.config import from_json, to_json
from rec_jax.errors import InputError
from rec_jax.files import read_lines
from rec_jax.policies.fixed import random_slates
from rec_jax.policies.slateq import SlateQ
from rec_jax.randomness import device_key
from rec_jax.simulate.episodes import many_episodes
from tests.tracking.offline import complete, history

SMALL = SlateQ(layers=(8,), users=8, batch=16, remembered=60, warmup=20)
QUICK = PolicyExperiment("QL-TT-GS", SMALL, steps=800, every=400, test_users=50, valid_users=20)


def test_a_policy_is_trained_validated_and_scored_once() -> None:
    told = list[dict[str, float]]()
    result, per_user = policy.run(QUICK, told.append)
    assert [point["steps"] for point in told] == [400, 800]
    assert result["training"]["curve"] == told
    assert result["test_scored"] == 1
    assert per_user[f"{RULE}/return"].shape == (50,)
    assert result["metrics"][RULE]["return"]["mean"] == pytest.approx(per_user[f"{RULE}/return"].mean())
    again, same = policy.run(QUICK)
    assert again["metrics"] == result["metrics"]
    np.testing.assert_array_equal(same[f"{RULE}/return"], per_user[f"{RULE}/return"])


def test_the_interval_of_quality_is_that_of_a_ratio() -> None:
    """Against a bootstrap that draws users and divides anew each time."""
    world, act = PolicyExperiment("random").world, partial(random_slates, k=3)
    found = policy.scored(world, act, None, "valid", 400)
    session = many_episodes(world, act, None, device_key(0, "valid"), 400)
    quality, clicks = (np.asarray(of, np.float64) for of in (session.signals["quality"], session.clicks))
    assert found["quality"].mean() == pytest.approx(quality.sum() / clicks.sum(), abs=1e-5)
    drawn = np.random.default_rng(0).integers(0, 400, (4000, 400))
    ratios = quality[drawn].sum(axis=1) / clicks[drawn].sum(axis=1)
    assert found["quality"][drawn].mean(axis=1).std() == pytest.approx(ratios.std(), rel=0.03)
    assert (quality / clicks.mean())[drawn].mean(axis=1).std() != pytest.approx(ratios.std(), rel=0.03)


def test_devices_share_users_and_a_training_goes_on_with_as_many(tmp_path: Path) -> None:
    def cut(scores: dict[str, float]) -> None:
        if scores["steps"] == 800:
            raise CutOffError

    with pytest.raises(CutOffError):
        policy.run(QUICK, cut, tmp_path, devices=2)
    with pytest.raises(InputError, match="begun on 2 device"):
        policy.run(QUICK, folder=tmp_path)
    result, _ = policy.run(QUICK, folder=tmp_path, devices=2)
    whole, _ = policy.run(QUICK, devices=2)
    assert result["training"] == whole["training"]
    assert result["metrics"] == whole["metrics"]
    assert result["machine"]["devices"] == 2
    alone, _ = policy.run(QUICK)
    assert alone["training"]["curve"] != whole["training"]["curve"]
    with pytest.raises(InputError, match="users 8 cannot be shared evenly by 3 devices"):
        policy.run(QUICK, devices=3)


class CutOffError(Exception):
    pass


def test_a_training_cut_off_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    def cut(scores: dict[str, float]) -> None:
        if scores["steps"] == 800:  # told before it is saved
            raise CutOffError

    with pytest.raises(CutOffError):
        policy.run(QUICK, cut, tmp_path)
    assert [point["steps"] for point in read_lines(tmp_path / "curve.jsonl")] == [400]
    told = list[dict[str, float]]()
    result, _ = policy.run(QUICK, told.append, tmp_path)
    assert [point["steps"] for point in told] == [800]
    whole, _ = policy.run(QUICK)
    assert result["training"] == whole["training"]
    assert result["metrics"] == whole["metrics"]


def test_the_name_says_how_slateq_learns_and_the_record_is_the_cells() -> None:
    assert (QUICK.agent.rule, QUICK.agent.target, QUICK.agent.serve) == ("q", "T", "G")
    stored = json.loads(json.dumps(to_json(QUICK)))
    assert from_json(PolicyExperiment, stored) == QUICK
    record = {"experiment": stored, "seed": 1}
    assert records.matches(record, Cell("x", QUICK))
    assert not records.matches(record, Cell("x", PolicyExperiment("QL-TT-TS", SMALL, steps=800)))
    assert records.choice_of("slateq", Cell("x", QUICK)) is None


def test_the_command_writes_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy.script(["interest", "--test-users", "40", "--runs", str(tmp_path), "--wandb", "off"])
    (path,) = tmp_path.glob("*/result.json")
    stored = json.loads(path.read_text())
    assert stored["metrics"][RULE]["return"]["low"] < stored["metrics"][RULE]["return"]["high"]
    assert "40 test users" in capsys.readouterr().out
    assert stored["test_scored"] == 1
    policy.script(["interest", "--test-users", "40", "--runs", str(tmp_path), "--wandb", "off", "--resume"])
    assert json.loads(path.read_text())["test_scored"] == 2
    with pytest.raises(InputError, match="holds a run already; continue it with --resume"):
        policy.script(["interest", "--test-users", "40", "--runs", str(tmp_path)])
    with pytest.raises(InputError, match="users 32 cannot be shared evenly by 3 devices"):
        policy.script(["QL-TT-TS", "--devices", "3", "--runs", str(tmp_path), "--wandb", "off"])
    with pytest.raises(InputError, match="slate 11: expected from 1 to 10"):
        policy.script(["random", "--slate", "11", "--runs", str(tmp_path), "--wandb", "off"])
    assert len(list(tmp_path.iterdir())) == 1  # nothing half-begun is left


@pytest.mark.filterwarnings("ignore")  # W&B's own start-up leaves warnings of its own behind
def test_wandb_is_told_how_learning_goes(tmp_path: Path) -> None:
    flags = "--layers 8 --users 8 --batch 16 --remembered 60 --warmup 20 --steps 800 --every 400 --test-users 50"
    policy.script(["QL-TT-GS", *flags.split(), "--valid-users", "20", "--runs", str(tmp_path), "--wandb", "offline"])
    (folder,) = tmp_path.iterdir()
    (logged,) = (folder / "wandb").rglob("*.wandb")
    rows = history(complete(logged))
    kept = [point["return"] for point in read_lines(folder / "curve.jsonl")]
    assert [row["valid/return"] for row in rows] == pytest.approx(kept)
    assert len(kept) == 2


def test_bad_flags_are_told() -> None:
    with pytest.raises(InputError, match="no policy 'QL-OTGS': did you mean QL-OT-GS"):
        PolicyExperiment("QL-OTGS")
    with pytest.raises(InputError, match="--test-users 0"):
        PolicyExperiment("random", test_users=0)
    with pytest.raises(InputError, match="--torso gru --remember 0: a torso reads what is remembered"):
        PolicyExperiment("QL-OT-GS", SlateQ(torso="gru"))
    with pytest.raises(InputError, match="--remember -1"):
        PolicyExperiment("random", remember=-1)
    with pytest.raises(InputError, match="--rule sarsa: QL-OT-GS has 'q'; leave it out, or name another policy"):
        PolicyExperiment("QL-OT-GS", SlateQ(rule="sarsa"))
    with pytest.raises(InputError, match="slate 11: expected from 1 to 10"):
        policy.run(PolicyExperiment("random", slate=11))
