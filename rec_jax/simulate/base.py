"""What simulators share: what a policy sees, what users answer, and the functions of a simulator."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from rec_jax.errors import InputError

State: TypeAlias = Any
"""All that decides users' future: a pytree of arrays whose first axis is that of the users."""


class Observation(NamedTuple):
    """What a policy may look at before it chooses."""

    user: Float[Array, "n u"]
    """What is known of the users themselves; u is 0 where a simulator hides it all."""
    documents: Float[Array, "n c d"]
    """Features of each user's candidates."""
    history: Float[Array, "n t h"] | None = None
    """The last steps of each user, the earliest first, zeros past the end; None where none are remembered."""
    events: Int[Array, "n"] | None = None
    """How many of them there are."""


class Response(NamedTuple):
    """What users made of their slates."""

    clicked: Bool[Array, "n k"]
    signals: dict[str, Float[Array, "n k"]]
    """What is measured of each document of the slate, by name (watch time, quality, …)."""
    reward: Float[Array, "n"]
    done: Bool[Array, "n"]
    """Whether a user's session has ended."""

    def place(self, slates: Int[Array, "n k"]) -> Int[Array, "n"]:
        """Of the clicked document, among the candidates; -1 for none."""
        chosen = jnp.where(self.clicked, slates, 0).sum(axis=1)
        return jnp.where(self.clicked.any(axis=1), chosen, -1).astype(jnp.int32)


@runtime_checkable
class Simulator(Protocol):
    """A frozen bundle of pure functions over n users at once; every one of them has `candidates` documents to choose
    a slate of `slate` from.

    Functions of one key draw all of their random numbers in a block. `step` of a user who is done means nothing.
    """

    @property
    def name(self) -> str:
        """The simulator's name in the registry."""

    @property
    def candidates(self) -> int:
        """Documents to choose from, at each step."""

    @property
    def slate(self) -> int:
        """Documents shown."""

    @property
    def user_width(self) -> int:
        """Width u of what is known of a user."""

    @property
    def document_width(self) -> int:
        """Width d of a document's features."""

    @property
    def ends(self) -> bool:
        """Whether every session ends by itself."""

    def reset(self, key: Key[Array, ""], n: int) -> State:
        """`n` new users, with their first candidates."""

    def observe(self, state: State) -> Observation:
        """What a policy may see."""

    def step(self, key: Key[Array, ""], state: State, slates: Int[Array, "n k"]) -> tuple[State, Response]:
        """Users' answers to their slates (places among the candidates), and their states after it."""


@dataclass(frozen=True)
class Around:
    """What stands around another simulator, and is as that one in all that it does not say itself."""

    simulator: Simulator

    @property
    def name(self) -> str:
        """The simulator's."""
        return self.simulator.name

    @property
    def candidates(self) -> int:
        """The simulator's."""
        return self.simulator.candidates

    @property
    def slate(self) -> int:
        """The simulator's."""
        return self.simulator.slate

    @property
    def user_width(self) -> int:
        """The simulator's."""
        return self.simulator.user_width

    @property
    def document_width(self) -> int:
        """The simulator's."""
        return self.simulator.document_width

    @property
    def ends(self) -> bool:
        """As the simulator."""
        return self.simulator.ends

    def reset(self, key: Key[Array, ""], n: int) -> State:
        """As the simulator."""
        return self.simulator.reset(key, n)

    def observe(self, state: State) -> Observation:
        """As the simulator."""
        return self.simulator.observe(state)

    def step(self, key: Key[Array, ""], state: State, slates: Int[Array, "n k"]) -> tuple[State, Response]:
        """As the simulator."""
        return self.simulator.step(key, state, slates)


def either(flag: Bool[Array, "n"], yes: State, no: State) -> State:
    """`yes` of the users whose flag is set, `no` of the others: trees of arrays whose first axis is that of users."""

    def pick(of_yes: Array, of_no: Array) -> Array:
        return jnp.where(flag.reshape(-1, *[1] * (of_yes.ndim - 1)), of_yes, of_no)

    return jax.tree.map(pick, yes, no)


def check_slate(slate: int, candidates: int) -> None:
    """InputError: a slate that cannot be filled."""
    if not 1 <= slate <= candidates:
        raise InputError(
            f"slate {slate}: expected from 1 to {candidates}, which are the candidates; show fewer documents or "
            "make more candidates"
        )
