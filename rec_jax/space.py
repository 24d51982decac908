"""What a hyper-parameter may be when it is tuned."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Real:
    """A number from `low` to `high`, drawn on a logarithmic scale unless said otherwise."""

    low: float
    high: float
    log: bool = True


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`, drawn on a logarithmic scale unless said otherwise."""

    low: int
    high: int
    log: bool = True


@dataclass(frozen=True)
class Choice:
    """One of the `options`."""

    options: tuple[str | int | float | bool, ...]


Range: TypeAlias = Real | Whole | Choice
