"""Seconds that iALS needs for implicit's quality on MovieLens-1M, beside implicit's own in the same run.

    python -m experiments.benchmarks.ials --data-dir FOLDER       (about 15 minutes on 2 cores)
    python -m experiments.benchmarks.ials --peer none --trials 3  (about 3 minutes)

Data: 'ml-1m-ncf' under the authors' split; where it cannot be had, a synthetic log of its shape, which is said. Train
is its train part; quality is NDCG@10 of the validation item in full ranking, items of train left out. Both systems get
the same trials, drawn at random from the same ranges of what their two hyper-parameters mean, the same iterations and
the same threads, and are evaluated after each iteration by the same code. Then the best setting of each is run anew,
with other seeds: what counts is the seconds (packing counted, compilation and evaluation not) until a run reaches
the peer's best validation NDCG@10 less .002.
"""

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import scipy.sparse as sp
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.peers import IMPLICIT, measured, python_of
from experiments.cli import main, parse_options
from rec_jax.baselines.base import from_factors, train_matrix
from rec_jax.baselines.ials import IALSConfig, rounds
from rec_jax.data.interactions import Dataset, build_dataset
from rec_jax.data.registry import DEFAULT_FOLDER, load
from rec_jax.data.splits import Split, authors, leave_one_out
from rec_jax.errors import InputError
from rec_jax.evaluate.protocol import Questions, ask
from rec_jax.evaluate.report import validation
from rec_jax.files import write_json
from rec_jax.randomness import host_rng
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.workers import cores

SHORT_OF = 0.002
# How much more an event weighs than any other pair: alpha of implicit, (1 + alpha_0) / alpha_0 of ours.
CONTRAST = (2.0, 20.0)
# The penalty on the vectors: a constant for each row (implicit), or for each of its events, weighted (ours).
PENALTY = {"implicit": (0.1, 100.0), "rec_jax": (0.0005, 0.05)}
SYNTHETIC = (6040, 3706, 160)  # users, items, events a user at the most


@dataclass(frozen=True)
class Options:
    """What to measure."""

    data: Literal["ml-1m-ncf", "synthetic"] = "ml-1m-ncf"
    """The log."""
    data_dir: Path = DEFAULT_FOLDER
    """Where the data set lies, or is put."""
    peer: Literal["implicit", "none"] = "implicit"
    """The system to compare with. Without it the target is our own best less .002."""
    factors: tuple[int, ...] = (64, 192)
    """Widths of the vectors."""
    trials: int = 12
    """Settings tried, for each system and width."""
    iterations: int = 15
    """Rounds of each run."""
    repeats: int = 3
    """Runs of the best setting, with other seeds; the median counts."""
    out: Path | None = None
    """Write the measurements to this JSON file."""


@dataclass(frozen=True)
class Run:
    """Seconds since its beginning and validation NDCG@10 after each iteration."""

    seconds: list[float]
    ndcg: list[float]

    @property
    def best(self) -> float:
        """The best NDCG@10 of any iteration."""
        return max(self.ndcg)

    def reaches(self, target: float) -> float | None:
        """Seconds until `target` is reached; None where it never is."""
        return next((s for s, value in zip(self.seconds, self.ndcg) if value >= target), None)


# A setting is (contrast, penalty); a system is run by (factors, setting, iterations, seed).
Setting = tuple[float, float]
System = Callable[[int, Setting, int, int], Run]


def synthetic() -> Dataset:
    """A log with tastes to learn: users draw items by popularity and by the product of random vectors of width 8."""
    n_users, n_items, most = SYNTHETIC
    rng = host_rng(0, "synthetic log")
    taste = rng.normal(size=(n_users, 8)) @ rng.normal(size=(n_items, 8)).T / 8**0.5
    utility = 2 * taste + rng.normal(0, 1, n_items) + rng.gumbel(size=(n_users, n_items))
    liked = np.argsort(-utility, axis=1)[:, :most]
    user = np.repeat(np.arange(n_users), rng.integers(min(10, most), most + 1, n_users))
    item = np.concatenate([rng.permutation(row[:k]) for row, k in zip(liked, np.bincount(user))])
    columns = {"user": user, "item": item, "rating": np.ones(len(user)), "time": 1 + np.arange(len(user))}
    return build_dataset("synthetic", columns)


def posed(options: Options, console: Console) -> Split:
    """The data's split; the synthetic one where the real log cannot be had."""
    if options.data == "ml-1m-ncf":
        try:
            return authors(load("ml-1m-ncf", options.data_dir))
        except InputError as error:
            console.print(f"{error}\nmeasured on a synthetic log instead", style="yellow")
    return leave_one_out(synthetic())


def ours(history: sp.csr_matrix, questions: Questions) -> System:
    """Runs of rec_jax; one round beforehand compiles."""

    def run(factors: int, setting: Setting, iterations: int, seed: int) -> Run:
        contrast, penalty = setting
        config = IALSConfig(factors, iterations, unobserved_weight=1 / (contrast - 1), reg=penalty)
        jax.block_until_ready(next(rounds(history, config, seed)))
        seconds, ndcg, evaluating, began = [], [], 0.0, time.monotonic()
        for users, items in map(jax.block_until_ready, rounds(history, config, seed)):
            now = time.monotonic()
            seconds.append(now - began - evaluating)
            scorer = from_factors("ials", np.asarray(users), np.asarray(items))
            ndcg.append(validation(scorer, questions, "ndcg@10"))
            evaluating += time.monotonic() - now
        return Run(seconds, ndcg)

    return run


