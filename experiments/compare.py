"""Compare recommenders on one problem: tuned alike, over seeds, with paired tests and the leak audit.

    python -m experiments.compare --data ml-100k --models popularity itemknn ease --trials 10      (about a minute)
    python -m experiments.compare --data ml-100k --models ease mf neumf --seeds 5 --trials 20 --split ratio

Every model and baseline is accepted (`--models all`: each of them); `ials:factors=192,reg=0.007` gives
hyper-parameters instead of tuning them, and `mf:objective=bpr` another objective than the model's own. Prints the
table, and writes it as table.md, table.csv and record.json with plot.png to --out. What is finished (trials and runs in
--runs) is not done again.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.cli import check_many_runs, main, named, parse_options
from rec_jax import registry
from rec_jax.comparison import compare
from rec_jax.config import Experiment, Protocol, Runtime, Stopping
from rec_jax.data.own import Columns
from rec_jax.data.prepare import Preparation
from rec_jax.errors import InputError
from rec_jax.evaluate.metrics import parse
from rec_jax.evaluate.protocol import check_rule
from rec_jax.files import atomic, write_json
from rec_jax.problem import pose
from rec_jax.tracking.console import ProgressBar, comparison_table
from rec_jax.tracking.plots import trade_off
from rec_jax.tracking.tables import comma_separated, markdown, notes


@dataclass(frozen=True)
class Options:
    """What to compare."""

    models: tuple[str, ...] = ("popularity", "itemknn", "ease", "mf", "neumf")
    """Names in the registry, 'all', or NAME:FIELD=VALUE,… with hyper-parameters that are not tuned."""
    data: str = "ml-100k"
    """A known data set, or the path of a .csv, .tsv or .parquet log."""
    columns: Columns = Columns()
    preparation: Preparation = Preparation()
    protocol: Protocol = field(default_factory=lambda: Protocol(refit=True))
    metric: str = "ndcg@10"
    """Validation metric, which chooses epochs and hyper-parameters."""
    rule: str = "full"
    """Candidate rule of the validation."""
    seeds: int = 1
    """Runs of every system whose numbers depend on a seed."""
    trials: int = 0
    """Hyper-parameter settings tried on validation, as many for every system (0: the defaults)."""
    published: Path | None = None
    """A paper.toml with published values, shown beside ours."""
    out: Path | None = None
    """Folder of the table (default: compare-DATA in --runs)."""
    runtime: Runtime = field(default_factory=lambda: Runtime(wandb="off", k=(1, 5, 10, 20)))


def script(argv: Sequence[str]) -> None:
    """Read the flags, compare, print, write."""
    options = parse_options(Options, argv, "python -m experiments.compare", __doc__)
    check_many_runs(options.runtime)
    parse(options.metric)
    check_rule(options.rule)
    if options.seeds < 1 or options.trials < 0:
        raise InputError(f"--seeds {options.seeds} --trials {options.trials}: expected at least 1, and 0 or more")
    published = read_published(options.published) if options.published else None
    console, runtime, base = Console(), options.runtime, _base(options)
    out = (options.out or runtime.runs / f"compare-{Path(base.data).stem}").expanduser()
    problem = pose(base, runtime.data_dir)
    names = tuple(registry.names()) if options.models == ("all",) else options.models
    with ProgressBar(console, options.metric, runtime.progress) as bar:
        record = compare(
            names,
            base,
            problem,
            runtime,
            seeds=options.seeds,
            trials=options.trials,
            show=bar.show,
            tell=lambda line: console.print(line, highlight=False, soft_wrap=True),
        )
    record |= {"published": published, "title": f"{base.data}: {problem.split.description}"}
    write(record, out)
    console.print(comparison_table(record))
    console.print("\n".join(line for line in notes(record) if line).replace("`", ""), highlight=False, markup=False)
    console.print(f"written to {out}: table.md, table.csv, record.json, plot.png", highlight=False, soft_wrap=True)


def _base(options: Options) -> Experiment:
    """What all systems share, as an experiment (of a baseline that needs nothing else)."""
    return registry.experiment(
        "popularity",
        data=named(options.data),
        columns=options.columns,
        preparation=options.preparation,
        protocol=options.protocol,
        stopping=Stopping(metric=options.metric, rule=options.rule),
    )


CELL = ("values", "rule", "grade", "band", "banded")


def read_published(path: Path) -> dict[str, Any]:
    """Published cells by system: values by metric, the grade of the source, the band, and what the band is for.

    InputError: the file is missing, not TOML, or a cell lacks a field.
    """
    try:
        paper = tomllib.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is not TOML ({error})") from error
    found = {}
    for number, cell in enumerate(paper.get("cells", []), 1):
        cell = {"rule": paper.get("rule"), **cell}
        if missing := [name for name in ("system", *CELL) if cell.get(name) is None]:
            raise InputError(f"{path}: cell {number} has no field {missing[0]!r}")
        found[cell["system"]] = {name: cell[name] for name in CELL}
    return found


def write(record: dict[str, Any], out: Path) -> None:
    """The record, and what is generated from it."""
    write_json(out / "record.json", record)
    for name, text in (
        ("table.md", markdown(record, record.get("published"))),
        ("table.csv", comma_separated(record)),
    ):
        with atomic(out / name) as file:
            file.write(text.encode())
    trade_off(record, out / "plot.png")


if __name__ == "__main__":
    main(script)
