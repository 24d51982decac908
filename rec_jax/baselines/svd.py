"""PureSVD: the truncated singular value decomposition of the binary train matrix. Cremonesi et al., RecSys 2010.

Checked against numpy's full decomposition (tests/baselines/test_factors.py).
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse.linalg

from rec_jax.baselines.base import from_encoder, train_matrix
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.models.base import Scorer
from rec_jax.randomness import host_rng


@dataclass(frozen=True)
class PureSVDConfig:
    """PureSVD's hyper-parameter."""

    factors: int = 50
    """How many of the largest singular values are kept."""


def fit_pure_svd(split: Split, config: PureSVDConfig, seed: int = 0) -> Scorer:
    """score(u, .) = x_u V V^T, with V the leading right singular vectors. InputError: too few or too many factors."""
    history = train_matrix(split).astype(np.float64)
    most = min(history.shape) - 1
    if not 1 <= config.factors <= most:
        raise InputError(f"factors = {config.factors}: expected 1 to {most}, one less than the matrix is wide")
    start = host_rng(seed, "svd").normal(size=min(history.shape))
    _, _, right = scipy.sparse.linalg.svds(history, k=config.factors, v0=start)
    return from_encoder("puresvd", history, lambda x: x @ right.T, right.T)
