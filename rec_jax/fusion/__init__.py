"""Several recommenders as one: weighted scores, rank votes, stacking, and boosting on what the first one leaves.

The parts stay as they were fitted on train. Whatever a fusion learns, it learns from the validation questions, on
which the parts themselves were chosen: their validation scores flatter them, and flatter most those that were tuned
longest, so that learned weights lean towards these and a fusion's validation metric is too high. The test split is
untouched: its numbers are fair, but part of the gain seen on validation does not carry over to it.

Normalised scores and ranks are those over the whole catalogue, items already seen included, whichever candidates are
asked for: a fused score of an item is one number, in full ranking and among 99. Each module says what it was
checked against.
"""

from rec_jax.fusion.base import NORMALISATIONS
from rec_jax.fusion.boosting import BoostingConfig, fuse_boosting, residual_weights
from rec_jax.fusion.stacking import (
    LinearStackConfig,
    StackingRows,
    TreeStackConfig,
    fuse_linear_stack,
    fuse_tree_stack,
    stacking_rows,
    tree_arrays,
)
from rec_jax.fusion.votes import BordaConfig, ReciprocalRankConfig, fuse_borda, fuse_reciprocal_ranks
from rec_jax.fusion.weights import WeightedConfig, fuse_weighted, learn_weights, weighted

__all__ = [
    "NORMALISATIONS",
    "BoostingConfig",
    "BordaConfig",
    "LinearStackConfig",
    "ReciprocalRankConfig",
    "StackingRows",
    "TreeStackConfig",
    "WeightedConfig",
    "fuse_boosting",
    "fuse_borda",
    "fuse_linear_stack",
    "fuse_reciprocal_ranks",
    "fuse_tree_stack",
    "fuse_weighted",
    "learn_weights",
    "residual_weights",
    "stacking_rows",
    "tree_arrays",
    "weighted",
]
