"""What lists are worth beyond accuracy: how novel, diverse and surprising they are, and whom the catalogue reaches.

`lists` [q, k] holds the items shown to the users of some questions, as `top_lists` makes them. An item's popularity
is the number of users who have it in train. Every metric is checked against loops in plain Python, and against
values computed by hand (tests/evaluate/test_beyond.py).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from rec_jax.baselines.base import train_matrix
from rec_jax.baselines.svd import leading
from rec_jax.data.splits import Split
from rec_jax.errors import InputError, did_you_mean
from rec_jax.evaluate.pairs import among, distinct, entries, numbers
from rec_jax.evaluate.protocol import Questions

SHORT_HEAD = (4, 5)  # 80 % of the train events, as a fraction: compared in whole numbers
_VECTORS = 32
_PAIRS = 2**22  # numbers held at once while pairs are compared: 16 MB


@dataclass(frozen=True)
class Found:
    """Metrics by name: one value a user, or one over all lists; `left_out` says why a metric is missing.

    A value of NaN is undefined for this user (no two items of the list have categories).
    """

    per_user: dict[str, np.ndarray]
    overall: dict[str, float]
    left_out: dict[str, str]


def novelty(lists: Int[np.ndarray, "q k"], counts: Int[np.ndarray, "n"], users: int) -> Float[np.ndarray, "q"]:
    """Mean self-information of the items, -log2(users who have the item / users), in bits.

    Zhou et al., PNAS 2010; Castells, Vargas and Wang, DDR 2011. An item that no train user has would be infinitely
    novel: it counts as one that a single user has.
    """
    return -np.log2(np.maximum(counts, 1) / users)[lists].mean(axis=1)


def popularity(lists: Int[np.ndarray, "q k"], counts: Int[np.ndarray, "n"]) -> Float[np.ndarray, "q"]:
    """Mean popularity of the items: ARP of Yin et al., VLDB 2012, as in Abdollahpouri et al., FLAIRS 2019, Eq. 5."""
    return counts[lists].mean(axis=1)


def long_tail(lists: Int[np.ndarray, "q k"], counts: Int[np.ndarray, "n"]) -> Float[np.ndarray, "q"]:
    """The share of items outside the short head: APLT, Abdollahpouri, Burke and Mobasher, FLAIRS 2019, Eq. 6."""
    return (~short_head(counts))[lists].mean(axis=1)


def short_head(counts: Int[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """The smallest set of most popular items that holds at least 80 % of the train events.

    As Abdollahpouri et al., FLAIRS 2019, divide their data. On their MovieLens-1M this set ends at 266 ratings an
    item; the 506 that they print bound the 20 % most popular items, which hold 59 % of the ratings. A user's
    repeated events with an item are one. Among items equally popular the lower ids go first.
    """
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    head = np.zeros(len(counts), bool)
    head[order] = before * SHORT_HEAD[1] < counts.sum() * SHORT_HEAD[0]
    return head


def diversity_categories(lists: Int[np.ndarray, "q k"], categories: Bool[np.ndarray, "n c"]) -> Float[np.ndarray, "q"]:
    """Intra-list diversity: the mean over pairs of items of 1 - Jaccard index of their category sets.

    Ziegler et al., WWW 2005, with the distance of Vargas and Castells, RecSys 2011. Pairs with an item that has no
    category are left out; NaN where no pair is left.
    """
    b = max(1, _PAIRS // (lists.shape[1] * max(lists.shape[1], categories.shape[1])))
    parts = [lists[start : start + b] for start in range(0, len(lists), b)]
    return np.concatenate([_categories_apart(categories[part].astype(np.float32)) for part in parts])


def diversity_embeddings(lists: Int[np.ndarray, "q k"], vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "q"]:
    """Intra-list diversity: the mean over pairs of items of 1 - cosine of their vectors.

    The same vectors for all recommenders make their values comparable. Pairs with an item whose vector is zero are
    left out; NaN where no pair is left. The sum over ordered pairs is |sum of unit vectors|^2 - their number.
    """
    wide = vectors.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    unit = np.divide(wide, length, out=np.zeros_like(wide), where=length > 0)
    known = (length[:, 0] > 0)[lists].sum(axis=1)
    total = unit[lists].sum(axis=1)
    return _mean(known * (known - 1) - ((total**2).sum(axis=1) - known), known * (known - 1))


def item_vectors(split: Split, d: int = _VECTORS) -> Float[np.ndarray, "n d"]:
    """V S of the truncated singular value decomposition U S V^T of the binary train matrix; signs are arbitrary.

    The cosine of two rows approximates that of the items' columns of the matrix. An item without train events has
    the vector 0. InputError: d is not between 1 and one less than the matrix is wide.
    """
    history = train_matrix(split)
    values, right = leading("d", d, history)
    vectors = right.T * values
    vectors[np.diff(history.tocsc().indptr) == 0] = 0.0  # else rounding would give them a direction
    return vectors


def serendipity(
    lists: Int[np.ndarray, "q k"], questions: Questions, counts: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "q"]:
    """The share of a list that is relevant (held out) and unexpected: |(list - expected) and relevant| / k.

    Ge, Delgado-Battenfeld and Jannach, RecSys 2010, where expected is what a primitive recommender shows: here the
    k most popular items that the user may be recommended, the lower id first among equals.
    """
    n, row = len(counts), np.arange(len(lists))[:, None]
    order = np.argsort(-counts, kind="stable")
    order = order[~questions.excluded[order]]
    place = np.full(n, -1)
    place[order] = np.arange(len(order))
    # The rank among the user's unseen items is the place in the whole order without the seen items before it.
    owner, item = entries(questions.seen)
    passed = distinct((owner * n + place[item])[place[item] >= 0])
    before = np.searchsorted(passed, row * n + place[lists]) - np.searchsorted(passed, row * n)
    unexpected = place[lists] - before >= lists.shape[1]
    return (unexpected & _among(lists, questions.positives, n)).mean(axis=1)


def exposure(lists: Int[np.ndarray, "q k"], excluded: Bool[np.ndarray, "n"]) -> Int64[np.ndarray, "m"]:
    """How often each item that may be recommended is shown, in ascending order of ids."""
    return np.bincount(lists.ravel(), minlength=len(excluded))[~excluded].astype(np.int64)


def coverage(shown: Int[np.ndarray, "m"]) -> float:
    """The share of the recommendable catalogue that anybody is shown (Herlocker et al., TOIS 2004)."""
    return float((shown > 0).mean())


def gini(shown: Int[np.ndarray, "m"]) -> float:
    """Gini index of exposure: 0 where all items are shown as often, (m - 1) / m where only one is.

    sum_j (2 j - m - 1) x_j / (m sum x) over exposures x in ascending order. Shani and Gunawardana (Recommender
    Systems Handbook, 2011, Sec. 8.3.3) divide by m - 1 in place of m.
    """
    m, x = len(shown), np.sort(shown)
    return float(((2 * np.arange(1, m + 1) - m - 1) * x).sum() / (m * x.sum()))


def entropy(shown: Int[np.ndarray, "m"]) -> float:
    """Shannon entropy of exposure in bits: log2 m where all items are shown as often, 0 where only one is."""
    share = shown[shown > 0] / shown.sum()
    return float(np.abs((share * np.log2(share)).sum()))


@dataclass(frozen=True, eq=False)
class _Known:
    """What metrics need besides the lists, each computed once and only where it is asked for."""

    questions: Questions
    split: Split
    given: np.ndarray | None

    @cached_property
    def counts(self) -> np.ndarray:
        return np.diff(train_matrix(self.split).tocsc().indptr).astype(np.int64)

    @cached_property
    def users(self) -> int:
        return len(np.unique(self.split.train.user))

    @cached_property
    def categories(self) -> np.ndarray:
        rows = self.split.dataset.catalogue.categories
        names = {name: column for column, name in enumerate(sorted({name for row in rows for name in row}))}
        found = np.zeros((len(rows), len(names)), bool)
        for item, row in enumerate(rows):
            found[item, [names[name] for name in row]] = True
        return found

    @cached_property
    def vectors(self) -> np.ndarray:
        if self.given is not None:
            return self.given
        return item_vectors(self.split, min(_VECTORS, self.widest))

    @property
    def widest(self) -> int:
        return min(self.split.dataset.n_users, self.split.dataset.n_items) - 1

    def missing(self, name: str, k: int) -> str | None:
        """Why a metric is not possible here, if so."""
        data = self.split.dataset
        if name.startswith("diversity") and k == 1:
            return "a list of one item has no pairs"
        if name == "diversity_categories" and not any(data.catalogue.categories):
            return f"{data.name} has no categories"
        if name == "diversity_embeddings" and self.given is None and self.widest < 1:
            return f"{data.name} is too small for item vectors; give some"
        return None


PER_USER: dict[str, Callable[[np.ndarray, _Known], np.ndarray]] = {
    "novelty": lambda lists, known: novelty(lists, known.counts, known.users),
    "popularity": lambda lists, known: popularity(lists, known.counts),
    "long_tail": lambda lists, known: long_tail(lists, known.counts),
    "diversity_categories": lambda lists, known: diversity_categories(lists, known.categories),
    "diversity_embeddings": lambda lists, known: diversity_embeddings(lists, known.vectors),
    "serendipity": lambda lists, known: serendipity(lists, known.questions, known.counts),
}
OVERALL: dict[str, Callable[[np.ndarray], float]] = {"coverage": coverage, "gini": gini, "entropy": entropy}


def beyond(
    lists: Int[np.ndarray, "q k"],
    questions: Questions,
    split: Split,
    names: Sequence[str] | None = None,
    vectors: Float[np.ndarray, "n d"] | None = None,
) -> Found:
    """Metrics by name ('novelty@10'; None: all of them at k) of the lists shown to the users of `questions`.

    A cut-off below k is of the first items of each list. `vectors` are those of diversity_embeddings; None:
    `item_vectors(split)`. Metrics that are not possible are left out with the reason.

    InputError: an unknown name, a cut-off above k, a metric asked for by name that is not possible, or lists that do
    not answer the questions (another number of users, items outside the catalogue, seen, excluded or shown twice).
    """
    known = _Known(questions, split, vectors)
    wanted = {name: parse(name) for name in (all_names((lists.shape[1],)) if names is None else names)}
    _check(lists, known)
    found = Found({}, {}, {})
    for full, (name, k) in wanted.items():
        if k > lists.shape[1]:
            raise InputError(f"{full}: the lists hold {lists.shape[1]} items; ask for longer lists, or a lower cut-off")
        if reason := known.missing(name, k):
            found.left_out[full] = reason
    if names is not None and found.left_out:
        raise InputError("; ".join(f"{full} is not possible: {reason}" for full, reason in found.left_out.items()))
    for full, (name, k) in wanted.items():
        if full in found.left_out:
            continue
        if name in PER_USER:
            found.per_user[full] = PER_USER[name](lists[:, :k], known)
        else:
            found.overall[full] = OVERALL[name](exposure(lists[:, :k], questions.excluded))
    return found


def all_names(ks: tuple[int, ...]) -> list[str]:
    """Every metric at every cut-off."""
    return [f"{name}@{k}" for k in ks for name in (*PER_USER, *OVERALL)]


def parse(name: str) -> tuple[str, int]:
    """('novelty', 10) of 'novelty@10'. InputError: an unknown metric or cut-off; near names are proposed."""
    match = re.fullmatch(r"(\w+)@([1-9]\d*)", name)
    metrics = (*PER_USER, *OVERALL)
    if match and match[1] in metrics:
        return match[1], int(match[2])
    k = match[2] if match else 10
    proposed = did_you_mean(name.partition("@")[0], metrics, shown=lambda near: f"{near}@{k}")
    raise InputError(f"unknown metric {name!r}: {proposed}known are {', '.join(f'{m}@K' for m in metrics)}")


def _check(lists: np.ndarray, known: _Known) -> None:
    questions, split = known.questions, known.split
    n, excluded = split.dataset.n_items, questions.excluded
    if len(lists) != len(questions.user) or lists.shape[1] == 0:
        raise InputError(f"lists of shape {lists.shape}: expected one row for each of {len(questions.user)} users")
    if len(excluded) != n or (known.given is not None and len(known.given) != n):
        vectors = "" if known.given is None else f", and the vectors of {len(known.given)}"
        raise InputError(f"{split.dataset.name} has {n} items; the questions are of {len(excluded)}{vectors}")
    ordered = np.sort(lists, axis=1)
    outside = (lists < 0) | (lists >= n)
    inside = np.where(outside, 0, lists)
    wrong = {
        f"is not one of the {n} items of {split.dataset.name}": outside,
        "is excluded from recommendation": excluded[inside],
        "was seen by this user before": _among(inside, questions.seen, n),
        "is shown twice": np.pad(ordered[:, 1:] == ordered[:, :-1], ((0, 0), (0, 1))),
    }
    for reason, where in wrong.items():
        if where.any():
            row, column = (int(x) for x in np.argwhere(where)[0])
            item = int((ordered if reason == "is shown twice" else lists)[row, column])
            raise InputError(f"the list of user {int(questions.user[row])}: item {item} {reason}")


def _categories_apart(sets: Float[np.ndarray, "b k c"]) -> np.ndarray:
    both = sets @ sets.transpose(0, 2, 1)
    size = sets.sum(axis=2)
    either = size[:, :, None] + size[:, None, :] - both
    pairs = (size[:, :, None] > 0) & (size[:, None, :] > 0) & ~np.eye(sets.shape[1], dtype=bool)
    apart = 1 - both / np.maximum(either, 1).astype(np.float64)
    return _mean((apart * pairs).sum(axis=(1, 2)), pairs.sum(axis=(1, 2)))


def _mean(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """total / count, NaN where nothing was counted."""
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _among(lists: np.ndarray, rows: Sequence[np.ndarray], n: int) -> np.ndarray:
    """[q, k]: whether each item of a list is in the row of its user."""
    owner = np.arange(len(lists))
    return among(owner[:, None] * n + lists, numbers(owner, rows, n))
