"""What the ablations share: one switch turned, everything else equal, on validation-chosen epochs. (Not an experiment.)

An ablation is lines of systems along an axis, each system named as `experiments.compare` reads it. All are run over
the same seeds, scored once on test, and tested in pairs: against the best of them, and where one step of the switch is
between the two.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.cli import check_many_runs, named, parse_options
from experiments.compare import write
from rec_jax import registry
from rec_jax.comparison import compare
from rec_jax.config import Experiment, Protocol, Runtime, Stopping
from rec_jax.errors import InputError
from rec_jax.problem import pose
from rec_jax.tracking.console import ProgressBar, comparison_table
from rec_jax.tracking.plots import picture
from rec_jax.tracking.tables import notes

Lines = Mapping[str, Mapping[str, str]]
"""By line, by place on the axis: the system's name."""


COMMON = "max_length=50,optimization.batch_size=64,optimization.learning_rate=0.003,stopping.patience=10"
"""How models of sequences are trained on MovieLens-100K: by these they are best on validation after 8 to 90 epochs,
by the defaults not within 200, of eight steps each."""
WHOLE = f"{COMMON},loss.loss=softmax,loss.exclude_positives=false"
"""The same, by cross-entropy over the whole catalogue."""


@dataclass(frozen=True)
class Ablation:
    """One question."""

    name: str
    title: str
    axis: str
    """What changes along a line."""
    lines: Lines
    data: str = "ml-100k"
    """The data set that it is meant for."""
    common: str = COMMON
    """What is given for all systems, where their names do not say otherwise."""

    @property
    def systems(self) -> tuple[str, ...]:
        """All systems, each once."""
        return tuple(dict.fromkeys(name for line in self.lines.values() for name in line.values()))

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """What one step of the switch makes: a place against the one before it in its line, and a line against the one
        before it at the same place."""
        along = [(b, a) for line in self.lines.values() for a, b in pairwise(line.values())]
        across = [
            (other[place], line[place])
            for line, other in pairwise(self.lines.values())
            for place in line
            if place in other
        ]
        return (*along, *across)


@dataclass(frozen=True)
class Options:
    """On what, and over how many seeds."""

    data: str = ""
    """A known data set, or the path of a log (default: the one that the ablation is meant for)."""
    protocol: Protocol = field(default_factory=Protocol)
    metric: str = "ndcg@10"
    """Validation metric, which chooses epochs; the test split's is drawn."""
    seeds: int = 3
    """Runs of every system."""
    out: Path | None = None
    """Folder of the table and the plot (default: ablation-NAME in --runs)."""
    runtime: Runtime = field(default_factory=lambda: Runtime(wandb="off", k=(10,)))


def ablate(ablation: Ablation, argv: Sequence[str], doc: str) -> None:
    """Read the flags, run every system, write table, record and plot. InputError: as `compare`."""
    options = parse_options(Options, argv, f"python -m experiments.ablations.{ablation.name}", doc)
    check_many_runs(options.runtime)
    if options.seeds < 1:
        raise InputError(f"--seeds {options.seeds}: expected at least 1")
    console, runtime, base = Console(), options.runtime, base_of(ablation, options)
    out = (options.out or runtime.runs / f"ablation-{ablation.name}").expanduser()
    with ProgressBar(console, options.metric, runtime.progress) as bar:
        record = compare(
            ablation.systems,
            base,
            pose(base, runtime.data_dir),
            runtime,
            seeds=options.seeds,
            trials=0,
            show=bar.show,
            tell=lambda line: console.print(line, highlight=False, soft_wrap=True),
            pairs=ablation.pairs,
            common=ablation.common,
        )
    record |= {"title": ablation.title, "ablation": {"axis": ablation.axis, "lines": ablation.lines}}
    write(record, out)
    draw(record, out / "plot.png")
    console.print(comparison_table(record))
    console.print("\n".join(line for line in notes(record) if line).replace("`", ""), highlight=False, markup=False)
    console.print(f"written to {out}: table.md, table.csv, record.json, plot.png", highlight=False, soft_wrap=True)


def base_of(ablation: Ablation, options: Options) -> Experiment:
    """Whose data, protocol and validation all systems have."""
    return registry.experiment(
        "popularity",
        data=named(options.data or ablation.data),
        protocol=options.protocol,
        stopping=Stopping(metric=options.metric, rule=options.protocol.candidates[0]),
    )


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Both metrics along the axis, a line a line: means over seeds, with 95 % intervals over users."""
    with picture(path, (9, 3.8), 1, 2) as (figure, panels):
        lines: Lines = record["ablation"]["lines"]
        places = list(dict.fromkeys(place for line in lines.values() for place in line))
        for axes, column in zip(panels, record["columns"][:2]):
            for number, (label, line) in enumerate(lines.items()):
                values = [record["systems"][name]["values"][column] for name in line.values()]
                # Side by side, so that no interval hides another.
                at = [places.index(place) + 0.08 * (number - (len(lines) - 1) / 2) for place in line]
                error = [[v["mean"] - v["users"][0] for v in values], [v["users"][1] - v["mean"] for v in values]]
                axes.errorbar(at, [v["mean"] for v in values], yerr=error, label=label, marker="o", capsize=2)
            axes.set_xticks(range(len(places)), [place.replace(" of ", "\nof ") for place in places])
            axes.set(xlabel=record["ablation"]["axis"], title="{1}, {0}".format(*column.split("/")))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        # The fields' own names: with those of what they are of, the line would be wider than the picture.
        common = ", ".join(re.sub(r"^\w+\.", "", change) for change in record["common"].split(","))
        figure.suptitle(f"{record['title']}: {record['data']['name']}\n{common}", fontsize=9)
