"""How likely Thompson sampling shows each arm at each of the first places of a slate: exactly, not by drawing.

Checked against counted draws (tests/policies/test_places.py).
"""

import numpy as np
from jaxtyping import Float

from rec_jax.errors import InputError

LEVELS = 200
"""Quantiles of each arm between which its mass is taken to lie in the middle: chances are right to about 1e-4."""


def place_chances(alpha: Float[np.ndarray, "a"], beta: Float[np.ndarray, "a"], places: int) -> np.ndarray:
    """[a, places]: the chance that an arm's draw from Beta(alpha, beta) is the largest of all arms', the second, ….

    An arm whose draw is x is at place j where j - 1 of the other draws are above x: the number of these is a sum of
    unlike coins, whose first chances follow by recursion; then the integral over x. Work a² x's.
    InputError: more places than arms, or parameters that are not positive.
    """
    from scipy.stats import beta as distribution

    arms = len(alpha)
    if not 1 <= places <= arms or len(beta) != arms:
        raise InputError(f"places {places}, {arms} alpha, {len(beta)} beta: expected one of each an arm, places among")
    if min(alpha.min(), beta.min()) <= 0:
        raise InputError("alpha and beta: expected numbers above 0")
    believed = distribution(alpha[:, None], beta[:, None])
    levels = np.concatenate([[1e-12], np.linspace(0, 1, LEVELS + 1)[1:-1], [1 - 1e-12]])
    edges = np.unique(np.concatenate([[0.0], believed.ppf(levels[None]).ravel(), [1.0]]))
    below = believed.cdf((edges[1:] + edges[:-1])[None] / 2)
    mass = np.diff(believed.cdf(edges[None]), axis=1)
    found = np.zeros((arms, places))
    for arm in range(arms):
        above = np.zeros((places, below.shape[1]))  # by how many of the other arms are above
        above[0] = 1
        for other in (other for other in range(arms) if other != arm):
            above[1:] = above[1:] * below[other] + above[:-1] * (1 - below[other])
            above[0] *= below[other]
        found[arm] = above @ mass[arm]
    return found / found.sum(axis=0)
