"""Corrections on a small log, and the worlds without a state."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments import reinforce
from experiments.reinforce import CORRECTED, PLAIN, TOP_K
from rec_jax.errors import InputError
from tests.helpers import write_small_csv

FLAGS = ["--rating-column", "rating", "--time-column", "time", "--factors", "2", "--l2", "2"]
SMALL = ["--resamples", "20", "--layers", "8", "--users", "8", "--length", "4"]


def test_the_script_writes_what_its_tests_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reinforce, "UPDATES", 1500)
    log = write_small_csv(tmp_path / "log.csv")
    sizes = ["--steps", "3", "--seeds", "1", "--sessions", "64", "--out", str(tmp_path / "out")]
    sizes += ["--runs", str(tmp_path / "trainings"), "--devices", "2"]
    reinforce.script(["--data", str(log), *FLAGS, *SMALL, *sizes])
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    skewed, two = (record["simulations"][name]["learners"] for name in ("skewed", "two at once"))
    # In proportion to the log's chance times the reward; all to the best; shared by the best two.
    product = [(11 - i) * i for i in range(1, 11)]
    np.testing.assert_allclose(skewed[PLAIN][0], np.array(product) / sum(product), atol=0.03)
    assert skewed[CORRECTED][0][-1] > 0.97
    assert two[CORRECTED][0][0] > 0.97
    assert min(two[TOP_K][0][:2]) > 0.4
    assert sum(two[TOP_K][0][:2]) > 0.97
    assert [len(test["pair"]) for test in record["tests"]] == [2] * (len(reinforce.PAIRS) * len(reinforce.METRICS))
    assert record["machine"]["devices"] == 2
    assert len(list((tmp_path / "trainings").iterdir())) == 4
    assert set(record["policies"]) > {PLAIN, CORRECTED, TOP_K}
    assert (tmp_path / "out" / "plot.png").stat().st_size > 10_000
    assert "off-policy less no correction" in capsys.readouterr().out


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(InputError, match="--steps 0"):
        reinforce.script(["--steps", "0"])
    own, nothing = "each learner's correction is its own", "these users show no steps"
    for flags, reason in ((["--top-k", "3"], own), (["--no-corrected"], own), (["--torso", "gru"], nothing)):
        with pytest.raises(InputError, match=f"leave it out; {reason}"):
            reinforce.script(flags)
