"""Speed and memory of training on sequences of MovieLens-1M's lengths, and the time to a stated quality beside peers.

    python -m experiments.benchmarks.train_sequence                  (about 15 minutes on 2 cores)
    python -m experiments.benchmarks.train_sequence --peer none      (about 3 minutes)

SASRec, 2 blocks, 1 head, 200 events, 128 users a step, on the users of MovieLens-1M as SASRec's authors published it
(`--data-dir`), or where that is not to be had, on random items for users of lengths drawn as long-tailed: width 50
with one negative, width 64 with cross-entropy over all items, whose logits are never held in full (a step's would be
128 x 200 x 3,416 numbers, 350 MB). Beside it the same in plain PyTorch, as the public ports of the authors' code do it.

Then width 64 on MovieLens-100K, 50 events, with each system's own defaults for the rest: seconds of training until
NDCG@10 of the validation events, all items ranked, reaches `--target`; time spent on evaluation is not counted. The
peers are in environments of their own under ~/.cache/rec_jax/peers.
"""

import dataclasses
import math
import os
import platform
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.epochs import epochs_of, timed
from experiments.benchmarks.peers import RECBOLE, RECTOOLS, in_a_process, measured, python_of, sequences_folder
from experiments.cli import main, parse_options
from rec_jax import registry
from rec_jax.building import scorer_of
from rec_jax.config import Experiment, Protocol
from rec_jax.data.interactions import Interactions
from rec_jax.data.registry import DEFAULT_FOLDER, load
from rec_jax.errors import InputError
from rec_jax.evaluate.report import validation
from rec_jax.files import write_json
from rec_jax.models.sasrec import SASRecConfig
from rec_jax.objectives.base import TrainData
from rec_jax.objectives.next_item import NextItem
from rec_jax.problem import pose
from rec_jax.randomness import host_rng
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.train.devices import Devices, share_cores
from rec_jax.workers import cores

USERS, ITEMS = 6040, 3416
CASES: dict[str, dict[str, Any]] = {
    "BCE, width 50": {"architecture": SASRecConfig(), "loss": NextItem(exclude_positives=True)},
    "cross-entropy, width 64": {"architecture": SASRecConfig(width=64), "loss": NextItem(loss="softmax")},
    "cross-entropy, bfloat16": {"architecture": SASRecConfig(width=64), "loss": NextItem("softmax", bfloat16=True)},
}
RACE = SASRecConfig(width=64, max_length=50)


@dataclass(frozen=True)
class Options:
    """What to measure."""

    peer: Literal["all", "none"] = "all"
    """The systems to compare with: PyTorch by the epoch, RecBole and RecTools in the race."""
    epochs: int = 3
    """Timed epochs; the median counts."""
    target: float = 0.07
    """The validation NDCG@10 that ends the race."""
    most_epochs: int = 200
    """Epochs after which a system that has not reached the target gives up."""
    most_seconds: float = 900.0
    """Seconds of training after which it does."""
    data_dir: Path = DEFAULT_FOLDER
    """Folder of the data sets."""
    out: Path | None = None
    """Write the measurements to this JSON file."""


def real_or_random(data_dir: Path) -> tuple[str, Interactions, int, int]:
    """(what it is, log, users, items)."""
    try:
        dataset = load("ml-1m-sasrec", data_dir)
    except InputError:
        rng = host_rng(0, "benchmark sequences")
        lengths = np.clip(np.exp(rng.normal(4.6, 1.0, USERS)), 18, 2000).astype(int)
        user = np.repeat(np.arange(USERS, dtype=np.int32), lengths)
        item = (rng.random(len(user)) ** 3 * ITEMS).astype(np.int32)
        ones = np.ones(len(user), np.float32)
        return "random items", Interactions(user, item, ones, np.zeros(len(user), np.int64)), USERS, ITEMS
    return dataset.name, dataset.interactions, dataset.n_users, dataset.n_items


def case_of(case: str, data_dir: Path, epochs: int) -> dict[str, Any]:
    """A case's epochs, in a process of its own, on as many devices as cores, or as many as can share a batch."""
    experiment = registry.experiment("sasrec", **CASES[case])
    devices = math.gcd(cores(), experiment.optimization.batch_size)
    share_cores(devices)
    _, log, users, items = real_or_random(data_dir)
    return {"devices": devices, **timed(experiment, TrainData.of(log, users, items), epochs)}


def peer_of(case: str, log: Interactions, items: int, epochs: int, console: Console) -> dict[str, Any] | None:
    """The case's epochs in plain PyTorch, where that can be installed; None for what has no peer."""
    experiment = registry.experiment("sasrec", **CASES[case])
    architecture, loss = experiment.architecture, experiment.loss
    assert isinstance(architecture, SASRecConfig)
    assert isinstance(loss, NextItem)
    python = None if loss.bfloat16 else python_of(RECTOOLS, console)  # in whose environment it is
    if python is None:
        return None
    asked: dict[str, Any] = {"loss": loss.loss, "items": items, "epochs": epochs}
    asked |= {"width": architecture.width, "blocks": architecture.blocks, "length": architecture.max_length}
    asked |= {"dropout": architecture.dropout, "batch": experiment.optimization.batch_size}
    with tempfile.TemporaryDirectory() as scratch:
        np.savez(Path(scratch) / "events.npz", user=log.user, item=log.item)
        return measured(python, "pytorch_sasrec.py", Path(scratch), *(f"{k}={v}" for k, v in asked.items()))


