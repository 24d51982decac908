"""Fuse several baselines by every method, and test each fusion against the best of its parts.

    python -m experiments.fuse --data ml-100k              (two to three minutes on 2 cores)
    python -m experiments.fuse --data ml-1m --parts ease rp3beta ials --metric ndcg@20

The parts are fitted on train; weights, second levels, numbers of stages and the best part are chosen on validation,
where the parts' hyper-parameters were chosen too (on ml-100k, leave-one-out). Test is scored once, after all that.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.cli import main, parse_options
from rec_jax import fusion, registry
from rec_jax.config import Protocol, to_json
from rec_jax.data.registry import DEFAULT_FOLDER
from rec_jax.errors import InputError
from rec_jax.evaluate.metrics import parse, per_user
from rec_jax.evaluate.protocol import Questions
from rec_jax.evaluate.ranking import rank
from rec_jax.evaluate.report import intervals, validation
from rec_jax.evaluate.significance import Against, compare_to, fewest_resamples
from rec_jax.files import write_json
from rec_jax.models.base import Scorer
from rec_jax.problem import Problem, pose
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.console import results_table

TUNED: dict[str, dict[str, Any]] = {
    "itemknn": {"neighbours": 200, "shrink": 20.0},
    "ease": {"l2": 100.0},
    "puresvd": {"factors": 30},
    "ials": {"factors": 32, "unobserved_weight": 0.3},
}
# Of the parts, the validation questions, the seed, and the logarithm of the items' train counts [n, 1].
Fuse = Callable[[list[Scorer], Questions, int, np.ndarray], Scorer]
FUSIONS: dict[str, Fuse] = {
    "borda": lambda parts, valid, seed, _: fusion.fuse_borda(parts, valid, fusion.BordaConfig(), seed),
    "reciprocal ranks": lambda parts, valid, seed, _: fusion.fuse_reciprocal_ranks(
        parts, valid, fusion.ReciprocalRankConfig(), seed
    ),
    "linear stack": lambda parts, valid, seed, counts: fusion.fuse_linear_stack(
        parts, valid, fusion.LinearStackConfig(), seed, counts
    ),
    "tree stack": lambda parts, valid, seed, counts: fusion.fuse_tree_stack(
        parts, valid, fusion.TreeStackConfig(), seed, counts
    ),
}


@dataclass(frozen=True)
class Options:
    """What to fuse, and how to judge it."""

    parts: tuple[str, ...] = ("popularity", "itemknn", "ease", "ials", "puresvd")
    """Baselines to fuse, at least two."""
    data: str = "ml-100k"
    """A known data set, or the path of a .csv, .tsv or .parquet log."""
    data_dir: Path = DEFAULT_FOLDER
    """Folder of the data sets."""
    split: Literal["leave-one-out", "ratio", "time", "authors"] = "leave-one-out"
    """Which events are held out."""
    candidates: tuple[str, ...] = ("full", "ncf-99")
    """Candidate rules that test is scored under; validation ranks the full catalogue."""
    metric: str = "ndcg@10"
    """Metric that is maximised on validation, and tested."""
    bootstrap: int = 10_000
    """Resamples behind each interval and p-value."""
    runs: Path = Path("runs")
    """Folder in which a new one takes the record."""
    seed: int = 1
    """Seed of everything random in fitting."""


def script(argv: Sequence[str]) -> None:
    """Run it all."""
    options = parse_options(Options, argv, "python -m experiments.fuse", __doc__)
    check(options)
    console, began, code = Console(), time.monotonic(), code_state()
    protocol = Protocol(split=options.split, candidates=options.candidates)
    posed = registry.experiment(options.parts[0], data=options.data, protocol=protocol, seed=options.seed)
    problem = pose(posed, options.data_dir)
    configs = {name: registry.BASELINES[name].config(**TUNED.get(name, {})) for name in options.parts}
    parts: dict[str, Scorer] = {
        name: registry.BASELINES[name].fit(problem.split, config, options.seed) for name, config in configs.items()
    }
    valid = {name: validation(part, problem.valid, options.metric) for name, part in parts.items()}
    best = max(valid, key=lambda name: valid[name])
    console.print(f"best part on validation: {best}, {options.metric} {valid[best]:.4f}", highlight=False)
    fused = fuse_all(parts, best, problem, options)
    valid |= {name: validation(scorer, problem.valid, options.metric) for name, scorer in fused.items()}
    values = {name: per_test_user(scorer, problem, options) for name, scorer in (parts | fused).items()}
    rows = {name: {rule: estimates(of, options) for rule, of in by_rule.items()} for name, by_rule in values.items()}
    tests = {
        rule: compare_to(best, {name: values[name][rule][options.metric] for name in (best, *fused)}, options.bootstrap)
        for rule in options.candidates
    }
    console.print(results_table(rows, {rule: shown(options.metric) for rule in options.candidates}))
    for rule, found in tests.items():
        console.print(comparisons(found, f"{options.metric.upper()}, {rule}: against {best}"))
    folder = options.runs / f"fuse-{datetime.now():%Y%m%d-%H%M%S}"
    learned = {name: scorer.name for name, scorer in fused.items()}
    record = {
        "options": to_json(options),
        "parts": {name: to_json(config) for name, config in configs.items()},
        "best_part": best,
        "learned": learned,
        f"valid_{options.metric}": valid,
        "metrics": rows,
        "against_best_part": {rule: {name: to_json(a) for name, a in found.items()} for rule, found in tests.items()},
        **problem.record(),
        "code": code,
        "machine": machine(1),
        "seconds": time.monotonic() - began,
    }
    write_json(folder / "record.json", record)
    for name, text in learned.items():
        console.print(f"{name}: {text}", highlight=False, soft_wrap=True)
    console.print(f"record  {folder / 'record.json'}", highlight=False, soft_wrap=True)


def check(options: Options) -> None:
    """InputError: options that cannot be meant, found before any data is loaded."""
    parse(options.metric)
    for name in options.parts:
        registry.row(registry.BASELINES, name, "baseline")
    if len(set(options.parts)) < max(2, len(options.parts)):
        raise InputError(f"--parts {' '.join(options.parts)}: expected at least two baselines, each once")
    needed = fewest_resamples(len(FUSIONS) + 2)
    if options.bootstrap < needed:
        raise InputError(
            f"--bootstrap {options.bootstrap}: expected at least {needed}, or no test could be significant"
        )


def fuse_all(parts: dict[str, Scorer], best: str, problem: Problem, options: Options) -> dict[str, Scorer]:
    """Every fusion of the parts, and the best part boosted."""
    counts = np.bincount(problem.split.train.item, minlength=problem.dataset.n_items)
    logarithm = np.log1p(counts)[:, None]
    weights = fusion.WeightedConfig(metric=options.metric)
    fused = {"weighted": fusion.fuse_weighted([*parts.values()], problem.valid, weights, options.seed)}
    fused |= {name: fuse([*parts.values()], problem.valid, options.seed, logarithm) for name, fuse in FUSIONS.items()}
    boosting = fusion.BoostingConfig(l2=TUNED["ease"]["l2"], metric=options.metric)
    return fused | {f"boosted {best}": fusion.fuse_boosting(parts[best], problem.split, problem.valid, boosting)}


def per_test_user(scorer: Scorer, problem: Problem, options: Options) -> dict[str, dict[str, np.ndarray]]:
    """The shown metrics by candidate rule, one value a test user."""
    return {rule: per_user(rank(scorer, asked), shown(options.metric)) for rule, asked in problem.test.items()}


def estimates(values: dict[str, np.ndarray], options: Options) -> dict[str, dict[str, float]]:
    """Mean, low and high of each metric."""
    return {name: to_json(estimate) for name, estimate in intervals(values, options.bootstrap).items()}


def shown(metric: str) -> list[str]:
    """HR@10 and NDCG@10, and the metric that was maximised."""
    return list(dict.fromkeys(["hr@10", "ndcg@10", metric]))


def comparisons(found: dict[str, Against], title: str) -> Table:
    """One row a fusion: the difference with its 95 % interval, the p-value adjusted for all fusions, the verdict."""
    table = Table(title=title, title_style="bold", title_justify="left")
    for heading in ("fusion", "difference", "p (Holm)", "verdict"):
        table.add_column(heading, justify="left" if heading in ("fusion", "verdict") else "right")
    for name, a in found.items():
        table.add_row(name, f"{a.difference:+.4f}\n{a.low:+.4f} to {a.high:+.4f}", f"{a.p_holm:.4f}", a.verdict)
    return table


if __name__ == "__main__":
    main(script)
