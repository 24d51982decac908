"""SlateQ: what a slate is worth in the long run, out of what each of its documents is (Ie et al., arXiv:1905.12767).

    Q(s, A) = sum over i in A, and none, of P(i | s, A) q(s, i)                                           (Eq. 13)

so that only q(s, i) has to be learnt, from the document that was chosen:

    q(s, i) <- r + gamma · V(s'),   V(s') the value of the next slate                                      (Eqs. 17, 19)

where the next slate is the one that was shown (SARSA), or that a builder makes of q (Q-learning). The paper's names are
rule, builder in targets, builder when serving: `named("QL-OT-GS")`.

Where this differs from the paper:
1. Many users at once, and one step of the optimiser after each step of all of them; the paper's has one user.
2. `q_none`: what choosing none is worth can be learnt too, as that of a document of zeros; without, it counts 0 and
   nothing is learnt from steps without a choice, as in the authors' released code.
3. Several steps ahead are those of the policy that acted, its random slates among them, without a correction.
4. `InterestEvolution(known_budget=True)` shows how much time is left, which the paper's agent is not told.
5. `ensemble`: several networks, each learning from a share of the steps; a user is shown slates of one of them for a
   whole session, so that what is unknown is tried out for as long as it takes (bootstrapped DQN, Osband et al., NIPS
   2016). The policy that is served goes by their mean.

Checked against value iteration over whole slates, targets in plain Python, and the paper's table
(tests/policies/test_slateq.py and test_slateq_targets.py, papers_repro/slateq).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from rec_jax.errors import InputError, check_literal, did_you_mean
from rec_jax.fields import added
from rec_jax.models.base import Leaf
from rec_jax.objectives import learning
from rec_jax.policies import replay
from rec_jax.policies.fixed import random_slates
from rec_jax.policies.networks import QNetwork, Torso, check_remembers, check_sizes, check_widths
from rec_jax.policies.slates import BUILDERS, value
from rec_jax.simulate.base import Observation, Simulator, either

Rule: TypeAlias = Literal["myopic", "sarsa", "q"]
Letter: TypeAlias = Literal["T", "G", "O"]
"""Of a builder of slates: top-k, greedy, optimal."""
Weigh: TypeAlias = Callable[[Observation], tuple[Float[Array, "n c"], Float[Array, "n"]]]
"""The choice model: what each candidate weighs, and choosing none."""


@dataclass(frozen=True)
class SlateQ:
    """How a policy learns, and which slates it builds."""

    rule: Rule = "q"
    """Towards the reward alone, the value of the next slate that was shown, or of the one that would be built."""
    target: Letter = "O"
    """Builder of the next slate in the targets of rule 'q': top-k, greedy, optimal."""
    serve: Letter = "O"
    """Builder of the slates that are shown."""
    layers: tuple[int, ...] = (256, 32)
    """Widths of the Q network's layers."""
    dueling: bool = False
    """A value of the user's state, and what each document adds to it."""
    torso: Torso = "none"
    """What reads the users' last steps, where the simulator is `Remembering`."""
    torso_width: int = 32
    """Width of what the torso makes of them."""
    double: bool = False
    """Build the next slate by the network that learns, and value it by the target network (rule 'q')."""
    q_none: bool = False
    """Learn what choosing none is worth."""
    discount: float = 0.99
    """What a reward a step later counts."""
    steps_ahead: int = 1
    """Rewards counted before the next slate's value (n of n-step)."""
    learning_rate: float = 1e-3
    """Adam's."""
    batch: int = 256
    """Entries of the replay in a step of the optimiser."""
    users: int = 32
    """Users that act side by side."""
    remembered: int = 1000
    """Steps of each user that are kept to learn from."""
    warmup: int = 50
    """Steps of all users before anything is learnt."""
    explore: float = 1.0
    """Share of slates at random, at first."""
    explore_last: float = 0.1
    """The same at last."""
    explore_steps: int = 3000
    """Steps of all users over which it falls."""
    target_every: int = 100
    """Steps between moves of the target network."""
    target_rate: float = 1.0
    """How far it goes each time (1: a copy)."""
    ensemble: int = 1
    """Networks (1: no ensemble)."""
    share: float = 0.5
    """Of the steps, how many each network of an ensemble learns from."""
    priority: float = 0.0
    """Exponent of prioritised replay (0: uniform)."""
    correction: float = 0.4
    """Exponent of the weights that make up for the priorities (Schaul et al.'s beta; at first, where it rises)."""
    correction_steps: int = added(0)
    """Steps of all users over which it rises to 1, in a straight line (0: it stays). Theirs are all of the training."""

    def __post_init__(self) -> None:
        check_literal("rule", self.rule, Rule)
        check_literal("target", self.target, Letter)
        check_literal("serve", self.serve, Letter)
        for name in ("discount", "explore", "explore_last", "target_rate", "priority", "correction"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} {getattr(self, name)}: expected a share, from 0 to 1")
        if self.double and self.rule != "q":
            raise InputError(f"double: for rule 'q' alone, and this one is {self.rule!r}")
        if self.correction_steps < 0:
            raise InputError(f"correction_steps {self.correction_steps}: expected at least 0")
        if not 0 < self.share <= 1:
            raise InputError(f"share {self.share}: expected more than 0, and at most 1")
        for name in ("steps_ahead", "batch", "users", "target_every", "ensemble"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)}: expected at least 1")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate {self.learning_rate}: expected a number above 0")
        check_sizes(self.layers, self.torso, self.torso_width)
        if not self.steps_ahead < self.warmup <= self.remembered:
            raise InputError(
                f"warmup {self.warmup}: expected more than steps_ahead ({self.steps_ahead}) and at most remembered "
                f"({self.remembered})"
            )


