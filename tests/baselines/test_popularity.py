"""Popularity against a count in plain Python, on the real log."""

from collections import Counter
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.baselines.popularity import PopularityConfig, fit_popularity
from rec_jax.data.interactions import Dataset, build_dataset
from rec_jax.data.splits import leave_one_out
from rec_jax.errors import InputError
from rec_jax.evaluate.metrics import per_user
from rec_jax.evaluate.protocol import ask
from rec_jax.evaluate.ranking import rank
from rec_jax.models.base import Query
from rec_jax.registry import BASELINES


def test_popularity_is_a_count(ml_100k: Dataset) -> None:
    split = leave_one_out(ml_100k)
    scorer = fit_popularity(split)
    count = Counter(split.train.item.tolist())
    scores = np.asarray(scorer.scores(scorer.cache, Query(jnp.arange(3))))
    assert scores.tolist() == [[count[i] for i in range(ml_100k.n_items)]] * 3


def test_hit_rate_on_the_real_log_equals_a_count_in_plain_python(ml_100k: Dataset) -> None:
    """HR@10 with unseen items ranked by train counts; a user's tie at the cut is worth its expected share."""
    split = leave_one_out(ml_100k)
    found = per_user(rank(fit_popularity(split), ask(split, "test", "full", seed=0)), ["hr@10"])["hr@10"]
    count = Counter(split.train.item.tolist())
    log, expected = ml_100k.interactions, []
    for user, item in zip(split.test.user.tolist(), split.test.item.tolist()):
        seen = set(log.item[log.user == user].tolist()) - {item}
        free = [count[i] for i in range(ml_100k.n_items) if i not in seen]
        above, tied = sum(c > count[item] for c in free), free.count(count[item])
        expected.append(min(max(10 - above, 0), tied) / tied)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_recent_popularity_counts_the_last_days(ml_100k: Dataset) -> None:
    split = leave_one_out(ml_100k)
    last = max(split.train.time.tolist())
    recent = [i for i, t in zip(split.train.item.tolist(), split.train.time.tolist()) if t > last - 30 * 86400]
    scorer = fit_popularity(split, PopularityConfig(days=30.0))
    assert np.asarray(scorer.cache).tolist() == [Counter(recent)[i] for i in range(ml_100k.n_items)]
    untimed = build_dataset("t", {"user": np.zeros(3), "item": np.arange(3), "rating": np.ones(3), "time": np.zeros(3)})
    with pytest.raises(InputError, match="needs the time of every event"):
        fit_popularity(leave_one_out(untimed), PopularityConfig(days=1.0))


QUICK: dict[str, dict[str, Any]] = {
    "ials": {"factors": 32, "iterations": 4},
    "slim": {"tolerance": 0.01},
    "nmf": {"factors": 20, "rounds": 20},
    "fm": {"rounds": 8},
}


@pytest.mark.many_steps
def test_every_baseline_beats_chance_and_scores_both_ways_alike(ml_100k: Dataset) -> None:
    """On the real log, and all that learn from events beat popularity; chance itself is chance."""
    split = leave_one_out(ml_100k)
    asked = ask(split, "valid", "ncf-99", seed=0)
    found = {}
    for name, row in BASELINES.items():
        scorer = row.fit(split, row.config(**QUICK.get(name, {})), 0)
        assert (scorer.fold_in is not None) == row.folds_in
        query, ids = Query(jnp.array([0, 5])), jnp.array([[3, 9], [4, 1681]])
        full = scorer.scores(scorer.cache, query)
        given = scorer.score_candidates(scorer.cache, query, ids)
        np.testing.assert_allclose(given, jnp.take_along_axis(full, ids, axis=1), rtol=1e-5, atol=1e-6)
        found[name] = float(per_user(rank(scorer, asked), ["hr@10"])["hr@10"].mean())
    assert abs(found["random"] - 0.1) < 4 * (0.1 * 0.9 / len(asked.user)) ** 0.5
    assert found["popularity"] > 0.3
    assert found["content"] > 0.13  # titles and genres know little of taste: far below popularity here
    others = {name: value for name, value in found.items() if name not in ("random", "content", "popularity")}
    assert min(others.values()) > found["popularity"]
