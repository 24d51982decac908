"""Records of finished seeds: one line of JSON each in `records/<cell>.jsonl`, appended under a lock, never edited,
but for the name in `cell` where a cell was renamed."""

import base64
import dataclasses
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from papers_repro import kinds
from papers_repro.kinds import AnyExperiment
from papers_repro.paper import FOLDER, Cell, Paper, Record
from rec_jax.choice import Choice
from rec_jax.files import append_line, make_folder, read_lines
from rec_jax.registry import parse_experiment

KEPT = ["name", "experiment_hash", "seed", "metrics", "test_scored", "data", "protocol", "experiment", "machine"]
KEPT += ["training", "code", "times", "tuning", "estimate"]


def path_of(paper: str, cell: str, folder: Path = FOLDER) -> Path:
    """The file of a cell's records."""
    return folder / paper / "records" / f"{cell}.jsonl"


def record_of(cell: str, about: Paper, result: dict[str, Any], per_user: dict[str, np.ndarray]) -> Record:
    """What is kept of a run's result: the paper's metrics at all cut-offs, and for tests between systems those that it
    shows by user, under its rule and, with their names, under the further ones. What is of all users together (an sd)
    has no values by user.
    """
    kinds = {metric.split("@")[0] for metric in about.shown}
    kept = {name: result[name] for name in KEPT if name in result}
    kept["metrics"] = {
        of: {name: estimate for name, estimate in values.items() if name.split("@")[0] in kinds}
        for of, values in result["metrics"].items()
    }
    packed = {
        metric if rule == about.rule else f"{rule}/{metric}": pack(per_user[f"{rule}/{metric}"])
        for rule in (about.rule, *about.rules)
        for metric in about.shown
        if f"{rule}/{metric}" in per_user
    }
    return {"cell": cell, **kept, "per_user": packed}


def under(record: Record, rule: str) -> Record:
    """The record as a record of that rule alone, which is not the first."""
    start = f"{rule}/"
    values = {name.removeprefix(start): of for name, of in record["per_user"].items() if name.startswith(start)}
    return {**record, "per_user": values}


def append(paper: str, record: Record, folder: Path = FOLDER) -> None:
    """Add a record to its cell's file."""
    path = path_of(paper, record["cell"], folder)
    make_folder(path.parent)
    with FileLock(path.with_suffix(".lock")):
        append_line(path, record)


def read(paper: str, cell: str, folder: Path = FOLDER) -> list[Record]:
    """A cell's records, in the order they were made."""
    found: list[Record] = read_lines(path_of(paper, cell, folder))
    return found


def counted(paper: str, cell: str, folder: Path = FOLDER) -> dict[int, Record]:
    """By seed, the records that tables show."""
    return shown(read(paper, cell, folder))


def shown(made: Sequence[Record]) -> dict[int, Record]:
    """Of a cell's records, by seed, those of code, paper.toml and requirements as they were committed."""
    return {r["seed"]: r for r in made if r["code"]["differs_from_commit"] is False}


def experiment_of(record: Record) -> AnyExperiment:
    """The experiment of a record. InputError: today's configuration does not know it."""
    return kinds.parse(record["experiment"])


def matches(record: Record, cell: Cell) -> bool:
    """Whether the record is of the cell as it stands today; what was tuned on validation may differ."""
    found, expected = experiment_of(record), dataclasses.replace(cell.experiment, seed=record["seed"])
    if cell.trials and type(found) is type(expected):
        expected = kinds.kind_of(expected).tuned_as(expected, found)
    return found == expected


def choice_of(paper: str, cell: Cell, folder: Path = FOLDER) -> Choice | None:
    """What validation chose for all seeds of a cell, where that is on record: it is not chosen again."""
    shared = kinds.kind_of(cell.experiment).choice_seed(cell.experiment)
    found = counted(paper, cell.name, folder).get(shared) if shared else None
    return Choice.of_record(found["training"], parse_experiment(found["experiment"])) if found else None


def pack(values: np.ndarray) -> str:
    """Values by user as text: base64 of compressed little-endian float32."""
    return base64.b64encode(zlib.compress(values.astype("<f4").tobytes(), 9)).decode()


def unpack(text: str) -> np.ndarray:
    """The inverse of `pack`, in float64."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<f4").astype(np.float64)
