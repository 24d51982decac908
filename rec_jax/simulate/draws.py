"""Random numbers made from the words of one block: one call of the generator a step, not one a quantity."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

BIAS = 1e-4
"""At most by this share may two whole numbers differ in probability."""


def uniform(bits: UInt32[Array, "*s"]) -> Float[Array, "*s"]:
    """Uniform in (0, 1), at the middles of 2^23 intervals: neither 0 nor 1 comes up."""
    return ((bits >> 9).astype(jnp.float32) + 0.5) * jnp.float32(2**-23)


def normal(bits: UInt32[Array, "*s"]) -> Float[Array, "*s"]:
    """Standard normal, by the inverse of its distribution function; never beyond 5.5 in size."""
    return jnp.float32(math.sqrt(2)) * jax.lax.erf_inv(2 * uniform(bits) - 1)


def words_of(count: int, base: int) -> int:
    """How many words `digits` needs for `count` numbers below `base`."""
    return -(-count // _a_word(base))


def digits(bits: UInt32[Array, "n w"], base: int, count: int) -> Int[Array, "n c"]:
    """`count` whole numbers a row, uniform below `base`, several of them out of one word.

    They are the word's digits in base `base`, the lowest first; of the last the probabilities differ most, by less
    than BIAS.
    """
    found, rest = list[Array](), bits
    for _ in range(_a_word(base)):
        rest, digit = rest // base, rest % base
        found.append(digit)
    return jnp.concatenate(found, axis=1)[:, :count].astype(jnp.int32)


def _a_word(base: int) -> int:
    return max(1, int(math.log(2**32 * BIAS) / math.log(max(base, 2))))


def distinct(bits: UInt32[Array, "n k"], among: int) -> Int[Array, "n k"]:
    """k different whole numbers a row, below `among`, in random order: every ordered choice is as likely.

    The i-th is drawn among the among - i that are left, and counted over those already taken.
    """
    taken = list[Array]()
    for i in range(bits.shape[1]):
        number = (bits[:, i] % (among - i)).astype(jnp.int32)
        for other in _ascending(taken):
            number = number + (number >= other)
        taken.append(number)
    return jnp.stack(taken, axis=1)


def _ascending(numbers: list[Array]) -> list[Array]:
    return list(jnp.sort(jnp.stack(numbers), axis=0)) if len(numbers) > 1 else numbers
