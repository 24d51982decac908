"""REINFORCE in sessions: a policy learns from what another one showed (Chen et al., WSDM 2019), or from its own slates.

A policy is a softmax over the candidates; slates are drawn from it document by document without replacement
(Plackett-Luce). Of each step with a click, the gradient is that of `rec_jax.policies.reinforce.loss`: the action is the
clicked document, its return the discounted rewards from there on, its chances those of the softmax at the policy and at
the behaviour. As in the paper (Sec. 4.3) a slate of K counts as K draws, and what the policy would have done before and
after that step is not corrected for (Sec. 4.1, the first-order approximation): exact for slates of one and one step.

Where this differs from the paper: sessions are cut in training after `PolicyGradient.length` steps, wherever the
simulator would end them, and returns count nothing of what would have come later; what is scored is not cut. A step
costs as much for sessions that have ended as for others.

Checked against the loss in plain Python over the same sessions, and where the best documents are known
(tests/policies/test_policy_gradient.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from rec_jax.errors import InputError
from rec_jax.models.base import Leaf
from rec_jax.objectives.learning import of_actions
from rec_jax.policies import reinforce
from rec_jax.policies.fixed import best
from rec_jax.policies.networks import QNetwork, Torso, check_remembers, check_sizes, check_widths
from rec_jax.simulate.base import Observation, Response, Simulator
from rec_jax.simulate.episodes import Act, course

Logits: TypeAlias = Callable[[Observation], Float[Array, "n c"]]
"""A policy without parameters: the logit of each candidate."""


@dataclass(frozen=True)
class PolicyGradient:
    """What the policy is, and how it learns."""

    layers: tuple[int, ...] = (128, 32)
    torso: Torso = "none"
    """What reads the users' last steps, where the simulator is `Remembering`."""
    torso_width: int = 32
    corrected: bool = True
    """Weigh each action by policy over behaviour; without, the log is taken for the policy's own."""
    top_k: int = 1
    """Documents shown at once, as the correction counts them (1: none)."""
    cap: float = 10.0
    """The largest weight."""
    discount: float = 0.95
    learning_rate: float = 1e-3
    users: int = 64
    """Sessions of a step of the optimiser."""
    length: int = 20
    """Steps after which a session is cut in training, wherever the simulator would end it."""

    def __post_init__(self) -> None:
        if not 0 <= self.discount <= 1:
            raise InputError(f"discount {self.discount}: expected a share, from 0 to 1")
        check_sizes(self.layers, self.torso, self.torso_width)
        if min(self.top_k, self.users, self.length) < 1 or not (self.cap > 0 and self.learning_rate > 0):
            raise InputError(
                f"top_k {self.top_k}, users {self.users}, length {self.length}, cap {self.cap}, learning_rate "
                f"{self.learning_rate}: expected at least 1 of the first three, and numbers above 0"
            )


class Played(NamedTuple):
    """A step of n sessions, as it is learnt from."""

    observation: Observation
    place: Int[Array, "n"]
    """Of the clicked document, among the candidates; -1 for none."""
    reward: Float[Array, "n"]


@struct.dataclass
class LearnerState:
    """All that decides the future of a training, with the key."""

    step: Leaf  # int32
    params: Any
    opt_state: Any
    loss: Leaf  # float32, of the last step


class Learner(NamedTuple):
    """`init(key) -> state`, `chunk(state, key, steps) -> state`, and the policy that is served: its best k.

    A step plays sessions of new users and moves the parameters once. The sessions depend on the key and on who acts:
    every learner from the same behaviour is given the same log.
    """

    init: Callable[[Key[Array, ""]], LearnerState]
    chunk: Callable[[LearnerState, Key[Array, ""], Int[Array, ""]], LearnerState]
    act: Act


def drawn(logits: Float[Array, "n c"], key: Key[Array, ""], k: int) -> Int[Array, "n k"]:
    """Slates of `k`, drawn document by document in proportion to exp(logit) of those left (by Gumbel noise)."""
    return best(logits + jax.random.gumbel(key, logits.shape), k)


def by_chance(logits: Logits, k: int) -> Act:
    """The policy that draws its slates by `logits`; it has no parameters."""
    return lambda params, key, seen: drawn(logits(seen), key, k)


def make(agent: PolicyGradient, simulator: Simulator, behaviour: Logits | None, axis: str | None = None) -> Learner:
    """The learner in a simulator. `behaviour`: whose slates are shown while it learns; None: its own. `axis`: the name
    of the devices' axis, each of which plays `agent.users` sessions of its own; the gradient is of all.

    InputError: a torso, and a simulator that remembers nothing; from `act`, features of another width.
    """
    check_remembers(agent.torso, simulator)
    network = QNetwork(agent.layers, torso=agent.torso, torso_width=agent.torso_width)
    optimizer = optax.adam(agent.learning_rate)

    def logits(params: Any, seen: Observation) -> Float[Array, "n c"]:
        return jnp.asarray(network.apply(params, seen.user, seen.documents, seen.history, seen.events))

    def shown(params: Any, key: Key[Array, ""], seen: Observation) -> Int[Array, "n k"]:
        return drawn(logits(params, seen) if behaviour is None else behaviour(seen), key, simulator.slate)

    def act(params: Any, key: Key[Array, ""], seen: Observation) -> Int[Array, "n k"]:
        del key
        check_widths(seen, agent.torso, simulator)
        return best(logits(params, seen), simulator.slate)

    def watch(state: Any, slates: Int[Array, "n k"], response: Response) -> Played:
        return Played(simulator.observe(state), response.place(slates), response.reward)

    def loss_of(params: Any, seen: Observation, place: Array, gained: Array) -> Float[Array, ""]:
        log_beta = None
        action, counts = jnp.maximum(place, 0), place >= 0
        if agent.corrected and behaviour is not None:
            log_beta = of_actions(jax.nn.log_softmax(behaviour(seen)), action)
        # The mean over steps with a click, which are those that count: over all devices, as the gradient is.
        clicks = counts.mean() if axis is None else jax.lax.pmean(counts.mean(), axis)
        gained = jnp.where(counts, gained, 0) / jnp.maximum(clicks, 1e-9)
        return reinforce.loss(logits(params, seen), action, gained, log_beta, agent.top_k, agent.cap)

    def step(state: LearnerState, key: Key[Array, ""]) -> LearnerState:
        key = jax.random.fold_in(key, state.step)
        if axis is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis))
        played, live = course(simulator, shown, state.params, key, agent.users, agent.length, watch)
        gained = reinforce.returns(jnp.where(live, played.reward, 0).T, agent.discount).T
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (played.observation, gained))
        place = jnp.where(live, played.place, -1).reshape(-1)
        loss, gradient = jax.value_and_grad(loss_of)(state.params, flat[0], place, flat[1])
        if axis is not None:
            loss, gradient = jax.lax.pmean((loss, gradient), axis)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state, loss=loss)  # type: ignore[attr-defined]

    def init(key: Key[Array, ""]) -> LearnerState:
        seen = simulator.observe(simulator.reset(key, 1))
        params = network.init(key, seen.user, seen.documents, seen.history, seen.events)
        return LearnerState(jnp.int32(0), params, optimizer.init(params), jnp.float32(0))

    def chunk(state: LearnerState, key: Key[Array, ""], steps: Int[Array, ""]) -> LearnerState:
        return jax.lax.fori_loop(0, steps, lambda _, now: step(now, key), state)

    return Learner(init, chunk, act)
