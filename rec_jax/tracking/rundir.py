"""A run's directory: config.json, metrics.jsonl, timings.jsonl, checkpoints/, result.json.

metrics.jsonl holds only what repeats bit by bit, and is cut back to the restored step on resume; timings.jsonl
holds the rest.
"""

import math
from pathlib import Path
from typing import Any

from rec_jax.config import Experiment, Runtime, from_json, to_json
from rec_jax.errors import InputError
from rec_jax.files import append_line, make_folder, read_json, read_lines, write_json, write_lines
from rec_jax.registry import parse_experiment


class RunDir:
    """The files of one run. Only the writing process makes one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.timings = path / "timings.jsonl"
        self.config = path / "config.json"
        self.result = path / "result.json"
        self.per_user = path / "per_user.npz"
        self.checkpoints = path / "checkpoints"

    def check(self, experiment: Experiment, runtime: Runtime, fingerprint: str) -> None:
        """Whether `open` would succeed, but for writing.

        InputError: a run is there and --resume is not given, or was made by another Experiment (its first differing
        field is named; the limit of epochs may be raised) or on other data.
        """
        if self.config.exists():
            stored = self.experiment()
            if not runtime.resume:
                raise InputError(
                    f"{self.path}: holds a run already; continue it with --resume, or choose another --run-dir"
                )
            if (difference := first_difference(to_json(stored), to_json(experiment))) is not None:
                raise InputError(
                    f"{self.path}: was made by another experiment ({difference}); choose another --run-dir"
                )
            if experiment.epochs < stored.epochs:
                raise InputError(
                    f"{self.path}: was begun with --epochs {stored.epochs}; on resume it can only be raised"
                )
            self.check_data(fingerprint)

    def open(self, experiment: Experiment, runtime: Runtime, fingerprint: str) -> None:
        """Make the directory for a new run, or open an old one. InputError: as `check`, or it cannot be written to."""
        self.check(experiment, runtime, fingerprint)
        make_folder(self.path)
        write_json(
            self.config,
            {"name": experiment.name, "experiment_hash": experiment.hash, "experiment": to_json(experiment)}
            | {"data_fingerprint": fingerprint, "runtime": to_json(runtime)},
        )

    def experiment(self) -> Experiment:
        """The run's Experiment. InputError: not a run, or not one that today's code understands."""
        stored = read_json(self.config)
        if not isinstance(stored, dict) or not isinstance(stored.get("experiment"), dict):
            raise InputError(f"{self.config}: has no field 'experiment'; is {self.path} a run?")
        return parse_experiment(stored["experiment"])

    def data_dir(self) -> Path:
        """The folder of data sets that the run used."""
        return from_json(Runtime, read_json(self.config)["runtime"]).data_dir

    def check_data(self, fingerprint: str) -> None:
        """InputError: the data are not those that the run was begun on."""
        if (stored := read_json(self.config).get("data_fingerprint")) != fingerprint:
            raise InputError(f"{self.path}: was begun on data with fingerprint {stored}; now it is {fingerprint}")

    def append(self, path: Path, row: dict[str, Any]) -> None:
        """Add one line."""
        append_line(path, row)

    def rows(self, path: Path) -> list[dict[str, Any]]:
        """The whole lines of a .jsonl file; a last line cut off by a crash is passed over."""
        return read_lines(path)

    def epochs(self) -> dict[int, dict[str, float]]:
        """By step: the metrics and times of every epoch."""
        found: dict[int, dict[str, float]] = {}
        for row in (*self.rows(self.metrics), *self.rows(self.timings)):
            if "epoch" in row:
                values = {name: value for name, value in row.items() if name not in ("epoch", "step")}
                found[row["step"]] = found.get(row["step"], {}) | values
        return found

    def seconds(self) -> dict[str, float]:
        """Seconds of training and validation, over all sessions of the run."""
        rows = self.rows(self.timings)
        return {name: sum((row.get(name, 0.0) for row in rows), 0.0) for name in ("train_seconds", "valid_seconds")}

    def truncate(self, step: int) -> None:
        """Drop the metrics of epochs after `step`, which will be made again, and lines cut off by a crash."""
        for path, last in ((self.metrics, step), (self.timings, math.inf)):
            write_lines(path, [row for row in self.rows(path) if row["step"] <= last])


def first_difference(stored: Any, given: Any, where: str = "") -> str | None:
    """The first field in which two experiments differ, the limit of epochs aside."""
    if isinstance(stored, dict) and isinstance(given, dict):
        for key in sorted(stored.keys() | given.keys()):
            found = first_difference(stored.get(key), given.get(key), f"{where}.{key}" if where else key)
            if found is not None:
                return found
        return None
    return None if stored == given or where == "epochs" else f"{where}: there {stored!r}, now {given!r}"
