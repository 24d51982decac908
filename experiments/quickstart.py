"""Train NeuMF on MovieLens-100K, compare it with popularity and matrix factorisation, recommend (`make run`).

    python -m experiments.quickstart                       (about a minute on 2 cores)
    python -m experiments.quickstart --data ml-1m --epochs 5

Every call makes a new folder. The hyper-parameters were chosen on the validation split of ml-100k.
"""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from experiments.cli import main, parse_options
from experiments.recommend import beside
from rec_jax import registry
from rec_jax.baselines.popularity import fit_popularity
from rec_jax.config import Experiment, Optimization, Runtime, Stopping
from rec_jax.data.registry import DEFAULT_FOLDER
from rec_jax.files import write_json
from rec_jax.models.mf import MFConfig
from rec_jax.models.ncf import NeuMFConfig
from rec_jax.objectives.pointwise import Pointwise
from rec_jax.problem import pose
from rec_jax.recommend import history_of, top
from rec_jax.run import Outcome, run, score
from rec_jax.tracking.console import ProgressBar, results_table
from rec_jax.tracking.plots import learning_curves
from rec_jax.tracking.rundir import RunDir

SHOWN = ["hr@10", "ndcg@10"]
TUNED: dict[str, Any] = {"optimization": Optimization(learning_rate=0.003), "stopping": Stopping(patience=8)}
MODELS: dict[str, dict[str, Any]] = {
    "mf": {"architecture": MFConfig(factors=64), "loss": Pointwise(l2=0.003)},
    "neumf": {"architecture": NeuMFConfig(factors=8), "loss": Pointwise(l2=0.0001)},
}


@dataclass(frozen=True)
class Options:
    """What to run."""

    data: str = "ml-100k"
    """A known data set."""
    data_dir: Path = DEFAULT_FOLDER
    """Folder of the data sets."""
    runs: Path = Path("runs")
    """Folder of runs."""
    epochs: int = 40
    """At most this many passes over the train events."""
    seed: int = 1
    """Seed of training."""
    user: str = "42"
    """Original id of the user to recommend to."""
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Weights & Biases."""


def script(argv: Sequence[str]) -> None:
    """Run it all."""
    options = parse_options(Options, argv, "python -m experiments.quickstart", __doc__)
    console, began = Console(), time.monotonic()
    folder = options.runs / f"quickstart-{datetime.now():%Y%m%d-%H%M%S}"
    experiments = {name: _experiment(name, options) for name in MODELS}
    problem = pose(experiments["neumf"], options.data_dir)
    index = problem.dataset.user_index(options.user)
    console.print(
        f"{problem.dataset.name}: {problem.dataset.n_users:,} users, {problem.dataset.n_items:,} items, "
        f"{len(problem.dataset.interactions):,} interactions; split {problem.split.description}",
        highlight=False,
    )
    runtime = Runtime(data_dir=options.data_dir, wandb=options.wandb)
    outcomes: dict[str, Outcome] = {}
    with ProgressBar(console, "ndcg@10") as bar:
        for name, experiment in experiments.items():
            placed = dataclasses.replace(runtime, run_dir=folder / name)
            outcomes[name] = run(experiment, placed, problem, show=bar.show)
    neumf = outcomes["neumf"]
    rows = {"popularity": score(experiments["neumf"], fit_popularity(problem.split), problem, runtime).metrics}
    rows |= {name: outcome.result["metrics"] for name, outcome in outcomes.items()}
    console.print(results_table(rows, {rule: SHOWN for rule in problem.test}))
    console.print(
        f"means over {len(problem.test['full'].user):,} users of the test split, with 95 % bootstrap intervals; "
        "'full' ranks all items not seen, 'ncf-99' the held-out item among 99 unseen ones",
        highlight=False,
    )
    log = problem.dataset.interactions
    found = top(neumf.scorer, problem, index, log, 5)
    console.print(beside(history_of(problem, options.user, 5), found, f"user {options.user} by neumf"))
    curve = folder / "learning_curve.png"
    directories = {name: RunDir(outcome.path) for name, outcome in outcomes.items()}
    learning_curves({name: d.rows(d.metrics) for name, d in directories.items()}, "ndcg@10", curve)
    seconds = time.monotonic() - began
    write_json(folder / "summary.json", _record(rows, neumf, seconds))
    console.print(
        f"run     {neumf.path}\nresult  {neumf.path / 'result.json'}\ncurve   {curve}\n"
        f"trained and evaluated in {seconds:.0f} s",
        highlight=False,
        soft_wrap=True,
    )


def _record(rows: dict[str, Any], neumf: Outcome, seconds: float) -> dict[str, Any]:
    """What the README's table is made of."""
    shown = {rule: SHOWN for rule in neumf.problem.test}
    kept = {model: {rule: {n: row[rule][n] for n in SHOWN} for rule in shown} for model, row in rows.items()}
    shared = {key: neumf.result[key] for key in ("data", "protocol", "code", "machine")}
    return {"metrics": kept, "shown": shown, "seconds": seconds, **shared}


def _experiment(name: str, options: Options) -> Experiment:
    return registry.experiment(
        name, data=options.data, epochs=options.epochs, seed=options.seed, **TUNED, **MODELS[name]
    )


if __name__ == "__main__":
    main(script)
