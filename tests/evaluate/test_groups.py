"""Groups of users against the raw attributes; gaps between them against values computed by hand."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest

from rec_jax.data.interactions import Dataset, build_dataset
from rec_jax.data.splits import Split, leave_one_out
from rec_jax.errors import InputError
from rec_jax.evaluate.groups import group_gaps, user_groups
from tests.helpers import log_of


def test_gaps_between_groups_by_hand() -> None:
    values = np.array([0.2, 0.4, 0.9, 1.0, math.nan, 0.0])
    found = group_gaps(values, np.array(["M", "M", "F", "", "F", "X"]))
    assert found.size == {"F": 1, "M": 2, "X": 1}
    assert found.mean == pytest.approx({"F": 0.9, "M": 0.3, "X": 0.0}, rel=1e-12)
    assert found.gap == pytest.approx(0.9, rel=1e-12)
    assert group_gaps(values, np.array(["M", "M", "", "", "F", ""])).gap == 0.0  # only one group is left


def test_groups_that_do_not_fit_the_values() -> None:
    with pytest.raises(InputError, match=r"groups of shape \(2,\): expected one label for each of 3 values"):
        group_gaps(np.zeros(3), np.array(["a", "b"]))
    with pytest.raises(InputError, match="none of the 2 users has both a label and a defined value"):
        group_gaps(np.array([1.0, math.nan]), np.array(["", "a"]))


def test_real_users_in_groups(ml_100k: Dataset) -> None:
    """Against the raw attributes, user by user; terciles against their definition."""
    split = leave_one_out(ml_100k)
    groups = user_groups(split)
    assert groups.keys() == {"activity", "gender", "age"}
    assert Counter(groups["gender"].tolist()) == {"M": 670, "F": 273}
    for written, label in zip(ml_100k.user_attributes["age"].tolist(), groups["age"].tolist()):
        low, high = {"under 18": (0, 17), "55+": (55, 200)}.get(label) or map(int, label.split("-"))
        assert low <= int(written) <= high
    assert len(set(groups["age"].tolist())) == 6
    events = Counter(split.train.user.tolist())
    rows = {
        label: [events[u] for u in range(943) if groups["activity"][u] == label] for label in ("low", "medium", "high")
    }
    assert max(rows["low"]) < min(rows["medium"]) <= max(rows["medium"]) < min(rows["high"])
    assert sum(map(len, rows.values())) == 943
    assert len(rows["low"]) >= 943 / 3 > sum(e < max(rows["low"]) for e in rows["low"])
    up_to_medium = rows["low"] + rows["medium"]
    assert len(up_to_medium) >= 943 * 2 / 3 > sum(e < max(rows["medium"]) for e in up_to_medium)


def test_codes_and_unknown_values() -> None:
    """The codes of MovieLens-1M, ages in years, and what is no age; a user without events has no activity."""
    ages = ["1", "18", "25", "35", "45", "50", "56", "17", "24", "54", "55", "30.0", "", "0", "unknown", "18-24"]
    wanted = "under 18,18-24,25-34,35-44,45-54,45-54,55+,under 18,18-24,45-54,55+,25-34,,,,".split(",")  # noqa: SIM905
    m = len(ages)
    columns = {"user": np.arange(m), "item": np.arange(m), "rating": np.ones(m), "time": np.zeros(m, np.int64)}
    users = {str(u): {"age": age, "gender": ""} for u, age in enumerate(ages)}
    data = build_dataset("codes", columns, users=users)
    events = [(u, i) for u in range(1, 10) for i in range(u)]  # users 1 to 9 have as many events
    split = Split(data, log_of(events), log_of([]), log_of([(0, 0)]), "codes")
    found = user_groups(split)
    assert found.keys() == {"activity", "age"}  # no gender is known
    assert found["age"].tolist() == wanted
    assert found["activity"].tolist() == ["", *["low"] * 3, *["medium"] * 3, *["high"] * 3, *[""] * 6]


def test_users_of_equal_activity_share_a_group(small: Dataset) -> None:
    split = leave_one_out(small)
    split = dataclasses.replace(split, train=log_of([(u, i) for u in range(30) for i in range(4 if u < 25 else 7)]))
    found = user_groups(split)
    assert found.keys() == {"activity"}
    assert Counter(found["activity"].tolist()) == {"low": 25, "high": 5}
