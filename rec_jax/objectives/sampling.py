"""Drawing on the device: the order of an epoch, and negatives."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, UInt32

from rec_jax.randomness import mixed


def permuted(key: Key[Array, ""], place: Int[Array, "b"], n: int) -> Int[Array, "b"]:
    """What stands at `place` in a random permutation of 0..n-1, without making the permutation.

    A Feistel network over Z_a x Z_b with a·b >= n, walked until the value is below n (Black and Rogaway, "Ciphers
    with Arbitrary Finite Domains", CT-RSA 2002, Secs. 3 and 4). Sorting n random numbers costs 0.2 s for a million
    events; this costs the batch alone, holds nothing in memory and lets a step be a function of (key, place).
    Checked by enumeration to be a bijection, and by chi-square tests to be even.
    """
    a = math.isqrt(n - 1) + 1
    b = -(-n // a)
    # What two rounds leave of the dependence between two places shrinks as 1/b: to below 1e-6 after these.
    count = max(8, 2 * math.ceil(14 / math.log(max(b, 2))))
    rounds = jnp.unstack(jax.random.bits(key, (count,), jnp.uint32))
    rem, wide, high = jax.lax.rem, jnp.uint32(a), jnp.uint32(b)  # `%` traces what a negative number would need

    @jax.jit
    def once(x: UInt32[Array, "b"]) -> UInt32[Array, "b"]:
        left, right = rem(x, wide), jax.lax.div(x, wide)
        for i, word in enumerate(rounds):
            if i % 2 == 0:
                left = rem(left + rem(mixed(right ^ word), wide), wide)
            else:
                right = rem(right + rem(mixed(left ^ word), high), high)
        return right * wide + left

    x = once(place.astype(jnp.uint32))
    x = jax.lax.while_loop(lambda x: (x >= n).any(), lambda x: jnp.where(x >= n, once(x), x), x)
    return x.astype(jnp.int32)


def below(key: Key[Array, ""], shape: tuple[int, ...], n: int | Int[Array, "..."]) -> Int[Array, "..."]:
    """Whole numbers drawn uniformly from 0..n-1, by hashing their places with two words of the key.

    `jax.random.randint` spends 0.1 us a number on a CPU, which at NCF's batch is a fifth of a step; this, a hundredth.
    Numbers differ in probability by less than n / 2^32. Checked by chi-square tests within and between keys.
    """
    words = jax.random.bits(key, (2,), jnp.uint32)
    place = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    return _scaled(mixed(mixed(place ^ words[0]) + words[1]), jnp.asarray(n, jnp.uint32)).astype(jnp.int32)


def _scaled(x: UInt32[Array, "..."], n: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """The upper 32 bits of the 64-bit product x n, by halves: floor(x n / 2^32)."""
    low, high, n_low, n_high = x & 0xFFFF, x >> 16, n & 0xFFFF, n >> 16
    middle, other = high * n_low, low * n_high
    carry = (low * n_low >> 16) + (middle & 0xFFFF) + (other & 0xFFFF)
    return high * n_high + (middle >> 16) + (other >> 16) + (carry >> 16)


def uniform_negatives(key: Key[Array, ""], b: int, k: int, n_items: int) -> Int[Array, "b k"]:
    """Items drawn uniformly, known positives among them (as in most published code)."""
    return below(key, (b, k), n_items)


def true_negatives(
    key: Key[Array, ""],
    user: Int[Array, "b"],
    k: int,
    n_items: int,
    positives: Int[Array, "m"],
    start: Int[Array, "n_users_plus_1"],
) -> Int[Array, "b k"]:
    """Items drawn uniformly from those that are not the user's positives: exact, with no rejection.

    `positives` holds each user's distinct items in ascending order, user u's from start[u] to start[u + 1]. The
    r-th non-positive is r + j, where j counts the positives p_j with p_j - j <= r: found by bisection.
    """
    first, last = start[user][:, None], start[user + 1][:, None]
    r = below(key, (user.shape[0], k), n_items - (last - first))
    low, high = jnp.zeros_like(r), jnp.broadcast_to(last - first, r.shape)

    def halve(_: Int[Array, ""], bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) // 2
        right = (low < high) & (positives[jnp.minimum(first + middle, last - 1)] - middle <= r)
        return jnp.where(right, middle + 1, low), jnp.where(right | (low >= high), high, middle)

    low, _ = jax.lax.fori_loop(0, n_items.bit_length(), halve, (low, high))
    return r + low
