"""REINFORCE in sessions: the loss in plain Python, and worlds whose best documents are known."""

import itertools
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Key

from rec_jax.errors import InputError
from rec_jax.policies.networks import QNetwork
from rec_jax.policies.policy_gradient import PolicyGradient, drawn, make
from rec_jax.policies.training import placed
from rec_jax.simulate.base import Observation, Response
from rec_jax.simulate.episodes import many_episodes
from rec_jax.simulate.history import Remembering

PAYS = np.array([1.0, 0.9, 0.5, 0.2, 0.1], np.float32)
LOG = np.array([0.05, 0.1, 0.15, 0.3, 0.4], np.float32)


class World(NamedTuple):
    step: Array


@dataclass(frozen=True)
class Paying:
    """Five documents; one of the slate is clicked, each as likely, or none with chance `none`; it pays."""

    slate: int = 1
    steps: int = 1
    none: float = 0.0
    name: str = "paying"
    candidates: int = 5
    user_width: int = 1
    document_width: int = 5
    ends: bool = True

    def reset(self, key: Key[Array, ""], n: int) -> World:
        return World(jnp.zeros(n, jnp.int32))

    def observe(self, state: World) -> Observation:
        n = len(state.step)
        return Observation(state.step[:, None] / 10, jnp.tile(jnp.eye(5), (n, 1, 1)))

    def step(self, key: Key[Array, ""], state: World, slates: Array) -> tuple[World, Response]:
        n, k = slates.shape
        of_place, of_none = jax.random.split(key)
        place = jax.random.randint(of_place, (n,), 0, k)
        clicked = (place[:, None] == jnp.arange(k)) & (jax.random.uniform(of_none, (n, 1)) >= self.none)
        reward = (jnp.asarray(PAYS)[slates] * clicked).sum(axis=1)
        after = World(state.step + 1)
        return after, Response(clicked, {}, reward, after.step >= self.steps)


def log_of(seen: Observation) -> Array:
    return jnp.broadcast_to(jnp.log(jnp.asarray(LOG)), seen.documents.shape[:2])


def test_slates_are_drawn_document_by_document() -> None:
    """Counts of every slate of two among four against p_a · p_b / (1 - p_a)."""
    logits = jnp.log(jnp.array([0.1, 0.2, 0.3, 0.4]))
    slates = np.asarray(drawn(jnp.tile(logits, (40_000, 1)), jax.random.key(0), 2))
    p = [0.1, 0.2, 0.3, 0.4]
    for a, b in itertools.permutations(range(4), 2):
        wanted = p[a] * p[b] / (1 - p[a])
        seen = float(((slates[:, 0] == a) & (slates[:, 1] == b)).mean())
        assert seen == pytest.approx(wanted, abs=4 * math.sqrt(wanted / 40_000))


@pytest.mark.parametrize(("corrected", "devices", "steps"), [(True, 1, 4), (False, 1, 4), (True, 2, 4), (True, 1, 2)])
def test_the_loss_of_a_step_is_the_formula_over_its_sessions(corrected: bool, devices: int, steps: int) -> None:
    """Of all devices, whose clicks are not equally many; and of what happens before users leave, nothing after it."""
    world = Paying(slate=2, steps=steps, none=0.3)
    sizes = {"users": 6 * devices, "length": 3}
    agent = PolicyGradient(layers=(7,), corrected=corrected, top_k=2, cap=1.5, discount=0.8, **sizes)
    on, key = placed(agent, partial(make, simulator=world, behaviour=log_of), devices), jax.random.key(5)
    start = jax.tree.map(jnp.copy, on.one(on.init(jax.random.key(1))))
    copies = on.chunk(on.init(jax.random.key(1)), key, jnp.int32(1))
    after, key = on.one(copies), jax.random.fold_in(key, 0)
    keys = [key] if devices == 1 else [jax.random.fold_in(key, device) for device in range(devices)]
    terms = [terms_of(world, start.params, each, corrected) for each in keys]
    assert all(6 < len(of_device) < 6 * min(steps, 3) for of_device in terms)
    assert len(set(map(len, terms))) == devices
    together = list(itertools.chain(*terms))
    assert float(after.loss) == pytest.approx(sum(together) / len(together), rel=1e-4)
    assert int(after.step) == 1
    if devices > 1:
        jax.tree.map(lambda x: np.testing.assert_array_equal(x[0], x[1]), copies.params)


