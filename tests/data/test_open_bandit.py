"""Logged bandits: the format by hand, what is refused, and the prior's few lines of YAML."""

import re
from pathlib import Path

import numpy as np
import pytest

from rec_jax.data import open_bandit
from rec_jax.data.open_bandit import WHEEL, read, read_prior
from rec_jax.errors import InputError

HEADER = ",timestamp,item_id,position,click,propensity_score," + ",".join(f"user_feature_{i}" for i in range(4))
ROWS = [
    "1,2019-11-24 00:00:20.5+00:00,2,3,1,0.25,b,x,m,q",
    "0,2019-11-24 00:00:10+00:00,0,1,0,0.5,a,x,m,q",
    "2,2019-11-24 00:00:30+00:00,1,2,0,1,c,y,m,q",
]
ITEMS = """,item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3
0,2,-0.5,k,u,f
1,0,1.5,l,u,g
2,1,0.25,k,t,e
"""
PRIOR = (
    "all:\n  alpha:\n    - 47.0\n    - 8.0\n  beta:\n    - 12198.0\n    - 3566.0\nmen:\n  alpha:\n    - 1\n  beta:\n"
)


def written(folder: Path, rows: list[str], header: str = HEADER) -> tuple[Path, Path]:
    log, items = folder / "log.csv", folder / "items.csv"
    log.write_text("\n".join([header, *rows]) + "\n")
    items.write_text(ITEMS)
    return log, items


def test_a_log_is_columns_in_the_order_of_time(tmp_path: Path) -> None:
    log = read(*written(tmp_path, ROWS))
    assert log.action.tolist() == [0, 2, 1]
    assert log.position.tolist() == [0, 2, 1]
    assert log.reward.tolist() == [0, 1, 0]
    assert log.propensity.tolist() == [0.5, 0.25, 1]
    assert np.diff(log.time).tolist() == [10, 10]
    # b, c of the first feature (a is the one left out), y of the second; the others have one value.
    assert log.context.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 1]]
    assert log.items.tolist() == [[1, 1, 2, 1.5], [0, 0, 0, 0.25], [0, 1, 1, -0.5]]
    twice = log.rows(np.array([2, 2, 0, 1]))
    assert (len(twice), twice.action.tolist(), twice.items is log.items) == (4, [1, 1, 0, 2], True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",0.25,", ",,", "log.csv, line 2, field 'propensity_score': is empty"),
        (",0.25,", ",0,", "line 2, field 'propensity_score': expected a chance above 0"),
        (",0.25,", ",1.5,", "line 2, field 'propensity_score': expected a number from 0 to 1, got '1.5'"),
        (",1,0.25", ",2,0.25", "line 2, field 'click': expected a number from 0 to 1"),
        (",2,3,1", ",3,3,1", "line 2, field 'item_id': expected an item of items.csv, 0 to 2, got 3"),
        (",2,3,1", ",-1,3,1", "line 2, field 'item_id': expected a whole number from 0"),
        (",2,3,1", ",2,0,1", "line 2, field 'position': expected a whole number from 1"),
        ("00:00:20.5+00:00", "noon", "line 2, field 'timestamp'"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read(*written(tmp_path, [ROWS[0].replace(old, new), *ROWS[1:]]))


def test_a_log_without_propensities_is_refused(tmp_path: Path) -> None:
    paths = written(tmp_path, ROWS, HEADER.replace("propensity_score", "weather"))
    with pytest.raises(InputError, match="line 1: no column 'propensity_score': a log without the actions' prob"):
        read(*paths)
    with pytest.raises(InputError, match="has no column 'click'"):
        read(*written(tmp_path, ROWS, HEADER.replace("click", "tap")))
    (tmp_path / "items.csv").write_text(ITEMS.replace("2,1,0.25", "2,5,0.25"))
    with pytest.raises(InputError, match="field 'item_id': expected 0 to 2, each once"):
        read(*paths)


def test_what_lies_there_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "open-bandit"
    folder.mkdir()
    for name in WHEEL.members.values():
        (folder / name).touch()
    log, items = written(tmp_path, ROWS)
    (folder / "bts-men.csv").write_bytes(log.read_bytes())
    (folder / "bts-men-items.csv").write_bytes(items.read_bytes())
    (folder / open_bandit.PRIOR).write_text(PRIOR)
    monkeypatch.setattr("subprocess.run", lambda *a, **k: pytest.fail("asked the network"))
    assert len(open_bandit.load("bts", "men", tmp_path)) == 3
    alpha, beta = open_bandit.prior("all", tmp_path)
    assert (alpha.tolist(), beta.tolist()) == ([47, 8], [12198, 3566])
    assert len(WHEEL.members) == 13


@pytest.mark.parametrize(
    ("text", "campaign", "message"),
    [
        (PRIOR, "women", "has no campaign 'women'; there are all, men"),
        (PRIOR, "men", "men: 1 alpha and 0 beta"),
        (PRIOR.replace("8.0", "-8"), "all", "line 4: expected a number above 0, got '-8'"),
        (PRIOR.replace("8.0", "!!python/object:os.system x"), "all", "line 4: expected a number above 0"),
        (PRIOR.replace("  beta:", "  gamma:"), "all", "line 5: expected 'NAME:'"),
        ("    - 1\n", "all", "line 1: expected 'NAME:'"),
    ],
)
def test_other_lines_of_yaml_are_refused(tmp_path: Path, text: str, campaign: str, message: str) -> None:
    path = tmp_path / "prior.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        read_prior(path, campaign)
