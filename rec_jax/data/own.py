"""A log of the user's own: CSV, TSV or Parquet with named columns."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rec_jax.data.interactions import Dataset, build_dataset
from rec_jax.data.rewards import Reward
from rec_jax.data.tables import Table, read_named
from rec_jax.errors import InputError
from rec_jax.fields import added

OWN_FORMATS = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Columns:
    """Which columns of your own log mean what (read only where `--data` names a .csv, .tsv or .parquet file)."""

    user_column: str = "user"
    """Column of user ids (numbers or text)."""
    item_column: str = "item"
    """Column of item ids (numbers or text)."""
    rating_column: str | None = None
    """Column of ratings; without one every event is rated 1."""
    time_column: str | None = None
    """Column of times (seconds since 1970, or ISO 8601); without one the rows are taken as chronological."""
    rating_low: float | None = None
    """The lowest rating there may be; a lower one is an error."""
    rating_high: float | None = None
    """The highest rating there may be; a higher one is an error."""
    signals: tuple[str, ...] = added(())
    """Instead of ratings: columns of what was measured (clicks, watch time, purchases, ...), each NAME=WEIGHT, or with
    its range, if that is not 0 to 1, NAME=WEIGHT:LOW:HIGH, and :clip where what lies outside counts as the nearest end.
    An event is rated by their weighted mean, each brought into [0, 1]."""


def load_own(path: Path, columns: Columns) -> Dataset:
    """Read the log at `path`. InputError: as `read_named`; ratings or signals that are not within the range given; or
    both of them."""
    reward = Reward.parse(columns.signals) if columns.signals else None
    measured = [signal.name for signal in reward.signals] if reward else []
    if reward and columns.rating_column is not None:
        raise InputError(
            f"--signals {' '.join(columns.signals)} --rating-column {columns.rating_column}: an event has one rating; "
            f"name the ratings among the signals ({columns.rating_column}=1:1:5), or leave one of both out"
        )
    named = [columns.user_column, columns.item_column, columns.rating_column, columns.time_column, *measured]
    advice = "; name yours with --user-column, --item-column, --rating-column and --time-column"
    table = read_named(path, [name for name in named if name is not None], advice)
    return build_dataset(
        path.stem,
        {
            "user": table.ids(columns.user_column),
            "item": table.ids(columns.item_column),
            "rating": _rewards(table, reward) if reward else _ratings(table, columns),
            "time": np.zeros(len(table), np.int64)
            if columns.time_column is None
            else table.seconds(columns.time_column),
        },
    )


def _ratings(table: Table, columns: Columns) -> np.ndarray:
    if columns.rating_column is None:
        return np.ones(len(table))
    low = -np.inf if columns.rating_low is None else columns.rating_low
    high = np.inf if columns.rating_high is None else columns.rating_high
    return table.floats(columns.rating_column, low, high)


def _rewards(table: Table, reward: Reward) -> np.ndarray:
    # A value outside is told here, with its file and line.
    ends = {of.name: (-np.inf, np.inf) if of.clip else (of.low, of.high) for of in reward.signals}
    return reward.of_log({name: table.floats(name, *of) for name, of in ends.items()})