def raced() -> Experiment:
    """Our side of the race: cross-entropy, which both peers train by too."""
    return registry.experiment(
        "sasrec",
        data="ml-100k",
        architecture=RACE,
        loss=NextItem(loss="softmax"),
        protocol=Protocol(candidates=("full",)),
    )


def race(data_dir: Path, target: float, most: int, longest: float) -> dict[str, Any]:
    """Seconds of training by epoch, the first with its compilation, and the validation NDCG@10 after each."""
    experiment = raced()
    problem = pose(experiment, data_dir)
    seconds, ndcg = list[float](), list[float]()
    for took, recommender, state in epochs_of(experiment, problem.train):
        here = Devices.one(state)
        scorer = scorer_of(experiment, recommender, here.params, here.extra)
        seconds.append(took)
        ndcg.append(float(validation(problem.asked(scorer), problem.valid, "ndcg@10")))
        if len(ndcg) == most or ndcg[-1] >= target or sum(seconds) >= longest:
            break
    return {"epoch_seconds": seconds, "ndcg": ndcg}


def cells_of(row: dict[str, Any]) -> tuple[str, ...]:
    """A case as the table shows it: seconds an epoch (median, fastest, slowest), memory, the peer's seconds, ratio."""

    def spread(own: list[float]) -> str:
        return f"{statistics.median(own):.1f} ({min(own):.1f}–{max(own):.1f})"

    own, peer = row["epoch_seconds"], row.get("pytorch", {}).get("epoch_seconds")
    ratio = f"{statistics.median(peer) / statistics.median(own):.1f}" if peer else "–"
    return row["case"], spread(own), f"{row['peak_bytes'] / 2**20:.0f} MB", spread(peer) if peer else "–", ratio


def reached(found: dict[str, Any], target: float) -> float | None:
    """Seconds of training until the target, or None."""
    at = next((epoch for epoch, value in enumerate(found["ndcg"]) if value >= target), None)
    return None if at is None else sum(found["epoch_seconds"][: at + 1])


def script(argv: Sequence[str]) -> None:
    """Measure and print."""
    options = parse_options(Options, argv, "python -m experiments.benchmarks.train_sequence", __doc__)
    if options.epochs < 1 or options.most_epochs < 1:
        raise InputError(f"--epochs {options.epochs} --most-epochs {options.most_epochs}: at least 1 is needed")
    console, code = Console(), code_state()
    name, log, users, items = real_or_random(options.data_dir)
    console.print(
        f"{name}: {users:,} users, {items:,} items, {len(log):,} events, {os.cpu_count()} cores, {platform.machine()}"
    )
    table, rows = Table("SASRec", "s an epoch", "peak memory", "PyTorch", "ratio"), []
    for case in CASES:
        found = in_a_process(case_of, case, options.data_dir, options.epochs)
        peer = peer_of(case, log, items, options.epochs, console) if options.peer == "all" else None
        rows.append({"case": case, **found} | ({"pytorch": peer} if peer else {}))
        table.add_row(*cells_of(rows[-1]))
    console.print(table)
    races: dict[str, dict[str, Any]] = {
        "rec_jax": in_a_process(race, options.data_dir, options.target, options.most_epochs, options.most_seconds)
    }
    if options.peer == "all":
        races |= peers_raced(options, console)
    table = Table("system", f"s until NDCG@10 {options.target:g}", "epochs", "best", "ratio")
    first = reached(races["rec_jax"], options.target)
    for system, found in races.items():
        found["seconds"] = took = reached(found, options.target)
        ratio = f"{took / first:.1f}x" if took and first and system != "rec_jax" else ""
        shown = "–" if took is None else f"{took:.1f}"
        table.add_row(system, shown, str(len(found["ndcg"])), f"{max(found['ndcg']):.4f}", ratio)
    console.print(table)
    if options.out is not None:
        shape = {"data": name, "users": users, "items": items, "events": len(log), "target": options.target}
        race_of = {"width": RACE.width, "blocks": RACE.blocks, "max_length": RACE.max_length}
        record = {**shape, "rows": rows, "races": races, "race_of": race_of}
        write_json(options.out, {**record, "code": code, "machine": machine(len(jax.devices()))})
        console.print(f"written to {options.out}")


def peers_raced(options: Options, console: Console) -> dict[str, dict[str, Any]]:
    """The peers' races, of those that could be installed."""
    problem, found = pose(raced(), options.data_dir), {}
    settings = {"width": RACE.width, "blocks": RACE.blocks, "length": RACE.max_length, "dropout": RACE.dropout}
    with sequences_folder(problem.split) as folder:
        for peer, run in ((RECBOLE, "recbole_sasrec.py"), (RECTOOLS, "rectools_sasrec.py")):
            python = python_of(peer, console)
            if python is not None:
                asked = dataclasses.asdict(options) | settings
                asked = {key: value for key, value in asked.items() if isinstance(value, (int, float))}
                try:
                    found[peer.name] = measured(python, run, folder, *(f"{k}={v}" for k, v in asked.items()))
                except RuntimeError as error:  # the others' numbers are not lost for it
                    console.print(f"{peer.name} failed: {error}", highlight=False, markup=False)
    return found


if __name__ == "__main__":
    main(script)
