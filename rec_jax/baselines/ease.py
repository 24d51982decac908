"""EASE: a linear autoencoder with a closed form. Steck, "Embarrassingly Shallow Autoencoders", WWW 2019, Eqs. 5-8.

Checked against its optimality conditions (tests/baselines/test_item_weights.py).
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float

from rec_jax.baselines.base import from_item_weights, train_matrix
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.models.base import Scorer


@dataclass(frozen=True)
class EASEConfig:
    """EASE's hyper-parameter."""

    l2: float = 500.0
    """Penalty on the squared item weights (lambda)."""


def fit_ease(split: Split, config: EASEConfig) -> Scorer:
    """Fit on the binary train matrix. InputError: the penalty is not positive."""
    if config.l2 <= 0:
        raise InputError(f"l2 = {config.l2:g}: EASE needs a positive penalty, or its matrix may have no inverse")
    history = train_matrix(split)
    return from_item_weights("ease", history, ease_weights((history.T @ history).toarray(), config.l2))


def ease_weights(gram: Float[np.ndarray, "n n"], l2: float) -> Float[np.ndarray, "n n"]:
    """B = I - P / diag(P) with P = (X^T X + l2 I)^-1: the minimum of |X - XB|^2 + l2 |B|^2 under diag(B) = 0."""
    regularised = gram.astype(np.float64) + l2 * np.eye(len(gram))
    inverse = scipy.linalg.cho_solve(scipy.linalg.cho_factor(regularised, overwrite_a=True), np.eye(len(gram)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights
