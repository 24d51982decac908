"""Data sets on the command line: `python -m rec_jax.data list | fetch NAME | describe NAME`."""

import logging
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from rec_jax.data.interactions import Dataset
from rec_jax.data.own import Columns
from rec_jax.data.prepare import repeated
from rec_jax.data.registry import DATASETS, DEFAULT_FOLDER, find, load
from rec_jax.errors import InputError


@dataclass(frozen=True)
class List:
    """Name the known data sets."""


@dataclass(frozen=True)
class Fetch:
    """Bring a known data set into the cache folder."""

    name: tyro.conf.Positional[str]
    """A name from `list`."""
    data_dir: Path = DEFAULT_FOLDER
    """Folder of the data sets."""


@dataclass(frozen=True)
class Describe:
    """Print counts, density, time span, ties, duplicates and licence of a data set."""

    name: tyro.conf.Positional[str]
    """A name from `list`, or the path of a .csv, .tsv or .parquet log."""
    data_dir: Path = DEFAULT_FOLDER
    """Folder of the data sets."""
    columns: Columns = Columns()


def describe(dataset: Dataset) -> dict[str, str]:
    """What a reader wants to know of a log, by name."""
    log = dataset.interactions
    counts = np.bincount(log.user, minlength=dataset.n_users)
    timed = log.time[log.time != 0]
    same = (log.user[1:] == log.user[:-1]) & (log.time[1:] == log.time[:-1]) & (log.time[1:] != 0)
    days = (
        [datetime.fromtimestamp(int(t), UTC).strftime("%Y-%m-%d") for t in (timed.min(), timed.max())]
        if len(timed)
        else []
    )
    return {
        "users": f"{dataset.n_users:,}",
        "items": f"{dataset.n_items:,}",
        "interactions": f"{len(log):,}",
        "density": f"{len(log) / dataset.n_users / dataset.n_items:.2%}",
        "events a user": f"{np.min(counts):,} to {np.max(counts):,}, median {np.median(counts):g}",
        "ratings": f"{np.min(log.rating):g} to {np.max(log.rating):g}, mean {log.rating.mean():.3f}",
        "time span": " to ".join(days) if days else "no times",
        "time ties": f"{same.mean():.1%} of events share user and second with the one before" if days else "no times",
        "duplicates": f"{repeated(log).sum():,} events repeat a (user, item) pair",
        "user attributes": ", ".join(dataset.user_attributes) or "none",
        "authors' split": "yes" if dataset.authors is not None else "no",
        "fingerprint": dataset.fingerprint,
        "licence": dataset.licence,
    }


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; 2 after bad input."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    command = tyro.cli(
        List | Fetch | Describe,
        args=argv,
        prog="python -m rec_jax.data",
        description=__doc__,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    console = Console()
    try:
        if isinstance(command, List):
            table = Table("name", "users", "items", "interactions", "what")
            for name, row in DATASETS.items():
                table.add_row(name, *("?" if count is None else f"{count:,}" for count in row.expected), row.summary)
            console.print(table)
        elif isinstance(command, Fetch):
            known = find(command.name)
            load(command.name, command.data_dir)
            console.print(f"{command.name} lies in {command.data_dir.expanduser() / known.folder}\n{known.licence}")
        else:
            for name, value in describe(load(command.name, command.data_dir, command.columns)).items():
                console.print(f"{name:16} {value}", highlight=False, soft_wrap=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
