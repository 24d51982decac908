"""One reward out of what is measured: clicks, watch time, ratings, purchases, weighed and brought into [0, 1].

    r = sum of w_s (x_s - low_s) / (high_s - low_s) over sum of w_s

Checked against the formula in plain Python (tests/policies/test_rewards.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rec_jax.errors import InputError, did_you_mean
from rec_jax.policies.fixed import random_slates
from rec_jax.randomness import device_key
from rec_jax.simulate.base import Around, Response, State
from rec_jax.simulate.episodes import course

CLICK = "click"
"""The signal that every response has: 1 for a clicked document."""


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

    def share(self, value: Any) -> Any:
        """(x - low) / (high - low), within [0, 1] where `clip`."""
        found = (value - self.low) / (self.high - self.low)
        return found.clip(0, 1) if self.clip else found


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

    @property
    def total(self) -> float:
        """Sum of the weights."""
        return sum(signal.weight for signal in self.signals)

    def of_log(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """The reward of each row of a log [m]. InputError: no such column, or a value outside its declared range."""
        for signal in self.signals:
            _known(signal, columns)
            _inside(signal, columns[signal.name], "row {}")
        shares = [signal.weight * signal.share(np.asarray(columns[signal.name], np.float64)) for signal in self.signals]
        return np.sum(shares, axis=0) / self.total

    def of_response(self, response: Response) -> Float[Array, "n"]:
        """The reward of each user's answer to a slate: of the clicked document, 0 where there is none.

        A compiled step cannot raise: a value outside its declared range makes the reward NaN, by which a training
        stops; `Rewarded.check` looks before one begins. InputError: a signal that the simulator does not measure.
        """
        found = jnp.zeros(response.clicked.shape)
        measured = _measured(response)
        for signal in self.signals:
            _known(signal, measured)
            share = signal.share(measured[signal.name])
            found = found + signal.weight * jnp.where((share >= 0) & (share <= 1), share, jnp.nan)
        return jnp.where(response.clicked, found, 0).sum(axis=1) / self.total


@dataclass(frozen=True)
class Rewarded(Around):
    """`simulator` with rewards of another kind, from 0 to 1: what a policy is to learn from. All else is as it was."""

    reward: Reward

    def check(self, users: int = 1000, steps: int = 5) -> None:
        """Play random slates for some steps, before anything is learnt. InputError: a signal that is not measured, or a
        clicked document's outside its declared range."""
        act = partial(random_slates, k=self.simulator.slate)
        play = partial(course, self.simulator, act, None, n=users, steps=steps, watch=_answered)
        (clicked, measured), live = jax.device_get(jax.jit(play)(key=device_key(0, "rewards")))
        for signal in self.reward.signals:
            _known(signal, measured)
            for at, counted in enumerate(clicked & live[:, :, None]):
                values = measured[signal.name][at][counted].astype(np.float64)
                _inside(signal, values, f"{self.name}, step {at + 1} under random slates, click {{}}")

    def step(self, key: Key[Array, ""], state: State, slates: Int[Array, "n k"]) -> tuple[State, Response]:
        """The simulator's step, rewarded anew. InputError: a signal that it does not measure."""
        after, response = self.simulator.step(key, state, slates)
        return after, response._replace(reward=self.reward.of_response(response))


def _measured(response: Response) -> dict[str, Any]:
    """What each document of a slate got, by signal."""
    return {CLICK: jnp.ones(response.clicked.shape), **response.signals}


def _answered(state: State, slates: Int[Array, "n k"], response: Response) -> tuple[Array, dict[str, Any]]:
    """What `check` looks at of a step: which documents were clicked, and what each got."""
    del state, slates
    return response.clicked, _measured(response)


def _known(signal: Signal, measured: Mapping[str, Any]) -> None:
    if signal.name not in measured:
        raise InputError(
            f"no signal {signal.name!r}: {did_you_mean(signal.name, measured)}measured are {', '.join(measured)}"
        )


def _inside(signal: Signal, values: np.ndarray, where: str) -> None:
    wrong = np.flatnonzero(~((values >= signal.low) & (values <= signal.high)))
    if len(wrong) and not signal.clip:
        raise InputError(
            f"{where.format(wrong[0])}: {signal.name} {values[wrong[0]]} is outside its declared range, {signal.low} "
            f"to {signal.high}; declare a wider one, or clip=True to count it as the nearest end"
        )
