"""Losses as pure functions of scores, one value an example. Each is checked against `math` in plain Python."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def binary_cross_entropy(logit: Float[Array, "*s"], label: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """-y log sigma(x) - (1 - y) log(1 - sigma(x)) = max(x, 0) - x y + log(1 + exp(-|x|)). He et al. 2017, Eq. 7."""
    return jnp.maximum(logit, 0) - logit * label + jnp.log1p(jnp.exp(-jnp.abs(logit)))


def bpr(positive: Float[Array, "*#s"], negative: Float[Array, "*#s"]) -> Float[Array, "*#s"]:
    """-log sigma(x_ui - x_uj). Rendle et al., "BPR", UAI 2009, Sec. 4.1 (BPR-Opt without its prior)."""
    return jax.nn.softplus(negative - positive)


def squared_error(prediction: Float[Array, "*s"], rating: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """(prediction - rating)^2. Koren et al. 2009, Eq. 5 (without its penalty)."""
    return (prediction - rating) ** 2


def generalised_bce(
    positive: Float[Array, "*s"], negative: Float[Array, "*s k"], beta: Float[Array, ""] | float
) -> Float[Array, "*s"]:
    """-(beta log sigma(s+) + sum_j log(1 - sigma(s_j))) / (1 + k); beta = 1 is binary cross-entropy.

    Petrov and Macdonald, "gSASRec", RecSys 2023, Eq. 10.
    """
    k = negative.shape[-1]
    return (beta * jax.nn.softplus(-positive) + jax.nn.softplus(negative).sum(-1)) / (1 + k)


def calibrated_beta(calibration: float, negatives: int, n_items: int) -> float:
    """alpha (t (1 - 1/alpha) + 1/alpha), alpha = negatives / (items - 1). Petrov and Macdonald 2023, Eqs. 5 and 12."""
    alpha = negatives / max(n_items - 1, 1)
    return alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)


def sampled_softmax(
    positive: Float[Array, "*s"], negative: Float[Array, "*s k"], hit: Bool[Array, "*s k"]
) -> Float[Array, "*s"]:
    """log(exp(s+) + sum_j exp(s_j)) - s+, over the negatives that are not the positive itself (`hit`).

    Scores come with log Q already taken off where it is (Bengio and Senecal, IEEE TNN 2008, Sec. III).
    """
    logits = jnp.concatenate([positive[..., None], jnp.where(hit, -jnp.inf, negative)], axis=-1)
    return jax.nn.logsumexp(logits, axis=-1) - positive


def bpr_max(
    positive: Float[Array, "*s"], negative: Float[Array, "*s k"], hit: Bool[Array, "*s k"], penalty: float
) -> Float[Array, "*s"]:
    """-log sum_j p_j sigma(s+ - s_j) + penalty sum_j p_j s_j^2, p the softmax of the negatives' scores.

    Hidasi and Karatzoglou, CIKM 2018, Eq. 10. A negative that is the positive itself (`hit`) is left out.
    """
    share = jax.nn.softmax(jnp.where(hit, -1e9, negative), axis=-1)
    chance = (share * jax.nn.sigmoid(positive[..., None] - negative)).sum(-1)
    return -jnp.log(chance + 1e-24) + penalty * (share * negative**2).sum(-1)