def implicit(python: Path, folder: Path, history: sp.csr_matrix, questions: Questions) -> System:
    """Runs of implicit in its own environment, its vectors evaluated here."""
    np.savez(folder / "log.npz", indptr=history.indptr, indices=history.indices, shape=np.array(history.shape))
    one_thread = {"OPENBLAS_NUM_THREADS": "1"}  # as implicit asks for: it has its own threads

    def run(factors: int, setting: Setting, iterations: int, seed: int) -> Run:
        arguments = (factors, *setting, iterations, seed, cores())
        found = measured(python, "implicit_als.py", folder, *arguments, environment=one_thread)
        with np.load(folder / "factors.npz") as stored:
            pairs = zip(stored["users"], stored["items"])
            ndcg = [validation(from_factors("implicit", *pair), questions, "ndcg@10") for pair in pairs]
        return Run(found["seconds"], ndcg)

    return run


def settings(system: str, trials: int) -> list[Setting]:
    """Drawn from the logarithms of the ranges; the draws are the same for all systems."""
    places = host_rng(0, "trials").random((trials, 2))
    ranges = np.log([CONTRAST, PENALTY[system]])
    drawn = np.exp(ranges[:, 0] + places * (ranges[:, 1] - ranges[:, 0]))
    return [(float(contrast), float(penalty)) for contrast, penalty in drawn]


def compared(systems: dict[str, System], factors: int, options: Options, console: Console) -> dict[str, Any]:
    """Tune the systems, and run the best setting of each against the target."""
    found: dict[str, Any] = {}
    for name, run in systems.items():
        trials: list[dict[str, Any]] = []
        for setting in settings(name, options.trials):
            tried = run(factors, setting, options.iterations, 0)
            trials.append({"contrast": setting[0], "penalty": setting[1], "ndcg": tried.ndcg, "best": tried.best})
            console.print(
                f"{factors} factors, {name}: contrast {setting[0]:.2f}, penalty {setting[1]:.4f}: {tried.best:.4f}"
            )
        found[name] = {"trials": trials, "chosen": max(trials, key=lambda trial: trial["best"])}
    target = found["implicit" if "implicit" in found else "rec_jax"]["chosen"]["best"] - SHORT_OF
    for repeat, (name, run) in itertools.product(range(options.repeats), systems.items()):  # one after the other
        chosen = found[name]["chosen"]
        tried = run(factors, (chosen["contrast"], chosen["penalty"]), options.iterations, 1 + repeat)
        line = {"seconds": tried.seconds, "ndcg": tried.ndcg, "to_target": tried.reaches(target)}
        found[name].setdefault("runs", []).append(line)
    for name in systems:
        runs = found[name]["runs"]
        reached = [line["to_target"] for line in runs if line["to_target"] is not None]
        found[name]["to_target"] = statistics.median(reached) if len(reached) == len(runs) else None
        steps = [np.diff([0.0, *line["seconds"]])[1:] for line in runs]  # the first has the packing in it
        found[name]["iteration_seconds"] = float(np.median(np.concatenate(steps)))
    both = [found[name]["to_target"] for name in ("implicit", "rec_jax") if name in found]
    ratio = {"ratio": both[0] / both[1]} if len(both) == 2 and all(both) else {}
    return {"factors": factors, "target": target, **found, **ratio}


def shown(rows: list[dict[str, Any]], names: Sequence[str]) -> Table:
    """The table that is printed."""
    table = Table("factors", "system", "best NDCG@10", "target", "s to target", "s an iteration", "ratio")
    for row in rows:
        for name in names:
            system = row[name]
            seconds = system["to_target"]
            ratio = f"{row['ratio']:.2f}x" if name == "rec_jax" and "ratio" in row else ""
            cells = f"{row['factors']}", name, f"{system['chosen']['best']:.4f}", f"{row['target']:.4f}"
            took = f"{seconds:.2f}" if seconds is not None else "not reached"
            table.add_row(*cells, took, f"{system['iteration_seconds']:.3f}", ratio)
    return table


def script(argv: Sequence[str]) -> None:
    """Measure and print."""
    options = parse_options(Options, argv, "python -m experiments.benchmarks.ials", __doc__)
    if min(options.trials, options.repeats) < 1 or options.iterations < 2:
        raise InputError(
            f"--trials {options.trials} --repeats {options.repeats} --iterations {options.iterations}: expected at "
            "least 1, 1 and 2"
        )
    console, code, load = Console(), code_state(), os.getloadavg()
    split = posed(options, console)
    history, questions = train_matrix(split), ask(split, "valid", "full", seed=0)
    console.print(
        f"{split.dataset.name}: {history.shape[0]:,} users, {history.shape[1]:,} items, {history.nnz:,} train events, "
        f"{len(questions.user):,} validation items in full ranking; {cores()} cores, load {load[0]:.1f}"
    )
    systems = {"rec_jax": ours(history, questions)}
    python = python_of(IMPLICIT, console) if options.peer == "implicit" else None
    with tempfile.TemporaryDirectory() as scratch:
        if python is not None:
            systems = {"implicit": implicit(python, Path(scratch), history, questions), **systems}
        rows = [compared(systems, factors, options, console) for factors in options.factors]
    console.print(shown(rows, list(systems)))
    if options.out is not None:
        record: dict[str, Any] = {
            "data": split.dataset.name,
            "fingerprint": split.dataset.fingerprint,
            "rule": "full",
            "rows": rows,
        }
        record |= {"threads": cores(), "load": load[0], "peer": IMPLICIT.name if python else "none"}
        write_json(options.out, record | {"code": code, "machine": machine(len(jax.devices()))})
        console.print(f"written to {options.out}")


if __name__ == "__main__":
    main(script)
