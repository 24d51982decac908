"""Layers that several models share: dropout by hashing, products of flattened arrays, feed-forward layers."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rec_jax.randomness import mixed


class Dropout(nn.Module):
    """Sets a share `rate` of all entries to 0 and divides the rest by 1 - rate, wherever there is an rng 'dropout'.

    The mask hashes each entry's place with a word of the key: `jax.random.bernoulli` costs 0.1 us an entry on a CPU,
    which is more than everything else in a small model's step; this, 1 ns. The rate is exact to 2^-16. Srivastava et
    al., JMLR 2014. Checked by counting (tests/models/test_attention.py).
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """`x`, or where no rng is given (scoring), `x` as it is."""
        if self.rate == 0 or not self.has_rng("dropout"):
            return x
        word = jax.random.bits(self.make_rng("dropout"), (), jnp.uint32)
        half = -(-x.size // 2)
        bits = mixed(mixed(jnp.arange(half, dtype=jnp.uint32)) ^ word)
        sixteen = jnp.concatenate([bits & 0xFFFF, bits >> 16])[: x.size].reshape(x.shape)
        return jnp.where(sixteen >= round(self.rate * 2**16), x / (1 - self.rate), 0.0)


class Dense(nn.Module):
    """x W + b over the last axis, as one two-dimensional product: XLA's CPU code for others is half as fast."""

    width: int
    bias: bool = True
    kernel_init: Callable[..., Array] = nn.initializers.glorot_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "*s d"]) -> Float[Array, "*s w"]:
        """The product."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.width))
        found = (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], self.width)
        return found + self.param("bias", nn.initializers.zeros, (self.width,)) if self.bias else found


class FeedForward(nn.Module):
    """drop(f(x W_1 + b_1)) W_2 + b_2: two layers at each position, the inner one `inner` wide."""

    inner: int
    dropout: float
    activation: Callable[[Array], Array] = nn.relu

    @nn.compact
    def __call__(self, x: Float[Array, "*s d"]) -> Float[Array, "*s d"]:
        """The second layer's output."""
        hidden = Dropout(self.dropout)(self.activation(Dense(self.inner)(x)))
        return Dense(x.shape[-1])(hidden)


def unit(x: Float[Array, "*s d"]) -> Float[Array, "*s d"]:
    """`x` at length 1; a vector of zeros stays one."""
    return x * jax.lax.rsqrt(jnp.maximum((x**2).sum(-1, keepdims=True), 1e-12))
