"""Interests that follow what is watched: RecSim's `interest_evolution` (Ie et al., arXiv:1909.04847, and SlateQ, Ie et
al., arXiv:1905.12767, Sec. 6.1).

A document is of one topic; topics differ in quality, most of them bad. A user has an interest in each topic and a
budget of time, and chooses by interest. A document watched takes time, gives some back if it was good, and moves the
interest in its topic, more likely towards it if the user liked the topic. Good documents make sessions longer, which a
policy that only counts the next click does not see.

Checked against RecSim itself: tests/simulate/test_recsim.py.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rec_jax.errors import InputError
from rec_jax.simulate.base import Observation, Response, check_slate
from rec_jax.simulate.choice import ChoiceModel, Proportional, choose
from rec_jax.simulate.draws import LARGEST, digits, normal, uniform, words_of


class Users(NamedTuple):
    """Who is there, and what can be shown to each."""

    interests: Float[Array, "n t"]
    """In each topic, from -1 to 1."""
    budget: Float[Array, "n"]
    """Minutes left."""
    topics: Int[Array, "n c"]
    """Of the candidates."""


@dataclass(frozen=True)
class InterestEvolution:
    """The simulator with RecSim's numbers. InputError: a slate larger than the candidates, no topic, or a number out of
    its range. (`ends` tells whether sessions end by themselves.)

    A document's quality is drawn when it is shown: a policy never sees it, and candidates are drawn anew at each step.
    """

    candidates: int = 10
    slate: int = 2
    choice: ChoiceModel = Proportional()
    topics: int = 20
    budget: float = 200.0
    video_length: float = 4.0
    """Minutes."""
    step_penalty: float = 0.5
    """Minutes lost where nothing is chosen."""
    quality_sd: float = 0.1
    quality_range: float = 3.0
    """Mean qualities of topics run from minus this to this."""
    refund: float = 0.9 / 3.4
    """Share of the watch time that comes back, a unit of quality."""
    step_size: float = 0.3
    """How far the interest moves that is 0."""
    known_budget: bool = False
    """Whether a policy sees the share of the budget that is left. RecSim hides it, but shows what it follows from: how
    long was watched, and how good it was."""
    name: str = "interest_evolution"

    def __post_init__(self) -> None:
        check_slate(self.slate, self.candidates)
        if not (0 < self.budget < math.inf and 0 < self.video_length < math.inf and 0 <= self.refund < math.inf):
            raise InputError(
                f"budget {self.budget}, video_length {self.video_length}, refund {self.refund}: expected finite "
                "minutes above 0, and a finite share of at least 0"
            )
        if self.topics < 1:
            raise InputError(f"topics {self.topics}: expected at least 1")
        for name in ("step_penalty", "quality_sd", "quality_range", "step_size"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} {getattr(self, name)}: expected a finite number of at least 0")

    @property
    def ends(self) -> bool:
        """Whether every document takes more time than it gives back, and choosing none takes some."""
        best = self.quality_range + LARGEST * self.quality_sd
        return self.refund * best < 1 and self.step_penalty > 0

    @property
    def user_width(self) -> int:
        """A user's interests are known, and where `known_budget`, the share of the budget left."""
        return self.topics + self.known_budget

    @property
    def document_width(self) -> int:
        """A document is known by its topic."""
        return self.topics

    @property
    def topic_quality(self) -> np.ndarray:
        """Mean quality by topic [t]: seven tenths of them from the lowest to 0, the others from 0 to the highest."""
        bad = int(self.topics * 0.7)
        good = self.topics - bad
        of_each = [np.linspace(-self.quality_range, 0, bad), np.linspace(0, self.quality_range, good)]
        return np.concatenate(of_each).astype(np.float32)

    def reset(self, key: Key[Array, ""], n: int) -> Users:
        """Interests uniform in (-1, 1), the whole budget, topics uniform."""
        bits = jax.random.bits(key, (n, self.topics + words_of(self.candidates, self.topics)), jnp.uint32)
        return Users(
            interests=2 * uniform(bits[:, : self.topics]) - 1,
            budget=jnp.full(n, self.budget, jnp.float32),
            topics=digits(bits[:, self.topics :], self.topics, self.candidates),
        )

    def observe(self, state: Users) -> Observation:
        """Interests (and the budget's share), and topics as indicators."""
        user = state.interests
        if self.known_budget:
            user = jnp.concatenate([user, state.budget[:, None] / self.budget], axis=1)
        return Observation(user, jax.nn.one_hot(state.topics, self.topics, dtype=jnp.float32))

    def weights(self, observation: Observation) -> tuple[Float[Array, "n c"], Float[Array, "n"]]:
        """The choice model over all candidates: what each of them weighs, and choosing none (`ChoiceModel.odds`)."""
        interests = observation.user[:, : self.topics]
        return self.choice.odds(jnp.einsum("nt,nct->nc", interests, observation.documents))

    def step(self, key: Key[Array, ""], state: Users, slates: Int[Array, "n k"]) -> tuple[Users, Response]:
        """At most one document is watched; its reward is the watch time, in minutes."""
        n, k = slates.shape
        bits = jax.random.bits(key, (n, 2 + k + words_of(self.candidates, self.topics)), jnp.uint32)
        topics = jnp.take_along_axis(state.topics, slates, axis=1)
        liking = jnp.take_along_axis(state.interests, topics, axis=1)
        quality = jnp.asarray(self.topic_quality)[topics] + self.quality_sd * normal(bits[:, 2 : 2 + k])
        chosen = choose(uniform(bits[:, 0]), *self.choice.weights(liking))
        clicked = chosen[:, None] == jnp.arange(k)
        watched = jnp.minimum(state.budget, self.video_length)
        of_chosen = jnp.where(clicked, quality, 0).sum(axis=1)
        spent = jnp.where(chosen < k, watched * (1 - self.refund * of_chosen), self.step_penalty)

        interest = jnp.where(clicked, liking, 0).sum(axis=1)
        move = self.step_size * (1 - jnp.abs(interest)) * (1 - interest)
        towards = uniform(bits[:, 1]) < (interest + 1) / 2
        moved = jnp.clip(interest + jnp.where(towards, move, -move), -1, 1)
        topic = jnp.where(clicked, topics, 0).sum(axis=1)
        changes = (topic[:, None] == jnp.arange(self.topics)) & (chosen < k)[:, None]

        after = Users(
            interests=jnp.where(changes, moved[:, None], state.interests),
            budget=state.budget - spent,
            topics=digits(bits[:, 2 + k :], self.topics, self.candidates),
        )
        watch_time = jnp.where(clicked, watched[:, None], 0)
        signals = {"watch_time": watch_time, "quality": quality, "topic": topics.astype(jnp.float32)}
        return after, Response(clicked, signals, watch_time.sum(axis=1), after.budget <= 0)
