"""Choosing an off-policy estimator's hyper-parameter from the log alone (SLOPE: Su et al., ICML 2020).

Checked against the rule in plain Python, and on a world where the bias is known (tests/evaluate/test_slope.py).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from rec_jax.errors import InputError

C = 6**0.5 - 1


def slope(candidates: Sequence[Float[np.ndarray, "m"]], level: float = 0.05) -> int:
    """The place of the candidate chosen; each gives its value of every round, whose mean is its estimate.

    Candidates are sorted by the width of their interval, the widest (least biased) first, and taken as long as the
    estimate agrees with all before it: |t_i - t_j| <= w_i + (sqrt 6 - 1) w_j (Theorem 1; sorted by width as by Tucker
    and Lee, 2021). A width is Student's one-sided one at `level`. InputError: no candidate, one
    with a value that is not finite, fewer than two rounds, or a level that is none.
    """
    from scipy.stats import t as student

    if not candidates or min(len(of) for of in candidates) < 2:
        raise InputError("slope: expected candidates with their values of at least two rounds")
    if not 0 < level < 0.5:
        raise InputError(f"slope: level {level}: expected one above 0 and below .5")
    if not all(np.isfinite(of).all() for of in candidates):
        raise InputError("slope: a candidate's value is NaN or infinite: it could not be told from the others")
    mean = np.array([of.mean() for of in candidates])
    width = np.array([student.ppf(1 - level, len(of) - 1) * of.std(ddof=1) / len(of) ** 0.5 for of in candidates])
    order = np.argsort(-width, kind="stable")
    for place in range(1, len(order)):
        this, before = order[place], order[:place]
        if (np.abs(mean[this] - mean[before]) > width[this] + C * width[before]).any():
            return int(order[place - 1])
    return int(order[-1])
