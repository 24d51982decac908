"""Whether one recommender is better than another: paired tests over users, intervals over users and over seeds.

A metric has one value a user, and two systems answer the same users: their differences are what is tested. The
randomisation test gives the verdict, and the bootstrap the interval (Smucker, Allan and Carterette, "A Comparison of
Statistical Significance Tests for Information Retrieval Evaluation", CIKM 2007, finds that both agree with the t test
where the Wilcoxon and sign tests do not). Neither knows how much a system changes from seed to seed: give the users'
means over seeds, and hold `seed_difference` beside. Checked against scipy's permutation_test, bootstrap, ttest_rel,
ttest_ind and t.interval, brute force, and the rate of false alarms under the null
(tests/evaluate/test_significance.py).
"""

import functools
import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Float, UInt8
from scipy.special import stdtrit

from rec_jax.errors import InputError
from rec_jax.evaluate.resampling import blocks, counts
from rec_jax.randomness import host_rng

LEVEL = 0.05
# Sums of the same numbers in another order differ by about 1e-16 of their size: two closer than this are tied.
_TIE = 1e-10

Name = TypeVar("Name", bound=Hashable)
Verdict = Literal["better", "worse", "not significant"]


@dataclass(frozen=True)
class Comparison:
    """mean(a - b) over users, its 95 % interval, and the p-value of 'no difference'."""

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Interval:
    """A mean over `seeds` runs with its 95 % interval; None where one run is all there is."""

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def half(self) -> float | None:
        """Half of its width, as it stands behind ±."""
        return None if self.high is None else self.high - self.mean

    @property
    def holds_zero(self) -> bool:
        """Whether there is an interval, and 0 lies in it."""
        return self.low is not None and self.high is not None and self.low <= 0 <= self.high


@dataclass(frozen=True)
class Against:
    """A system against another: mean difference (system - other) over `users`, its interval, p-values.

    `p_holm` is `p_randomization` adjusted for the number of comparisons; the verdict is its own at the 5 % level.
    """

    users: int
    difference: float
    low: float
    high: float
    p_bootstrap: float
    p_randomization: float
    p_holm: float
    verdict: Verdict


def paired_bootstrap(a: Float[np.ndarray, "_"], b: Float[np.ndarray, "_"], resamples: int, seed: int = 0) -> Comparison:
    """mean(a - b) over users drawn with replacement: percentile interval and two-sided p-value.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993: Sec. 13.3 (percentiles) and Sec. 16.4 (the
    differences are shifted to mean 0, where the null holds, and drawn again). With m the mean and m* a drawn one,
    p = (1 + #{|m* - m| >= |m|}) / (1 + resamples), never 0. A user whose value is NaN in either is left out of both.
    With few users both are too confident: `randomization_test` is exact there.
    InputError: unlike lengths, infinite values, under two users, no resamples.
    """
    return _bootstrap(_differences(a, b, resamples)[None], resamples, seed)[0]


def _bootstrap(values: Float[np.ndarray, "m n"], resamples: int, seed: int) -> list[Comparison]:
    """`paired_bootstrap` of each row of differences."""
    n = values.shape[1]
    if n < 2:
        raise InputError(f"{n} user(s) with a value in both systems: the bootstrap needs at least 2")
    times = _resampled(n, resamples, seed)
    # A block at a time: as floats the counts would take eight times their memory.
    starts = np.cumsum([0, *blocks(resamples, n)])
    drawn = np.concatenate([times[a:b].astype(np.float64) @ values.T for a, b in itertools.pairwise(starts)]) / n
    found = []
    for row, of_row in zip(values, drawn.T, strict=True):
        mean = float(row.mean())
        far = np.abs(of_row - mean) >= abs(mean) - _TIE * np.abs(row).mean()
        low, high = np.percentile(of_row, [2.5, 97.5])
        found.append(Comparison(mean, float(low), float(high), float(1 + far.sum()) / (1 + resamples)))
    return found


