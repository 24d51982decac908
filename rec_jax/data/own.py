"""A log of the user's own: CSV, TSV or Parquet with named columns."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rec_jax.data.interactions import Dataset, build_dataset
from rec_jax.data.tables import read_named

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


def load_own(path: Path, columns: Columns) -> Dataset:
    """Read the log at `path`. InputError: as `read_named`, and ratings that are not within the range given."""
    named = [columns.user_column, columns.item_column, columns.rating_column, columns.time_column]
    table = read_named(path, [name for name in named if name is not None])
    low = -np.inf if columns.rating_low is None else columns.rating_low
    high = np.inf if columns.rating_high is None else columns.rating_high
    return build_dataset(
        path.stem,
        {
            "user": table.ids(columns.user_column),
            "item": table.ids(columns.item_column),
            "rating": np.ones(len(table))
            if columns.rating_column is None
            else table.floats(columns.rating_column, low, high),
            "time": np.zeros(len(table), np.int64)
            if columns.time_column is None
            else table.seconds(columns.time_column),
        },
    )
