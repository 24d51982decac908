"""Topics that few documents are of, but some users would love: RecSim's `interest_exploration` (Ie et al.,
arXiv:1909.04847).

Users are of two kinds, each with a topic of its own, and nothing of it can be seen. One topic is made with more quality
than the other, and a policy that goes by quality never learns who would rather have the other: with RecSim's numbers it
loses next to nothing by that (`experiments.explore`). Users do not change, and their sessions do not end.

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
from rec_jax.simulate.choice import ChoiceModel, Logit, choose
from rec_jax.simulate.draws import normal, uniform


class Users(NamedTuple):
    """Who is there, and what can be shown to each."""

    affinity: Float[Array, "n t"]
    """For each topic."""
    topics: Int[Array, "n c"]
    quality: Float[Array, "n c"]
    """Of the candidates."""


@dataclass(frozen=True)
class InterestExploration:
    """The simulator with RecSim's numbers; affinities and qualities are log-normal.

    InputError: a slate larger than the candidates, tables that are not of one shape, shares that do not add up to 1, a
    number that is not finite, a standard deviation below 0.
    """

    candidates: int = 10
    slate: int = 2
    choice: ChoiceModel = Logit(no_click_mass=5.0)
    kinds: tuple[float, ...] = (0.3, 0.7)
    """Shares of the kinds of users."""
    affinity_mean: tuple[tuple[float, ...], ...] = ((0.1, 0.7), (0.7, 0.1))
    """Mean of the logarithm, by kind and topic."""
    affinity_sd: tuple[tuple[float, ...], ...] = ((0.1, 0.1), (0.1, 0.1))
    supply: tuple[float, ...] = (0.2, 0.8)
    """Shares of the topics among documents."""
    quality_mean: tuple[float, ...] = (0.8, 0.2)
    """Mean of the logarithm, by topic."""
    quality_sd: tuple[float, ...] = (0.1, 0.1)
    name: str = "interest_exploration"
    ends: bool = False

    def __post_init__(self) -> None:
        check_slate(self.slate, self.candidates)
        wanted = (len(self.kinds), len(self.supply))
        for field in ("affinity_mean", "affinity_sd"):
            table = getattr(self, field)
            if len(table) != wanted[0] or any(len(row) != wanted[1] for row in table):
                raise InputError(f"{field}: expected {wanted[0]} kinds of users by {wanted[1]} topics")
        if not len(self.quality_mean) == len(self.quality_sd) == wanted[1]:
            raise InputError(f"quality_mean and quality_sd: expected a number for each of {wanted[1]} topics")
        means = (*self.quality_mean, *(mean for row in self.affinity_mean for mean in row))
        sds = (*self.quality_sd, *(sd for row in self.affinity_sd for sd in row))
        if not (all(map(math.isfinite, means)) and all(0 <= sd < math.inf for sd in sds)):
            raise InputError(
                f"quality_mean {self.quality_mean}, quality_sd {self.quality_sd}, affinity_mean {self.affinity_mean}, "
                f"affinity_sd {self.affinity_sd}: expected finite numbers, standard deviations of at least 0"
            )
        for field in ("kinds", "supply"):
            shares = getattr(self, field)
            if not (shares and min(shares) >= 0 and abs(sum(shares) - 1) < 1e-6):
                raise InputError(f"{field} {shares}: expected shares that add up to 1")

    @property
    def topics(self) -> int:
        """Topics there are."""
        return len(self.supply)

    @property
    def user_width(self) -> int:
        """Nothing is known of a user."""
        return 0

    @property
    def document_width(self) -> int:
        """A document's topic, as indicators, and its quality."""
        return self.topics + 1

    def reset(self, key: Key[Array, ""], n: int) -> Users:
        """A kind for each user, affinities by kind, and the first candidates."""
        bits = jax.random.bits(key, (n, 1 + self.topics + 2 * self.candidates), jnp.uint32)
        kind = _which(uniform(bits[:, 0]), self.kinds)
        mean, sd = jnp.asarray(self.affinity_mean), jnp.asarray(self.affinity_sd)
        affinity = jnp.exp(mean[kind] + sd[kind] * normal(bits[:, 1 : 1 + self.topics]))
        return Users(affinity, *self._documents(bits[:, 1 + self.topics :]))

    def _documents(self, bits: Array) -> tuple[Int[Array, "n c"], Float[Array, "n c"]]:
        """Topics and qualities of new candidates, of two words each."""
        topics = _which(uniform(bits[:, : self.candidates]), self.supply)
        mean, sd = jnp.asarray(self.quality_mean)[topics], jnp.asarray(self.quality_sd)[topics]
        return topics, jnp.exp(mean + sd * normal(bits[:, self.candidates :]))

    def observe(self, state: Users) -> Observation:
        """No user features; each document's topic and quality."""
        topics = jax.nn.one_hot(state.topics, self.topics, dtype=jnp.float32)
        documents = jnp.concatenate([topics, state.quality[:, :, None]], axis=2)
        return Observation(jnp.zeros((len(state.topics), 0), jnp.float32), documents)

    def scores(self, state: Users) -> Float[Array, "n c"]:
        """Affinity for its topic plus quality, of each candidate: what users choose by, hidden from policies."""
        return jnp.take_along_axis(state.affinity, state.topics, axis=1) + state.quality

    def click_chance(self, state: Users, slates: Int[Array, "n k"]) -> Float[Array, "n"]:
        """The chance that something of the slate is clicked: a step's expected reward."""
        of_each, of_none = self.choice.weights(jnp.take_along_axis(self.scores(state), slates, axis=1))
        mass = of_each.sum(axis=1)
        return mass / (mass + of_none)

    def step(self, key: Key[Array, ""], state: Users, slates: Int[Array, "n k"]) -> tuple[Users, Response]:
        """At most one document is clicked: a reward of 1."""
        n, k = slates.shape
        bits = jax.random.bits(key, (n, 1 + 2 * self.candidates), jnp.uint32)
        topics = jnp.take_along_axis(state.topics, slates, axis=1)
        quality = jnp.take_along_axis(state.quality, slates, axis=1)
        scores = jnp.take_along_axis(self.scores(state), slates, axis=1)
        chosen = choose(uniform(bits[:, 0]), *self.choice.weights(scores))
        clicked = chosen[:, None] == jnp.arange(k)
        after = Users(state.affinity, *self._documents(bits[:, 1:]))
        signals = {"quality": quality, "topic": topics.astype(jnp.float32)}
        reward = clicked.any(axis=1).astype(jnp.float32)
        return after, Response(clicked, signals, reward, jnp.zeros(n, bool))


def _which(uniform: Float[Array, "*s"], shares: tuple[float, ...]) -> Int[Array, "*s"]:
    """The kind that each number falls to, when (0, 1) is cut into pieces as long as `shares`."""
    found = jnp.zeros(uniform.shape, jnp.int32)
    edge = 0.0
    for share in shares[:-1]:
        edge += share
        found = found + (uniform >= edge)
    return found
