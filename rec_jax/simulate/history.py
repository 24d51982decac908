"""A simulator whose users' last steps are part of what a policy sees: for worlds that hide their users' state.

Checked against lists in plain Python (tests/simulate/test_history.py).
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped

from rec_jax.errors import InputError
from rec_jax.simulate.base import Around, Observation, Response, State, either


class Remembered(NamedTuple):
    """The simulator's own state, and what each user did."""

    state: State
    history: Float[Array, "n t h"]
    events: Int[Array, "n"]


@dataclass(frozen=True)
class Remembering(Around):
    """`simulator` with the last `length` steps in its observations: the earliest first, zeros past the end.

    A step is the clicked document's features (zeros for none), whether one was clicked, the reward over
    `reward_scale`, and of the clicked document the `signals` named. InputError: no length, or no scale.
    """

    length: int
    signals: tuple[str, ...] = ()
    reward_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.length < 1 or not self.reward_scale > 0:
            raise InputError(f"length {self.length}, reward_scale {self.reward_scale}: expected numbers above 0")

    @property
    def event_width(self) -> int:
        """Width h of a step."""
        return self.document_width + 2 + len(self.signals)

    def reset(self, key: Key[Array, ""], n: int) -> Remembered:
        """New users, who have done nothing yet."""
        nothing = jnp.zeros((n, self.length, self.event_width))
        return Remembered(self.simulator.reset(key, n), nothing, jnp.zeros(n, jnp.int32))

    def observe(self, state: Remembered) -> Observation:
        """The simulator's observation, and what was done so far."""
        return self.simulator.observe(state.state)._replace(history=state.history, events=state.events)

    def step(self, key: Key[Array, ""], state: Remembered, slates: Int[Array, "n k"]) -> tuple[Remembered, Response]:
        """The simulator's step, which is remembered; the earliest one is forgotten where there is no room.

        InputError: the simulator does not measure one of `signals`.
        """
        seen = self.simulator.observe(state.state)
        after, response = self.simulator.step(key, state.state, slates)
        if unknown := [name for name in self.signals if name not in response.signals]:
            raise InputError(f"no signal {unknown[0]!r}: {self.name} measures {', '.join(response.signals)}")
        clicked = response.clicked
        shown = jnp.take_along_axis(seen.documents, slates[:, :, None], axis=1)
        parts = [
            jnp.where(clicked[:, :, None], shown, 0).sum(axis=1),
            clicked.any(axis=1)[:, None],
            (response.reward / self.reward_scale)[:, None],
            *(jnp.where(clicked, response.signals[name], 0).sum(axis=1)[:, None] for name in self.signals),
        ]
        event = jnp.concatenate([part.astype(jnp.float32) for part in parts], axis=1)
        history = joined(state.history, state.events, event)
        return Remembered(after, history, jnp.minimum(state.events + 1, self.length)), response


def joined(
    events: Shaped[Array, "n t *h"], count: Int[Array, "n"], event: Shaped[Array, "n *h"]
) -> Shaped[Array, "n t *h"]:
    """The last t events of each user, of which the first `count` are real, and one more; where there is no room the
    earliest goes."""
    length = events.shape[1]
    here = jax.nn.one_hot(jnp.minimum(count, length - 1), length, dtype=bool).reshape(
        -1, length, *[1] * (event.ndim - 1)
    )
    return jnp.where(here, event[:, None], either(count == length, jnp.roll(events, -1, axis=1), events))
