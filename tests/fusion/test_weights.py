"""Weighted sums against plain Python, and the search for weights against a grid of them."""

import numpy as np
import pytest

from rec_jax import fusion
from rec_jax.data.interactions import Dataset
from rec_jax.data.splits import leave_one_out
from rec_jax.errors import InputError
from rec_jax.evaluate.protocol import Questions
from rec_jax.evaluate.report import validation
from rec_jax.fusion import weights
from tests.fusion.helpers import (
    ITEMS,
    USERS,
    check_both_ways_agree,
    check_ranks,
    informed,
    normalised,
    part,
    scores_of,
    tables,
)


@pytest.mark.parametrize("how", ["z-score", "min-max"])
def test_weighted_scores_equal_the_formula(how: str) -> None:
    weights = np.array([0.5, 0.2, 0.3])
    scorer = fusion.weighted([part(t) for t in tables()], weights, how)
    found = scores_of(scorer)
    for user in range(USERS):
        rows = [normalised(table[user].tolist(), how) for table in tables()]
        expected = [sum(w * row[i] for w, row in zip(weights, rows)) for i in range(ITEMS)]
        np.testing.assert_allclose(found[user], expected, rtol=1e-4, atol=1e-5)
    check_both_ways_agree(scorer)


@pytest.mark.parametrize("seed", range(4))
def test_learned_weights_are_never_below_the_best_part(valid: Questions, seed: int) -> None:
    strengths = [(3.0, 0.0, 0.0), (0.0, 2.0, 2.0), (0.5, 1.0, 1.5), (0.0, 0.0, 0.0)][seed]
    parts = [part(informed(valid, s, 10 * seed + i)) for i, s in enumerate(strengths)]
    config = fusion.WeightedConfig(metric="ndcg@5", draws=8, rounds=2)
    weights = fusion.learn_weights(parts, valid, config, seed)
    found = validation(fusion.weighted(parts, weights), valid, "ndcg@5")
    equal = validation(fusion.weighted(parts, np.full(3, 1 / 3)), valid, "ndcg@5")
    assert found >= max(equal, *(validation(p, valid, "ndcg@5") for p in parts)) - 1e-9
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_array_equal(weights, fusion.learn_weights(parts, valid, config, seed))


def test_the_search_finds_weights_that_no_part_and_no_equal_weights_reach() -> None:
    """The second part takes from the first what hides its signal, the third is noise: a grid says how good that is."""
    rng, users = np.random.default_rng(0), 300
    positives = [np.array([item], np.int32) for item in rng.integers(0, ITEMS, users)]
    signal, hiding, noise = (rng.normal(size=(users, ITEMS)) for _ in range(3))
    signal[np.arange(users), np.concatenate(positives)] += 2.0
    place, nothing = np.arange(users, dtype=np.int32), [np.zeros(0, np.int32)] * users
    time = np.zeros(users, np.int64)
    asked = Questions("full", place, time, positives, nothing, None, np.zeros(ITEMS, bool), {})
    parts = [part(signal + 2 * hiding), part(-hiding), part(noise)]
    reached = {
        (i, j): validation(fusion.weighted(parts, np.array([i, j, 6 - i - j]) / 6), asked, "mrr@20")
        for i in range(7)
        for j in range(7 - i)
    }
    config = fusion.WeightedConfig(metric="mrr@20", draws=0, rounds=5)
    found = validation(fusion.fuse_weighted(parts, asked, config, 1), asked, "mrr@20")
    equal = validation(fusion.weighted(parts, np.full(3, 1 / 3)), asked, "mrr@20")
    assert found > max(equal, reached[6, 0], reached[0, 6], reached[0, 0]) + 0.1
    assert found > max(reached.values()) - 0.01


def test_more_users_than_fit_are_drawn(valid: Questions, monkeypatch: pytest.MonkeyPatch) -> None:
    """On few users the weights of these are learned: as good as the best part on the users that were drawn."""
    parts = [part(informed(valid, 2.0, 0)), part(informed(valid, 0.0, 1))]
    monkeypatch.setattr(weights, "NUMBERS_HELD", 7 * ITEMS * 2)
    seen: list[Questions] = []
    monkeypatch.setattr(weights, "validation", lambda s, q, m: (seen.append(q), validation(s, q, m))[1])
    fusion.learn_weights(parts, valid, fusion.WeightedConfig(draws=2, rounds=1), 1)
    assert {len(q.user) for q in seen} == {7}
    whole = {tuple(p.tolist() + s.tolist()) for p, s in zip(valid.positives, valid.seen)}
    assert {tuple(p.tolist() + s.tolist()) for p, s in zip(seen[0].positives, seen[0].seen)} < whole


def test_both_rules_rank_as_plain_numpy_does(small: Dataset) -> None:
    check_ranks("weighted", leave_one_out(small))


def test_numbers_out_of_range(valid: Questions) -> None:
    parts = [part(t) for t in tables()]
    with pytest.raises(InputError, match="unknown metric 'rmsee'"):
        fusion.fuse_weighted(parts, valid, fusion.WeightedConfig(metric="rmsee"), 1)
    with pytest.raises(InputError, match="draws = -1"):
        fusion.fuse_weighted(parts, valid, fusion.WeightedConfig(draws=-1), 1)
    with pytest.raises(InputError, match="2 weights for 3 parts"):
        fusion.weighted(parts, np.ones(2))
