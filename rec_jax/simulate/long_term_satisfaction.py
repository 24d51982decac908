"""Choc and kale: RecSim's `long_term_satisfaction` (Ie et al., arXiv:1909.04847).

Clickbait (choc) holds a user longer today and leaves the user less satisfied; nourishing documents (kale) do the
reverse. Satisfaction multiplies how long a user stays, and neither can be seen. A user clicks the first document.

Checked against RecSim itself: tests/simulate/test_recsim.py.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from rec_jax.errors import InputError
from rec_jax.simulate.base import Observation, Response, check_slate
from rec_jax.simulate.draws import normal, uniform


class Users(NamedTuple):
    """Who is there, and what can be shown to each."""

    exposure: Float[Array, "n"]
    """Net positive exposure: kale adds to it, choc takes from it, and it fades."""
    budget: Float[Array, "n"]
    """Documents left."""
    clickbait: Float[Array, "n c"]
    """Of the candidates, from 0 (kale) to 1 (choc)."""


@dataclass(frozen=True)
class LongTermSatisfaction:
    """The simulator with RecSim's numbers. InputError: a slate larger than the candidates, an exposure that never
    fades, no document to be shown, a number that is not finite, a standard deviation below 0.
    """

    candidates: int = 10
    slate: int = 2
    memory_discount: float = 0.7
    sensitivity: float = 0.01
    innovation_sd: float = 0.05
    choc_mean: float = 5.0
    choc_sd: float = 1.0
    kale_mean: float = 4.0
    kale_sd: float = 1.0
    budget: int = 60
    name: str = "long_term_satisfaction"
    ends: bool = True

    def __post_init__(self) -> None:
        check_slate(self.slate, self.candidates)
        if not (0 <= self.memory_discount < 1 and 1 <= self.budget < math.inf):
            raise InputError(
                f"memory_discount {self.memory_discount}, budget {self.budget}: expected a share below 1, and at least "
                "one document"
            )
        for name in ("sensitivity", "choc_mean", "kale_mean"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"{name} {getattr(self, name)}: expected a finite number")
        for name in ("innovation_sd", "choc_sd", "kale_sd"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} {getattr(self, name)}: expected a standard deviation, at least 0")

    @property
    def user_width(self) -> int:
        """Nothing is known of a user."""
        return 0

    @property
    def document_width(self) -> int:
        """How much of a clickbait a document is."""
        return 1

    def satisfaction(self, state: Users) -> Float[Array, "n"]:
        """sigmoid(sensitivity · exposure), hidden from policies."""
        return jax.nn.sigmoid(self.sensitivity * state.exposure)

    def reset(self, key: Key[Array, ""], n: int) -> Users:
        """Exposure uniform in ± 1/2 of what a constant document would add up to, clickbait scores uniform."""
        bits = jax.random.bits(key, (n, 1 + self.candidates), jnp.uint32)
        return Users(
            exposure=(uniform(bits[:, 0]) - 0.5) / (1 - self.memory_discount),
            budget=jnp.full(n, self.budget, jnp.float32),
            clickbait=uniform(bits[:, 1:]),
        )

    def observe(self, state: Users) -> Observation:
        """No user features; each document's clickbait score."""
        return Observation(jnp.zeros((len(state.budget), 0), jnp.float32), state.clickbait[:, :, None])

    def step(self, key: Key[Array, ""], state: Users, slates: Int[Array, "n k"]) -> tuple[Users, Response]:
        """The first document is clicked; the reward is the engagement, log-normal around choc's and kale's means."""
        n, k = slates.shape
        bits = jax.random.bits(key, (n, 2 + self.candidates), jnp.uint32)
        shown = jnp.take_along_axis(state.clickbait, slates, axis=1)
        choc = shown[:, 0]
        mean = (choc * self.choc_mean + (1 - choc) * self.kale_mean) * self.satisfaction(state)
        sd = choc * self.choc_sd + (1 - choc) * self.kale_sd
        engagement = jnp.exp(mean + sd * normal(bits[:, 0]))
        after = Users(
            exposure=self.memory_discount * state.exposure - 2 * (choc - 0.5) + self.innovation_sd * normal(bits[:, 1]),
            budget=state.budget - 1,
            clickbait=uniform(bits[:, 2:]),
        )
        clicked = jnp.broadcast_to(jnp.arange(k) == 0, (n, k))
        signals = {"engagement": jnp.where(clicked, engagement[:, None], 0), "clickbait": shown}
        return after, Response(clicked, signals, engagement, after.budget <= 0)
