"""Does reinforcement learning from a log help sequential recommenders? SQN, SAC and CQL beside the same models alone.

    python -m experiments.offline_rl                                        (about an hour and a quarter on one core)
    python -m experiments.offline_rl --runs experiments/records/offline_rl/runs     (its table, of the runs on record)
    python -m experiments.offline_rl --trials 1 --seeds 1 --epochs 3        (a look at it: some minutes)
    python -m experiments.offline_rl --data ml-1m-sasrec-rated --batch-size 128 --trials 1 --methods sqn sac cql \\
        --models sasrec --out experiments/records/offline_rl_1m             (some two hours on one core)
    python -m experiments.offline_rl --data ml-1m-sasrec-rated --batch-size 128 --trials 1 --methods sqn sac cql \\
        --models gru4rec --runs experiments/records/offline_rl_1m_gru4rec/runs \\
        --out experiments/records/offline_rl_1m_gru4rec                     (two hours a seed; what is there is kept)

GRU4Rec and SASRec are trained by cross-entropy on the next item, alone ('supervised') and with a Q head that learns
from ratings as rewards (`rec_jax/objectives/q_learning.py`). Every system is given as many trials on validation, by
the same metric; then seeds, one test split, the whole catalogue. Each is tested against the same model alone, and SQN
against SQN whose rewards are all 1: in pairs over users, adjusted (Holm) over all of these tests together, and over
seeds. What is finished (trials and runs in --runs) is not done again. Metrics, of each user's one test event, with
rating r, brought to [0, 1] as the objectives' reward is:

- hr@10, ndcg@10: of all users;
- hr@10 liked, ndcg@10 liked: of the users whose r is at least --liked, before it is scaled;
- reward@10: the scaled r where the event is among the first ten, else 0 (the paper's cumulative reward, a user).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from experiments.cli import check_many_runs, main, named, parse_options
from rec_jax import registry
from rec_jax.comparison import RESAMPLES, Part, System, part, tuned
from rec_jax.config import Optimization, Protocol, Runtime, Stopping, to_json
from rec_jax.data.own import Columns
from rec_jax.errors import InputError
from rec_jax.evaluate.report import intervals
from rec_jax.evaluate.significance import pair_records, seed_interval
from rec_jax.files import atomic, write_json
from rec_jax.objectives.next_item import NextItem
from rec_jax.objectives.q_learning import CQL, SAC, SQN
from rec_jax.problem import Problem, pose
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.console import ProgressBar
from rec_jax.tracking.plots import picture
from rec_jax.tracking.tables import MARKS

ALONE = "supervised"
METHODS: dict[str, tuple[str, NextItem]] = {
    ALONE: ("next-item", NextItem(loss="softmax")),
    "sqn": ("sqn", SQN()),
    "sac": ("sac", SAC(warm_up=5)),
    "cql": ("cql", CQL()),
    "sqn-constant": ("sqn", SQN(reward="one")),
}
"""The objective and its loss. In the last every event's reward is 1: what it gains is not owed to the rewards, but to a
second loss on the same states."""
METRICS = ("hr@10", "ndcg@10", "hr@10 liked", "ndcg@10 liked", "reward@10")


@dataclass(frozen=True)
class Options:
    """What to compare, and by which budget."""

    data: str = "ml-100k"
    """A known data set with ratings, or the path of a .csv, .tsv or .parquet log."""
    columns: Columns = Columns()
    models: tuple[str, ...] = ("gru4rec", "sasrec")
    """Causal models of sequences."""
    methods: tuple[Literal["sqn", "sac", "cql", "sqn-constant"], ...] = ("sqn", "sac", "cql", "sqn-constant")
    """What is compared with the model alone."""
    trials: int = 2
    """Hyper-parameter settings tried on validation for every system, the defaults first."""
    seeds: int = 3
    """Runs of every system."""
    metric: str = "ndcg@10"
    """Validation metric, which chooses epochs and hyper-parameters."""
    liked: float = 4.0
    """The rating from which on an event counts as liked."""
    max_length: int = 50
    """Events of a history that are read, the last ones."""
    batch_size: int = 64
    """Users a step."""
    learning_rate: float = 3e-3
    """Of the first trial; the others draw theirs."""
    epochs: int = 100
    """At most."""
    patience: int = 5
    """Validations without a better value before a training ends."""
    out: Path = Path("runs/offline_rl")
    """Folder of the record, the table and the plot."""
    runtime: Runtime = field(default_factory=lambda: Runtime(wandb="off", k=(10,)))


def label(model: str, method: str) -> str:
    """A system's name."""
    return f"{model} {method}"