def randomization_test(a: Float[np.ndarray, "_"], b: Float[np.ndarray, "_"], resamples: int, seed: int = 0) -> float:
    """Two-sided p-value of the paired sign-flip test (Fisher 1935, Pitman 1937) of 'the two are exchangeable'.

    The share of sign patterns of the differences whose sum is at least as far from 0 as the one that was seen. Users
    without a difference have no sign and change nothing. If n others have at most `resamples` patterns (2^n), all
    are counted and p is exact; else patterns are drawn and p = (1 + #{|sum*| >= |sum|}) / (1 + resamples), never 0
    (Phipson and Smyth, "Permutation P-values Should Never Be Zero", 2010). NaN as in `paired_bootstrap`.
    InputError: unlike lengths, infinite values, no user, no resamples.
    """
    values = _differences(a, b, resamples)
    values = values[values != 0]
    n, size = len(values), float(np.abs(values).sum())
    least = abs(float(values.sum())) - _TIE * size
    exact = n < 63 and 2**n <= resamples
    rng, patterns, far, done = host_rng(seed, "randomization test"), 2**n if exact else resamples, 0, 0
    of_byte, places = _sums_by_byte(values).ravel(), 256 * np.arange(-(-n // 8))
    for rows in blocks(patterns, max(n, 1)):
        if exact:
            flips = np.packbits(np.arange(done, done + rows)[:, None] >> np.arange(n) & 1, axis=1)
        else:
            flips = rng.integers(0, 256, (rows, len(places)), dtype=np.uint8)
        sums = values.sum() - 2 * of_byte[places + flips].sum(axis=1)
        far, done = far + int((np.abs(sums) >= least).sum()), done + rows
    return far / patterns if exact else (1 + far) / (1 + patterns)


def _sums_by_byte(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "b 256"]:
    """For every eight of the values the sums of all their subsets, by the byte whose bits (the highest first) name the
    subset: a pattern's sum is then one number for eight users.
    """
    subsets = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float64)
    return np.pad(values, (0, -len(values) % 8)).reshape(-1, 8) @ subsets.T


def holm(p: Mapping[Name, float]) -> dict[Name, float]:
    """Adjusted p-values, by name as given: rejecting those under 5 % keeps the chance of any false alarm under 5 %.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979: the i-th smallest of m is multiplied by
    m - i + 1, is never below a smaller one's, and at most 1. InputError: a number that is no probability.
    """
    for name, value in p.items():
        if not 0 <= value <= 1:
            raise InputError(f"p-value of {name} = {value}: expected 0 to 1")
    adjusted, largest = {}, 0.0
    for place, name in enumerate(sorted(p, key=lambda name: p[name])):
        largest = max(largest, min(1.0, (len(p) - place) * p[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p}


def seed_interval(values: Sequence[float] | Float[np.ndarray, "_"]) -> Interval:
    """Mean of one value a seed, and Student's t interval: mean +- t(.975, n - 1) sd / sqrt(n), sd over n - 1.

    With one seed there is no spread to see: low and high are None. InputError: no value, or one that is not finite.
    """
    array = np.asarray(values, np.float64)
    if len(array) == 0 or not np.isfinite(array).all():
        raise InputError(f"values over seeds = {array.tolist()}: expected at least one, all finite")
    n, mean = len(array), float(array.mean())
    if n == 1:
        return Interval(mean, None, None, 1)
    half = float(stdtrit(n - 1, 0.975) * array.std(ddof=1) / n**0.5)
    return Interval(mean, mean - half, mean + half, n)


def seed_difference(a: Sequence[float], b: Sequence[float]) -> Interval:
    """Mean of `a` minus mean of `b`, each with one value a seed, and Welch's t interval ("The Generalization of
    'Student's' Problem when Several Different Population Variances are Involved", Biometrika 1947).

    A system of one seed is taken as it is, as if it knew no chance; where both have one there is no interval. `seeds`
    are those of the system that has fewer. InputError: as `seed_interval`.
    """
    first, second = seed_interval(a), seed_interval(b)
    seeds, mean = min(first.seeds, second.seeds), first.mean - second.mean
    error = [float(np.var(of, ddof=1)) / len(of) if len(of) > 1 else 0.0 for of in (a, b)]
    if max(first.seeds, second.seeds) == 1:
        return Interval(mean, None, None, 1)
    if sum(error) == 0:
        return Interval(mean, mean, mean, seeds)
    freedom = sum(error) ** 2 / sum(e**2 / (len(of) - 1) for e, of in zip(error, (a, b)) if len(of) > 1)
    half = float(stdtrit(freedom, 0.975)) * sum(error) ** 0.5
    return Interval(mean, mean - half, mean + half, seeds)


def compare_pairs(
    pairs: Mapping[Name, tuple[Float[np.ndarray, "_"], Float[np.ndarray, "_"]]],
    resamples: int,
    *,
    lower_is_better: bool = False,
    seed: int = 0,
) -> dict[Name, Against]:
    """The first of each pair against its second, by name, in the order given: one value a user, users aligned.

    A user's value is the mean over the system's seeds. `p_holm` is adjusted over all the pairs; 'better' and 'worse'
    speak of the first. InputError: as in `paired_bootstrap`, or so few resamples that even the smallest p-value they
    can give, 1 / (1 + resamples), is not under 5 % once multiplied by the number of pairs.
    """
    needed = fewest_resamples(len(pairs))
    if resamples < needed:
        raise InputError(
            f"resamples = {resamples}: {len(pairs)} comparisons at once could never be significant; "
            f"ask for at least {needed:,}, better 10,000"
        )
    apart = {name: _differences(a, b, resamples) for name, (a, b) in pairs.items()}
    boot = dict[Name, Comparison]()
    for users in {len(of) for of in apart.values()}:  # pairs of as many users share their resamples
        alike = [name for name, of in apart.items() if len(of) == users]
        boot |= zip(alike, _bootstrap(np.stack([apart[name] for name in alike]), resamples, seed))
    raw = {name: randomization_test(a, b, resamples, seed) for name, (a, b) in pairs.items()}
    adjusted = holm(raw)
    found = {}
    for name in pairs:
        seen, p = boot[name], adjusted[name]
        good: Verdict = "better" if (seen.difference > 0) != lower_is_better else "worse"
        verdict: Verdict = good if p <= LEVEL else "not significant"
        found[name] = Against(len(apart[name]), seen.difference, seen.low, seen.high, seen.p, raw[name], p, verdict)
    return found


def compare_over_seeds(
    by_seed: Mapping[str, Float[np.ndarray, "_ _"]], pairs: Sequence[tuple[str, str]], resamples: int
) -> dict[tuple[str, str], tuple[Against, Interval]]:
    """By pair: its first system against its second over users, of values averaged over seeds, and their difference
    over seeds, of the same users: those who have a value under every seed of both. `by_seed` holds values by seed and
    user. Errors as in `compare_pairs`.
    """
    over_users = {(a, b): (by_seed[a].mean(axis=0), by_seed[b].mean(axis=0)) for a, b in pairs}
    found = {}
    for (a, b), test in compare_pairs(over_users, resamples).items():
        counted = ~np.isnan(over_users[a, b][0] - over_users[a, b][1])
        of_a, of_b = (by_seed[name][:, counted].mean(axis=1).tolist() for name in (a, b))
        found[a, b] = test, seed_difference(of_a, of_b)
    return found


def pair_records(
    found: Mapping[str, Sequence[Mapping[str, Float[np.ndarray, "_"]]]],
    pairs: Sequence[tuple[str, str]],
    resamples: int,
) -> list[dict[str, Any]]:
    """What a record says of pairs of systems, a row a pair and metric, from each seed's values of every system.

    p-values are of values averaged over seeds, adjusted over all rows; the verdict takes the interval over seeds too,
    where there are several. Errors as in `compare_pairs`.
    """
    metrics = list(found[pairs[0][0]][0])
    by_seed = {f"{name}/{m}": np.stack([of[m] for of in seeds]) for name, seeds in found.items() for m in metrics}
    asked = {(f"{a}/{m}", f"{b}/{m}"): (a, b, m) for a, b in pairs for m in metrics}
    rows = []
    for key, (of, seeds) in compare_over_seeds(by_seed, list(asked), resamples).items():
        a, b, metric = asked[key]
        row: dict[str, Any] = {"pair": [a, b], "metric": metric, "difference": of.difference}
        row |= {"low": of.low, "high": of.high, "p": of.p_randomization, "p_holm": of.p_holm}
        row["over_seeds"] = None if seeds.low is None else [seeds.low, seeds.high]
        row["verdict"] = "not significant" if seeds.holds_zero else of.verdict
        rows.append(row)
    return rows


def compare_to(
    best: str,
    per_user: Mapping[str, Float[np.ndarray, "_"]],
    resamples: int,
    *,
    lower_is_better: bool = False,
    seed: int = 0,
) -> dict[str, Against]:
    """Every other system against the system `best`, by name, as in `compare_pairs`.

    InputError: `best` is not among them, or as there.
    """
    if best not in per_user:
        raise InputError(f"reference {best!r}: no such system; known are {', '.join(per_user)}")
    pairs = {name: (values, per_user[best]) for name, values in per_user.items() if name != best}
    return compare_pairs(pairs, resamples, lower_is_better=lower_is_better, seed=seed)


def fewest_resamples(systems: int) -> int:
    """With fewer, none of `systems` comparisons made at once could ever be significant."""
    return round(systems / LEVEL)


def _differences(a: np.ndarray, b: np.ndarray, resamples: int) -> np.ndarray:
    """a - b [n] in float64, of the users where neither is NaN."""
    if len(a) != len(b):
        raise InputError(f"values of {len(a):,} and of {len(b):,} users: a paired test needs the same users, in order")
    if resamples < 1:
        raise InputError(f"resamples = {resamples}: expected at least 1, better 10,000")
    if np.isinf(a).any() or np.isinf(b).any():
        raise InputError("a user's value is infinite: expected numbers, or NaN where the metric is undefined")
    values = a.astype(np.float64) - b.astype(np.float64)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        raise InputError("no user has a value in both systems: there is nothing to compare")
    return values


@functools.lru_cache(maxsize=2)
def _resampled(n: int, resamples: int, seed: int) -> UInt8[np.ndarray, "r n"]:
    """How often each of n users is in each resample: the same for all pairs of as many users, and drawn once."""
    found, done = np.empty((resamples, n), np.uint8), 0  # filled in place: two of them may not fit
    for block in counts(host_rng(seed, "paired bootstrap"), n, resamples):
        found[done : done + len(block)] = block
        done += len(block)
    found.flags.writeable = False
    return found
