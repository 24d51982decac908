"""The fit, its record and its page on a small log, and what the page says of its numbers."""

import copy
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import logged_users
from experiments.logged_users import FIXED, ranked
from experiments.logged_users_page import page
from rec_jax.errors import InputError
from rec_jax.simulate.fitting import load_fitted
from tests.helpers import write_small_csv
from tests.simulate.test_logged_users import WORLD, tired

FLAGS = ["--rating-column", "rating", "--time-column", "time", "--factors", "2", "--l2", "2", "5", "--resamples", "20"]


def test_fixed_policies_rank_by_what_they_say() -> None:
    seen, act = jax.jit(WORLD.observe)(tired(WORLD)), jax.jit(ranked(WORLD))
    for name, scores in (("popularity", WORLD.popular(seen)), ("best predicted", WORLD.predicted(seen))):
        slates = act(jnp.asarray(FIXED[name], jnp.float32), jax.random.key(0), seen)
        np.testing.assert_array_equal(slates, np.argsort(-np.asarray(scores), axis=1, kind="stable")[:, :3])
    first = act(jnp.asarray(FIXED["random"], jnp.float32), jax.random.key(0), seen)
    assert not np.array_equal(first, act(jnp.asarray(FIXED["random"], jnp.float32), jax.random.key(1), seen))
    # 'varied': the prediction less half a unit for the genres of the last clicks.
    state = tired(WORLD)
    genres, scores = WORLD.fitted.genres[np.asarray(state.items)], np.asarray(WORLD.predicted(seen))
    wanted = scores - 0.5 * np.einsum("ng,ncg->nc", np.asarray(state.recent), genres)
    slates = act(jnp.asarray(FIXED["varied"], jnp.float32), jax.random.key(0), seen)
    np.testing.assert_array_equal(slates[:, 0], wanted.argmax(axis=1))


def test_worlds_differ_by_one_assumption() -> None:
    found = logged_users.worlds(WORLD.fitted)
    assert found["boredom doubled"].bored == pytest.approx(2 * 0.8)
    assert found["drift halved"].drawn == pytest.approx(0.25)
    assert found["position bias doubled"].eta == 2
    assert len({(w.bored, w.drawn, w.eta, w.appeal, w.temper) for w in found.values()}) == len(found)


def test_the_script_writes_record_plot_page_and_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    every = logged_users.worlds

    def two(fitted: Any) -> Any:
        return {name: every(fitted)[name] for name in ("as fitted", "position bias doubled")}

    monkeypatch.setattr(logged_users, "worlds", two)
    csv, out, tables = write_small_csv(tmp_path / "small.csv"), tmp_path / "out", tmp_path / "tables"
    logged_users.script(["--data", str(csv), *FLAGS, "--users", "30", "--out", str(out), "--tables", str(tables)])
    record = json.loads((out / "record.json").read_text())
    assert (out / "README.md").read_text() == page(record)
    assert (out / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert load_fitted(tables).item.shape == (20, 2)
    assert set(record["sensitivity"]["as fitted"]) == set(FIXED)
    assert record["boredom"]["source"] == "declared"  # ratings at random, and no genres
    said = page(record)
    assert "declared, since the log's interval does not lie above 0" in said
    assert "written to" in capsys.readouterr().out
    # The page follows the numbers, not the other way round.
    other = copy.deepcopy(record)
    of = {"random": 1.0, "popularity": 2.0, "best predicted": 3.0}
    for world in other["sensitivity"].values():
        for name, mean in of.items():
            world[name]["return"]["mean"] = mean
        world["varied"]["less_best_predicted"] |= {"difference": 1.0, "low": 0.5, "high": 1.5}
    assert "best predicted > popularity > random is the same in all 2 worlds" in page(other)
    assert "Whether variety pays does not hang on them: it gains in: as fitted, position bias doubled." in page(other)
    other["sensitivity"]["position bias doubled"]["random"]["return"]["mean"] = 9.0
    assert "as fitted, and another in: position bias doubled." in page(other)


def test_bad_input_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--users 1"):
        logged_users.script(["--users", "1"])
    csv = write_small_csv(tmp_path / "small.csv")
    with pytest.raises(InputError, match="every rating is 1; users can only be fitted to a log that says"):
        logged_users.script(["--data", str(csv), "--out", str(tmp_path)])
