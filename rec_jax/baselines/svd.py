"""PureSVD: the truncated singular value decomposition of the binary train matrix. Cremonesi et al., RecSys 2010.

Checked against numpy's full decomposition (tests/baselines/test_factors.py).
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg
from jaxtyping import Float

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
    history = train_matrix(split)
    _, right = leading("factors", config.factors, history)
    return from_encoder("puresvd", history, lambda x: x @ right.T, right.T)


def leading(name: str, count: int, history: sp.csr_matrix) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d n"]]:
    """(singular values, right singular vectors), the `count` largest, in ascending order; without chance.

    InputError: there are not so many; `name` is what asked for them.
    """
    most = min(history.shape) - 1
    if not 1 <= count <= most:
        raise InputError(f"{name} = {count}: expected 1 to {most}, one less than the {history.shape} matrix is wide")
    start = host_rng(0, "svd").normal(size=min(history.shape))
    _, values, right = scipy.sparse.linalg.svds(history.astype(np.float64), k=count, v0=start)
    return values, right
