"""Ablation: what each part of SlateQ brings, on validation users of interest_evolution.

    python -m experiments.ablations.slateq --seeds 3                       (about an hour on one core)
    python -m experiments.ablations.slateq --no-choosing-none --parts "4 steps of the optimiser for 1"

From QL-OT-OS with the value of choosing none learnt, undiscounted, one part at a time is turned: what is looked ahead,
how the network is built and what it reads, how it is taught and how often, what is tried out, and from which steps it
learns. `--no-choosing-none`: choosing none counts 0 in all, as in the paper's table. No test
user is met: the table of the policies is scored on those, with the parts that were chosen here and before.

Returns are of users who are the same for all; 95 % intervals over seeds. The tests against the first line are paired
over users, of returns averaged over seeds, Holm-adjusted, and Welch's over seeds: a difference counts where both say
so.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.cli import main, parse_options
from experiments.policy import PolicyExperiment, learn, scored
from rec_jax.config import to_json
from rec_jax.errors import InputError, did_you_mean
from rec_jax.evaluate.significance import pair_records, seed_interval
from rec_jax.files import write_json
from rec_jax.policies.slateq import SlateQ
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.plots import picture

BASE = "as it is"
PLAIN = SlateQ(discount=1.0, q_none=True)
REMEMBERED = 20
PARTS: Mapping[str, Mapping[str, Any]] = {
    BASE: {},
    "choosing none counts 0": {"q_none": False},
    "discount .99": {"discount": 0.99},
    "5 steps ahead": {"steps_ahead": 5},
    "10 steps ahead": {"steps_ahead": 10, "warmup": 100},
    "4 steps of the optimiser for 1": {
        "users": 8,
        "remembered": 4000,
        "warmup": 200,
        "explore_steps": 12_000,
        "target_every": 400,
    },
    "double": {"double": True},
    "dueling": {"dueling": True},
    "target follows slowly": {"target_every": 1, "target_rate": 0.01},
    "prioritised replay": {"priority": 0.6},
    "bootstrapped, 5 networks": {"ensemble": 5, "explore": 0.0, "explore_last": 0.0},
    "reads 20 steps: dense layer": {"torso": "dnn"},
    "reads 20 steps: GRU": {"torso": "gru"},
    "reads 20 steps: Transformer": {"torso": "transformer"},
    "knows the time left": {"known_budget": True},
}
"""By name, what differs from the first: fields of `SlateQ`, or of the experiment."""


@dataclass(frozen=True)
class Options:
    """How much is learnt, and where it is kept."""

    parts: tuple[str, ...] = ()
    """Parts to turn, by name (default: all)."""
    choosing_none: bool = True
    """Learn what choosing none is worth, in all but the part without."""
    seeds: int = 3
    """Trainings of each."""
    steps: int = 300_000
    """Users' steps of each."""
    users: int = 5000
    """Validation users who score them."""
    runs: Path = Path("runs/ablation-slateq/runs")
    """Folder of the trainings: one that was cut off goes on, and none is made twice."""
    out: Path = Path("runs/ablation-slateq")
    """Folder of the record and the plot."""


def experiment(part: str, options: Options, seed: int) -> PolicyExperiment:
    """The policy with that part turned. KeyError: no such part."""
    changes = dict(PARTS[part])
    budget = changes.pop("known_budget", False)
    if "priority" in changes:  # as its authors do: the correction is whole by the last step
        changes["correction_steps"] = options.steps // PLAIN.users
    return PolicyExperiment(
        "QL-OT-OS",
        dataclasses.replace(PLAIN, **{"q_none": options.choosing_none, **changes}),
        known_budget=budget,
        remember=REMEMBERED if "torso" in changes else 0,
        steps=options.steps,
        seed=seed,
    )


