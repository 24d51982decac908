"""Speed of the models of the paper tables at the papers' batches, on MovieLens-1M's shapes.

    python -m experiments.benchmarks.tables                    (about 20 minutes on 2 cores)
    python -m experiments.benchmarks.tables --only neumf-8     (about 1 minute)

NeuMF at 256 positives a step with 4 negatives each, its tables updated whole by Adam and where they are looked up;
three seeds at once by vmap beside one; matrix factorisation by gradient descent; deep matrix factorisation with all
towers once a step. 6,040 users, 3,706 items, 994,169 events drawn at random, ratings 1 to 5.
"""

import dataclasses
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.epochs import timed
from experiments.benchmarks.peers import in_a_process
from experiments.benchmarks.train_ncf import SIZES, Sizes, random_log
from experiments.cli import main, parse_options
from papers_repro.dmf.cells import dmf
from papers_repro.mf_revisited.cells import matrix_factorisation
from papers_repro.ncf.cells import trained
from rec_jax.config import Experiment
from rec_jax.errors import InputError
from rec_jax.files import write_json
from rec_jax.objectives.base import TrainData
from rec_jax.tracking.certificate import code_state, machine


@dataclass(frozen=True)
class Case:
    """One line: an experiment of the tables, how many seeds at once, and how many epochs its table takes."""

    experiment: Callable[[], Experiment]
    seeds: int = 1
    epochs: int = 20


def neumf(factors: int, sparse: bool, batch: int = 256) -> Experiment:
    """NeuMF as in the NCF table, at `batch` positives a step."""
    found = trained("neumf", factors=factors)
    return dataclasses.replace(
        found, optimization=dataclasses.replace(found.optimization, batch_size=batch, sparse_rows=sparse)
    )


CASES: dict[str, Case] = {
    "neumf-8, dense": Case(lambda: neumf(8, False)),
    "neumf-8, sparse rows": Case(lambda: neumf(8, True)),
    "neumf-8, sparse rows, 3 seeds by vmap": Case(lambda: neumf(8, True), seeds=3),
    "neumf-8, the table's 51 positives": Case(lambda: neumf(8, True, 51)),
    "neumf-64, dense": Case(lambda: neumf(64, False)),
    "neumf-64, sparse rows": Case(lambda: neumf(64, True)),
    "neumf-64, the table's 51 positives": Case(lambda: neumf(64, True, 51)),
    "mf-192": Case(lambda: matrix_factorisation(192), epochs=256),
    "dmf, 30,000 positives": Case(lambda: dmf("1m", True), epochs=40),
}


@dataclass(frozen=True)
class Options:
    """What to measure."""

    only: str = ""
    """Only cases whose name begins so."""
    epochs: int = 2
    """Timed epochs of each; the median counts."""
    out: Path | None = None
    """Write the measurements to this JSON file."""


def measure(name: str, sizes: Sizes, epochs: int) -> dict[str, Any]:
    """A case's epochs."""
    case, (users, items, _) = CASES[name], sizes
    log = random_log(sizes)
    rated = dataclasses.replace(log, rating=(1 + (log.user + log.item) % 5).astype("float32"))
    return timed(case.experiment(), TrainData.of(rated, users, items), epochs, case.seeds)


def script(argv: Sequence[str]) -> None:
    """Measure and print. InputError: no such case."""
    options = parse_options(Options, argv, "python -m experiments.benchmarks.tables", __doc__)
    chosen = [name for name in CASES if name.startswith(options.only)]
    if not chosen or options.epochs < 1:
        raise InputError(f"--only {options.only} --epochs {options.epochs}: expected the start of {', '.join(CASES)}")
    console, code = Console(), code_state()
    console.print(
        f"{SIZES[0]:,} users, {SIZES[1]:,} items, {SIZES[2]:,} events, {os.cpu_count()} cores, {platform.machine()}"
    )
    table = Table("model", "s an epoch and seed", "epochs of the table", "min")
    rows = []
    for name in chosen:
        found = in_a_process(measure, name, SIZES, options.epochs)
        seconds = statistics.median(found["epoch_seconds"]) / CASES[name].seeds
        epochs = CASES[name].epochs
        rows.append({"case": name, "seeds": CASES[name].seeds, "epochs": epochs, "seconds": seconds, **found})
        table.add_row(name, f"{seconds:.1f}", str(epochs), f"{seconds * epochs / 60:.1f}")
    console.print(table)
    if options.out is not None:
        sizes = dict(zip(("users", "items", "events"), SIZES))
        write_json(options.out, {**sizes, "rows": rows, "code": code, "machine": machine(len(jax.devices()))})
        console.print(f"written to {options.out}")


if __name__ == "__main__":
    main(script)
