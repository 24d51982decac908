"""Seconds and memory of EASE's closed form on 12,000 items, beside numpy's bare inverse of the same matrix.

    python -m experiments.benchmarks.ease                      (about 3 minutes on 2 cores, 6 GB)
    python -m experiments.benchmarks.ease --peer none

The Gram matrix is that of a random log of 20,000 users with 50 events each. Each side runs in a process of its own:
ours from the Gram matrix to the item weights, the peer `numpy.linalg.inv` of the regularised matrix alone, in float64.
"""

import os
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import scipy.sparse as sp
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.peers import in_a_process
from experiments.cli import main, parse_options
from rec_jax.baselines.base import gram
from rec_jax.baselines.ease import ease_weights
from rec_jax.files import write_json
from rec_jax.randomness import host_rng
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.workers import cores

USERS, EVENTS, L2 = 20_000, 50, 500.0


@dataclass(frozen=True)
class Options:
    """What to measure."""

    peer: Literal["numpy", "none"] = "numpy"
    """What to compare with."""
    items: int = 12_000
    """Items: rows of the matrix."""
    repeats: int = 1
    """Timed repetitions; the median counts."""
    out: Path | None = None
    """Write the measurements to this JSON file."""


def timed(system: str, items: int, repeats: int) -> dict[str, Any]:
    """Seconds of each repetition, and how far a random row of the result is from solving its equations."""
    rng = host_rng(0, "ease benchmark")
    place = np.repeat(np.arange(USERS), EVENTS), rng.integers(0, items, USERS * EVENTS)
    x = sp.csr_matrix((np.ones(USERS * EVENTS, np.float32), place), shape=(USERS, items))
    matrix, seconds = gram(x), []
    for _ in range(repeats):
        regularised = matrix.astype(np.float64) + L2 * np.eye(items) if system == "numpy" else matrix
        began = time.monotonic()
        result = np.linalg.inv(regularised) if system == "numpy" else ease_weights(matrix, L2)
        seconds.append(time.monotonic() - began)
    # (X^T X + l2 I) P = I; and, off the diagonal, (X^T X + l2 I) B = X^T X.
    column = int(rng.integers(items))
    found = matrix @ result[:, column] + L2 * result[:, column]
    wanted = np.eye(items)[column] if system == "numpy" else matrix[:, column].astype(np.float64)
    error = np.delete(np.abs(found - wanted), column).max()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "median": statistics.median(seconds), "error": float(error), "peak_bytes": peak}


def script(argv: Sequence[str]) -> None:
    """Measure and print."""
    options = parse_options(Options, argv, "python -m experiments.benchmarks.ease", __doc__)
    console, code, load = Console(), code_state(), os.getloadavg()
    console.print(f"{options.items:,} items, {cores()} cores, load {load[0]:.1f}")
    systems = ("rec_jax", "numpy") if options.peer == "numpy" else ("rec_jax",)
    found = {system: in_a_process(timed, system, options.items, options.repeats) for system in systems}
    if "numpy" in found:
        found["ratio"] = found["numpy"]["median"] / found["rec_jax"]["median"]
    table = Table("system", "seconds", "peak memory", "largest error", "ratio")
    for system in systems:
        row = found[system]
        ratio = f"{found['ratio']:.2f}x" if system == "rec_jax" and "ratio" in found else ""
        memory = f"{row['peak_bytes'] / 2**30:.1f} GB"
        table.add_row(system, f"{row['median']:.2f}", memory, f"{row['error']:.1e}", ratio)
    console.print(table)
    if options.out is not None:
        record = {"items": options.items, "l2": L2, "load": load[0], **found}
        write_json(options.out, record | {"code": code, "machine": machine(len(jax.devices()))})
        console.print(f"written to {options.out}")


if __name__ == "__main__":
    main(script)
