"""EASE: a linear autoencoder with a closed form. Steck, "Embarrassingly Shallow Autoencoders", WWW 2019, Eqs. 5-8.

Checked against its optimality conditions (tests/baselines/test_item_weights.py).
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg.lapack
from jaxtyping import Float

from rec_jax.baselines.base import from_item_weights, gram, train_matrix
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.models.base import Scorer


@dataclass(frozen=True)
class EASEConfig:
    """EASE's hyper-parameter."""

    l2: float = 500.0
    """Penalty on the squared item weights (lambda)."""


def fit_ease(split: Split, config: EASEConfig, seed: int = 0) -> Scorer:
    """Fit on the binary train matrix. InputError: the penalty is not positive."""
    if config.l2 <= 0:
        raise InputError(f"l2 = {config.l2:g}: EASE needs a positive penalty, or its matrix may have no inverse")
    history = train_matrix(split)
    return from_item_weights("ease", history, ease_weights(gram(history), config.l2))


def ease_weights(gram: Float[np.ndarray, "n n"], l2: float) -> Float[np.ndarray, "n n"]:
    """B = I - P / diag(P) with P = (X^T X + l2 I)^-1: the minimum of |X - XB|^2 + l2 |B|^2 under diag(B) = 0.

    InputError: as in `regularised_inverse`.
    """
    weights = regularised_inverse(gram, l2)
    weights /= -np.diag(weights)
    np.fill_diagonal(weights, 0.0)
    return weights


def regularised_inverse(gram: Float[np.ndarray, "n n"], l2: float) -> Float[np.ndarray, "n n"]:
    """(X^T X + l2 I)^-1.

    LAPACK factorises and inverts one triangle in place: n^3 operations and n^2 numbers, where a general inverse
    takes 8/3 n^3 and 2 n^2. InputError: the penalty is lost in the rounding of the counts.
    """
    n = len(gram)
    matrix = gram.astype(np.float64)
    matrix[np.diag_indices(n)] += l2
    # LAPACK works on columns: the transpose of our rows is what it can overwrite without a copy.
    factor, failed = scipy.linalg.lapack.dpotrf(matrix.T, lower=True, overwrite_a=True, clean=False)
    if failed:
        raise InputError(f"l2 = {l2:g} is too small for this log: X^T X + l2 I is not positive definite in float64")
    inverse = scipy.linalg.lapack.dpotri(factor, lower=True, overwrite_c=True)[0].T
    for start in range(0, n, 512):  # mirrored in blocks, since a whole triangle's copy would be another n^2
        end = start + 512
        inverse[end:, start:end] = inverse[start:end, end:].T
        corner = np.triu(inverse[start:end, start:end])
        inverse[start:end, start:end] = corner + np.triu(corner, 1).T
    return inverse
