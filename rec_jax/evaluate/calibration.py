"""Whether predicted chances come true: calibration, and what a forecast is worth.

Of m events with chances p and outcomes y (0 or 1):

| name | formula | source |
|---|---|---|
| brier | mean (p - y)² | Brier, Monthly Weather Review 78, 1950 |
| log_loss | mean -(y ln p + (1 - y) ln(1 - p)) | |
| ece | sum over bins of (m_b / m) · abs(mean p - mean y) | Naeini et al., AAAI 2015 |
| auc | P(p of a 1 > p of a 0), ties count half | Mann and Whitney, 1947 |

Bins hold equally many events each, equal chances never parted. The expected calibration error of even a perfect
forecast is not 0 but what chance makes of a bin's mean, and an interval's ends lie above that. Intervals draw users,
whose events go together. Checked against scikit-learn and plain Python (tests/evaluate/test_calibration.py).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from rec_jax.errors import InputError
from rec_jax.evaluate.report import Estimate
from rec_jax.evaluate.resampling import counts
from rec_jax.randomness import host_rng

LEAST = 1e-7
"""A chance nearer to 0 or 1 than this counts as this in the log loss."""


@dataclass(frozen=True)
class Bin:
    """Events of like chance: how many, their mean chance, and the share that came true."""

    count: int
    chance: float
    share: float


def check(chance: Float[np.ndarray, "m"], came: np.ndarray) -> None:
    """InputError: unlike lengths, no event, chances outside 0 to 1, outcomes other than 0 and 1."""
    if len(chance) != len(came) or len(chance) == 0:
        raise InputError(f"{len(chance):,} chances and {len(came):,} outcomes: expected as many, and at least one")
    if not ((chance >= 0) & (chance <= 1)).all():
        raise InputError("a chance is NaN or outside 0 to 1")
    if not np.isin(came, (0, 1)).all():
        raise InputError("an outcome is neither 0 nor 1")


def brier(chance: Float[np.ndarray, "m"], came: np.ndarray) -> Float[np.ndarray, "m"]:
    """By event; its mean is the score."""
    return (chance - came) ** 2


def log_loss(chance: Float[np.ndarray, "m"], came: np.ndarray) -> Float[np.ndarray, "m"]:
    """By event, in nats; its mean is the score."""
    p = np.clip(chance, LEAST, 1 - LEAST)
    return -np.where(came == 1, np.log(p), np.log1p(-p))


def bin_of(chance: Float[np.ndarray, "m"], bins: int) -> Int[np.ndarray, "m"]:
    """The bin of each event: by its mid-rank, so that equal chances fall together. InputError: no bin."""
    if bins < 1:
        raise InputError(f"bins {bins}: expected at least 1")
    return np.minimum(((rankdata(chance) - 0.5) * bins / len(chance)).astype(np.int64), bins - 1)


def reliability(chance: Float[np.ndarray, "m"], came: np.ndarray, bins: int = 10) -> list[Bin]:
    """The bins that hold events, the lowest chances first: a reliability diagram's points."""
    check(chance, came)
    of = bin_of(chance, bins)
    return [
        Bin(int(at.sum()), float(chance[at].mean()), float(came[at].mean()))
        for at in (of == b for b in range(bins))
        if at.any()
    ]


def ece(found: list[Bin]) -> float:
    """The expected calibration error over the bins of a reliability diagram."""
    total = sum(b.count for b in found)
    return sum(b.count / total * abs(b.chance - b.share) for b in found)


def auc(chance: Float[np.ndarray, "m"], came: np.ndarray) -> float:
    """NaN where all came true, or none."""
    ones = int(came.sum())
    if ones in (0, len(came)):
        return float("nan")
    ranks = rankdata(chance)[came == 1].sum()
    return float((ranks - ones * (ones + 1) / 2) / (ones * (len(came) - ones)))


def auc_by_user(chance: np.ndarray, came: np.ndarray, user: np.ndarray) -> Float[np.ndarray, "u"]:
    """Of each user who has events, in order of the ids; NaN where all or none of the user's came true."""
    order = np.argsort(user, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(user[order])) + 1)
    return np.array([auc(chance[at], came[at]) for at in rows])


def scores(
    chances: dict[str, Float[np.ndarray, "m"]], came: np.ndarray, user: np.ndarray, resamples: int, bins: int = 10
) -> dict[str, dict[str, Estimate]]:
    """By forecast, then by score (brier, log_loss, ece, auc_user: the mean over users who have both outcomes), each
    with its 95 % percentile interval; all of them on the same resamples of users.

    The bins of a resample are those of all events. InputError: as `check`.
    """
    _, owner = np.unique(user, return_inverse=True)
    users = int(owner.max()) + 1
    drawn_users = counts(host_rng(0, "calibration"), users, resamples)
    weights = np.concatenate([np.ones((1, users)), *drawn_users])  # the first row: all users, once each
    events = weights @ np.bincount(owner, minlength=users)
    found: dict[str, dict[str, Estimate]] = {}
    for name, chance in chances.items():
        check(chance, came)
        gap = np.zeros((users, bins))
        np.add.at(gap, (owner, bin_of(chance, bins)), chance - came)
        by_user = auc_by_user(chance, came, user)
        defined = ~np.isnan(by_user)
        drawn = {
            "brier": weights @ np.bincount(owner, brier(chance, came), users) / events,
            "log_loss": weights @ np.bincount(owner, log_loss(chance, came), users) / events,
            "ece": np.abs(weights @ gap).sum(axis=1) / events,
            "auc_user": weights @ np.where(defined, by_user, 0) / np.maximum(weights @ defined, 1),
        }
        found[name] = {
            score: Estimate(float(x[0]), *map(float, np.percentile(x[1:], [2.5, 97.5]))) for score, x in drawn.items()
        }
    return found
