"""Stacking: a second level, linear or of trees, learns from the parts' scores which items were held out.

Checked against scikit-learn's own predictions, the gradient of the loss, and draws that are told one by one
(tests/fusion/test_stacking.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rec_jax.errors import InputError
from rec_jax.evaluate.protocol import Questions
from rec_jax.fusion.base import NORMALISATIONS, fused, linear, scored
from rec_jax.models.base import Scorer
from rec_jax.randomness import host_rng


@dataclass(frozen=True)
class _StackConfig:
    normalisation: Literal["z-score", "min-max"] = "z-score"
    """What is done to a user's scores over the catalogue."""
    negatives: int = 50
    """Unseen items drawn for each held-out one."""


@dataclass(frozen=True)
class LinearStackConfig(_StackConfig):
    """A logistic regression over the parts' scores."""

    l2: float = 1.0
    """Penalty: half of it times the squared weights, beside the sum of the log losses."""


@dataclass(frozen=True)
class TreeStackConfig(_StackConfig):
    """Gradient-boosted trees over the parts' scores."""

    trees: int = 50
    """How many trees."""
    depth: int = 3
    """Splits from a tree's root to its leaves, 1 to 6."""
    shrinkage: float = 0.1
    """What each tree's leaves are multiplied by, above 0 and up to 1."""
    leaf_rows: int = 20
    """Fewest training rows in a leaf."""


@dataclass(frozen=True, eq=False)
class StackingRows:
    """What a second level learns from: features [m, parts + item features], 1 for held out, who and what."""

    x: Float[np.ndarray, "m f"]
    y: Int[np.ndarray, "m"]
    user: Int[np.ndarray, "m"]
    item: Int[np.ndarray, "m"]


def stacking_rows(
    parts: Sequence[Scorer],
    questions: Questions,
    config: _StackConfig,
    seed: int,
    item_features: Float[np.ndarray, "n c"] | None = None,
) -> StackingRows:
    """Each user's held-out items (1) and, for each, `negatives` distinct unseen ones drawn uniformly (0).

    Unseen is what is neither in the questions' seen items nor held out, and may be recommended. The features are the
    parts' normalised scores, then `item_features`, standardised over the catalogue. Negatives drawn uniformly teach
    the order of the whole catalogue more than that of its first places. Errors as in `fuse_weighted`;
    InputError: no negatives, features of another catalogue, or nobody has an unseen item.
    """
    if config.negatives < 1:
        raise InputError(f"negatives = {config.negatives}: expected at least 1")
    rng = host_rng(seed, "stacking negatives")
    found: list[tuple[np.ndarray, ...]] = []
    for rows, block in scored(NORMALISATIONS[config.normalisation], parts, questions, item_features):
        for place, row in enumerate(rows):
            positives = questions.positives[row]
            free = ~questions.excluded
            free[questions.seen[row]] = False
            free[positives] = False
            pool = np.flatnonzero(free)
            drawn = rng.choice(pool, min(len(pool), config.negatives * len(positives)), replace=False)
            chosen = np.concatenate([positives, drawn]).astype(np.int64)
            held = (np.arange(len(chosen)) < len(positives)).astype(np.int64)
            found.append((block[:, place, chosen].T, held, np.full(len(chosen), questions.user[row]), chosen))
    made = StackingRows(*(np.concatenate(columns) for columns in zip(*found)))
    if made.y.all():
        raise InputError("no user has an unseen item: there is nothing to tell the held-out items from")
    return made


def fuse_linear_stack(
    parts: Sequence[Scorer],
    questions: Questions,
    config: LinearStackConfig,
    seed: int,
    item_features: Float[np.ndarray, "n c"] | None = None,
) -> Scorer:
    """Stacking (Wolpert, Neural Networks 1992): log odds of a logistic regression over `stacking_rows`.

    Errors as in `stacking_rows`; InputError: the penalty is not positive.
    """
    from sklearn.linear_model import LogisticRegression

    if not config.l2 > 0:
        raise InputError(f"l2 = {config.l2:g}: expected a positive penalty")
    rows = stacking_rows(parts, questions, config, seed, item_features)
    model = LogisticRegression(C=1 / config.l2, max_iter=1000).fit(rows.x.astype(np.float64), rows.y)
    learned = {
        "weights": jnp.asarray(model.coef_[0], jnp.float32),
        "intercept": jnp.asarray(model.intercept_[0], jnp.float32),
    }
    terms = [f"{w:.3f} {part.name}" for w, part in zip(model.coef_[0], parts)]
    name = f"linear stack({' + '.join(terms)})"
    return fused(name, NORMALISATIONS[config.normalisation], linear, parts, learned, item_features)


