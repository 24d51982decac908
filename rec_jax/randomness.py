"""Every random number is a function of (seed, purpose, epoch, step): one named root split a run."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Key, UInt32


def device_key(seed: int, purpose: str) -> Key[Array, ""]:
    """The typed key of one purpose ("init", "train", …); epoch and step are folded in where it is used."""
    return _folded(np.int64(seed), np.uint32(zlib.crc32(purpose.encode())))


@jax.jit
def _folded(seed: Array, purpose: Array) -> Key[Array, ""]:
    return jax.random.fold_in(jax.random.key(seed), purpose)


def host_rng(seed: int, purpose: str) -> np.random.Generator:
    """The numpy generator of one purpose, for work done once on the host (splits, candidates, bootstrap)."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def mixed(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """MurmurHash3's finaliser: every input bit flips every output bit with probability about one half."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
