"""Speed of exact evaluation on MovieLens-1M's shapes, beside RecBole's full-sort evaluation in the same run.

    python -m experiments.benchmarks.evaluate                  (about 5 minutes on 2 cores, most of it the peer's)
    python -m experiments.benchmarks.evaluate --peer none      (about 30 s)

6,040 users, 3,706 items, 1,000,209 events drawn at random, of which one a user tests and one validates. The test item
is ranked among the whole catalogue without the items seen before; HR, NDCG, MRR, recall and precision at 10. Two
models, untrained, since no score changes the time: a dot product of vectors of width 64, and NeuMF of 8 factors. Timed
is everything from parameters to metrics, after one evaluation that compiles; posing the questions, done once a
problem, is timed apart. The peer evaluates the same log and widths, in the faster of its default batch and a large one.
"""

import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.peers import RECBOLE, measured, python_of, recbole_folder, recbole_neumf, recbole_settings
from experiments.benchmarks.train_ncf import Sizes, random_log
from experiments.cli import main, parse_options
from rec_jax.data.interactions import Dataset, Interactions, build_dataset
from rec_jax.data.splits import leave_one_out
from rec_jax.evaluate.metrics import per_user
from rec_jax.evaluate.protocol import ask
from rec_jax.evaluate.ranking import rank
from rec_jax.files import write_json
from rec_jax.models.base import Scorer
from rec_jax.models.mf import MF, MFConfig
from rec_jax.models.ncf import NeuMF, NeuMFConfig
from rec_jax.objectives.base import TrainData
from rec_jax.objectives.pairwise import Pairwise, pairwise
from rec_jax.objectives.pointwise import Pointwise, pointwise
from rec_jax.randomness import host_rng
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.workers import cores

SIZES: Sizes = (6040, 3706, 1_000_209)  # users, items, events
WIDTHS = {"dot product": 64, "NeuMF": 8}
PEER_MODELS = {"dot product": "BPR", "NeuMF": "NeuMF"}
PEER_BATCHES = (4096, 2**18)  # RecBole's default, one user of 3,706 items at a time; and 70 users
METRICS = ["hr@10", "ndcg@10", "mrr@10", "recall@10", "precision@10"]


@dataclass(frozen=True)
class Options:
    """What to measure."""

    peer: Literal["recbole", "none"] = "recbole"
    """The system to compare with."""
    repeats: int = 7
    """Timed evaluations of ours; the median counts."""
    peer_repeats: int = 2
    """Timed evaluations of the peer at each batch size; the fastest counts."""
    out: Path | None = None
    """Write the measurements to this JSON file."""


def as_dataset(log: Interactions) -> Dataset:
    """The log with its events at random times, so that each user has a last one."""
    return build_dataset("random log", log.columns() | {"time": 1 + host_rng(0, "times").permutation(len(log))})


def ours(sizes: Sizes, model: str, repeats: int) -> dict[str, Any]:
    """Seconds of each evaluation after the first."""
    split = leave_one_out(as_dataset(random_log(sizes)))
    users, items, width = split.dataset.n_users, split.dataset.n_items, WIDTHS[model]
    data = TrainData.of(split.train, users, items)
    recommender = (
        pairwise(MF(MFConfig(factors=width, biases=False), users, items), Pairwise(), data, 256)
        if model == "dot product"
        else pointwise(NeuMF(NeuMFConfig(factors=width), users, items), Pointwise(), data, 256)
    )
    params, extra = recommender.init(jax.random.key(0), data)
    began = time.monotonic()
    questions = ask(split, "test", "full", seed=0)
    asked = time.monotonic() - began
    prepare, seconds = jax.jit(recommender.prepare), []
    for _ in range(1 + repeats):
        began = time.monotonic()
        scorer = Scorer(model, prepare(params, extra), recommender.scores, recommender.score_candidates)
        values = per_user(rank(scorer, questions), METRICS)
        result = {name: float(value.mean()) for name, value in values.items()}
        seconds.append(time.monotonic() - began)
    return {
        "users": len(questions.user),
        "first_seconds": seconds[0],
        "seconds": seconds[1:],
        "asking_seconds": asked,
        "result": result,
    }


def script(argv: Sequence[str]) -> None:
    """Measure and print."""
    options = parse_options(Options, argv, "python -m experiments.benchmarks.evaluate", __doc__)
    console, code, load = Console(), code_state(), os.getloadavg()
    log = random_log(SIZES)
    console.print(
        f"{SIZES[0]:,} users, {SIZES[1]:,} items, {len(log):,} events, {cores()} cores, {platform.machine()}, "
        f"load {load[0]:.1f}"
    )
    python = python_of(RECBOLE, console) if options.peer == "recbole" else None
    rows = []
    table = Table("model", "system", "s an evaluation", "users/s", "first, s", "questions, s", "ratio")
    for model, width in WIDTHS.items():
        own = ours(SIZES, model, options.repeats)
        median = statistics.median(own["seconds"])
        row: dict[str, Any] = {"model": model, "width": width, "ours": own | {"median": median}}
        spread = f"{median:.2f} ({min(own['seconds']):.2f}–{max(own['seconds']):.2f})"
        times = f"{own['first_seconds']:.1f}", f"{own['asking_seconds']:.2f}"
        table.add_row(model, "rec_jax", spread, f"{own['users'] / median:,.0f}", *times, "")
        if python is not None:
            with recbole_folder(log) as folder:
                name = PEER_MODELS[model]
                settings = recbole_settings(
                    folder,
                    **(recbole_neumf(width) if name == "NeuMF" else {"embedding_size": width}),
                    eval_args={"split": {"LS": "valid_and_test"}, "order": "RO", "group_by": "user", "mode": "full"},
                    metrics=["Recall", "MRR", "NDCG", "Hit", "Precision"],
                    topk=[10],
                )
                arguments = (name, settings, options.peer_repeats, *PEER_BATCHES)
                found = measured(python, "recbole_full_sort.py", folder, *arguments)
            other = min(min(seconds) for seconds in found["seconds"].values())
            row |= {"recbole": found | {"fastest": other}, "ratio": other / median}
            table.add_row(
                "", RECBOLE.name, f"{other:.2f}", f"{own['users'] / other:,.0f}", "", "", f"{other / median:.1f}x"
            )
        rows.append(row)
    console.print(table)
    if options.out is not None:
        record = {"users": SIZES[0], "items": SIZES[1], "events": len(log), "load": load[0], "rows": rows}
        write_json(options.out, record | {"code": code, "machine": machine(len(jax.devices()))})
        console.print(f"written to {options.out}")


if __name__ == "__main__":
    main(script)