def fuse_tree_stack(
    parts: Sequence[Scorer],
    questions: Questions,
    config: TreeStackConfig,
    seed: int,
    item_features: Float[np.ndarray, "n c"] | None = None,
) -> Scorer:
    """Stacking by gradient-boosted trees (Friedman, Annals of Statistics 2001), scikit-learn's, over `stacking_rows`.

    The fitted trees are read into arrays and evaluated on the device; that both agree is checked on the training
    rows. Errors as in `stacking_rows`; InputError: a number out of range.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    if not (1 <= config.depth <= 6 and config.trees >= 1 and config.leaf_rows >= 1 and 0 < config.shrinkage <= 1):
        raise InputError(f"{config}: expected depth from 1 to 6, shrinkage up to 1, trees and leaf_rows of at least 1")
    rows = stacking_rows(parts, questions, config, seed, item_features)
    model = HistGradientBoostingClassifier(
        learning_rate=config.shrinkage,
        max_iter=config.trees,
        max_depth=config.depth,
        max_leaf_nodes=None,
        min_samples_leaf=config.leaf_rows,
        early_stopping=False,
        random_state=seed,
    ).fit(rows.x, rows.y)
    learned = tree_arrays([predictors[0].nodes for predictors in model._predictors], config.depth)
    mine = np.asarray(jax.jit(_trees)(learned, jnp.asarray(rows.x.T[:, None])))[0]
    left = model.decision_function(rows.x) - mine  # the constant that boosting starts from
    if not np.ptp(left) <= 1e-4 * max(1.0, float(np.abs(mine).max())):
        raise RuntimeError("scikit-learn's trees are laid out in another way than this module reads them")
    learned["intercept"] = jnp.asarray(left.mean(), jnp.float32)
    name = f"tree stack({', '.join(part.name for part in parts)})"
    return fused(name, NORMALISATIONS[config.normalisation], _trees, parts, learned, item_features)


def tree_arrays(trees: Sequence[np.ndarray], depth: int) -> dict[str, Array]:
    """scikit-learn's histogram trees as complete binary trees: node i has children 2i + 1 and 2i + 2.

    A leaf above the lowest level is repeated below, so that every row takes `depth` steps. Thresholds are rounded
    down to float32, which sends a float32 number the same way as the float64 one would.
    """
    inner, count = 2**depth - 1, len(trees)
    feature, threshold = np.zeros((count, inner), np.int32), np.full((count, inner), np.inf, np.float32)
    leaves = np.zeros((count, inner + 1), np.float32)

    def fill(tree: int, node: int, place: int) -> None:
        found = trees[tree][node]
        if place >= inner:
            leaves[tree, place - inner] = found["value"]
        elif found["is_leaf"]:
            fill(tree, node, 2 * place + 1)
            fill(tree, node, 2 * place + 2)
        else:
            exact, rounded = found["num_threshold"], np.float32(found["num_threshold"])
            feature[tree, place] = found["feature_idx"]
            threshold[tree, place] = np.nextafter(rounded, np.float32(-np.inf)) if rounded > exact else rounded
            fill(tree, int(found["left"]), 2 * place + 1)
            fill(tree, int(found["right"]), 2 * place + 2)

    for tree in range(count):
        fill(tree, 0, 0)
    arrays = {"feature": feature, "threshold": threshold, "leaves": leaves, "intercept": np.float32(0)}
    return {name: jnp.asarray(array) for name, array in arrays.items()}


def _trees(learned: Any, x: Float[Array, "f b k"]) -> Float[Array, "b k"]:
    """The sum over trees, from the leaves up: whole arrays are compared and selected, nothing is gathered."""
    depth = learned["leaves"].shape[1].bit_length() - 1

    def add(total: Array, tree: tuple[Array, Array, Array]) -> tuple[Array, None]:
        feature, threshold, leaves = tree
        values = list(leaves)
        for level in reversed(range(depth)):
            nodes = range(2**level - 1, 2 ** (level + 1) - 1)
            values = [
                jnp.where(x[feature[node]] <= threshold[node], *values[2 * i : 2 * i + 2])
                for i, node in enumerate(nodes)
            ]
        return total + values[0], None

    start = jnp.full(x.shape[1:], learned["intercept"])
    total, _ = jax.lax.scan(add, start, (learned["feature"], learned["threshold"], learned["leaves"]))
    return jnp.where(jnp.isnan(x).any(axis=0), jnp.nan, total)  # a comparison would swallow it
