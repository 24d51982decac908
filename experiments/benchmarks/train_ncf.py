"""Speed and memory of training NeuMF on MovieLens-1M's shapes, beside RecBole's NeuMF in the same run.

    python -m experiments.benchmarks.train_ncf                  (about 5 minutes on 2 cores, most of it the peer's)
    python -m experiments.benchmarks.train_ncf --peer none      (about 30 s)

6,040 users, 3,706 items, 994,169 events drawn at random, 4 negatives each, 8 factors. An example is a scored
(user, item) pair, negatives counted. Two batch sizes: 2,048 events (10,240 examples) and 2,048 examples (409 events).
The peer gets the same log, sizes and batches, in an environment of its own under ~/.cache/rec_jax/peers.
"""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.epochs import timed
from experiments.benchmarks.peers import (
    RECBOLE,
    in_a_process,
    measured,
    python_of,
    recbole_folder,
    recbole_neumf,
    recbole_settings,
)
from experiments.cli import main, parse_options
from rec_jax import registry
from rec_jax.config import Optimization
from rec_jax.data.interactions import Interactions
from rec_jax.files import write_json
from rec_jax.objectives.base import TrainData
from rec_jax.randomness import host_rng
from rec_jax.tracking.certificate import code_state, machine

Sizes = tuple[int, int, int]
SIZES: Sizes = (6040, 3706, 994_169)  # users, items, events
NEGATIVES, FACTORS = 4, 8


@dataclass(frozen=True)
class Options:
    """What to measure."""

    peer: Literal["recbole", "none"] = "recbole"
    """The system to compare with."""
    epochs: int = 5
    """Timed epochs of ours; the median counts."""
    peer_epochs: int = 2
    """Timed epochs of the peer; the fastest counts."""
    out: Path | None = None
    """Write the measurements to this JSON file."""


def random_log(sizes: Sizes) -> Interactions:
    """Distinct (user, item) pairs, every user and item among them."""
    users, items, events = sizes
    rng = host_rng(0, "benchmark log")
    everybody = np.arange(users) * items + np.arange(users) % items
    others = np.setdiff1d(rng.integers(0, users * items, events + events // 10), everybody)
    pairs = np.sort(np.concatenate([everybody, rng.choice(others, events - users, replace=False)]))
    user, item = (pairs // items).astype(np.int32), (pairs % items).astype(np.int32)
    return Interactions(user, item, np.ones(len(pairs), np.float32), np.zeros(len(pairs), np.int64))


def ours(sizes: Sizes, batch: int, epochs: int) -> dict[str, Any]:
    """Seconds of each epoch, after one that compiles; with the public functions that `run` uses.

    Called in a process of its own, as the peer is, so that its peak memory is its own.
    """
    users, items, _ = sizes
    experiment = registry.experiment("neumf", optimization=Optimization(batch_size=batch))
    assert (experiment.architecture.factors, experiment.loss.negatives) == (FACTORS, NEGATIVES)
    return timed(experiment, TrainData.of(random_log(sizes), users, items), epochs)


def recbole(python: Path, log: Interactions, examples: int, epochs: int) -> dict[str, Any]:
    """RecBole's epochs, measured by itself in a process of its own."""
    with recbole_folder(log) as folder:
        settings = recbole_settings(
            folder,
            **recbole_neumf(FACTORS),
            train_neg_sample_args={"distribution": "uniform", "sample_num": NEGATIVES, "dynamic": False},
            train_batch_size=examples,
            learner="adam",
            learning_rate=0.001,
            eval_args={"split": {"RS": [1, 0, 0]}, "order": "RO", "group_by": None, "mode": "full"},
        )
        return measured(python, "recbole_neumf.py", folder, settings, epochs)


def script(argv: Sequence[str]) -> None:
    """Measure and print."""
    options = parse_options(Options, argv, "python -m experiments.benchmarks.train_ncf", __doc__)
    console, code = Console(), code_state()
    log = random_log(SIZES)
    console.print(
        f"{SIZES[0]:,} users, {SIZES[1]:,} items, {len(log):,} events, {os.cpu_count()} cores, {platform.machine()}"
    )
    count = len(jax.devices())  # which has to share a batch evenly
    batches = {"2,048 events": 2048 // count * count, "2,048 examples": 2048 // (1 + NEGATIVES) // count * count}
    python = python_of(RECBOLE, console) if options.peer == "recbole" else None
    rows = []
    for name, batch in batches.items():
        found: dict[str, Any] = {"batch": name, "ours": in_a_process(ours, SIZES, batch, options.epochs)}
        if python is not None:
            found["recbole"] = recbole(python, log, batch * (1 + NEGATIVES), options.peer_epochs)
        rows.append(found)
    table = Table("batch", "system", "s an epoch", "M examples/s", "peak memory", "ratio")
    for row in rows:
        scored = len(log) * (1 + NEGATIVES)
        own = statistics.median(row["ours"]["epoch_seconds"])
        row["ours"]["examples_per_second"] = scored / own
        spread = f"{own:.2f} ({min(row['ours']['epoch_seconds']):.2f}–{max(row['ours']['epoch_seconds']):.2f})"
        table.add_row(
            row["batch"],
            "rec_jax",
            spread,
            f"{scored / own / 1e6:.2f}",
            f"{row['ours']['peak_bytes'] / 2**20:.0f} MB",
            "",
        )
        if "recbole" in row:
            other = min(row["recbole"]["epoch_seconds"])
            row["recbole"]["examples_per_second"] = scored / other
            row["ratio"] = other / own
            memory = f"{row['recbole']['peak_bytes'] / 2**20:.0f} MB"
            table.add_row(
                "", RECBOLE.name, f"{other:.2f}", f"{scored / other / 1e6:.2f}", memory, f"{other / own:.1f}x"
            )
    console.print(table)
    if options.out is not None:
        record = {"events": len(log), "users": SIZES[0], "items": SIZES[1], "negatives": NEGATIVES, "factors": FACTORS}
        write_json(options.out, record | {"rows": rows, "code": code, "machine": machine(len(jax.devices()))})
        console.print(f"written to {options.out}")


if __name__ == "__main__":
    main(script)
