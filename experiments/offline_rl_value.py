"""What recommenders learnt from a log earn as policies, where the truth is known: users fitted to the same log.

    python -m experiments.offline_rl                         (first: trains what is judged here, and keeps its runs)
    python -m experiments.offline_rl_value                   (about a quarter of an hour on one core)
    python -m experiments.offline_rl_value --record RECORD/record.json --runs RUNS --sessions 2048
                                                             (of MovieLens-1M: some minutes a run)

Every system and seed of a record of `experiments.offline_rl` is read back from its run and shows `LoggedUsers` its best
documents of those there are, reading the user's history in train and what was clicked since. Beside them stand random
slates, the most popular documents and the best predicted ones. Of each user's sessions: the mean return (rewards of the
clicked, a rating's share of the scale, added up), clicks a slate, and the share of likes among the clicked. Sessions
begin with the same users for all. Values are averaged over seeds and kept by seed: intervals are over users, and over
seeds where there are several; tests are paired over users (Holm over all of them), and a difference counts where
Welch's t interval over seeds does not hold 0 either. A user who clicked nothing under some seed has no share of likes,
and is left out of that test. What a run earned is kept beside it, and not found out twice.

Candidates are what a user does not have in train and did not click in the session (`Unseen`): a recommender was never
asked for the others.

The simulator's users like what a matrix factorisation of the log says they do: how far that holds, the page of
`experiments.logged_users` tells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.cli import main, parse_options
from experiments.offline_rl import pairs, verdicts
from rec_jax.comparison import RESAMPLES
from rec_jax.config import short_hash, to_json
from rec_jax.data.histories import Histories
from rec_jax.data.registry import DEFAULT_FOLDER
from rec_jax.errors import InputError
from rec_jax.evaluate.report import intervals
from rec_jax.evaluate.significance import pair_records, seed_interval
from rec_jax.files import atomic, read_json, write_json
from rec_jax.policies.fixed import random_slates, scored
from rec_jax.policies.trained import shown_by
from rec_jax.problem import pose
from rec_jax.randomness import device_key
from rec_jax.recommend import load
from rec_jax.registry import parse_experiment
from rec_jax.simulate.base import Simulator
from rec_jax.simulate.by_item import ByItem, Readers, read
from rec_jax.simulate.episodes import Act, many_episodes
from rec_jax.simulate.fitting import Fit, fit
from rec_jax.simulate.logged_users import LoggedUsers, Users
from rec_jax.simulate.unseen import Unseen
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.plots import picture
from rec_jax.tracking.tables import MARKS

METRICS = ("return", "clicks a slate", "likes a click")
FIT = Fit(resamples=200)
"""How users are fitted to the log."""


@dataclass(frozen=True)
class Options:
    """Which record, and how many sessions."""

    record: Path = Path("runs/offline_rl/record.json")
    """A record of experiments.offline_rl."""
    runs: Path = Path("runs")
    """Folder where its runs lie."""
    sessions: int = 4096
    """Simulated sessions, the same users for every policy."""
    candidates: int = 20
    """Documents to choose from at each step."""
    budget: int = 50
    """Steps of a session at most."""
    data_dir: Path = DEFAULT_FOLDER
    """Folder of the data sets."""
    out: Path | None = None
    """Folder of value.json and value.png (default: that of the record)."""


def runs_of(record: Mapping[str, Any], runs: Path) -> dict[str, list[Path]]:
    """The runs' folders by system. InputError: one is not there."""
    found = {}
    for name, system in record["systems"].items():
        experiment = parse_experiment(system["experiment"])
        folders = [runs / replace(experiment, seed=seed).name for seed in range(1, record["seeds"] + 1)]
        if missing := [folder for folder in folders if not folder.is_dir()]:
            raise InputError(f"{missing[0]}: is not there; run experiments.offline_rl with --runs {runs} first")
        found[name] = folders
    return found


def values(world: Simulator, act: Act, params: Any, n: int) -> dict[str, np.ndarray]:
    """The metrics of n sessions by user, of whom the same come to every policy; likes a click are NaN where nothing was
    clicked."""
    found = many_episodes(world, act, params, device_key(0, "offline RL, value"), n)
    _, row = np.unique(_who(found.first), return_inverse=True)
    sums = [
        np.bincount(row, np.asarray(of, np.float64))
        for of in (found.reward, found.clicks, found.length, found.signals["like"])
    ]
    reward, clicks, slates, likes = sums
    rates = clicks / slates, np.divide(likes, clicks, out=np.full(len(clicks), np.nan), where=clicks > 0)
    return dict(zip(METRICS, (reward / np.bincount(row), *rates), strict=True))


def _who(first: Any) -> np.ndarray:
    """Which of the fitted users came to each session, by its first state: `LoggedUsers`' own or of what is around."""
    while not isinstance(first, Users):
        first = first.offered if isinstance(first, Readers) else first.users
    return np.asarray(first.who)


