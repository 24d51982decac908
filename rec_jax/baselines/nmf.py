"""NMF, non-negative matrix factorisation of the binary train matrix, by scikit-learn. Cichocki & Phan, IEICE 2009
(coordinate descent); Fevotte & Idier, Neural Computation 2011 (multiplicative updates).

Checked against the conditions of optimality (tests/baselines/test_nmf.py).
"""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from rec_jax.baselines.base import from_factors, matrix, train_matrix
from rec_jax.data.interactions import Interactions
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.models.base import Scorer
from rec_jax.randomness import host_rng


@dataclass(frozen=True)
class NMFConfig:
    """NMF's hyper-parameters."""

    factors: int = 50
    """Width of the user and item vectors."""
    loss: Literal["frobenius", "kullback-leibler"] = "frobenius"
    """Squared error, or the Kullback-Leibler divergence (multiplicative updates only)."""
    solver: Literal["cd", "mu"] = "cd"
    """Coordinate descent, or multiplicative updates."""
    init: Literal["nndsvda", "nndsvd", "random"] = "nndsvda"
    """Start from the singular vectors (multiplicative updates cannot leave nndsvd's zeros), or at random."""
    penalty: float = 0.0
    """Weight of the penalties on both sides' vectors (scikit-learn's alpha_W)."""
    l1_ratio: float = 0.0
    """Share of the penalty on absolute values; the rest is on squares."""
    rounds: int = 100
    """Rounds of solving both sides, at most; to be stopped by it is usual and no fault."""
    tolerance: float = 1e-4
    """Stop when a round's progress is below this share of the first round's."""


def fit_nmf(split: Split, config: NMFConfig, seed: int = 0) -> Scorer:
    """score(u, i) = <w_u, h_i>, with W H the approximation of the train matrix under W, H >= 0.

    Each user's vector, seen or unseen, solves its own problem given H: folding in the train histories changes nothing.
    InputError: a number out of range.
    """
    history = train_matrix(split)
    most = min(history.shape)
    if not 1 <= config.factors <= most or config.rounds < 1:
        raise InputError(f"factors {config.factors}, rounds {config.rounds}: expected 1 to {most}, and at least 1")
    if config.penalty < 0 or not 0 <= config.l1_ratio <= 1 or config.tolerance < 0:
        raise InputError(f"{config}: expected no negative penalty or tolerance, l1_ratio from 0 to 1")
    if config.loss != "frobenius" and config.solver == "cd":
        raise InputError(f"loss {config.loss!r} has no coordinate descent: take solver 'mu'")
    if config.solver == "mu" and config.init == "nndsvd":
        raise InputError("init 'nndsvd' has zeros that solver 'mu' cannot leave: take init 'nndsvda'")
    model = fitted_nmf(history, config, seed)
    items = model.components_.T

    def scorer(users: np.ndarray) -> Scorer:
        return from_factors("nmf", users, items, fold_in)

    def fold_in(log: Interactions, n_users: int) -> Scorer:
        return scorer(user_vectors(model, matrix(log, n_users, len(items))))

    return scorer(user_vectors(model, history))


def fitted_nmf(history: sp.csr_matrix, config: NMFConfig, seed: int) -> Any:
    """scikit-learn's NMF after its fit; `n_iter_` says after how many rounds it stopped."""
    from sklearn.decomposition import NMF

    model = NMF(
        n_components=config.factors,
        init=config.init,
        solver=config.solver,
        beta_loss=config.loss,
        tol=config.tolerance,
        max_iter=config.rounds,
        random_state=int(host_rng(seed, "nmf").integers(2**31)),
        alpha_W=config.penalty,
        l1_ratio=config.l1_ratio,
    )
    with _rounds_may_run_out():
        return model.fit(history)


def user_vectors(model: Any, history: sp.csr_matrix) -> Float[np.ndarray, "m d"]:
    """The non-negative vectors that approximate each user's history best, given the fitted items'."""
    with _rounds_may_run_out():
        return np.asarray(model.transform(history))


@contextlib.contextmanager
def _rounds_may_run_out() -> Iterator[None]:
    """scikit-learn warns when it stops at `max_iter`; here that is a hyper-parameter."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