_LETTERS: dict[str, Letter] = {letter: letter for letter in get_args(Letter)}


def named(name: str, agent: SlateQ | None = None) -> SlateQ:
    """The agent by the paper's name: MYOP-TS, MYOP-GS, SARSA-TS, SARSA-GS, QL-TT-TS, QL-GT-GS, QL-OT-TS, …

    InputError: no such name.
    """
    rule, *builders = name.split("-")
    known = [f"{of}-{s}S" for of in ("MYOP", "SARSA") for s in "TGO"]
    known += [f"QL-{t}T-{s}S" for t in "TGO" for s in "TGO"]
    if name not in known:
        raise InputError(f"no policy {name!r}: {did_you_mean(name, known)}there are {', '.join(known)}")
    base, serve = agent or SlateQ(), _LETTERS[builders[-1][0]]
    if rule == "QL":
        return replace(base, rule="q", target=_LETTERS[builders[0][0]], serve=serve)
    return replace(base, rule="myopic" if rule == "MYOP" else "sarsa", serve=serve)


class Entry(NamedTuple):
    """A step of n users, as it is remembered."""

    observation: Observation
    slates: Int[Array, "n k"]
    place: Int[Array, "n"]
    """Of the document chosen, among the candidates; -1 for none."""
    reward: Float[Array, "n"]
    done: Float[Array, "n"]
    learns: Float[Array, "n e"] | None
    """1 where a network of an ensemble learns from it."""


@struct.dataclass
class AgentState:
    """All that decides the future of a training, with the key."""

    step: Leaf  # int32
    users: Any
    network: Leaf  # int32 [n]: which of an ensemble chooses for each user
    params: Any
    target: Any
    opt_state: Any
    memory: Any
    loss: Leaf  # float32, of the last step


class Agent(NamedTuple):
    """`init(key) -> state`, `chunk(state, key, steps) -> state`, and the policy that is served.

    `chunk` scans steps of all users, with the optimiser's after each; how a training is cut into chunks changes
    nothing. `act(params, key, observation) -> slates`.
    """

    init: Callable[[Key[Array, ""]], AgentState]
    chunk: Callable[[AgentState, Key[Array, ""], Int[Array, ""]], AgentState]
    act: Callable[[Any, Key[Array, ""], Observation], Int[Array, "n k"]]


