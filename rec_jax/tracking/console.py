"""What a run shows on the terminal: a progress bar while it trains, one table at the end."""

import math
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from rec_jax.tracking.tables import mark
from rec_jax.train.loop import Progress


class ProgressBar:
    """Epoch, loss, examples/s, validation and time left; on something other than a terminal, a line now and then."""

    LINE_EVERY_SECONDS = 10.0

    def __init__(self, console: Console, metric: str, shown: bool = True) -> None:
        self._console, self._metric, self._shown = console, metric, shown
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not (shown and console.is_terminal),
        )
        self._tasks: dict[str, Any] = {}
        self._began = self._written = 0.0

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for task in self._tasks.values():
            if error is None:
                self._bar.update(task, completed=1.0)
        self._bar.stop()

    def show(self, stage: str, progress: Progress) -> None:
        """Draw the state of a stage (a model's training)."""
        valid = "" if math.isnan(progress.valid) else f"  valid {self._metric} {progress.valid:.4f}"
        text = (
            f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.4f}  "
            f"{progress.examples_per_second / 1e6:.2f} M examples/s{valid}"
        )
        if stage not in self._tasks:
            for task in self._tasks.values():
                self._bar.update(task, completed=1.0)
            self._began = time.monotonic()
            self._tasks[stage] = self._bar.add_task(stage, total=1.0, text="")
        self._bar.update(self._tasks[stage], completed=progress.fraction, text=text)
        if self._shown and not self._console.is_terminal and time.monotonic() - self._written > self.LINE_EVERY_SECONDS:
            elapsed = time.monotonic() - self._began
            left = elapsed * (1 - progress.fraction) / max(progress.fraction, 1e-9)
            self._console.print(f"{stage}  {text}  {left:.0f} s left", highlight=False, soft_wrap=True)
            self._written = time.monotonic()


def results_table(rows: dict[str, dict[str, Any]], names: dict[str, list[str]]) -> Table:
    """One row a recommender: mean and 95 % interval of the metrics `names[rule]`, by candidate rule.

    `rows[recommender][rule][metric]` holds mean, low and high. The best mean of a column is bold.
    """
    table = Table(title_style="bold", title_justify="left")
    table.add_column("model")
    columns = [(rule, name) for rule, of_rule in names.items() for name in of_rule]
    best = {(rule, name): max(row[rule][name]["mean"] for row in rows.values()) for rule, name in columns}
    for rule, name in columns:
        table.add_column(f"{name.upper()}\n{rule}", justify="right")
    for model, row in rows.items():
        cells = [estimate(row[rule][name], row[rule][name]["mean"] == best[rule, name]) for rule, name in columns]
        table.add_row(model, *cells)
    return table


def comparison_table(record: Mapping[str, Any]) -> Table:
    """A comparison's accuracy: a row a system, the mean with its mark over the interval of each column."""
    table = Table("system")
    for column in record["columns"]:
        rule, metric = column.split("/")
        table.add_column(f"{metric.upper()}\n{rule}", justify="right")
    best = {c: max(line["values"][c]["mean"] for line in record["systems"].values()) for c in record["columns"]}
    for label, line in record["systems"].items():
        cells = []
        for column in record["columns"]:
            value = line["values"][column]
            shown = {"mean": value["mean"], "low": value["users"][0], "high": value["users"][1]}
            number, interval = estimate(shown, value["mean"] == best[column]).split("\n")
            cells.append(f"{number} {mark(line, column)}\n{interval}")
        table.add_row(label, *cells)
    return table


def estimate(value: dict[str, float], bold: bool = False) -> str:
    """'0.1234', and its interval on the next line."""
    number = f"{value['mean']:.4f}"
    interval = f"{value['low']:.3f}–{value['high']:.3f}"
    return f"{f'[bold]{number}[/bold]' if bold else number}\n{interval}"
