"""Policy gradient from a log that another policy made: REINFORCE with off-policy and top-K correction (Chen et al.,
"Top-K Off-Policy Correction for a REINFORCE Recommender System", WSDM 2019).

The gradient of a policy pi's expected return, estimated on actions that a behaviour policy beta took, is the mean of

    w · lambda_K · R · grad log pi(a | s),   w = pi / beta (Sec. 4.1),   lambda_K = K (1 - pi)^(K - 1)   (Sec. 4.3)

where lambda_K makes up for K documents being shown at once: once the document is likely to be among them, more
chance for it gains nothing. Both factors are constants to the gradient.

Checked against the gradient in plain Python and the paper's anchor (tests/policies/test_reinforce.py): with uniform
behaviour the corrected policy puts its mass on the best document, with K on the K best.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rec_jax.errors import InputError
from rec_jax.objectives.learning import of_actions


def returns(rewards: Float[Array, "b t"], discount: float) -> Float[Array, "b t"]:
    """R_t = r_t + discount R_(t+1): what comes from each step on."""

    def back(ahead: Float[Array, "b"], reward: Float[Array, "b"]) -> tuple[Array, Array]:
        total = reward + discount * ahead
        return total, total

    _, found = jax.lax.scan(back, jnp.zeros(len(rewards)), rewards.T, reverse=True)
    return found.T


def importance(
    log_pi: Float[Array, "b"], log_beta: Float[Array, "b"], cap: float = jnp.inf, normalised: bool = False
) -> Float[Array, "b"]:
    """pi / beta, at most `cap` (Sec. 5.2.2, weight capping), or divided by their mean (normalised importance sampling).

    InputError: a cap that is not positive, or an action that the behaviour never takes, or takes with an unknown chance
    (values that are still being traced are not looked at).
    """
    if not cap > 0:
        raise InputError(f"cap {cap}: expected a number above 0")
    if not isinstance(log_beta, jax.core.Tracer) and len(wrong := np.flatnonzero(~np.isfinite(np.asarray(log_beta)))):
        raise InputError(
            f"action {wrong[0]}: log_beta {float(log_beta[wrong[0]])}: expected the logarithm of the behaviour's "
            "chance of it, which is above 0"
        )
    weights = jnp.minimum(jnp.exp(log_pi - log_beta), cap)
    return weights / weights.mean() if normalised else weights


def top_k_factor(log_pi: Float[Array, "b"], k: int) -> Float[Array, "b"]:
    """lambda_K = K (1 - pi)^(K - 1) (Eq. 7): K where pi is small, 0 where it is 1; 1 for K = 1. InputError: K < 1."""
    if k < 1:
        raise InputError(f"k {k}: expected at least 1, the documents that are shown at once")
    return k * (1 - jnp.exp(log_pi)) ** (k - 1)


def loss(
    logits: Float[Array, "b a"],
    action: Int[Array, "b"],
    advantage: Float[Array, "b"],
    log_beta: Float[Array, "b"] | None = None,
    k: int = 1,
    cap: float = jnp.inf,
    normalised: bool = False,
    entropy: float = 0.0,
) -> Float[Array, ""]:
    """The mean of -w lambda_K A log pi(a), less `entropy` times the policy's entropy.

    `advantage` is the return, less a baseline that does not depend on the action. `log_beta` None: the actions are the
    policy's own, and w is 1. InputError as `importance` and `top_k_factor`.
    """
    every = jax.nn.log_softmax(logits)
    log_pi = of_actions(every, action)
    constant = jax.lax.stop_gradient(log_pi)
    weights = jnp.ones_like(constant) if log_beta is None else importance(constant, log_beta, cap, normalised)
    gained = weights * top_k_factor(constant, k) * advantage * log_pi
    spread = -(jnp.exp(every) * every).sum(axis=1)
    return -(gained + entropy * spread).mean()
