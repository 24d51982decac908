"""What a log says of boredom and drift: how ratings depend on what the user rated just before.

A memory is a running mean over a user's events, h <- (1 - 1/m) h + x/m, so that the last m events weigh most. Two of
them: genres of all that was rated, and item vectors of what was liked (x is 0 where an event was not). For each event

    sameness = g_i · h,  g_i its genres as a unit vector (1: all of the last films had its genres)
    nearness = q_i · v,  v the memory of what was liked

and both are columns of an ordered logit of the event's rating, beside a prediction s that was not fitted to the event:

    P(r <= level_j) = sigmoid(cut_j - slope (s - boredom · sameness + drift · nearness + c · x + a_u))

x are columns that are held constant: sameness and nearness to all other events of the user, before and after (a user
who always rates comedies, and likes them, is not bored or drawn by them), how far the user's history has gone, and s
itself. a_u is the user's own constant, held to 0 by a penalty worth less than one event. Cuts and slope are given. The
logit and not least squares: where a rating can rise no further, drift would be told too small.

Events of one moment are in no order: none of them remembers another. Intervals are of a bootstrap over users, each
resample one Newton step from the estimate (Kline and Santos, Journal of Econometric Methods 1, 2012).

Checked against loops, a general optimiser with a column a user, and on worlds with known coefficients
(tests/simulate/test_effects.py, test_fitting.py).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy.special import expit, log_expit

from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError
from rec_jax.evaluate.resampling import counts
from rec_jax.randomness import host_rng
from rec_jax.simulate.preferences import Ratings

ROUNDS = 50
NOTHING = 1e-9
"""A column with no entry beyond this is taken for zeros: vectors that their penalty left next to nothing of."""
LEAST = 1e-6
"""The share of a column's information that is left at the estimate, where there is one."""
PENALTY = 0.1
"""On a user's constant: a user whose ratings are all the same would have none that is finite."""


@dataclass(frozen=True)
class Effect:
    """A coefficient as the log has it, and the one that is used."""

    estimate: float
    low: float
    high: float
    used: float
    source: Literal["log", "declared"]

    @staticmethod
    def of(estimate: float, low: float, high: float, declared: float) -> "Effect":
        """The log's where its interval lies above 0, else the declared one."""
        if low > 0:
            return Effect(estimate, low, high, estimate, "log")
        return Effect(estimate, low, high, declared, "declared")


def remembered(
    log: Interactions,
    rows: Float[np.ndarray, "m w"],
    counts: Bool[np.ndarray, "m"],
    starts: Int64[np.ndarray, "u_plus_1"],
    memory: float,
) -> Float[np.ndarray, "m w"]:
    """What each event's user remembers just before it: the running mean of rows, those that do not count as zeros.
    Every event makes what was before it fade, whether it counts or not, as every click does in `LoggedUsers`."""
    found, rate, lengths = np.zeros_like(rows), 1 / memory, np.diff(starts)
    new = np.ones(len(rows), bool)  # whether an event is of another moment than the one before it
    new[1:] = (log.time[1:] != log.time[:-1]) | (log.time[:-1] == 0)  # a time of 0 is unknown
    new[starts[:-1][lengths > 0]] = True
    # All users take their first event, then all their second: the longest histories first, and those that end leave.
    firsts, ends = starts[:-1][np.argsort(-lengths, kind="stable")], np.sort(lengths)
    held, before = np.zeros((2, len(lengths), rows.shape[1]))
    for place in range(lengths.max(initial=0)):
        active = len(lengths) - int(np.searchsorted(ends, place, side="right"))
        at, held, before = firsts[:active] + place, held[:active], before[:active]
        found[at] = before = np.where(new[at][:, None], held, before)
        held = (1 - rate) * held + rate * counts[at][:, None] * rows[at]
    return found


def others(
    rows: Float[np.ndarray, "m w"], counts: Bool[np.ndarray, "m"], starts: Int64[np.ndarray, "u_plus_1"]
) -> Float[np.ndarray, "m w"]:
    """The mean of all rows of the user that count, without the event's own; zeros where there is none."""
    counted = rows * counts[:, None]
    owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    padded = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(counted, axis=0)])
    number = np.concatenate([[0], np.cumsum(counts)])
    total, n = (of[starts[1:]] - of[starts[:-1]] for of in (padded, number))
    return (total[owner] - counted) / np.maximum(n[owner] - counts, 1)[:, None]


