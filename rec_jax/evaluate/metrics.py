"""Ranking metrics per user, as expectations over the random order of tied candidates, in closed form.

For a held-out item let s candidates score higher and m equally (itself included), of which h and r are held-out
items. Its rank is uniform on s+1 .. s+m; sums over ranks become differences of cumulative sums. A constant scorer
therefore gets exactly what chance gives. Checked against enumerated permutations on data with ties, and against
pytrec-eval-terrier on data without (tests/evaluate/test_metrics.py).
"""

import re
from collections.abc import Callable

import numpy as np
from scipy.special import gammaln

from rec_jax.errors import InputError, did_you_mean
from rec_jax.evaluate.ranking import Ranks

Metric = Callable[[Ranks, int], np.ndarray]


def hit_rate(ranks: Ranks, k: int) -> np.ndarray:
    """HR@k: 1 if any held-out item is among the first k.

    Where a group of m tied candidates with r held-out ones straddles rank k, leaving t of its places above the
    cut, the chance of none is hypergeometric: C(m - r, t) / C(m, t).
    """
    t = np.clip(k - ranks.above, 0, ranks.tied)
    missed = np.exp(_log_choose(ranks.tied - ranks.positives_tied, t) - _log_choose(ranks.tied, t))
    # Only one group can straddle the cut; an item wholly above it makes a miss impossible (t = m > m - r).
    return 1 - _by_user(ranks, missed, np.minimum)


def precision(ranks: Ranks, k: int) -> np.ndarray:
    """The expected share of held-out items among the first k."""
    return _hits(ranks, k) / k


def recall(ranks: Ranks, k: int) -> np.ndarray:
    """The expected share of the held-out items that are among the first k."""
    return _hits(ranks, k) / ranks.positives


def f1(ranks: Ranks, k: int) -> np.ndarray:
    """Harmonic mean of precision and recall: 2 hits / (k + held-out items)."""
    return 2 * _hits(ranks, k) / (k + ranks.positives)


def ndcg(ranks: Ranks, k: int) -> np.ndarray:
    """NDCG@k with binary gains, discount 1 / log2(rank + 1), and the ideal over min(k, held-out items)."""
    ideal = _discounts(k)[np.minimum(ranks.positives, k)]
    return _dcg(ranks, k) / ideal


def ndcg_all(ranks: Ranks, k: int) -> np.ndarray:
    """NDCG@k with the ideal over all held-out items, also those that cannot be among the first k."""
    ideal = _discounts(int(ranks.positives.max()))[ranks.positives]
    return _dcg(ranks, k) / ideal


def mrr(ranks: Ranks, k: int) -> np.ndarray:
    """Expected reciprocal rank of the first held-out item, 0 beyond rank k.

    In its group of m with r held-out items the first one stands at place j with chance C(m - j, r - 1) / C(m, r).
    """
    out = np.zeros(len(ranks.user))
    first = ranks.positives_above == 0
    for at in np.flatnonzero(first & (ranks.above < k)):
        s, m, r = int(ranks.above[at]), int(ranks.tied[at]), int(ranks.positives_tied[at])
        j = np.arange(1, min(m - r + 1, k - s) + 1)
        chance = np.exp(_log_choose(m - j, np.full(len(j), r - 1)) - _log_choose(np.array([m]), np.array([r])))
        out[ranks.row[at]] = (chance / (s + j)).sum()
    return out


def average_precision(ranks: Ranks, k: int) -> np.ndarray:
    """AP@k (its mean is MAP): precision at each held-out item's rank, summed up to k, over min(k, held-out items).

    At place j of its group, an item expects h + 1 + (j - 1)(r - 1)/(m - 1) held-out items up to its own rank.
    """
    s, m, h, r = ranks.above, ranks.tied, ranks.positives_above, ranks.positives_tied
    within = np.clip(k - s, 0, m)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, (s + m).max() + 1))])
    reciprocal = harmonic[s + within] - harmonic[s]
    slope = (r - 1) / np.maximum(m - 1, 1)
    own = ((h + 1) * reciprocal + slope * (within - (s + 1) * reciprocal)) / m
    return _by_user(ranks, own, np.add) / np.minimum(ranks.positives, k)


def auc(ranks: Ranks) -> np.ndarray:
    """The share of (held-out item, other candidate) pairs in the right order, a tie counting one half.

    NaN where a user has no other candidate.
    """
    others = (ranks.candidates - ranks.positives)[ranks.row]
    above = ranks.above - ranks.positives_above + 0.5 * (ranks.tied - ranks.positives_tied)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _by_user(ranks, 1 - above / others, np.add) / ranks.positives


AT_K: dict[str, Metric] = {
    "hr": hit_rate,
    "ndcg": ndcg,
    "ndcg_all": ndcg_all,
    "recall": recall,
    "precision": precision,
    "f1": f1,
    "mrr": mrr,
    "map": average_precision,
}
ERRORS = ("rmse", "mae")


def per_user(ranks: Ranks, names: list[str]) -> dict[str, np.ndarray]:
    """Metrics by name ('ndcg@10', 'auc'), one value a user. InputError: an unknown name."""
    return {name: _compute(ranks, *parse(name)) for name in names}


def all_names(ks: tuple[int, ...]) -> list[str]:
    """Every metric at every cut-off."""
    return [f"{name}@{k}" for k in ks for name in AT_K] + ["auc"]


def parse(name: str) -> tuple[str, int]:
    """('ndcg', 10) of 'ndcg@10'. InputError: an unknown metric or cut-off; near names are proposed."""
    match = re.fullmatch(r"(\w+)@([1-9]\d*)", name)
    if match and match[1] in AT_K:
        return match[1], int(match[2])
    if name == "auc":
        return name, 0
    metric, at, k = name.partition("@")
    known = [*AT_K, "auc", *ERRORS]
    meant = did_you_mean(metric, known, n=2, shown=lambda near: near + at + k if near in AT_K else near)
    raise InputError(
        f"unknown metric {name!r}: {meant}known are {', '.join(f'{m}@K' for m in AT_K)}, auc, {', '.join(ERRORS)}"
    )


def _compute(ranks: Ranks, name: str, k: int) -> np.ndarray:
    return auc(ranks) if name == "auc" else AT_K[name](ranks, k)


def _hits(ranks: Ranks, k: int) -> np.ndarray:
    """The expected number of held-out items among the first k."""
    return _by_user(ranks, np.clip(k - ranks.above, 0, ranks.tied) / ranks.tied, np.add)


def _dcg(ranks: Ranks, k: int) -> np.ndarray:
    discounts = _discounts(k)
    low, high = np.minimum(ranks.above, k), np.minimum(ranks.above + ranks.tied, k)
    return _by_user(ranks, (discounts[high] - discounts[low]) / ranks.tied, np.add)


def _discounts(k: int) -> np.ndarray:
    """Cumulative sums of 1 / log2(rank + 1), from 0 to k ranks."""
    return np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])


def _by_user(ranks: Ranks, values: np.ndarray, combine: np.ufunc) -> np.ndarray:
    return combine.reduceat(values, np.searchsorted(ranks.row, np.arange(len(ranks.user))))


def _log_choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    """log C(n, k), and log 0 where k > n."""
    with np.errstate(invalid="ignore"):
        inside = gammaln(n + 1) - gammaln(k + 1) - gammaln(np.maximum(n - k, 0) + 1)
    return np.where(k > n, -np.inf, inside)
