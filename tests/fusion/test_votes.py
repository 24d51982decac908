"""Rank votes against a count in plain Python, ties included."""

import pytest

from rec_jax import fusion
from rec_jax.data.interactions import Dataset
from rec_jax.data.splits import leave_one_out
from rec_jax.errors import InputError
from rec_jax.evaluate.protocol import Questions
from tests.fusion.helpers import ITEMS, USERS, check_both_ways_agree, check_ranks, part, scores_of, tables


def mean_rank(row: list[float], item: int) -> float:
    above = sum(s > row[item] for s in row)
    tied = sum(s == row[item] for s in row)
    return sum(range(above + 1, above + tied + 1)) / tied


@pytest.mark.parametrize("method", ["borda", "rrf"])
def test_votes_equal_a_count_in_plain_python(valid: Questions, method: str) -> None:
    voters = tables()
    voters[0][:, 3], voters[0][:, 7] = 0.0, -0.0  # equal numbers are tied
    parts = [part(t) for t in voters]
    if method == "borda":
        scorer = fusion.fuse_borda(parts, valid, fusion.BordaConfig(), 1)
    else:
        scorer = fusion.fuse_reciprocal_ranks(parts, valid, fusion.ReciprocalRankConfig(), 1)
    found = scores_of(scorer)
    for user in range(USERS):
        for item in range(ITEMS):
            ranks = [mean_rank(table[user].tolist(), item) for table in voters]
            expected = sum(ITEMS - r for r in ranks) if method == "borda" else sum(1 / (60 + r) for r in ranks)
            assert found[user, item] == pytest.approx(expected, rel=1e-5, abs=1e-6)
    check_both_ways_agree(scorer)


@pytest.mark.parametrize("name", ["borda", "rrf"])
def test_both_rules_rank_as_plain_numpy_does(small: Dataset, name: str) -> None:
    check_ranks(name, leave_one_out(small))


@pytest.mark.many_steps
def test_on_the_real_log_votes_are_better_than_the_weaker_part(ml_100k: Dataset) -> None:
    """Among 99 candidates, where HR@10 is .1 by chance and known to .016; votes of equal weight are in between."""
    votes, popularity, _ = check_ranks("rrf", leave_one_out(ml_100k))
    assert votes > popularity + 0.05 > 0.3


def test_numbers_out_of_range(valid: Questions) -> None:
    with pytest.raises(InputError, match="constant = -1"):
        fusion.fuse_reciprocal_ranks([part(t) for t in tables()], valid, fusion.ReciprocalRankConfig(constant=-1.0), 1)
