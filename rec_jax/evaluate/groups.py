"""How a metric differs between groups of users: by activity, gender and age.

Checked against values computed by hand and the raw attributes, user by user (tests/evaluate/test_groups.py).
"""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rec_jax.data.splits import Split
from rec_jax.errors import InputError

_AGES = ((18, "under 18"), (25, "18-24"), (35, "25-34"), (45, "35-44"), (55, "45-54"))


@dataclass(frozen=True)
class GroupGaps:
    """Means and sizes by group, and the largest mean minus the smallest."""

    mean: dict[str, float]
    size: dict[str, int]
    gap: float


def group_gaps(values: Float[np.ndarray, "q"], groups: np.ndarray) -> GroupGaps:
    """How a metric with one value a user differs between groups of users, whose labels stand in `groups` [q].

    Users without a label ('') and undefined values (NaN) are left out; so are groups of which nobody is left.
    InputError: another number of labels than values, or nobody is left at all.
    """
    if groups.shape != values.shape:
        raise InputError(f"groups of shape {groups.shape}: expected one label for each of {len(values)} values")
    kept = (groups != "") & ~np.isnan(values)
    if not kept.any():
        raise InputError(f"groups: none of the {len(values)} users has both a label and a defined value")
    labels, at = np.unique(groups[kept], return_inverse=True)
    size = np.bincount(at)
    mean = np.bincount(at, values[kept]) / size
    names = [str(label) for label in labels]
    return GroupGaps(dict(zip(names, mean.tolist())), dict(zip(names, size.tolist())), float(mean.max() - mean.min()))


def user_groups(split: Split) -> dict[str, np.ndarray]:
    """Labels of all users, '' where unknown: by 'activity', and by 'gender' and 'age' where the data set has them.

    Activity is low, medium or high: terciles of the users' numbers of events before validation, of those who have
    any; equal numbers share a group, so groups may differ in size. Ages in years fall into brackets of ten, as the
    codes of MovieLens-1M do (1, 18, 25, 35, 45, 50, 56: its 50 to 55 count as 45-54, its 56+ as 55+).
    """
    data = split.dataset
    events = np.bincount(split.history.user, minlength=data.n_users)
    ordered = np.sort(events[events > 0])
    low, medium = ordered[(len(ordered) - 1) // 3], ordered[(2 * len(ordered) - 1) // 3]
    found = {"activity": np.select([events == 0, events <= low, events <= medium], ["", "low", "medium"], "high")}
    if "gender" in data.user_attributes:
        found["gender"] = data.user_attributes["gender"]
    if "age" in data.user_attributes:
        found["age"] = np.array([_bracket(str(age)) for age in data.user_attributes["age"]])
    return {name: labels for name, labels in found.items() if (labels != "").any()}


def _bracket(age: str) -> str:
    if not re.fullmatch(r"\d+(\.0*)?", age) or float(age) == 0:
        return ""
    return next((name for below, name in _AGES if float(age) < below), "55+")
