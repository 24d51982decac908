"""Which document of a slate a user chooses, by the scores that the user gives them (RecSim, `choice_model.py`).

A choice model is `weights(scores [n k]) -> (of each document [n k], of choosing none [n])`, not normalised, of a slate
in its order, and `odds`, the same of candidates before they have places. Checked against RecSim's own models on the
same scores (tests/simulate/test_choice.py).
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rec_jax.errors import InputError

CERTAIN = 0.999
"""The largest chance of a click whose odds are told: those of certainty are infinite."""


@runtime_checkable
class ChoiceModel(Protocol):
    """How scores become chances."""

    def weights(self, scores: Float[Array, "n k"]) -> tuple[Float[Array, "n k"], Float[Array, "n"]]:
        """What each document weighs, and what choosing none does: chances up to a common factor."""

    def odds(self, scores: Float[Array, "n c"]) -> tuple[Float[Array, "n c"], Float[Array, "n"]]:
        """The same of candidates that have no place yet, for policies that build slates of them: `weights`, where
        places have no say."""
        return self.weights(scores)


@dataclass(frozen=True)
class Proportional(ChoiceModel):
    """P(i) is in proportion to x_i - min_normalizer, of no choice to no_click_mass - min_normalizer.

    InputError: numbers that are not finite, or no choice that weighs nothing.
    """

    no_click_mass: float = 1.0
    min_normalizer: float = -1.0
    """At most the lowest score there can be."""

    def __post_init__(self) -> None:
        # Where no choice weighs nothing, a slate that weighs nothing leaves 0 / 0.
        if not -math.inf < self.min_normalizer < self.no_click_mass < math.inf:
            raise InputError(
                f"no_click_mass {self.no_click_mass}, min_normalizer {self.min_normalizer}: expected finite numbers, "
                "the first above the second"
            )

    def weights(self, scores: Float[Array, "n k"]) -> tuple[Float[Array, "n k"], Float[Array, "n"]]:
        """As ChoiceModel; a score below `min_normalizer` weighs nothing."""
        of_none = jnp.full(scores.shape[0], self.no_click_mass - self.min_normalizer, scores.dtype)
        return jnp.maximum(scores - self.min_normalizer, 0), of_none


@dataclass(frozen=True)
class Logit(ChoiceModel):
    """P(i) is in proportion to exp(x_i), of no choice to exp(no_click_mass): a multinomial logit. InputError: a
    no_click_mass that is not finite."""

    no_click_mass: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.no_click_mass):
            raise InputError(f"no_click_mass {self.no_click_mass}: expected a finite number")

    def weights(self, scores: Float[Array, "n k"]) -> tuple[Float[Array, "n k"], Float[Array, "n"]]:
        """As ChoiceModel, relative to the largest exponent."""
        largest = jnp.maximum(scores.max(axis=1), self.no_click_mass)
        return jnp.exp(scores - largest[:, None]), jnp.exp(self.no_click_mass - largest)


@dataclass(frozen=True)
class Cascade(ChoiceModel):
    """A user reads from the top, clicks a document read with chance attention · scaling · f(x_i), and then stops.

    f is exp(x_i) where `exponential`, else x_i - min_normalizer. Craswell et al., WSDM 2008. InputError: an attention
    that is no chance, numbers that are not finite, a scaling below 0.
    """

    attention: float = 0.65
    """The chance to look at the next document."""
    scaling: float = 0.05
    exponential: bool = False
    min_normalizer: float = -1.0

    def __post_init__(self) -> None:
        if not 0 <= self.attention <= 1:
            raise InputError(f"attention {self.attention}: expected a chance, from 0 to 1")
        if not (0 <= self.scaling < math.inf and math.isfinite(self.min_normalizer)):
            raise InputError(
                f"scaling {self.scaling}, min_normalizer {self.min_normalizer}: expected finite numbers, the first at "
                "least 0"
            )

    def weights(self, scores: Float[Array, "n k"]) -> tuple[Float[Array, "n k"], Float[Array, "n"]]:
        """As ChoiceModel; they add up to 1. What the scaling leaves above 1 counts as 1."""
        return first_of(self._when_read(scores))

    def odds(self, scores: Float[Array, "n c"]) -> tuple[Float[Array, "n c"], Float[Array, "n"]]:
        """As ChoiceModel: c / (1 - c) against 1 for none, c the chance of a click on a document that is read. Exact of
        slates of one; of larger ones nearly so where clicks are rare, the true chances depend on places."""
        return odds_of(self._when_read(scores))

    def _when_read(self, scores: Float[Array, "n c"]) -> Float[Array, "n c"]:
        worth = jnp.exp(scores) if self.exponential else jnp.maximum(scores - self.min_normalizer, 0)
        return self.attention * jnp.minimum(self.scaling * worth, 1)


def first_of(chance: Float[Array, "n k"]) -> tuple[Float[Array, "n k"], Float[Array, "n"]]:
    """(the chance that each place is the first one clicked, that none is), by that of each where it is reached."""
    passed = jnp.cumprod(1 - chance, axis=1)
    before = jnp.concatenate([jnp.ones_like(passed[:, :1]), passed[:, :-1]], axis=1)
    return chance * before, passed[:, -1]


def odds_of(chance: Float[Array, "n c"]) -> tuple[Float[Array, "n c"], Float[Array, "n"]]:
    """c / (1 - c), against 1 for none."""
    chance = jnp.minimum(chance, CERTAIN)
    return chance / (1 - chance), jnp.ones(len(chance), chance.dtype)


def choose(uniform: Float[Array, "n"], of_each: Float[Array, "n k"], of_none: Float[Array, "n"]) -> Int[Array, "n"]:
    """The place chosen, k for none: with the chances that the weights give, by one uniform number each."""
    steps = jnp.cumsum(of_each, axis=1)
    mark = uniform * (steps[:, -1] + of_none)
    return (mark[:, None] >= steps).sum(axis=1).astype(jnp.int32)