def systems(options: Options) -> dict[str, System]:
    """Every model alone, and by every method. InputError: names that are unknown, twice, or not for one another."""
    for name in ("models", "methods"):
        given = getattr(options, name)
        if not given or len(set(given)) < len(given):
            raise InputError(f"--{name} {' '.join(given)}: expected one or more, each once")
    if options.methods == ("sqn-constant",):
        raise InputError("--methods sqn-constant: expected another beside it, whose rewards are ratings")
    if min(options.trials, options.seeds) < 1:
        raise InputError(f"--trials {options.trials} --seeds {options.seeds}: expected at least 1 of each")
    if 10 not in options.runtime.k:
        raise InputError(f"--k {' '.join(map(str, options.runtime.k))}: expected 10 among them")
    found = {}
    for model in options.models:
        for method in (ALONE, *options.methods):
            objective, loss = METHODS[method]
            plain = registry.experiment(model, objective)
            what = replace(
                plain,
                architecture=replace(plain.architecture, max_length=options.max_length),
                loss=loss,
                data=named(options.data),
                columns=options.columns,
                protocol=Protocol(candidates=("full",)),
                optimization=Optimization(batch_size=options.batch_size, learning_rate=options.learning_rate),
                stopping=Stopping(metric=options.metric, patience=options.patience),
                epochs=options.epochs,
            )
            found[label(model, method)] = System(label(model, method), what)
    return found


def ratings(problem: Problem) -> np.ndarray:
    """[q]: what each test user gave the test event. InputError: every rating of train is the same."""
    train, test, asked = problem.split.train, problem.split.test, problem.test["full"]
    if train.rating.min() == train.rating.max():
        raise InputError(
            f"{problem.dataset.name}: every rating is {train.rating.min():g}, so that no event is worth more than "
            "another; take a log with ratings"
        )
    of_user = dict(zip(test.user.tolist(), test.rating.tolist()))
    return np.array([of_user[user] for user in asked.user.tolist()])


def measured(hr: np.ndarray, ndcg: np.ndarray, rating: np.ndarray, scaled: np.ndarray, liked: float) -> dict[str, Any]:
    """Every metric by user; NaN where a user is not among those that it is of."""
    of_liked = np.where(rating >= liked, 1.0, np.nan)
    return dict(zip(METRICS, (hr, ndcg, hr * of_liked, ndcg * of_liked, hr * scaled), strict=True))


def by_user(parts: Sequence[Part], problem: Problem, liked: float) -> list[dict[str, np.ndarray]]:
    """The metrics by user of each seed's run."""
    rating, train = ratings(problem), problem.split.train.rating
    scaled = (rating - train.min()) / (train.max() - train.min())
    return [measured(p.per_user["full/hr@10"], p.per_user["full/ndcg@10"], rating, scaled, liked) for p in parts]


def pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """What is held against what: every method against its model alone, and SQN against SQN whose rewards are all 1."""
    known = list(names)
    alone = [(name, label(name.split()[0], ALONE)) for name in known if name.split()[-1] in METHODS.keys() - {ALONE}]
    return alone + [(name, f"{name}-constant") for name in known if f"{name}-constant" in known]


