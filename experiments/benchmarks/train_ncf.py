"""Speed and memory of training NeuMF on MovieLens-1M's shapes, beside RecBole's NeuMF in the same run.

    python -m experiments.benchmarks.train_ncf                  (about 5 minutes on 2 cores, most of it the peer's)
    python -m experiments.benchmarks.train_ncf --peer none      (about 30 s)

6,040 users, 3,706 items, 994,169 events drawn at random, 4 negatives each, 8 factors. An example is a scored
(user, item) pair, negatives counted. Two batch sizes: 2,048 events (10,240 examples) and 2,048 examples (409 events).
The peer gets the same log, sizes and batches, in an environment of its own under ~/.cache/rec_jax/peers.
"""

import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from experiments.cli import main
from rec_jax.config import Optimization
from rec_jax.data.interactions import Interactions
from rec_jax.files import write_json
from rec_jax.models.ncf import NeuMF, NeuMFConfig
from rec_jax.objectives.base import TrainData
from rec_jax.objectives.pointwise import Pointwise, pointwise
from rec_jax.randomness import device_key, host_rng
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.train.devices import select
from rec_jax.train.optimizer import optimizer
from rec_jax.train.step import create, make_chunk

Sizes = tuple[int, int, int]
SIZES: Sizes = (6040, 3706, 994_169)  # users, items, events
NEGATIVES, FACTORS = 4, 8
PEERS = Path("~/.cache/rec_jax/peers").expanduser()
RECBOLE = ("recbole==1.2.1", "torch==2.13.0", "numpy<2", "pandas<2.2", "scipy<1.12", "setuptools<80")


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
    data = TrainData.of(random_log(sizes), users, items)
    recommender = pointwise(NeuMF(NeuMFConfig(FACTORS), users, items), Pointwise(negatives=NEGATIVES), data, batch)
    devices = select(None, batch)
    tx = optimizer(Optimization(), recommender.steps_per_epoch)
    chunk = devices.launch(
        make_chunk(recommender, tx, devices.count), replicated=(True, True, False, False), donate=(0,)
    )
    params, extra = recommender.init(jax.random.key(0), data)
    state, everywhere = devices.replicate(create(params, extra, tx)), devices.replicate(data)
    seconds = []
    for _ in range(1 + epochs):
        began = time.monotonic()
        state = chunk(state, everywhere, device_key(0, "train"), jnp.int32(recommender.steps_per_epoch))
        jax.block_until_ready(state)
        seconds.append(time.monotonic() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"first_seconds": seconds[0], "epoch_seconds": seconds[1:], "peak_bytes": peak}


def in_a_process(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What `function` returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peer_python(console: Console) -> Path | None:
    """RecBole's own environment, made where it is missing; None, with the reason printed, where it cannot be."""
    python = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if python is None:
        console.print("no peer: RecBole 1.2.1 needs Python 3.11, and there is no python3.11 here")
        return None
    home = PEERS / "recbole-1.2.1"
    if not (home / "installed").exists():
        console.print(f"installing RecBole into {home} (once)")
        shutil.rmtree(home, ignore_errors=True)
        base = subprocess.run([python, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True)
        plain = Path(base.stdout.strip()) / "bin" / "python3.11"
        made = subprocess.run([plain if plain.exists() else python, "-m", "venv", home])
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *RECBOLE]
        if made.returncode != 0 or subprocess.run(pip).returncode != 0:
            console.print("no peer: RecBole could not be installed")
            return None
        (home / "installed").touch()
    return home / "bin" / "python"


def recbole(python: Path, log: Interactions, examples: int, epochs: int) -> dict[str, Any]:
    """RecBole's epochs, measured by itself in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "log"
        folder.mkdir()
        rows = "".join(f"{u}\t{i}\n" for u, i in zip(log.user.tolist(), log.item.tolist()))
        (folder / "log.inter").write_text("user_id:token\titem_id:token\n" + rows)
        script = Path(__file__).with_name("recbole_neumf.py")
        command = [str(x) for x in (python, script, scratch, examples, NEGATIVES, FACTORS, epochs)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=scratch)
    if done.returncode != 0:
        raise RuntimeError(f"RecBole failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def script(argv: Sequence[str]) -> None:
    """Measure and print."""
    options = tyro.cli(Options, args=list(argv), prog="python -m experiments.benchmarks.train_ncf", description=__doc__)
    console, code = Console(), code_state()
    log = random_log(SIZES)
    console.print(
        f"{SIZES[0]:,} users, {SIZES[1]:,} items, {len(log):,} events, {os.cpu_count()} cores, {platform.machine()}"
    )
    count = len(jax.devices())  # which has to share a batch evenly
    batches = {"2,048 events": 2048 // count * count, "2,048 examples": 2048 // (1 + NEGATIVES) // count * count}
    python = peer_python(console) if options.peer == "recbole" else None
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
                "", "RecBole 1.2.1", f"{other:.2f}", f"{scored / other / 1e6:.2f}", memory, f"{other / own:.1f}x"
            )
    console.print(table)
    if options.out is not None:
        record = {"events": len(log), "users": SIZES[0], "items": SIZES[1], "negatives": NEGATIVES, "factors": FACTORS}
        write_json(options.out, record | {"rows": rows, "code": code, "machine": machine(len(jax.devices()))})
        console.print(f"written to {options.out}")


if __name__ == "__main__":
    main(script)
