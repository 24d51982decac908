"""What recommenders learnt from a log earn in fitted users: by seed, tests over sessions and seeds, a small run."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments import offline_rl, offline_rl_value, readme
from experiments.offline_rl_value import METRICS, spread
from experiments.offline_rl_value import tests_of as compared
from rec_jax.errors import InputError
from rec_jax.evaluate.significance import holm
from tests.experiments.test_offline_rl import flags
from tests.helpers import small_columns

SEEDS, SESSIONS = 3, 400


def drawn(shift: dict[str, float], of_seed: float) -> dict[str, list[dict[str, np.ndarray]]]:
    """Systems that earn `shift` more than the model alone, and whose seeds lie apart by about `of_seed`."""
    rng = np.random.default_rng(0)
    user = rng.random(SESSIONS)

    def seeds(by: float) -> list[dict[str, np.ndarray]]:
        means = by + of_seed * stats.zscore(rng.random(SEEDS), ddof=1)
        return [{m: user + mean + rng.normal(0, 0.05, SESSIONS) for m in METRICS} for mean in means]

    return {"random": seeds(0.0)[:1], "sasrec supervised": seeds(0.0)} | {
        f"sasrec {method}": seeds(by) for method, by in shift.items()
    }


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline_rl_value, "RESAMPLES", 500)


@pytest.mark.parametrize(("of_seed", "verdict"), [(0.01, "better"), (0.5, "not significant")])
def test_a_difference_counts_where_sessions_and_seeds_both_say_so(of_seed: float, verdict: str) -> None:
    """The sessions of three seeds that lie far apart are as sure as those of seeds that agree; the seeds are not."""
    found = drawn({"sqn": 0.1}, of_seed)
    rows = compared(found)
    assert [(row["pair"], row["metric"]) for row in rows] == [(["sasrec sqn", "sasrec supervised"], m) for m in METRICS]
    for row in rows:
        ours, alone = ([of[row["metric"]] for of in found[name]] for name in row["pair"])
        difference = np.mean(ours, axis=0) - np.mean(alone, axis=0)
        assert row["difference"] == pytest.approx(difference.mean())
        assert row["low"] < row["difference"] < row["high"]
        assert row["p_holm"] < 0.05
        welch = stats.ttest_ind(np.mean(ours, axis=1), np.mean(alone, axis=1), equal_var=False)
        assert row["over_seeds"] == pytest.approx(list(welch.confidence_interval()))
        assert (row["over_seeds"][0] > 0) == (row["verdict"] == "better")
        assert row["verdict"] == verdict
    adjusted = holm({str(i): row["p"] for i, row in enumerate(rows)})
    assert [row["p_holm"] for row in rows] == pytest.approx(list(adjusted.values()))


def test_one_seed_has_no_spread_and_sessions_alone_decide() -> None:
    found = {name: seeds[:1] for name, seeds in drawn({"sqn": 0.1}, 0.01).items()}
    assert all((row["over_seeds"], row["verdict"]) == (None, "better") for row in compared(found))


def test_a_session_without_a_share_of_likes_is_left_out_of_both() -> None:
    found = drawn({"sqn": 0.1}, 0.01)
    whole = compared(found)[-1]
    found["sasrec supervised"][1][METRICS[-1]][:100] = np.nan
    row = compared(found)[-1]
    ours, alone = (np.mean([of[METRICS[-1]][100:] for of in found[name]], axis=0) for name in row["pair"])
    assert row["difference"] == pytest.approx((ours - alone).mean()) != whole["difference"]


def test_the_spread_is_that_of_the_seeds() -> None:
    record = {"by_seed": {"a": {"return": [1.0, 2.0, 4.0]}, "b": {"return": [1.0]}}}
    wanted = stats.t.ppf(0.975, 2) * np.std([1.0, 2.0, 4.0], ddof=1) / 3**0.5
    assert spread(record, "a", "return") == pytest.approx(wanted)
    assert spread(record, "b", "return") is None
    assert spread({}, "a", "return") is None  # a record of before values were kept by seed


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
    offline_rl_value.script([*of_runs, "--sessions", "64"])
    record = json.loads((out / "value.json").read_text())
    for name, of in record["by_seed"].items():
        for metric, seeds in of.items():
            assert len(seeds) == (1 if name in ("random", "popularity", "best predicted") else 2)
            if metric != METRICS[-1]:  # its sessions without a click are left out where either seed has one
                assert record["values"][name][metric][0] == pytest.approx(np.mean(seeds))
    assert len(set(record["by_seed"]["gru4rec sqn"]["return"])) == 2
    assert "±" in capsys.readouterr().out
    assert (out / "value.png").read_bytes().startswith(b"\x89PNG")

    monkeypatch.setattr(readme, "RECORDS", tmp_path)
    (tmp_path / "offline_rl").symlink_to(out)
    text = readme.offline_rl(json.loads((out / "record.json").read_text()))
    half = spread(record, "gru4rec sqn", "return")
    assert f"{record['values']['gru4rec sqn']['return'][0]:.2f} ±{half:.2f}" in text
    assert "both over sessions and over seeds" in text
    for of in record, *record["tests"]:  # as records were before
        of.pop("by_seed", None)
        of.pop("over_seeds", None)
    (out / "value.json").write_text(json.dumps(record))
    before = readme.offline_rl(json.loads((out / "record.json").read_text()))
    assert "over sessions and not over seeds" in before
    assert "±" not in before
    with pytest.raises(InputError, match=r"is not there; run experiments\.offline_rl with --runs"):
        offline_rl_value.script([*of_runs[:2], "--runs", str(tmp_path / "elsewhere")])
