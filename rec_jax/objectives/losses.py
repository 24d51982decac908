"""Losses as pure functions of scores, one value an example. Each is checked against `math` in plain Python."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def binary_cross_entropy(logit: Float[Array, "*s"], label: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """-y log sigma(x) - (1 - y) log(1 - sigma(x)) = max(x, 0) - x y + log(1 + exp(-|x|)). He et al. 2017, Eq. 7."""
    return jnp.maximum(logit, 0) - logit * label + jnp.log1p(jnp.exp(-jnp.abs(logit)))


def bpr(positive: Float[Array, "*s"], negative: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """-log sigma(x_ui - x_uj). Rendle et al., "BPR", UAI 2009, Sec. 4.1 (BPR-Opt without its prior)."""
    return jax.nn.softplus(negative - positive)


def squared_error(prediction: Float[Array, "*s"], rating: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """(prediction - rating)^2. Koren et al. 2009, Eq. 5 (without its penalty)."""
    return (prediction - rating) ** 2