def judge(options: Options, told: Any = lambda name: None) -> dict[str, Any]:
    """The record: every system's values, and its tests against the same model alone. InputError: runs are missing."""
    code, given = code_state(), read_json(options.record)
    folders = runs_of(given, options.runs)
    problem = pose(parse_experiment(next(iter(given["systems"].values()))["experiment"]), options.data_dir)
    dataset, train = problem.dataset, problem.split.train
    if dataset.fingerprint != given["data"]["fingerprint"]:
        raise InputError(f"{dataset.name}: is not what {options.record} was made with; take that record's data")
    fitted, _ = fit(dataset, FIT)
    users = LoggedUsers(fitted, options.candidates, budget=options.budget)
    unseen = Unseen(users, train)
    found: dict[str, list[dict[str, np.ndarray]]] = {}
    fixed: dict[str, Act] = {
        "random": partial(random_slates, k=users.slate),
        "popularity": scored(users.popular, users.slate),
        "best predicted": scored(users.predicted, users.slate),
    }
    for name, act in fixed.items():
        told(name)
        found[name] = [values(unseen, act, None, options.sessions)]
    histories = Histories.of(train, dataset.n_users)
    for name, of in folders.items():
        told(name)
        found[name] = earned(of, unseen, histories, options)
    means = {name: {m: np.mean([of[m] for of in seeds], axis=0) for m in METRICS} for name, seeds in found.items()}
    return {
        "data": given["data"],
        "sessions": options.sessions,
        "users": len(found["random"][0]["return"]),
        "candidates": options.candidates,
        "budget": options.budget,
        "seeds": given["seeds"],
        "values": {name: {m: _told(e) for m, e in intervals(of, 2000).items()} for name, of in means.items()},
        "by_seed": {
            name: {m: [float(np.nanmean(of[m])) for of in seeds] for m in METRICS} for name, seeds in found.items()
        },
        "tests": pair_records(found, pairs(found), RESAMPLES),
        "code": code,
        "machine": machine(1),
    }


def earned(runs: Sequence[Path], unseen: Unseen, histories: Histories, options: Options) -> list[dict[str, np.ndarray]]:
    """The values of a system's runs, one a seed: those that they keep, or new ones, which they then keep.

    InputError: a run that keeps none, and has no parameters to find them out by.
    """
    kept = {run: _kept(run, options) for run in runs}
    saved = {run: load(run, options.data_dir) for run, there in kept.items() if there is None}
    if saved:
        everyone = np.arange(len(histories.start) - 1, dtype=np.int32)
        world = ByItem(unseen, histories.last(everyone, max(one.scorer.reads for one in saved.values()))[0])
        # One program for all seeds: their scorers differ in the cache alone.
        act = shown_by(next(iter(saved.values())).scorer, read, unseen.slate)
    for run, one in saved.items():
        found: dict[str, Any] = values(world, act, one.scorer.cache, options.sessions)
        with atomic(_path(run, options)) as file:
            np.savez_compressed(file, **found)
        kept[run] = found
    return [there for there in kept.values() if there is not None]


def _path(run: Path, options: Options) -> Path:
    """Where a run keeps what it earned in these users."""
    asked = {name: getattr(options, name) for name in ("sessions", "candidates", "budget")}
    return run / f"value-{short_hash({**asked, 'fit': to_json(FIT)})}.npz"


def _kept(run: Path, options: Options) -> dict[str, np.ndarray] | None:
    path = _path(run, options)
    if not path.exists():
        return None
    with np.load(path) as stored:
        return {name: stored[name] for name in METRICS}


def _told(estimate: Any) -> list[float]:
    return [estimate.mean, estimate.low, estimate.high]


def spread(record: Mapping[str, Any], name: str, metric: str) -> float | None:
    """Half of the 95 % t interval over a policy's seeds; None where there is one."""
    return seed_interval(record["by_seed"][name][metric]).half


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Every policy's values with their intervals over users, and in grey over seeds, a panel a metric."""
    names, size = list(record["values"]), (11, 0.32 * len(record["values"]) + 1.4)
    with picture(path, size, 1, len(METRICS), sharey=True) as (figure, panels):
        of = verdicts(record["tests"])
        for axes, metric in zip(panels, METRICS):
            for at, name in enumerate(names):
                mean, low, high = record["values"][name][metric]
                verdict = of.get((name, metric), "")
                colour = {"better": "C2", "worse": "C3", "not significant": "C0"}.get(verdict, "0.4")
                axes.errorbar([mean], [at], xerr=[[mean - low], [high - mean]], marker="o", color=colour, capsize=2)
                if half := spread(record, name, metric):
                    axes.errorbar([mean], [at + 0.25], xerr=[half], color="0.6", linewidth=1, capsize=1.5)
            axes.set(title=metric, yticks=range(len(names)), yticklabels=names)
        panels[0].invert_yaxis()
        figure.suptitle(
            "green, red: better, worse than the same model alone; blue: not significantly; grey: 95 % over seeds",
            fontsize=9,
        )


def script(argv: Sequence[str]) -> None:
    """Judge, write, draw, print. InputError: too few sessions, or no record or runs."""
    options = parse_options(Options, argv, "python -m experiments.offline_rl_value", __doc__)
    if options.sessions < 2:
        raise InputError(f"--sessions {options.sessions}: expected at least 2")
    if not options.record.exists():
        raise InputError(f"--record {options.record}: is not there; experiments.offline_rl writes it")
    console, out = Console(), options.out or options.record.parent
    with console.status("judging") as status:
        record = judge(options, lambda name: status.update(name))
    write_json(out / "value.json", record)
    draw(record, out / "value.png")
    of = {key: f" {MARKS[verdict]}" for key, verdict in verdicts(record["tests"]).items()}
    table = Table(
        "policy", *METRICS, title=f"{options.sessions:,} sessions; ±: over seeds; ▲ ▽ = against the same model alone"
    )
    for name, found in record["values"].items():
        cells = []
        for metric, (mean, low, high) in found.items():
            half = spread(record, name, metric)
            seeds = "" if half is None else f" ±{half:.3f}"
            cells.append(f"{mean:.3f}{seeds}{of.get((name, metric), '')} ({low:.3f}–{high:.3f})")
        table.add_row(name, *cells)
    console.print(table)
    console.print(f"written to {out}: value.json, value.png", highlight=False)


if __name__ == "__main__":
    main(script)
