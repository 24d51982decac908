"""Parts made of tables of numbers, the fusions, and their ranks in plain numpy."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rec_jax import fusion
from rec_jax.baselines.base import train_matrix
from rec_jax.data.interactions import Dataset
from rec_jax.data.splits import Split, leave_one_out
from rec_jax.evaluate.metrics import per_user
from rec_jax.evaluate.protocol import Questions, ask
from rec_jax.evaluate.ranking import rank
from rec_jax.evaluate.report import validation
from rec_jax.fusion.base import take
from rec_jax.models.base import Query, Scorer

USERS, ITEMS = 30, 20
QUERY = Query(jnp.arange(USERS))


def by_table(cache: Any, query: Query) -> jax.Array:
    return cache[query.user]


def by_table_candidates(cache: Any, query: Query, ids: jax.Array) -> jax.Array:
    return jnp.take_along_axis(cache[query.user], ids, axis=1)


def part(table: np.ndarray, name: str = "table") -> Scorer:
    return Scorer(name, jnp.asarray(table, jnp.float32), by_table, by_table_candidates)


def scores_of(scorer: Scorer, query: Query = QUERY) -> np.ndarray:
    return np.asarray(scorer.scores(scorer.cache, query), np.float64)


def check_both_ways_agree(scorer: Scorer, users: int = USERS, items: int = ITEMS, rtol: float = 1e-5) -> None:
    query = Query(jnp.arange(users))
    ids = np.random.default_rng(3).integers(0, items, (users, 6)).astype(np.int32)
    given = np.asarray(jax.jit(scorer.score_candidates)(scorer.cache, query, jnp.asarray(ids)))
    full = np.asarray(jax.jit(scorer.scores)(scorer.cache, query))
    np.testing.assert_allclose(given, np.take_along_axis(full, ids, 1), rtol=rtol, atol=1e-5)


def split_and_valid(dataset: Dataset) -> tuple[Split, Questions]:
    split = leave_one_out(dataset)
    return split, ask(split, "valid", "full", seed=0)


def tables(seed: int = 0, count: int = 3) -> list[np.ndarray]:
    """Scores of unlike scales, with ties, a constant user, and one part too small for squares in float32."""
    rng = np.random.default_rng(seed)
    found = [rng.normal(5, 40, (USERS, ITEMS)), rng.integers(0, 4, (USERS, ITEMS)).astype(float)]
    found.append(1e-25 * rng.gamma(1.0, size=(USERS, ITEMS)))
    found[1][4] = 0.1
    return [table.astype(np.float32) for table in found[:count]]


def informed(valid: Questions, strength: float, seed: int) -> np.ndarray:
    """Noise, higher for held-out items by `strength`."""
    table = np.random.default_rng(seed).normal(size=(USERS, ITEMS))
    for user, positives in zip(valid.user, valid.positives):
        table[user, positives] += strength
    return table.astype(np.float32)


def normalised(row: list[float], how: str) -> list[float]:
    mean, low, high = sum(row) / len(row), min(row), max(row)
    if low == high:
        return [0.0] * len(row)
    if how == "min-max":
        return [(s - low) / (high - low) for s in row]
    deviation = math.sqrt(sum((s - mean) ** 2 for s in row) / len(row))
    return [(s - mean) / deviation for s in row]


FUSE: dict[str, Callable[[list[Scorer], Questions], Scorer]] = {
    "weighted": lambda p, q: fusion.fuse_weighted(p, q, fusion.WeightedConfig(draws=1, rounds=0), 1),
    "borda": lambda p, q: fusion.fuse_borda(p, q, fusion.BordaConfig(), 1),
    "rrf": lambda p, q: fusion.fuse_reciprocal_ranks(p, q, fusion.ReciprocalRankConfig(), 1),
    "linear": lambda p, q: fusion.fuse_linear_stack(p, q, fusion.LinearStackConfig(negatives=20), 1),
    "trees": lambda p, q: fusion.fuse_tree_stack(p, q, fusion.TreeStackConfig(negatives=20, trees=10), 1),
}


def log_popularity(split: Split) -> np.ndarray:
    counts = np.bincount(split.train.item, minlength=split.dataset.n_items)
    return np.tile(np.log1p(counts), (split.dataset.n_users, 1)).astype(np.float32)


def neighbours(split: Split) -> np.ndarray:
    x = train_matrix(split)
    length = np.sqrt(np.maximum(np.asarray(x.sum(axis=0)), 1.0))
    cosine = (x.T @ x).toarray() / (length.T @ length)
    np.fill_diagonal(cosine, 0)
    return (x @ cosine).astype(np.float32)


def check_ranks(name: str, split: Split) -> tuple[float, ...]:
    """Recall@10 as numpy counts it, in both rules; returns that among 99 candidates, of the fusion and its parts."""
    parts = [part(log_popularity(split), "popularity"), part(neighbours(split), "cosine")]
    valid = ask(split, "valid", "full", seed=0)
    if name == "boosted":
        scorer = fusion.fuse_boosting(parts[0], split, valid, fusion.BoostingConfig(stages=1))
    else:
        scorer = FUSE[name](parts, valid)
    some, n_items = min(split.dataset.n_users, 200), split.dataset.n_items
    check_both_ways_agree(scorer, min(some, 100), n_items, 1e-4)
    table = np.asarray(jax.jit(scorer.scores)(scorer.cache, Query(jnp.arange(some))))
    for rule in ("full", "ncf-99"):
        asked = ask(split, "test", rule, seed=0)
        if rule == "full":  # the others are asked among 99, for a recall of all users
            asked = take(asked, np.flatnonzero(asked.user < some))
        compared = np.flatnonzero(asked.user < some)
        found = per_user(rank(scorer, asked), ["recall@10"])["recall@10"]
        expected = []
        for row in compared:
            user, item = asked.user[row], asked.positives[row][0]
            others = np.setdiff1d(np.arange(n_items), [*asked.seen[row], item])
            if asked.candidates is not None:
                others = asked.candidates[row][1:]
            above = (table[user, others] > table[user, item]).sum()
            tied = (table[user, others] == table[user, item]).sum()
            expected.append(min(max(10 - above, 0), tied + 1) / (tied + 1))
        assert len(expected) >= USERS
        # Batches of other sizes round otherwise: one rank in a thousand may move.
        assert np.abs(found[compared] - expected).sum() <= 1.0, rule
    return float(found.mean()), *(validation(part, asked, "recall@10") for part in parts)
