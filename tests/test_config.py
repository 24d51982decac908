"""Configuration: plain values, through JSON and back, with a hash."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from rec_jax.config import Experiment, Runtime, from_json, to_json
from rec_jax.errors import InputError
from rec_jax.registry import BASELINES, MODELS, experiment, parse_experiment


@pytest.mark.parametrize("model", [*BASELINES, *MODELS])
def test_configuration_round_trips_through_json(model: str) -> None:
    what = experiment(model, epochs=3)
    stored = json.loads(json.dumps(to_json(what)))
    assert parse_experiment(stored) == what
    assert from_json(Runtime, json.loads(json.dumps(to_json(Runtime(run_dir=Path("x")))))) == Runtime(run_dir=Path("x"))


def test_a_stored_configuration_without_a_newer_field_takes_its_default() -> None:
    stored = to_json(experiment("mf"))
    del stored["loss"]["exclude_positives"], stored["stopping"]["every"]
    assert parse_experiment(stored) == experiment("mf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "Experiment: has no field 'colour'"),
        ({"epochs": "many"}, "Experiment.epochs: expected int, got 'many'"),
        ({"model": "deepfm"}, "unknown model 'deepfm'"),
        ({"objective": "hinge"}, "unknown objective 'hinge'"),
        ({"protocol": {"split": "loo"}}, "Experiment.protocol.split: expected"),
    ],
)
def test_a_configuration_that_today_does_not_know(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_experiment(to_json(experiment("mf")) | change)


def test_hash_ignores_seed_and_epochs_and_sees_the_rest() -> None:
    base = experiment("neumf")
    same = dataclasses.replace(base, seed=9, epochs=99)
    assert base.hash == same.hash
    others = [
        dataclasses.replace(base, data="ml-1m"),
        dataclasses.replace(base, architecture=dataclasses.replace(base.architecture, factors=16)),
        dataclasses.replace(base, protocol=dataclasses.replace(base.protocol, split_seed=1)),
    ]
    assert len({base.hash, *(other.hash for other in others)}) == 4


def test_a_field_that_came_later_is_hashed_where_it_is_not_at_its_default() -> None:
    """By hand: HSTU's `tied`, the loss's `window` and a log's `signals` came when runs of HSTU had names."""
    base = experiment("hstu")
    stored = to_json(base)
    assert stored["architecture"].pop("tied") is True
    assert stored["loss"].pop("window") == "last"
    assert stored["columns"].pop("signals") == []
    before = {name: value for name, value in stored.items() if name not in ("seed", "epochs")}
    text = json.dumps(before, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert base.hash == hashlib.sha256(text.encode()).hexdigest()[:10]
    assert parse_experiment(stored) == base
    own = dataclasses.replace(base, architecture=dataclasses.replace(base.architecture, tied=False))
    assert own.hash != base.hash
    assert parse_experiment(to_json(own)) == own


def test_experiments_are_plain_values() -> None:
    base = experiment("neumf")
    assert base == experiment("neumf")
    with pytest.raises(dataclasses.FrozenInstanceError):
        base.seed = 2  # type: ignore[misc]
    assert isinstance(base, Experiment)
