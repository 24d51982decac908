"""Live users' steps a second of each simulator beside RecSim's, under random slates.

    python -m experiments.benchmarks.simulators                  (about a minute on 2 cores)
    python -m experiments.benchmarks.simulators --peer none

Slates of 2 of 10 documents, all candidates' features made at every step; a session that never ends is cut off after
50. Counted are the steps of users whose session is going on, not those of users who wait for the others of their
block. RecSim runs in an environment of its own, on an older Python, under ~/.cache/rec_jax/peers.
"""

import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
from jaxtyping import Array, Int, Key
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.peers import RECSIM, measured, python_of
from experiments.cli import main, parse_options
from experiments.recsim import SIMULATORS, limit, simulator
from rec_jax.errors import InputError
from rec_jax.files import write_json
from rec_jax.policies.fixed import random_slates
from rec_jax.simulate.base import Observation
from rec_jax.simulate.episodes import many_episodes
from rec_jax.tracking.certificate import code_state, machine

BLOCK = 16_384


@dataclass(frozen=True)
class Options:
    """What to measure."""

    peer: Literal["recsim", "none"] = "recsim"
    """The system to compare with."""
    users: int = 8 * BLOCK
    """Sessions of ours."""
    peer_users: int = 500
    """Sessions of RecSim's."""
    repeats: int = 3
    """Times ours is measured; the median counts."""
    out: Path | None = None
    """Write the measurements to this JSON file."""


def shown(params: None, key: Key[Array, ""], observation: Observation, k: int) -> Int[Array, "n k"]:
    """Random slates, made after all features: the barrier keeps them from being left out as unused."""
    return random_slates(params, key, jax.lax.optimization_barrier(observation), k)


ACT = partial(shown, k=2)


def own(name: str, users: int, repeats: int) -> dict[str, Any]:
    """Seconds and steps of our sessions, after one run that compiles."""
    of, seconds = simulator(name), list[float]()
    for repeat in range(1 + repeats):
        began = time.monotonic()
        found = many_episodes(of, ACT, None, jax.random.key(repeat), users, limit(name), BLOCK)
        seconds.append(time.monotonic() - began)
    steps, mean = int(found.length.sum()), float(found.reward.mean())
    error = float(found.reward.std(ddof=1)) / users**0.5
    return {"steps": steps, "seconds": seconds[1:], "return": mean, "return_se": error}


def script(argv: Sequence[str]) -> None:
    """Measure and print."""
    options = parse_options(Options, argv, "python -m experiments.benchmarks.simulators", __doc__)
    if min(options.users, options.peer_users) < 2 or options.repeats < 1:
        raise InputError("--users and --peer-users need at least 2, --repeats at least 1")
    console, code, rows = Console(), code_state(), []
    python = python_of(RECSIM, console) if options.peer == "recsim" else None
    console.print(f"{os.cpu_count()} cores, {platform.machine()}")
    table = Table("simulator", "system", "return", "steps/s", "ratio")
    for name in SIMULATORS:
        found = own(name, options.users, options.repeats)
        rate = found["steps_per_second"] = found["steps"] / statistics.median(found["seconds"])
        row: dict[str, Any] = {"simulator": name, "rec_jax": found}
        table.add_row(name, "rec_jax", f"{found['return']:.2f} ± {found['return_se']:.2f}", f"{rate:,.0f}")
        if python is not None:
            asked = (name, "random", options.peer_users, limit(name) or 0, 1)
            there = measured(python, "recsim_episodes.py", Path.cwd(), *asked)
            reward = there["statistics"]["reward"]
            other = there["steps"] / there["seconds"]
            row["recsim"] = {"steps_per_second": other, "return": reward["mean"], "return_se": reward["se"]}
            row["ratio"] = rate / other
            table.add_row(
                "", RECSIM.name, f"{reward['mean']:.2f} ± {reward['se']:.2f}", f"{other:,.0f}", f"{rate / other:.0f}x"
            )
        rows.append(row)
    console.print(table)
    if options.out is not None:
        write_json(options.out, {"rows": rows, "code": code, "machine": machine(len(jax.devices()))})
        console.print(f"written to {options.out}")


if __name__ == "__main__":
    main(script)
