"""A user's events, one by one: the same recommendations as for the whole history."""

from pathlib import Path

import pytest

from rec_jax.errors import InputError
from rec_jax.recommend import Saved, load, recommend_to_history
from rec_jax.run import run
from rec_jax.streaming import Follower
from tests.helpers import quick, small_experiment, write_small_csv

ITEMS = ["4", "0", "7", "4", "11", "6", "9", "3", "14", "1", "12"]  # 4 comes again


def saved(folder: Path, model: str) -> Saved:
    folder.mkdir(exist_ok=True)
    run(small_experiment(write_small_csv(folder / "log.csv"), model, epochs=2), quick(folder / "run"))
    return load(folder / "run")


@pytest.mark.parametrize("model", ["sasrec", "gru4rec"])
def test_following_events_is_reading_the_history(tmp_path: Path, model: str) -> None:
    """SASRec reads the last 8 events: beyond them it reads again; GRU4Rec follows without end."""
    run_ = saved(tmp_path, model)
    follower = Follower(run_)
    with pytest.raises(InputError, match="no event was observed yet"):
        follower.recommend()
    for count, item in enumerate(ITEMS, 1):
        follower.observe(item, 60 * count)
        if model == "gru4rec" and count > 8:
            continue  # the whole history, where reading it takes the last 8
        found, expected = follower.recommend(4), recommend_to_history(run_, ITEMS[:count], 4)
        assert [r.item for r in found] == [r.item for r in expected]
        assert [r.score for r in found] == pytest.approx([r.score for r in expected], rel=1e-4)
        assert not {r.item for r in found} & set(ITEMS[:count])


def test_what_cannot_be_followed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mf cannot follow events one by one"):
        Follower(saved(tmp_path / "a", "mf"))
    follower = Follower(saved(tmp_path / "b", "gru4rec"))
    follower.observe("3", 100)
    with pytest.raises(InputError, match="time 99: the last event was at 100"):
        follower.observe("4", 99)
    follower.observe("4")  # at an unknown time
    with pytest.raises(InputError, match="time 99: the last event was at 100"):
        follower.observe("5", 99)
    with pytest.raises(InputError, match="'x'"):
        follower.observe("x", 101)