def against_alone(tests: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of the tests that are against the same model alone."""
    return [t for t in tests if t["pair"][1].split()[-1] == ALONE]


def verdicts(tests: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """By system and metric: the verdict against the same model alone."""
    return {(t["pair"][0], t["metric"]): t["verdict"] for t in against_alone(tests)}


def line(found: System, parts: Sequence[Part], seen: Sequence[dict[str, np.ndarray]], bootstrap: int) -> dict[str, Any]:
    """What the record says of a system."""
    averaged = {metric: np.mean([of[metric] for of in seen], axis=0) for metric in METRICS}
    values: dict[str, dict[str, Any]] = {}
    for metric, estimate in intervals(averaged, bootstrap).items():
        by_seed = [float(np.nanmean(of[metric])) for of in seen]
        spread = seed_interval(by_seed)
        values[metric] = {
            "mean": estimate.mean,
            "users": [estimate.low, estimate.high],
            "seeds": None if spread.low is None else [spread.low, spread.high],
            "by_seed": by_seed,
        }
    hits = values["hr@10"]["mean"]
    return {
        "values": values,
        # Of all hits of all users, so that it has no value a user, and is not tested.
        "reward_of_a_hit": values["reward@10"]["mean"] / hits if hits > 0 else None,
        "tuning": found.tuning,
        "experiment": to_json(found.experiment),
        "fit_seconds": [p.fit_seconds for p in parts],
        "epochs": [p.result["training"]["best_epoch"] for p in parts],
        "commits": sorted({str(p.result["code"]["commit"]) for p in parts}),
        "differs_from_commit": any(p.result["code"]["differs_from_commit"] for p in parts),
    }


def conclusion(tests: Sequence[Mapping[str, Any]]) -> str:
    """What the tests say, in words: of methods whose rewards are ratings, then of what is left where all are 1."""
    alone = against_alone(tests)
    constant = [t for t in alone if t["pair"][0].endswith("-constant")]
    found = [t for t in alone if t not in constant]
    models, methods = (list(dict.fromkeys(t["pair"][0].split()[at] for t in found)) for at in (0, 1))
    better, worse = (_with(found, verdict) for verdict in ("better", "worse"))
    if better and not worse:
        verdict = f"Reinforcement learning helps in {len(better)} of {len(found)} comparisons here, and hurts in none"
    elif worse and not better:
        verdict = f"Reinforcement learning hurts in {len(worse)} of {len(found)} comparisons here, and helps in none"
    elif better:
        verdict = (
            f"Reinforcement learning helps in {len(better)} and hurts in {len(worse)} of {len(found)} comparisons here"
        )
    else:
        verdict = "Reinforcement learning does not help here, as far as these tests can tell"

    def told(rows: Sequence[Mapping[str, Any]]) -> str:
        of: dict[str, list[str]] = {}
        for row in rows:
            of.setdefault(row["pair"][0], []).append(f"{row['metric']} {row['difference']:+.4f}")
        named = "; ".join(f"{name} ({', '.join(metrics)})" for name, metrics in of.items())
        return f"{named}; p at most {max(row['p_holm'] for row in rows):.4f}"

    if all(t["over_seeds"] for t in found):
        by = (
            "both by paired randomisation tests over users, of values averaged over seeds, Holm over all, and by "
            "Welch's t intervals over seeds"
        )
    else:
        by = "by paired randomisation tests over users, Holm over all; of one seed each, its luck is in the difference"
    sentences = [
        f"{verdict}. All {len(found)} are with the same model alone ({' and '.join(models)}; {', '.join(methods)}; "
        f"{len({t['metric'] for t in found})} metrics), and what counts is significant {by}."
    ]
    for name, rows in (("Better", better), ("Worse", worse)):
        if rows:
            sentences.append(f"{name}: {told(rows)}.")
    if not better and not worse:
        low, high = min(row["low"] for row in found), max(row["high"] for row in found)
        sentences.append(f"All intervals of the differences lie within {low:+.4f} and {high:+.4f}.")
    if constant:
        rated = [t for t in tests if t not in alone]
        sentences.append(
            f"Where every reward is 1 (sqn-constant), of {len(constant)} such comparisons {_counted(constant)}; of "
            f"{len(rated)} of sqn with sqn-constant, which are what ratings as rewards bring, {_counted(rated)}."
        )
    return " ".join(sentences)


def _counted(tests: Sequence[Mapping[str, Any]]) -> str:
    return f"{len(_with(tests, 'better'))} are better and {len(_with(tests, 'worse'))} worse"


def _with(tests: Sequence[Mapping[str, Any]], verdict: str) -> list[Mapping[str, Any]]:
    return [test for test in tests if test["verdict"] == verdict]


def budget(trials: int) -> str:
    """How hyper-parameters were chosen, but for epochs, which validation always chooses."""
    return f"{trials} trials on validation" if trials > 1 else "The default hyper-parameters"


def counted_seeds(seeds: int) -> str:
    """How many runs each system has, in words."""
    return f"{seeds} seeds" if seeds > 1 else "one seed"


def table(record: dict[str, Any]) -> str:
    """The record as Markdown: a line a system, with the marks of its tests, and the conclusion."""
    of = {key: f" {MARKS[verdict]}" for key, verdict in verdicts(record["tests"]).items()}
    lines = [f"| system | {' | '.join(METRICS)} | reward of a hit | epochs |", "|---" * (len(METRICS) + 3) + "|"]
    for name, system in record["systems"].items():
        cells = []
        for metric, value in system["values"].items():
            low, high = value["users"]
            spread = "" if value["seeds"] is None else f" ±{value['seeds'][1] - value['mean']:.4f}"
            cells.append(f"{value['mean']:.4f}{spread}{of.get((name, metric), ' •')} ({low:.3f}–{high:.3f})")
        hit, epochs = system["reward_of_a_hit"], ", ".join(map(str, system["epochs"]))
        lines.append(f"| {name} | {' | '.join(cells)} | {'–' if hit is None else f'{hit:.3f}'} | {epochs} |")
    note = (
        f"{record['data']['name']}: {record['split']}; the whole catalogue is ranked. {budget(record['trials'])} for "
        f"every system, {counted_seeds(record['seeds'])}, at most {record['epochs']} epochs, of which validation "
        "kept those shown; brackets: 95 % over users; ±: half of the 95 % t interval over seeds. ▲ ▽ = against the "
        f"same model alone (•). Liked: the test event's rating is at least {record['liked']:g}; reward@10: its rating, "
        "scaled to [0, 1], where it is among the first ten."
    )
    return "\n".join([*lines, "", note, "", record["conclusion"], ""])


def draw(record: dict[str, Any], path: Path) -> None:
    """Differences from the same model alone with their intervals, a panel a metric; filled where significant."""
    tests = against_alone(record["tests"])
    names = list(dict.fromkeys(t["pair"][0] for t in tests))
    with picture(path, (13, 3.6), 1, len(METRICS), sharey=True) as (figure, panels):
        for axes, metric in zip(panels, METRICS):
            for t in (t for t in tests if t["metric"] == metric):
                at, colour = names.index(t["pair"][0]), f"C{list(METHODS).index(t['pair'][0].split()[-1])}"
                sides = [[t["difference"] - t["low"]], [t["high"] - t["difference"]]]
                fill = "none" if t["verdict"] == "not significant" else colour
                axes.errorbar([t["difference"]], [at], xerr=sides, marker="o", color=colour, mfc=fill, capsize=2)
            axes.axvline(0, color="grey", linewidth=0.8)
            axes.set(title=metric, yticks=range(len(names)), yticklabels=names)
            axes.tick_params(axis="x", labelsize=7)
            axes.locator_params(axis="x", nbins=4)
        panels[0].invert_yaxis()
        title = f"{record['data']['name']}: difference from the same model alone (95 % over users)"
        figure.suptitle(title, fontsize=10)


def compare(options: Options, console: Console) -> dict[str, Any]:
    """Tune, run and test every system: the record."""
    asked, runtime, code = systems(options), options.runtime, code_state()
    problem = pose(next(iter(asked.values())).experiment, runtime.data_dir)
    ratings(problem)

    def tell(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    values, lines, results = {}, {}, []
    with ProgressBar(console, options.metric, runtime.progress) as bar:
        for name, each in asked.items():
            chosen = tuned(each, options.trials, problem, runtime, bar.show, tell)
            parts = [part(chosen, seed, problem, runtime, bar.show) for seed in range(1, options.seeds + 1)]
            values[name] = by_user(parts, problem, options.liked)
            lines[name] = line(chosen, parts, values[name], runtime.bootstrap)
            results.append(parts[0].result)
            tell(f"{name}: " + ", ".join(f"{m} {of['mean']:.4f}" for m, of in lines[name]["values"].items()))
    found = pair_records(values, pairs(values), RESAMPLES)
    given = ("trials", "seeds", "metric", "liked", "max_length", "batch_size", "learning_rate", "epochs", "patience")
    return {
        **{name: getattr(options, name) for name in given},
        "split": problem.split.description,
        "conclusion": conclusion(found),
        "tests": found,
        "resamples": RESAMPLES,
        "systems": lines,
        "data": results[0]["data"],
        "protocol": results[0]["protocol"],
        "code": code,
        "machine": machine(1),
    }


def script(argv: Sequence[str]) -> None:
    """Read the flags, compare, write, print."""
    options = parse_options(Options, argv, "python -m experiments.offline_rl", __doc__)
    check_many_runs(options.runtime)
    console = Console()
    record = compare(options, console)
    write_json(options.out / "record.json", record)
    with atomic(options.out / "table.md") as file:
        file.write(table(record).encode())
    draw(record, options.out / "plot.png")
    console.print(table(record), highlight=False, markup=False, soft_wrap=True)
    console.print(f"written to {options.out}: record.json, table.md, plot.png", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main(script)
