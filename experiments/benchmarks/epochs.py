"""What the training benchmarks share: epochs, timed with the public functions that `run` uses. (Not a benchmark.)"""

import itertools
import resource
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from rec_jax.building import build_for
from rec_jax.config import Experiment
from rec_jax.objectives.base import Recommender, TrainData
from rec_jax.randomness import device_key
from rec_jax.train.devices import select
from rec_jax.train.step import create, make_chunk
from rec_jax.train.update import make_update


def epochs_of(experiment: Experiment, data: TrainData, seeds: int = 1) -> Iterator[tuple[float, Recommender, Any]]:
    """(seconds, recommender, state on the devices) of epoch after epoch; `seeds` trained at once by vmap.

    The first epoch's seconds are those of building and compiling too; a state lasts until the next is asked for.
    """
    began = time.monotonic()
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
    state, everywhere = devices.replicate(state), devices.replicate(data)
    while True:
        state = launched(state, everywhere, keys, jnp.int32(recommender.steps_per_epoch))
        jax.block_until_ready(state)
        yield time.monotonic() - began, recommender, state
        began = time.monotonic()


def timed(experiment: Experiment, data: TrainData, epochs: int, seeds: int = 1) -> dict[str, Any]:
    """Seconds of each epoch, after one that compiles, and the process's peak memory; `seeds` as above.

    Called in a process of its own, so that its peak memory is its own.
    """
    seconds, steps = list[float](), 0
    for took, recommender, _ in itertools.islice(epochs_of(experiment, data, seeds), 1 + epochs):
        seconds.append(took)
        steps = recommender.steps_per_epoch
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"steps": steps, "first_seconds": seconds[0], "epoch_seconds": seconds[1:], "peak_bytes": peak}