def terms_of(world: Paying, params: Any, key: Any, corrected: bool) -> list[float]:
    """The loss of each click of six sessions, played one step after the other."""
    state, network = world.reset(key, 6), QNetwork((7,))
    chances, places, rewards = [], [], []
    lasts = min(world.steps, 3)
    for t in range(lasts):
        of_policy, of_users = jax.random.split(jax.random.fold_in(key, t + 1))
        seen = world.observe(state)
        slates = drawn(log_of(seen), of_policy, 2)
        state, response = world.step(of_users, state, slates)
        chances.append(np.asarray(jax.nn.softmax(network.apply(params, seen.user, seen.documents))).tolist())
        clicked = np.asarray(response.clicked)
        places.append([int(np.asarray(slates)[u][clicked[u]][0]) if clicked[u].any() else -1 for u in range(6)])
        rewards.append(np.asarray(response.reward).tolist())
    terms = []
    for t, u in itertools.product(range(lasts), range(6)):
        if (place := places[t][u]) < 0:
            continue
        gained = sum(0.8 ** (later - t) * rewards[later][u] for later in range(t, lasts))
        pi = chances[t][u][place]
        weight = min(pi / float(LOG[place]), 1.5) if corrected else 1.0
        terms.append(-weight * 2 * (1 - pi) * gained * math.log(pi))
    return terms


def chances(agent: PolicyGradient, world: Paying, own: bool = False) -> np.ndarray:
    """What the policy goes to, as chances of the five."""
    made = make(agent, world, None if own else log_of)
    state = jax.jit(made.init)(jax.random.key(1))
    state = jax.jit(made.chunk)(state, jax.random.key(2), jnp.int32(800))
    seen = world.observe(world.reset(jax.random.key(0), 1))
    logits = QNetwork(agent.layers).apply(state.params, seen.user, seen.documents)
    slates = many_episodes(world, made.act, state.params, jax.random.key(3), 2000)
    assert slates.reward.mean() >= PAYS[: world.slate].mean() - 0.05 or not agent.corrected
    return np.asarray(jax.nn.softmax(logits))[0]


AGENT = PolicyGradient(layers=(16,), cap=math.inf, learning_rate=1e-2, users=128, length=1)


@pytest.mark.many_steps
def test_with_corrections_the_best_is_found_and_without_the_logs_favourite() -> None:
    """Without: chances go to those of the log times the reward, whose largest is not the best document's."""
    naive = chances(replace(AGENT, corrected=False), Paying())
    np.testing.assert_allclose(naive, LOG * PAYS / (LOG * PAYS).sum(), atol=0.04)
    assert np.argmax(naive) != 0
    assert chances(AGENT, Paying())[0] > 0.7
    assert chances(AGENT, Paying(), own=True)[0] > 0.7


@pytest.mark.many_steps
def test_for_slates_the_first_two_share() -> None:
    """Two of the best are wanted: pi_a of both is where 2 (1 - pi) r is alike, whatever the log's chances."""
    found = chances(replace(AGENT, top_k=2), Paying(slate=2))
    assert found[:2].sum() > 0.85
    assert found[:2].min() > 0.3


def test_a_training_does_not_depend_on_how_it_is_cut() -> None:
    world = Remembering(Paying(steps=3), 2)
    agent = PolicyGradient(layers=(8,), torso="gru", torso_width=4, users=8, length=3)
    made, key = make(agent, world, log_of), jax.random.key(0)
    init, chunk = jax.jit(made.init), jax.jit(made.chunk)
    at_once = chunk(init(key), key, jnp.int32(6))
    in_two = chunk(chunk(init(key), key, jnp.int32(2)), key, jnp.int32(4))
    jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(at_once), jax.tree.leaves(in_two))


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match=r"discount 1\.5"):
        PolicyGradient(discount=1.5)
    with pytest.raises(InputError, match="top_k 0"):
        PolicyGradient(top_k=0)
    with pytest.raises(InputError, match="layers"):
        PolicyGradient(layers=())
    with pytest.raises(InputError, match="paying remembers no steps; wrap it as Remembering"):
        make(PolicyGradient(torso="gru"), Paying(), log_of)
    made = make(AGENT, Paying(), log_of)
    params = made.init(jax.random.key(0)).params
    wide = Observation(jnp.zeros((1, 1)), jnp.zeros((1, 5, 6)))
    with pytest.raises(InputError, match="was made for 5, and is asked with 6"):
        made.act(params, jax.random.key(0), wide)
