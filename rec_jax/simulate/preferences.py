"""What users think of items, out of their ratings: biased matrix factorisation, and the chance of each rating.

    s_ui = m + b_u + b_i + p_u · q_i                            (Koren et al., IEEE Computer 2009, Eq. 4)
    P(r_ui <= level_j) = 1 / (1 + exp(slope s_ui - cut_j))      (ordered logit: McCullagh, JRSS B 42, 1980, Eq. 2.1)

The first by alternating ridge regressions, each solved exactly; the second by maximum likelihood, on ratings that the
first was not fitted to. All of it runs on the host, in float64.

Checked against normal equations by another library, and on worlds drawn from the model itself
(tests/simulate/test_preferences.py).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import expit

from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError
from rec_jax.randomness import host_rng

MOST_LEVELS = 20
"""Of a rating: more of them are a measurement, not a scale."""


@dataclass(frozen=True, eq=False)
class Factors:
    """Scores in units of the rating. Users' vectors have mean 0 and, as a population, unit covariance, so that a
    vector's length means the same whatever basis the factorisation fell into."""

    mean: float
    user: Float[np.ndarray, "u d"]
    user_bias: Float[np.ndarray, "u"]
    item: Float[np.ndarray, "n d"]
    item_bias: Float[np.ndarray, "n"]

    def scores(self, user: Int[np.ndarray, "m"], item: Int[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
        """s of each pair."""
        products = np.einsum("md,md->m", self.user[user], self.item[item])
        return self.mean + self.user_bias[user] + self.item_bias[item] + products


@dataclass(frozen=True)
class Factorisation:
    """How the matrix is factorised. InputError: no factors, a penalty that is not positive, no sweep."""

    factors: int = 8
    """Width of the vectors."""
    l2: float = 14.0
    """Penalty on a vector's square, against the squared error of one rating."""
    l2_bias: float = 5.0
    """The same on a bias."""
    sweeps: int = 15
    """Regressions of all users, then of all items."""

    def __post_init__(self) -> None:
        if min(self.factors, self.sweeps) < 1 or min(self.l2, self.l2_bias) <= 0:
            raise InputError(
                f"factors {self.factors}, sweeps {self.sweeps}, l2 {self.l2:g}, l2_bias {self.l2_bias:g}: expected at "
                "least one factor and sweep, and penalties above 0"
            )


def factorise(log: Interactions, n_users: int, n_items: int, how: Factorisation, seed: int = 0) -> Factors:
    """The factors that the ratings of `log` give. Users and items without one have zeros."""
    width, mean = how.factors, float(log.rating.mean(dtype=np.float64))
    penalty = np.diag([how.l2] * width + [how.l2_bias])
    user = np.zeros((n_users, width + 1))  # the bias last
    item = np.zeros((n_items, width + 1))
    item[:, :width] = host_rng(seed, "factors").normal(0, 0.1, (n_items, width))
    rating = log.rating.astype(np.float64) - mean
    by_user, by_item = (_rows(ids, n) for ids, n in ((log.user, n_users), (log.item, n_items)))
    for _ in range(how.sweeps):
        _regress(user, item, by_user, log.item, rating, penalty)
        _regress(item, user, by_item, log.user, rating, penalty)
    return _whitened(mean, user, item, np.unique(log.user))


def _rows(ids: np.ndarray, n: int) -> list[np.ndarray]:
    """Positions of each id's ratings."""
    order = np.argsort(ids, kind="stable")
    return np.split(order, np.searchsorted(ids[order], np.arange(1, n)))


def _regress(
    own: np.ndarray, other: np.ndarray, rows: list[np.ndarray], to: np.ndarray, rating: np.ndarray, penalty: np.ndarray
) -> None:
    """Each row of `own` that has ratings anew, given `other`: `ridge` of each, but solved together."""
    left = rating - other[to, -1]
    other = np.concatenate([other[:, :-1], np.ones((len(other), 1))], axis=1)
    found = [i for i, at in enumerate(rows) if len(at)]
    squares, products = np.empty((len(found), *penalty.shape)), np.empty((len(found), len(penalty), 1))
    for place, i in enumerate(found):
        x = other[to[rows[i]]]
        squares[place], products[place, :, 0] = x.T @ x + penalty, x.T @ left[rows[i]]
    own[found] = np.linalg.solve(squares, products)[..., 0]


def ridge(vectors: Float[np.ndarray, "m d"], y: Float[np.ndarray, "m"], penalty: np.ndarray) -> np.ndarray:
    """The vector and bias [d + 1] that minimise the squared error of y = vectors · p + b, plus x · penalty x."""
    x = np.concatenate([vectors, np.ones((len(y), 1))], axis=1)
    return np.linalg.solve(x.T @ x + penalty, x.T @ y)


def _whitened(mean: float, user: np.ndarray, item: np.ndarray, real: np.ndarray) -> Factors:
    """The same scores, with users' vectors of mean 0 and unit covariance; a direction that no user has is left 0."""
    vectors = user[:, :-1]
    centre = vectors[real].mean(axis=0)
    spread, turn = np.linalg.eigh(np.cov(vectors[real], rowvar=False, bias=True).reshape(len(centre), -1))
    root = np.sqrt(np.maximum(spread, 0))
    inverse = np.divide(1, root, out=np.zeros_like(root), where=root > 1e-9 * max(root.max(), 1e-300))
    whitened = (vectors - centre) @ turn * inverse
    item_vectors, item_bias = item[:, :-1] @ turn * root, item[:, -1] + item[:, :-1] @ centre
    seen = np.isin(np.arange(len(user)), real)[:, None]
    return Factors(mean, np.where(seen, whitened, 0), user[:, -1], item_vectors, item_bias)


@dataclass(frozen=True)
class Ratings:
    """How a score becomes a rating: an ordered logit over the levels of the scale, the lowest first."""

    levels: tuple[float, ...]
    cuts: tuple[float, ...]
    """One fewer, rising."""
    slope: float
    like_from: float
    """The lowest rating that is a like."""

    @property
    def lowest_like(self) -> int:
        """Its place among the levels."""
        return int(np.searchsorted(self.levels, self.like_from))

    def like(self, score: Float[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
        """P(rating >= like_from)."""
        return expit(self.slope * score - self.cuts[self.lowest_like - 1])

    def chances(self, score: Float[np.ndarray, "m"]) -> Float[np.ndarray, "m l"]:
        """P of each level."""
        below = expit(np.array(self.cuts) - self.slope * np.asarray(score)[:, None])
        return np.diff(below, axis=1, prepend=0.0, append=1.0)


def ordered_logit(score: Float[np.ndarray, "m"], rating: np.ndarray, like_from: float, levels: np.ndarray) -> Ratings:
    """The slope, at least 0, and cuts of largest likelihood. One rating of each level at the mean score is added to
    those given: a level that these do not hold keeps a chance. `levels` as `levels_of` gives them."""
    place = np.concatenate([np.searchsorted(levels, rating), np.arange(len(levels))])
    x = np.concatenate([score, np.full(len(levels), score.mean())])
    middle, sd = float(x.mean()), max(float(x.std()), 1e-9)
    z = (x - middle) / sd

    def split(found: np.ndarray) -> tuple[float, np.ndarray]:
        return found[0], np.cumsum(np.concatenate([found[1:2], np.exp(found[2:])]))  # gaps are positive

    def lost(found: np.ndarray) -> float:
        slope, cuts = split(found)
        below = expit(np.concatenate([[-np.inf], cuts, [np.inf]]) - slope * z[:, None])
        rows = np.arange(len(place))
        return -float(np.log(np.maximum(below[rows, place + 1] - below[rows, place], 1e-12)).mean())

    shares = np.cumsum(np.bincount(place, minlength=len(levels)))[:-1] / len(place)
    cuts = np.log(shares / (1 - shares))
    start = np.concatenate([[1.0], cuts[:1], np.log(np.maximum(np.diff(cuts), 1e-3))])
    # A prediction that misleads says nothing: its slope is 0, not negative.
    bounds = [(0.0, None), *[(None, None)] * len(cuts)]
    slope, cuts = split(minimize(lost, start, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12}).x)
    cuts = cuts + slope * middle / sd
    return Ratings(tuple(map(float, levels)), tuple(map(float, cuts)), float(slope / sd), like_from)


def levels_of(log: Interactions, like_from: float, name: str) -> Float[np.ndarray, "l"]:
    """The ratings there are, the lowest first. InputError: one alone, more than a scale has, or no like or dislike."""
    levels = np.unique(log.rating).astype(np.float64)
    if len(levels) < 2:
        raise InputError(
            f"{name}: every rating is {levels[0]:g}; users can only be fitted to a log that says what was liked and "
            "what was not: name its column of ratings"
        )
    if len(levels) > MOST_LEVELS:
        raise InputError(
            f"{name}: {len(levels):,} different ratings; at most {MOST_LEVELS} levels are told apart: round them first"
        )
    if not levels[0] < like_from <= levels[-1]:
        raise InputError(
            f"like_from {like_from:g}: ratings of {name} run from {levels[0]:g} to {levels[-1]:g}; a like begins above "
            "the lowest and at most at the highest"
        )
    return levels
