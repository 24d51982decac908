"""Random walks of three steps on the user-item graph: P3alpha (Cooper et al., WWW 2014) and RP3beta (Paudel et al.,
ACM TiiS 2017), in the item-item form of Ferrari Dacrema et al., TOIS 2021.

Checked against the walk's probabilities in plain Python (tests/baselines/test_item_weights.py).
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from rec_jax.baselines.base import from_item_weights, gram, top_of_columns, train_matrix
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.models.base import Scorer


@dataclass(frozen=True)
class P3alphaConfig:
    """P3alpha's hyper-parameters."""

    neighbours: int = 100
    """How many items j count towards each item i."""
    alpha: float = 1.0
    """Exponent of the transition probabilities."""


@dataclass(frozen=True)
class RP3betaConfig(P3alphaConfig):
    """RP3beta's hyper-parameters."""

    beta: float = 0.6
    """Exponent of the popularity that a score is divided by."""


def fit_p3alpha(split: Split, config: P3alphaConfig, seed: int = 0) -> Scorer:
    """score(u, i) = sum over u's items j of (p(j -> v) p(v -> i))^alpha over users v."""
    return _fit("p3alpha", split, config, beta=0.0)


def fit_rp3beta(split: Split, config: RP3betaConfig, seed: int = 0) -> Scorer:
    """P3alpha's score, divided by (events of i)^beta."""
    return _fit("rp3beta", split, config, config.beta)


def _fit(name: str, split: Split, config: P3alphaConfig, beta: float) -> Scorer:
    history = train_matrix(split)
    return from_item_weights(name, history, walk_weights(history, config.alpha, beta, config.neighbours))


def walk_weights(history: sp.csr_matrix, alpha: float, beta: float, neighbours: int) -> Float[np.ndarray, "n n"]:
    """[j, i]: sum over users v of p(v | j)^alpha p(i | v)^alpha / count(i)^beta, the largest of each column.

    InputError: a number out of range.
    """
    if neighbours < 1 or alpha < 0 or beta < 0:
        raise InputError(f"neighbours {neighbours}, alpha {alpha:g}, beta {beta:g}: expected 1 or more, 0 or more")
    users, items = (np.maximum(np.asarray(history.sum(axis=a)).ravel(), 1.0) for a in (1, 0))
    # Both steps of a walk over user v carry |v|^-alpha together: half of it on either side is one symmetric product.
    through = gram((sp.diags(users ** (-alpha / 2)) @ history).tocsr())
    weights = (items[:, None] ** -alpha * through * items**-beta).astype(np.float32)
    np.fill_diagonal(weights, 0.0)
    return top_of_columns(weights, neighbours)