class Newton(NamedTuple):
    """A step of `fixed_logit`, users' constants profiled out: information and gradient of each user."""

    information: Float[np.ndarray, "u c c"]
    gradient: Float[np.ndarray, "u c"]


def fixed_logit(
    columns: Float[np.ndarray, "m c"],
    score: Float[np.ndarray, "m"],
    rating: Float[np.ndarray, "m"],
    starts: Int64[np.ndarray, "u_plus_1"],
    scale: Ratings,
) -> tuple[Float[np.ndarray, "c"], Newton]:
    """(coefficients of the columns, the last step): by Newton's method, whose steps are halved where they go too far.
    The likelihood is concave, and for an ordered logit its derivatives are short: with F the chances to stay at or
    below a level and the one under it, g = F + F' - 1 and -g' = F (1 - F) + F' (1 - F').

    InputError: no coefficients are most likely, since the ratings follow from the columns without any chance.
    """
    owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    users, width = len(starts) - 1, columns.shape[1]
    edges = np.concatenate([[-np.inf], scale.cuts, [np.inf]])
    level = np.searchsorted(scale.levels, rating)
    x = scale.slope * np.where(np.abs(columns).max(axis=0) > NOTHING, columns, 0.0)
    found, own = np.zeros(width), np.zeros(users)

    def likelihood(found: np.ndarray, own: np.ndarray) -> float:
        """But for a constant: s(b) - s(a) = s(b) s(-a) (1 - exp(a - b))."""
        eta = scale.slope * score + x @ found + own[owner]
        each = log_expit(edges[level + 1] - eta) + log_expit(eta - edges[level])
        return float(each.sum() - PENALTY / 2 * (own**2).sum())

    def by_user(values: np.ndarray) -> np.ndarray:
        """Sums [u, c] of the users' rows."""
        return np.stack([np.bincount(owner, of, users) for of in values.T], axis=1)

    reached = likelihood(found, own)
    for turn in range(ROUNDS):
        eta = scale.slope * score + x @ found + own[owner]
        upper, lower = expit(edges[level + 1] - eta), expit(edges[level] - eta)
        pull, weight = upper + lower - 1, upper * (1 - upper) + lower * (1 - lower)
        mass = np.bincount(owner, weight, users) + PENALTY
        force = np.bincount(owner, pull, users) - PENALTY * own
        moved, gradient = (by_user(of[:, None] * x) for of in (weight, pull))
        information = np.stack([by_user(weight[:, None] * x[:, [i]] * x) for i in range(width)], axis=1)
        information -= moved[:, :, None] * moved[:, None, :] / mass[:, None, None]
        gradient -= moved * (force / mass)[:, None]
        total = information.sum(axis=0)
        if turn == 0:
            at_first = np.diag(total)
        step = solved(total, gradient.sum(axis=0))
        of_users = (force - moved @ step) / mass
        while (new := likelihood(found + step, own + of_users)) < reached and np.abs(step).max() >= 1e-9:
            step, of_users = step / 2, of_users / 2
        found, own, reached = found + step, own + of_users, new
        if np.abs(step).max() < 1e-9:
            break
    if np.abs(step).max() >= 1e-9 or (np.diag(total) < LEAST * at_first).any():
        raise InputError(
            "ratings follow from what came before them without any chance, so that no boredom or drift is the most "
            "likely; take a log whose ratings vary"
        )
    return found, Newton(information, gradient)


def solved(information: Float[np.ndarray, "c c"], gradient: Float[np.ndarray, "c"]) -> Float[np.ndarray, "c"]:
    """A Newton step; a column that says nothing (sameness, where no item has a genre) gets 0. Each column is scaled to
    information 1 first, so that none counts as nothing for its unit."""
    size = np.sqrt(np.maximum(np.diag(information), 0))
    unit = np.divide(1, size, out=np.zeros_like(size), where=size > 0)
    return unit * (np.linalg.pinv(information * unit[:, None] * unit, rcond=1e-10, hermitian=True) @ (gradient * unit))


def bootstrap(
    found: Float[np.ndarray, "c"], newton: Newton, resamples: int, seed: int = 0
) -> tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c"]]:
    """The ends of 95 % percentile intervals, users drawn with replacement."""
    rng, users = host_rng(seed, "effects"), len(newton.gradient)
    drawn = [
        found + solved(np.tensordot(weights, newton.information, 1), weights @ newton.gradient)
        for block in counts(rng, users, resamples)
        for weights in block.astype(np.float64)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return low, high
