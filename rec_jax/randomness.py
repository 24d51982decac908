"""Every random number is a function of (seed, purpose, epoch, step): one named root split a run."""

import zlib

import jax
import numpy as np
from jaxtyping import Key


def device_key(seed: int, purpose: str) -> Key[jax.Array, ""]:
    """The typed key of one purpose ("init", "train", …); epoch and step are folded in where it is used."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))


def host_rng(seed: int, purpose: str) -> np.random.Generator:
    """The numpy generator of one purpose, for work done once on the host (splits, candidates, bootstrap)."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])
