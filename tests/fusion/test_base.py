"""What every fusion shares: blocks of users, compiled functions, fold-in, and parts that cannot be fused."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax import fusion
from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError, UndefinedScore
from rec_jax.evaluate.protocol import Questions
from rec_jax.fusion import base
from rec_jax.models.base import Query, Scorer
from tests.fusion.helpers import FUSE, ITEMS, QUERY, check_both_ways_agree, normalised, part, scores_of, tables


def test_candidates_of_many_users_are_scored_in_blocks(valid: Questions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PAIRS_PER_BATCH", 4 * ITEMS)  # 30 users: the last block is short
    for name in ("rrf", "linear"):
        check_both_ways_agree(FUSE[name]([part(t) for t in tables()], valid))


def test_functions_are_made_once_a_kind_and_number_of_parts(valid: Questions) -> None:
    for name in ("rrf", "linear"):
        one, two, three = (
            FUSE[name]([part(t) for t in tables(seed, count)], valid) for seed, count in ((0, 2), (1, 2), (0, 3))
        )
        assert one.scores is two.scores
        assert one.score_candidates is two.score_candidates
        assert three.scores is not one.scores
    kinds = [fuse([part(t) for t in tables()], valid).scores for fuse in FUSE.values()]
    assert len(set(kinds)) == len(kinds) - 1  # weights found by search and by regression are used alike


def test_new_users_are_folded_into_every_part(valid: Questions) -> None:
    def folding(sign: float) -> Scorer:
        def fold(log: Interactions, n_users: int) -> Scorer:
            table = np.zeros((n_users, ITEMS))
            table[log.user, log.item] = sign
            return part(table)

        return dataclasses.replace(part(tables()[0]), fold_in=fold)

    fused = fusion.weighted([folding(1.0), folding(-1.0)], np.array([0.75, 0.25]))
    assert fused.fold_in is not None
    ones = np.ones(2, np.int64)
    log = Interactions(np.array([0, 1], np.int32), np.array([5, 6], np.int32), ones.astype(np.float32), ones)
    folded = fused.fold_in(log, 2)
    found = scores_of(folded, Query(jnp.arange(2)))
    assert folded.scores is fused.scores
    assert found.argmax(axis=1).tolist() == [5, 6]
    expected = normalised([float(i == 5) for i in range(ITEMS)], "z-score")
    np.testing.assert_allclose(found[0], np.array(expected) * 0.5, rtol=1e-5)
    assert fusion.weighted([folding(1.0), part(tables()[0])], np.array([0.5, 0.5])).fold_in is None


@pytest.mark.parametrize("name", FUSE)
def test_parts_that_cannot_be_fused(valid: Questions, name: str) -> None:
    fuse, good = FUSE[name], part(tables()[0])
    with pytest.raises(InputError, match=r"1 part\(s\): a fusion needs at least two"):
        fuse([good], valid)
    with pytest.raises(InputError, match=r"narrow: its scores have shape \(2, 19\)"):
        fuse([good, part(tables()[0][:, 1:], "narrow")], valid)
    for wrong in (np.nan, np.inf):
        table = tables()[0]
        table[11, 3] = wrong
        with pytest.raises(UndefinedScore, match="broken: a score of user 11 is NaN or infinite"):
            fuse([good, part(table, "broken")], valid)


def test_a_part_that_becomes_undefined_later_is_not_hidden(valid: Questions) -> None:
    """Comparisons, in ranks and in trees, would swallow a NaN."""
    for name, fuse in FUSE.items():
        scorer = fuse([part(t) for t in tables()], valid)
        later = np.array(scorer.cache["parts"][0])
        later[2, 5] = np.nan
        parts = (jnp.asarray(later), *scorer.cache["parts"][1:])
        found = np.asarray(scorer.scores(scorer.cache | {"parts": parts}, QUERY))
        assert np.isnan(found[2]).all(), name
        assert np.isfinite(np.delete(found, 2, axis=0)).all(), name