def make(agent: SlateQ, simulator: Simulator, weigh: Weigh, axis: str | None = None) -> Agent:
    """The agent for a simulator whose users choose by `weigh`. `axis`: the name of the devices' axis, whose gradients
    are averaged; each device then has users of its own. Where sessions never end, the same users act all along.

    InputError: a torso, and a simulator that remembers nothing; sessions that never end, and a discount of 1, by which
    no slate's value is finite; from `act`, features of another width than the simulator's.
    """
    check_remembers(agent.torso, simulator)
    if not simulator.ends and agent.discount == 1 and agent.rule != "myopic":
        raise InputError(f"discount 1: {simulator.name}'s sessions never end, nor do their rewards; take one below 1")
    network = QNetwork(agent.layers, agent.dueling, agent.torso, agent.torso_width)
    optimizer = optax.adam(agent.learning_rate)
    explore = optax.linear_schedule(agent.explore, agent.explore_last, max(1, agent.explore_steps))
    n, k, several = agent.users, simulator.slate, agent.ensemble > 1

    def applied(params: Any, seen: Observation, documents: Float[Array, "n c d"]) -> Array:
        return jnp.asarray(network.apply(params, seen.user, documents, seen.history, seen.events))

    def q_of(params: Any, seen: Observation) -> tuple[Float[Array, "n c"], Float[Array, "n"]]:
        if not agent.q_none:
            return applied(params, seen, seen.documents), jnp.zeros(len(seen.user))
        none = jnp.zeros_like(seen.documents[:, :1])
        found = applied(params, seen, jnp.concatenate([seen.documents, none], axis=1))
        return found[:, :-1], found[:, -1]

    def every_q(params: Any, seen: Observation) -> tuple[Float[Array, "e n c"], Float[Array, "e n"]]:
        return jax.vmap(q_of, in_axes=(0, None))(params, seen)

    def act(params: Any, key: Key[Array, ""], seen: Observation) -> Int[Array, "n k"]:
        del key
        check_widths(seen, agent.torso, simulator)
        if not several:
            return BUILDERS[agent.serve](*weigh(seen), *q_of(params, seen), k)
        q, none = every_q(params, seen)
        return BUILDERS[agent.serve](*weigh(seen), q.mean(axis=0), none.mean(axis=0), k)

    def tried(state: AgentState, seen: Observation) -> Int[Array, "n k"]:
        if not several:
            return act(state.params, jax.random.key(0), seen)
        (q, none), own = every_q(state.params, seen), (state.network, jnp.arange(n))
        return BUILDERS[agent.serve](*weigh(seen), q[own], none[own], k)

    def networks(key: Key[Array, ""]) -> Int[Array, "n"]:
        return jax.random.randint(jax.random.fold_in(key, 1), (n,), 0, agent.ensemble)

    def drawn_params(key: Key[Array, ""], seen: Observation) -> Any:
        def one(key: Key[Array, ""]) -> Any:
            return network.init(key, seen.user, seen.documents, seen.history, seen.events)

        return jax.vmap(one)(jax.random.split(key, agent.ensemble)) if several else one(key)

    def init(key: Key[Array, ""]) -> AgentState:
        of_params, of_users = jax.random.split(key)
        if axis is not None:
            of_users = jax.random.fold_in(of_users, jax.lax.axis_index(axis))
        users = simulator.reset(of_users, n)
        seen = simulator.observe(users)
        params, nothing = drawn_params(of_params, seen), jnp.zeros(n)
        learns = jnp.zeros((n, agent.ensemble)) if several else None
        entry = Entry(seen, jnp.zeros((n, k), jnp.int32), jnp.zeros(n, jnp.int32), nothing, nothing, learns)
        return AgentState(
            step=jnp.int32(0),
            users=users,
            network=networks(of_users),
            params=params,
            target=jax.tree.map(jnp.copy, params),
            opt_state=optimizer.init(params),
            memory=replay.empty(entry, agent.remembered),
            loss=jnp.float32(0),
        )

    def next_value(params: Any, target: Any, then: Entry) -> Float[Array, "b"]:
        seen = then.observation
        weights, judged = weigh(seen), q_of(target, seen)
        if agent.rule == "sarsa":
            slates = then.slates
        else:
            slates = BUILDERS[agent.target](*weights, *(q_of(params, seen) if agent.double else judged), k)
        return value(*weights, *judged, slates)

    def loss_of(
        params: Any, target: Any, memory: replay.Replay, drawn: replay.Sample, step: Int[Array, ""]
    ) -> tuple[Array, Array]:
        if not several:
            return loss_of_one(params, target, memory, drawn, step, None)
        learns = replay.at(memory, drawn, 0).learns
        each = jax.vmap(loss_of_one, in_axes=(0, 0, None, None, None, 1))
        losses, errors = each(params, target, memory, drawn, step, learns)
        return losses.sum(), errors.mean(axis=0)

    def loss_of_one(
        params: Any,
        target: Any,
        memory: replay.Replay,
        drawn: replay.Sample,
        step: Int[Array, ""],
        learns: Float[Array, "b"] | None,
    ) -> tuple[Array, Array]:
        now = replay.at(memory, drawn, 0)
        if agent.rule == "myopic":
            aim = now.reward
        else:
            ahead = [replay.at(memory, drawn, j) for j in range(agent.steps_ahead)]
            rewards = jnp.stack([entry.reward for entry in ahead], axis=1)
            discounts = agent.discount * (1 - jnp.stack([entry.done for entry in ahead], axis=1))
            then = replay.at(memory, drawn, agent.steps_ahead)
            aim = learning.n_step(rewards, discounts, next_value(params, target, then))
        chosen = now.place >= 0
        seen = now.observation
        document = jnp.take_along_axis(seen.documents, jnp.maximum(now.place, 0)[:, None, None], axis=1)
        document = document * chosen[:, None, None]
        if agent.dueling:  # what a document adds is told relative to all there are
            every, none = q_of(params, seen)
            q = jnp.where(chosen, learning.of_actions(every, jnp.maximum(now.place, 0)), none)
        else:
            q = applied(params, seen, document)[:, 0]
        error = jax.lax.stop_gradient(aim) - q
        counts = jnp.ones_like(error) if agent.q_none else chosen.astype(jnp.float32)
        counts = counts if learns is None else counts * learns
        weights = counts
        if agent.priority:  # relative to the largest weight of those that teach something
            beta = replay.annealed(agent.correction, agent.correction_steps, step)
            weights = counts * replay.importance(jnp.where(counts > 0, drawn.odds, jnp.inf), beta)
        return (weights * error**2).sum() / jnp.maximum(counts.sum(), 1), jnp.abs(error) * counts

    def learn(state: AgentState, key: Key[Array, ""]) -> AgentState:
        drawn = replay.sample(key, state.memory, agent.batch, agent.steps_ahead, agent.priority)
        grad = jax.value_and_grad(loss_of, has_aux=True)
        (loss, error), gradient = grad(state.params, state.target, state.memory, drawn, state.step)
        if axis is not None:
            gradient = jax.lax.pmean(gradient, axis)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        memory = replay.prioritised(state.memory, drawn, error) if agent.priority else state.memory
        target = learning.followed(state.target, params, state.step, agent.target_every, agent.target_rate)
        return state.replace(params=params, target=target, opt_state=opt_state, memory=memory, loss=loss)  # type: ignore[attr-defined]

    def step(state: AgentState, key: Key[Array, ""]) -> AgentState:
        key = jax.random.fold_in(key, state.step)
        if axis is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis))
        of_random, of_chance, of_users, of_new, of_sample = jax.random.split(key, 5)
        seen = simulator.observe(state.users)
        at_random = jax.random.uniform(of_chance, (n, 1)) < explore(state.step)
        slates = jnp.where(at_random, random_slates(None, of_random, seen, k), tried(state, seen))
        after, response = simulator.step(of_users, state.users, slates)
        learns = None
        if several:
            shares = jax.random.uniform(jax.random.fold_in(of_chance, 1), (n, agent.ensemble))
            learns = (shares < agent.share).astype(jnp.float32)
        done = response.done
        entry = Entry(seen, slates, response.place(slates), response.reward, done.astype(jnp.float32), learns)
        new = simulator.reset(of_new, n)
        users = either(done, new, after)
        state = state.replace(  # type: ignore[attr-defined]
            step=state.step + 1,
            users=users,
            network=jnp.where(done, networks(of_new), state.network),
            memory=replay.add(state.memory, entry),
        )
        return jax.lax.cond(state.step >= agent.warmup, lambda s: learn(s, of_sample), lambda s: s, state)

    def chunk(state: AgentState, key: Key[Array, ""], steps: Int[Array, ""]) -> AgentState:
        return jax.lax.fori_loop(0, steps, lambda _, state: step(state, key), state)

    return Agent(init, chunk, act)
