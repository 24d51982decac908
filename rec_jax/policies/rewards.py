"""The reward of a simulator's users, out of what they did: `Reward`'s formula (rec_jax/data/rewards.py), of responses.

Checked against the formula in plain Python (tests/policies/test_rewards.py).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from rec_jax.data.rewards import Reward
from rec_jax.policies.fixed import random_slates
from rec_jax.randomness import device_key
from rec_jax.simulate.base import Around, Response, State
from rec_jax.simulate.episodes import course

CLICK = "click"
"""The signal that every response has: 1 for a clicked document."""


def of_response(reward: Reward, response: Response) -> Float[Array, "n"]:
    """The reward of each user's answer to a slate: of the clicked document, 0 where there is none.

    A compiled step cannot raise: a value outside its declared range makes the reward NaN, by which a training stops;
    `Rewarded.check` looks before one begins. InputError: a signal that the simulator does not measure.
    """
    found = jnp.zeros(response.clicked.shape)
    measured = _measured(response)
    for signal in reward.signals:
        signal.check_known(measured)
        value = measured[signal.name]
        found = found + signal.weight * jnp.where(signal.inside(value), signal.share(value), jnp.nan)
    return jnp.where(response.clicked, found, 0).sum(axis=1) / reward.total


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
            signal.check_known(measured)
            for at, counted in enumerate(clicked & live[:, :, None]):
                values = measured[signal.name][at][counted]
                signal.check_inside(values, f"{self.name}, step {at + 1} under random slates, click {{}}")

    def step(self, key: Key[Array, ""], state: State, slates: Int[Array, "n k"]) -> tuple[State, Response]:
        """The simulator's step, rewarded anew. InputError: a signal that it does not measure."""
        after, response = self.simulator.step(key, state, slates)
        return after, response._replace(reward=of_response(self.reward, response))


def _measured(response: Response) -> dict[str, Any]:
    """What each document of a slate got, by signal."""
    return {CLICK: jnp.ones(response.clicked.shape), **response.signals}


def _answered(state: State, slates: Int[Array, "n k"], response: Response) -> tuple[Array, dict[str, Any]]:
    """What `check` looks at of a step: which documents were clicked, and what each got."""
    del state, slates
    return response.clicked, _measured(response)
