"""Recommend from a saved run: to a user of the log, or to a history of items.

python -m experiments.recommend runs/RUN --user 42
python -m experiments.recommend runs/RUN --history 50 172 181 --k 5
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from experiments.cli import main, parse_options
from rec_jax.errors import InputError
from rec_jax.recommend import Recommendation, history_of, load, recommend, recommend_to_history

SHOWN_HISTORY = 10


@dataclass(frozen=True)
class Options:
    """Which run, to whom, how many."""

    run: tyro.conf.Positional[Path]
    """A run directory."""
    user: str | None = None
    """Original id of a user of the log; items the user has are not recommended."""
    history: tuple[str, ...] = ()
    """Original ids of items that an unseen user has."""
    k: int = 10
    """How many items."""
    data_dir: Path | None = None
    """Folder of the data sets (default: where the run found them)."""


def script(argv: Sequence[str]) -> None:
    """Read the flags, recommend, print."""
    options = parse_options(Options, argv, "python -m experiments.recommend", __doc__)
    if (options.user is None) == (not options.history):
        raise InputError("name either --user ID or --history ID ID …")
    saved = load(options.run, options.data_dir)
    dataset = saved.problem.dataset
    if options.user is not None:
        past = history_of(saved.problem, options.user, SHOWN_HISTORY)
        found, who = recommend(saved, options.user, options.k), f"user {options.user}"
    else:
        past = [dataset.item_label(dataset.item_index(item)) for item in options.history]
        found, who = recommend_to_history(saved, options.history, options.k), "this history"
    Console().print(beside(past, found, who))


def beside(past: list[str], found: list[Recommendation], who: str) -> Table:
    """A history and what is recommended to it, side by side."""
    table = Table("history (newest first)" if who.startswith("user") else "history", f"recommended to {who}", "score")
    for row in range(max(len(past), len(found))):
        item = found[row] if row < len(found) else None
        table.add_row(
            past[row] if row < len(past) else "", item.label if item else "", f"{item.score:.3f}" if item else ""
        )
    return table


if __name__ == "__main__":
    main(script)
