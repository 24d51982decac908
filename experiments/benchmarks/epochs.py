"""What the training benchmarks share: epochs, timed with the public functions that `run` uses. (Not a benchmark.)"""

import resource
import time
from typing import Any

import jax
import jax.numpy as jnp

from rec_jax.config import Experiment
from rec_jax.objectives.base import TrainData
from rec_jax.randomness import device_key
from rec_jax.train.devices import select
from rec_jax.train.step import create, make_chunk
from rec_jax.train.update import make_update
from rec_jax.training import build_for


def timed(experiment: Experiment, data: TrainData, epochs: int, seeds: int = 1) -> dict[str, Any]:
    """Seconds of each epoch, after one that compiles, and the process's peak memory; `seeds` trained at once by vmap.

    Called in a process of its own, so that its peak memory is its own.
    """
    recommender = build_for(experiment, data, experiment.optimization.batch_size)
    devices = select(None, experiment.optimization.batch_size)
    update = make_update(experiment.optimization, recommender.steps_per_epoch)
    chunk = make_chunk(recommender, update, devices.count)
    many = jax.vmap(chunk, in_axes=(0, None, 0, None)) if seeds > 1 else chunk
    launched = devices.launch(many, replicated=(True, True, False, False), donate=(0,))
    init = jax.jit(recommender.init)
    drawn = [init(jax.random.key(seed), data) for seed in range(seeds)]
    states = [create(params, extra, update) for params, extra in drawn]
    state = states[0] if seeds == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    key = device_key(0, "train")
    keys = key if seeds == 1 else jax.random.split(key, seeds)
    state, everywhere, seconds = devices.replicate(state), devices.replicate(data), []
    for _ in range(1 + epochs):
        began = time.monotonic()
        state = launched(state, everywhere, keys, jnp.int32(recommender.steps_per_epoch))
        jax.block_until_ready(state)
        seconds.append(time.monotonic() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"steps": recommender.steps_per_epoch, "first_seconds": seconds[0], "epoch_seconds": seconds[1:]}
    return {**found, "peak_bytes": peak}
