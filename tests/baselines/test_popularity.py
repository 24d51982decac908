"""Popularity against a count in plain Python, on the real log."""

from collections import Counter

import jax.numpy as jnp
import numpy as np

from rec_jax.baselines.popularity import fit_popularity
from rec_jax.data.interactions import Dataset
from rec_jax.data.splits import leave_one_out
from rec_jax.evaluate.metrics import per_user
from rec_jax.evaluate.protocol import ask
from rec_jax.evaluate.ranking import rank
from rec_jax.models.base import Query


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