def asked(options: Options) -> list[str]:
    """The first, and the parts asked for: all that differ from it, where none are named. InputError: no such part, or
    one that does not differ.
    """
    if unknown := [part for part in options.parts if part not in PARTS]:
        hint = did_you_mean(unknown[0], PARTS)
        raise InputError(f"--parts {unknown[0]!r}: {hint}there are {', '.join(map(repr, PARTS))}")
    base = experiment(BASE, options, 1)
    same = {part for part in PARTS if experiment(part, options, 1) == base}
    if both := [part for part in options.parts if part in same]:
        raise InputError(
            f"--parts {both[0]!r}: is what the first has, by itself or by --no-choosing-none; leave it out"
        )
    return [BASE, *(part for part in dict.fromkeys(options.parts or PARTS) if part not in same)]


def run(options: Options, told: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """The record. InputError: as `asked`. Diverged: parameters are not finite."""
    code, found, curves = code_state(), dict[str, list[dict[str, np.ndarray]]](), dict[str, Any]()
    parts = asked(options)
    for part in parts:
        found[part], curves[part] = [], []
        for seed in range(1, options.seeds + 1):
            told(f"{part}, seed {seed} of {options.seeds}")
            of = experiment(part, options, seed)
            learned = learn(of, lambda scores: None, options.runs / of.name)
            returns = scored(of.world, learned.act, learned.params, "valid", options.users)["return"]
            found[part].append({"return": returns})
            curves[part].append([[point["steps"], point["return"]] for point in learned.curve])
    return {
        "base": to_json(experiment(BASE, options, 1)),
        "parts": {part: PARTS[part] for part in parts},
        "seeds": options.seeds,
        "users": options.users,
        "by_seed": {part: [float(of["return"].mean()) for of in seeds] for part, seeds in found.items()},
        "curves": curves,
        "tests": pair_records(found, [(part, BASE) for part in parts[1:]], 10_000),
        "code": code,
        "machine": machine(1),
    }


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Return by part, with intervals over seeds; and as it was learnt."""
    with picture(path, (11, 4.6), 1, 2) as (figure, (at_last, over_time)):
        for place, (part, values) in enumerate(record["by_seed"].items()):
            of = seed_interval(values)
            at_last.errorbar([of.mean], [place], xerr=[[of.half or 0]] * 2, fmt="o", capsize=3, color=f"C{place % 10}")
            steps = [steps for steps, _ in record["curves"][part][0]]
            means = np.mean([[value for _, value in curve] for curve in record["curves"][part]], axis=0)
            over_time.plot(steps, means, color=f"C{place % 10}", ls="-" if place < 10 else "--", label=part)
        at_last.axvline(np.mean(record["by_seed"][BASE]), color="0.7", linewidth=1)
        at_last.set_yticks(range(len(record["by_seed"])), record["by_seed"], fontsize=8)
        at_last.invert_yaxis()
        at_last.set(xlabel="return in minutes, 95 % over seeds", title="after all steps")
        over_time.set(xlabel="users' steps", title="as it was learnt (mean of seeds)")
        over_time.legend(frameon=False, fontsize=6, ncols=2)
        figure.suptitle("SlateQ (QL-OT-OS) with one part turned: validation users of interest_evolution", fontsize=10)


def script(argv: Sequence[str]) -> None:
    """Run, write, draw, print."""
    options = parse_options(Options, argv, "python -m experiments.ablations.slateq", __doc__)
    if options.seeds < 1 or options.users < 2:
        raise InputError(f"--seeds {options.seeds} --users {options.users}: expected at least 1 seed and 2 users")
    console = Console()
    record = run(options, lambda line: console.print(line, highlight=False))
    write_json(options.out / "record.json", record)
    draw(record, options.out / "plot.png")
    table = Table("part", "return", "over seeds", "against the first", title=f"{options.users:,} validation users")
    tests = {of["pair"][0]: of for of in record["tests"]}
    for part, values in record["by_seed"].items():
        of, test = seed_interval(values), tests.get(part)
        gap = "" if test is None else f"{test['difference']:+.2f}, {test['verdict']}"
        table.add_row(part, f"{of.mean:.2f}", "" if of.half is None else f"± {of.half:.2f}", gap)
    console.print(table)
    console.print(f"written to {options.out}: record.json, plot.png", highlight=False)


if __name__ == "__main__":
    main(script)
