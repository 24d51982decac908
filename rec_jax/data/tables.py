"""Reading tables of text or Parquet, with errors that name the file, the line, the field and what was expected."""

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars

from rec_jax.errors import InputError

YEAR_10000 = 253_402_300_800


@dataclass(frozen=True)
class Table:
    """Columns of text (or of Parquet's own types) with the file and line that each row came from."""

    path: Path
    columns: dict[str, np.ndarray]
    first_line: int
    """The line of the first row in the file (1 without a header, 2 with one)."""
    unit: str = "line"
    """What a row is called: Parquet files have no lines."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def fail(self, row: int, name: str, expected: str) -> InputError:
        """The error for one cell."""
        value = self.columns[name][row].item()
        return InputError(
            f"{self.path}, {self.unit} {row + self.first_line}, field '{name}': expected {expected}, got {value!r}"
        )

    def ids(self, name: str) -> np.ndarray:
        """Original ids: int64 where every one is written as a plain whole number, else text. None may be empty."""
        column = self.columns[name]
        if column.dtype.kind in "iu":
            return column
        if column.dtype.kind == "f":  # as Parquet files of pandas hold whole numbers with gaps
            bad = np.flatnonzero(~(np.isfinite(column) & (column == np.floor(column))))
            if bad.size:
                raise self.fail(int(bad[0]), name, "an id, a whole number or text")
            return column.astype(np.int64)
        column = column.astype(str)
        if (empty := np.flatnonzero(column == "")).size:
            raise self.fail(int(empty[0]), name, "an id")
        try:
            numbers = column.astype(np.int64)
        except (ValueError, OverflowError):
            return column.astype(str)
        # Written plainly, a whole number has as many characters as digits: '007' and '+7' stay text.
        digits = 1 + np.searchsorted(10 ** np.arange(1, 19), numbers, side="right")
        return numbers if (numbers >= 0).all() and np.array_equal(np.char.str_len(column), digits) else column

    def floats(self, name: str, low: float = -np.inf, high: float = np.inf) -> np.ndarray:
        """Finite numbers within [low, high], as float64."""
        expected = "a number" if np.isinf(low) else f"a number from {low:g} to {high:g}"
        values = self._numbers(name, expected)
        bad = np.flatnonzero(~(np.isfinite(values) & (values >= low) & (values <= high)))
        if len(bad):
            raise self.fail(int(bad[0]), name, expected)
        return values

    def seconds(self, name: str) -> np.ndarray:
        """Times in whole seconds since 1970, from numbers of seconds or ISO 8601 dates ('2024-05-01T12:00:00')."""
        column = self.columns[name]
        if column.dtype.kind == "M":
            return column.astype("datetime64[s]").astype(np.int64)
        expected = "seconds since 1970, or an ISO 8601 date"
        if column.dtype.kind == "U" and not _is_number(column[0].item()):
            return np.array([self._date(row, name, expected) for row in range(len(self))], np.int64)
        values = self._numbers(name, expected)
        bad = np.flatnonzero(~(np.abs(values) < YEAR_10000))  # also NaN, and milliseconds
        if len(bad):
            raise self.fail(int(bad[0]), name, expected)
        return values.astype(np.int64)

    def _date(self, row: int, name: str, expected: str) -> int:
        try:  # fromisoformat, since numpy would also take 'now' and 'today'
            moment = datetime.fromisoformat(self.columns[name][row])
            return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        except ValueError:
            raise self.fail(row, name, expected) from None

    def _numbers(self, name: str, expected: str) -> np.ndarray:
        try:
            return self.columns[name].astype(np.float64)
        except ValueError:
            row = next(row for row, value in enumerate(self.columns[name].tolist()) if not _is_number(value))
            raise self.fail(row, name, expected) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_delimited(
    path: Path,
    separator: str,
    names: Sequence[str],
    *,
    optional: int = 0,
    encoding: str = "utf-8",
    header: bool = False,
) -> Table:
    """Read rows of `names` parted by `separator` (of any length); the last `optional` of them may be missing.

    A path that ends in .gz is unpacked. Rows must agree in their number of fields. InputError: no file, no row, wrong
    encoding, a malformed row.
    """
    try:
        with gzip.open(path, "rt", encoding=encoding) if path.suffix == ".gz" else path.open(encoding=encoding) as file:
            text = file.read()
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not {encoding} text") from error
    lines = text.replace("\r\n", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    first_line = 2 if header else 1
    lines = lines[first_line - 1 :]
    if not lines:
        raise InputError(f"{path}: is empty; expected rows of {separator.join(names)!r}")
    width = lines[0].count(separator) + 1
    width = width if len(names) - optional <= width <= len(names) else len(names)
    for number, line in enumerate(lines, first_line):
        if line.count(separator) != width - 1:
            raise InputError(
                f"{path}, line {number}: expected {width} fields ({', '.join(names[:width])}) parted by "
                f"{separator!r}, got {line.count(separator) + 1}: {line[:80]!r}"
            )
    cells = separator.join(lines).split(separator)
    return Table(path, {name: np.array(cells[i::width]) for i, name in enumerate(names[:width])}, first_line)


def read_named(path: Path, names: Sequence[str], advice: str = "") -> Table:
    """Read the columns `names` of a CSV, TSV or Parquet file by their header. `advice` ends the error of a column that
    is missing.

    InputError: no file, no row, an unknown ending, a missing column, a malformed or incomplete row.
    """
    separators = {".csv": ",", ".tsv": "\t"}
    if path.is_dir():
        raise InputError(f"{path}: is a folder, not a log")
    try:
        if path.suffix in separators:
            frame = polars.read_csv(path, separator=separators[path.suffix], infer_schema_length=0, glob=False)
        elif path.suffix == ".parquet":
            frame = polars.read_parquet(path, glob=False)
        else:
            raise InputError(f"{path}: a log ends in .csv, .tsv or .parquet")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except polars.exceptions.NoDataError as error:
        raise InputError(f"{path}: is empty; expected a header with the columns {', '.join(names)}") from error
    except polars.exceptions.PolarsError as error:
        raise _malformed(path, separators.get(path.suffix), error) from error
    missing = [name for name in names if name not in frame.columns]
    if missing:
        if len(frame.columns) == 1 and path.suffix in separators:
            advice = f"; a {path.suffix} file is parted by {separators[path.suffix]!r}{advice}"
        raise InputError(f"{path}: has no column {missing[0]!r}; its columns are {', '.join(frame.columns)}{advice}")
    if frame.height == 0:
        raise InputError(f"{path}: has a header and no event")
    first, unit = (1, "row") if path.suffix == ".parquet" else (2, "line")
    for name in names:
        if (nulls := frame[name].is_null()).any():
            row = int(nulls.arg_max() or 0) + first
            raise InputError(f"{path}, {unit} {row}, field {name!r}: is empty; every event needs one")
        if frame[name].dtype.is_nested():
            raise InputError(f"{path}: column {name!r} holds {frame[name].dtype}, not one value a row")
    columns = {name: _compact(frame[name]) for name in names}
    return Table(path, columns, first, unit)


def _compact(column: polars.Series) -> np.ndarray:
    """Text that is all plain whole numbers as int64, at an eighth of its memory; the rest as it is."""
    if column.dtype == polars.String:
        numbers = column.cast(polars.Int64, strict=False)
        if numbers.null_count() == 0 and (numbers.cast(polars.String) == column).all():
            column = numbers
    values = column.to_numpy()
    return values.astype(str) if values.dtype.kind == "O" else values


def _malformed(path: Path, separator: str | None, error: Exception) -> InputError:
    if separator is None:
        return InputError(f"{path}: is not a Parquet file ({error})")
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(file, delimiter=separator)
        width = len(next(reader))
        try:
            for row in reader:
                if len(row) != width:
                    return InputError(
                        f"{path}, line {reader.line_num}: expected {width} fields parted by {separator!r}, "
                        f"as in the header, got {len(row)}: {separator.join(row)[:80]!r}"
                    )
        except csv.Error as problem:
            return InputError(f"{path}, line {reader.line_num}: {problem}; is a quote left open?")
    return InputError(f"{path}: cannot be read as a table ({error})")
