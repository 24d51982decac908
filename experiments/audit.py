"""The leak audit of a run, or of a split before anything is trained on it.

    python -m experiments.audit runs/RUN                                   (a run: its split, questions, fit, result)
    python -m experiments.audit ml-100k --split leave-one-out              (a split: a data set's name or a log's path)

Exit code 1 where something leaks.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from experiments.cli import main, named, parse_options
from rec_jax import registry
from rec_jax.config import Experiment, Protocol
from rec_jax.data.own import Columns
from rec_jax.data.prepare import Preparation
from rec_jax.data.registry import DEFAULT_FOLDER
from rec_jax.errors import InputError
from rec_jax.evaluate.audit import Finding, audit, lines
from rec_jax.files import read_json
from rec_jax.problem import pose
from rec_jax.tracking.rundir import RunDir
from rec_jax.training import fitter


@dataclass(frozen=True)
class Options:
    """What to look at."""

    what: tyro.conf.Positional[str]
    """A run's folder, a known data set, or the path of a log."""
    columns: Columns = Columns()
    preparation: Preparation = Preparation()
    protocol: Protocol = Protocol()
    data_dir: Path | None = None
    """Folder of the data sets (default: where the run found them, or the usual one)."""


def script(argv: Sequence[str]) -> None:
    """Read the flags, look, print."""
    options = parse_options(Options, argv, "python -m experiments.audit", __doc__)
    folder = Path(options.what).expanduser()
    if (folder / "config.json").exists():
        directory = RunDir(folder)
        experiment, data_dir = directory.experiment(), options.data_dir or directory.data_dir()
        scored = read_json(directory.result)["test_scored"] if directory.result.exists() else None
        found = findings(experiment, data_dir, scored)
    elif folder.is_dir():
        raise InputError(f"{folder}: no run is there, config.json is missing; name the folder of one run")
    else:
        shared: dict[str, Any] = {"columns": options.columns, "preparation": options.preparation}
        shared["protocol"] = options.protocol
        experiment = registry.experiment("popularity", data=named(options.what), **shared)
        found = findings(experiment, options.data_dir or DEFAULT_FOLDER, None)
    for line in lines(found):
        Console().print(line, highlight=False, soft_wrap=True)
    if any(finding.severity == "leak" for finding in found):
        sys.exit(1)


def findings(experiment: Experiment, data_dir: Path, scored: int | None) -> list[Finding]:
    """Every check; a baseline is fitted anew with and without the held-out events."""
    problem = pose(experiment, data_dir)
    return audit(
        problem.split,
        problem.test,
        fitter(experiment, problem),
        test_scored=scored,
        trained_on_validation=experiment.protocol.refit,
    )


if __name__ == "__main__":
    main(script)
