"""What a document is worth to a user, as a Flax module over both."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class QNetwork(nn.Module):
    """Q [n c] of each document for its user: an MLP over both vectors, `layers` wide, and one number at its end.

    The first layer's product is made apart for users and documents and added up, which is the same as over both
    joined, and c times less work for the users. `dueling`: a value of the user's state, plus what a document adds to
    it, less the mean of that over all documents (Wang et al., ICML 2016, Eq. 9). SlateQ's network is (256, 32).
    """

    layers: tuple[int, ...] = (256, 32)
    dueling: bool = False

    @nn.compact
    def __call__(self, user: Float[Array, "n u"], documents: Float[Array, "n c d"]) -> Float[Array, "n c"]:
        """Of each document."""
        first, *others = self.layers
        joined = nn.Dense(first)(user)[:, None, :] + nn.Dense(first, use_bias=False)(documents)
        found = self._rest(nn.relu(joined), others)
        if not self.dueling:
            return found
        state = self._rest(nn.relu(nn.Dense(first)(user)), others)
        return state[:, None] + found - found.mean(axis=1, keepdims=True)

    def _rest(self, x: Float[Array, "*s w"], layers: list[int]) -> Float[Array, "*s"]:
        for width in layers:
            x = nn.relu(nn.Dense(width)(x))
        return jnp.squeeze(nn.Dense(1)(x), axis=-1)
