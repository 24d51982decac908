"""What recommenders learnt from a log earn in fitted users: a small run, and how far seeds lie apart."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments import offline_rl, offline_rl_value, readme
from experiments.offline_rl_value import METRICS, spread
from rec_jax.errors import InputError
from tests.experiments.test_offline_rl import flags
from tests.helpers import small_columns


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline_rl_value, "RESAMPLES", 500)


def test_the_spread_is_that_of_the_seeds() -> None:
    record = {"by_seed": {"a": {"return": [1.0, 2.0, 4.0]}, "b": {"return": [1.0]}}}
    wanted = stats.t.ppf(0.975, 2) * np.std([1.0, 2.0, 4.0], ddof=1) / 3**0.5
    assert spread(record, "a", "return") == pytest.approx(wanted)
    assert spread(record, "b", "return") is None


def test_the_script_keeps_values_by_seed_and_shows_their_spread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = flags(tmp_path)
    given[given.index("--seeds") + 1] = "2"
    columns = small_columns()
    # Some items are better than others, or no slate would be; not for certain, or their fit would have no end.
    noise = np.random.default_rng(1).integers(-1, 2, len(columns["item"]))
    columns["rating"] = np.clip(1.0 + columns["item"] % 5 + noise, 1, 5)
    rows = zip(*(columns[name].tolist() for name in ("user", "item", "rating", "time")))
    lines = ["user,item,rating,time", *(",".join(map(str, row)) for row in rows)]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    offline_rl.script(given)
    out = tmp_path / "out"
    of_runs = ["--record", str(out / "record.json"), "--runs", str(tmp_path / "runs")]
    offline_rl_value.script([*of_runs, "--sessions", "64", "--candidates", "7", "--budget", "5"])
    record = json.loads((out / "value.json").read_text())
    # What is there is not found out again: a run's parameters are not even needed for it.
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/value-*.npz")}
    assert len(kept) == sum(len(of["return"]) for of in record["by_seed"].values()) - 3
    for folder in (tmp_path / "runs").glob("*/checkpoints"):
        shutil.rmtree(folder)
    offline_rl_value.script([*of_runs, "--sessions", "64", "--candidates", "7", "--budget", "5"])
    assert json.loads((out / "value.json").read_text())["values"] == record["values"]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    with pytest.raises(InputError, match="has no checkpoint yet"):
        offline_rl_value.script([*of_runs, "--sessions", "32", "--candidates", "7", "--budget", "5"])
    for name, of in record["by_seed"].items():
        for metric, seeds in of.items():
            assert len(seeds) == (1 if name in ("random", "popularity", "best predicted") else 2)
            if metric != METRICS[-1]:  # users without a click are left out where they have none under either seed
                assert record["values"][name][metric][0] == pytest.approx(np.mean(seeds))
    assert len(set(record["by_seed"]["gru4rec sqn"]["return"])) == 2
    assert "±" in capsys.readouterr().out
    assert (out / "value.png").read_bytes().startswith(b"\x89PNG")

    monkeypatch.setattr(readme, "RECORDS", tmp_path)
    (tmp_path / "offline_rl").symlink_to(out)
    text = readme.offline_rl("offline_rl")(json.loads((out / "record.json").read_text()))
    half = spread(record, "gru4rec sqn", "return")
    assert f"{record['values']['gru4rec sqn']['return'][0]:.2f} ±{half:.2f}" in text
    assert "both over users and over seeds" in text
    with pytest.raises(InputError, match=r"is not there; run experiments\.offline_rl with --runs"):
        offline_rl_value.script([*of_runs[:2], "--runs", str(tmp_path / "elsewhere")])
