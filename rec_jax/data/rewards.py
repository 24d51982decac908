"""One reward out of what is measured: clicks, watch time, ratings, purchases, weighed and brought into [0, 1].

    r = sum of w_s (x_s - low_s) / (high_s - low_s) over sum of w_s

Of a log here; of simulators in rec_jax/policies/rewards.py. Checked against the formula in plain Python
(tests/policies/test_rewards.py, tests/data/test_own.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rec_jax.errors import InputError, did_you_mean

FORM = "NAME=WEIGHT, NAME=WEIGHT:LOW:HIGH or NAME=WEIGHT:LOW:HIGH:clip"


@dataclass(frozen=True)
class Signal:
    """A measured quantity: its weight in the reward, and the range it is declared to stay in.

    `clip`: what lies outside counts as the nearest end, for quantities without one (a log-normal time, say).
    InputError: a weight that is negative or not finite, or a range that is empty.
    """

    name: str
    weight: float = 1.0
    low: float = 0.0
    high: float = 1.0
    clip: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.weight) and self.weight >= 0):
            raise InputError(f"weight {self.weight} of {self.name!r}: expected a number of at least 0")
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise InputError(f"range {self.low} to {self.high} of {self.name!r}: expected two numbers, the lower first")

    @staticmethod
    def parse(text: str) -> "Signal":
        """From NAME=WEIGHT, range [0, 1], or NAME=WEIGHT:LOW:HIGH, and :clip after it. InputError: anything else."""
        name, equals, rest = text.rpartition("=")
        numbers = rest.split(":")
        clip = len(numbers) == 4 and numbers[3] == "clip"
        try:
            values = [float(number) for number in (numbers[:3] if clip else numbers)]
        except ValueError:
            values = []
        if not (name and equals) or len(values) not in (1, 3):
            raise InputError(f"signal {text!r}: expected {FORM}")
        weight, low, high = values if len(values) == 3 else (values[0], 0.0, 1.0)
        return Signal(name, weight, low, high, clip)

    def share(self, value: Any) -> Any:
        """(x - low) / (high - low), as the nearest of 0 and 1 where x lies outside."""
        return ((value - self.low) / (self.high - self.low)).clip(0, 1)

    def inside(self, value: Any) -> Any:
        """Whether it is in the range, whose ends are rounded to the precision of what was measured; all but NaN are
        where it is clipped."""
        low, high = (-math.inf, math.inf) if self.clip else (self.low, self.high)
        return (value >= low) & (value <= high)

    def check_known(self, measured: Mapping[str, Any]) -> None:
        """InputError: it is not among what is measured."""
        if self.name not in measured:
            raise InputError(
                f"no signal {self.name!r}: {did_you_mean(self.name, measured)}measured are {', '.join(measured)}"
            )

    def check_inside(self, values: np.ndarray, where: str) -> None:
        """InputError: a value [m] is outside the range, `where` telling of which number it is."""
        wrong = np.flatnonzero(~self.inside(values))
        if len(wrong):
            raise InputError(
                f"{where.format(wrong[0])}: {self.name} {values[wrong[0]]} is outside its declared range, {self.low} "
                f"to {self.high}; declare a wider one, or clip it, to count it as the nearest end"
            )


@dataclass(frozen=True)
class Reward:
    """The weighted mean of signals, each from 0 to 1. InputError: no signal weighs anything, or one is there twice."""

    signals: tuple[Signal, ...]

    def __post_init__(self) -> None:
        names = [signal.name for signal in self.signals]
        if twice := {name for name in names if names.count(name) > 1}:
            raise InputError(f"the signal {min(twice)!r} is there twice")
        if self.total <= 0:
            raise InputError("no signal weighs anything: give at least one of them a weight above 0")

    @staticmethod
    def parse(texts: Sequence[str]) -> "Reward":
        """Of signals as `Signal.parse` reads them."""
        return Reward(tuple(Signal.parse(text) for text in texts))

    @property
    def total(self) -> float:
        """Sum of the weights."""
        return sum(signal.weight for signal in self.signals)

    def of_log(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """The reward of each row of a log [m]. InputError: no such column, or a value outside its declared range."""
        for signal in self.signals:
            signal.check_known(columns)
            signal.check_inside(columns[signal.name], "row {}")
        shares = [signal.weight * signal.share(np.asarray(columns[signal.name], np.float64)) for signal in self.signals]
        return np.sum(shares, axis=0) / self.total
