"""SlateQ against value iteration over whole slates, on a small world whose every number is known."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Key

from rec_jax.errors import InputError
from rec_jax.policies.networks import QNetwork, Torso
from rec_jax.policies.slateq import AgentState, SlateQ, make, named
from rec_jax.policies.training import placed
from rec_jax.simulate.base import Observation, Response, Simulator
from rec_jax.simulate.choice import Logit, choose
from rec_jax.simulate.episodes import many_episodes
from rec_jax.simulate.history import Remembering
from rec_jax.simulate.interest_evolution import InterestEvolution
from rec_jax.simulate.interest_exploration import InterestExploration
from rec_jax.simulate.long_term_satisfaction import LongTermSatisfaction

SIZE, SLATE, END, GAMMA = 3, 2, 0.1, 0.9
REWARD = np.array([[3.0, 4.0, 3.0], [3.0, 1.0, 4.0], [0.0, 0.0, 0.0]])
LIKING = np.array([[-0.5, -0.5, 0.5], [0.5, 0.5, -0.5], [1.0, -0.5, -1.0]])


class World(NamedTuple):
    place: Array


@dataclass(frozen=True)
class Small:
    """Three states; document i leads from s to (s + i) mod 3, no choice stays; a session ends with chance .1.

    `hidden`: a policy does not see which state it is; sessions then begin in the first.
    """

    hidden: bool = False
    name: str = "small"
    candidates: int = SIZE
    slate: int = SLATE
    user_width: int = SIZE
    document_width: int = SIZE
    ends: bool = True

    def reset(self, key: Key[Array, ""], n: int) -> World:
        return World(jax.random.randint(key, (n,), 0, 1 if self.hidden else SIZE))

    def observe(self, state: World) -> Observation:
        n = len(state.place)
        user = jnp.zeros((n, SIZE)) if self.hidden else jax.nn.one_hot(state.place, SIZE)
        return Observation(user, jnp.tile(jnp.eye(SIZE), (n, 1, 1)))

    def weigh(self, seen: Observation) -> tuple[Array, Array]:
        return jnp.exp(seen.user @ jnp.asarray(LIKING, jnp.float32)), jnp.ones(len(seen.user))

    def step(self, key: Key[Array, ""], state: World, slates: Array) -> tuple[World, Response]:
        n, k = slates.shape
        of_choice, of_end = jax.random.split(key)
        weights, none = jnp.exp(jnp.asarray(LIKING, jnp.float32))[state.place], jnp.ones(n)
        shown = jnp.take_along_axis(weights, slates, axis=1)
        chosen = choose(jax.random.uniform(of_choice, (n,)), shown, none)
        clicked = chosen[:, None] == jnp.arange(k)
        document = jnp.where(clicked, slates, 0).sum(axis=1)  # document 0 for none: it stays as well
        table = jnp.asarray(REWARD, jnp.float32)
        reward = jnp.where(chosen < k, table[state.place, document], 0.0)
        done = jax.random.uniform(of_end, (n,)) < END
        return World((state.place + document) % SIZE), Response(clicked, {}, reward, done)


def exact(policy: str) -> tuple[np.ndarray, np.ndarray, list[set[int]]]:
    """(q [s i], q of none [s], best slates) by iterating over whole slates; `policy`: 'best', 'random', 'myopic'."""
    slates = list(itertools.combinations(range(SIZE), SLATE))
    v, weights, left = np.zeros(SIZE), np.exp(LIKING), 0.0 if policy == "myopic" else GAMMA * (1 - END)
    for _ in range(500):
        q = REWARD + left * np.array([[v[(s + i) % SIZE] for i in range(SIZE)] for s in range(SIZE)])
        none = left * v
        whole = np.array(
            [
                [
                    (none[s] + sum(weights[s, i] * q[s, i] for i in of)) / (1 + sum(weights[s, i] for i in of))
                    for of in slates
                ]
                for s in range(SIZE)
            ]
        )
        v = whole.mean(axis=1) if policy == "random" else whole.max(axis=1)
    return q, none, [set(slates[i]) for i in whole.argmax(axis=1)]


BASE = SlateQ(
    layers=(32,),
    q_none=True,
    discount=GAMMA,
    learning_rate=3e-3,
    batch=128,
    users=16,
    remembered=400,
    explore=1.0,
    explore_last=1.0,
    target_every=1,
    target_rate=0.03,
)


def trained(agent: SlateQ, steps: int) -> tuple[Any, AgentState]:
    world = Small()
    made = make(agent, world, world.weigh)
    state = jax.jit(made.init)(jax.random.key(0))
    return made, jax.jit(made.chunk)(state, jax.random.key(1), jnp.int32(steps))


def learnt(agent: SlateQ, params: Any) -> tuple[np.ndarray, np.ndarray]:
    """(q [n s i], q of none [n s]) by n trainings' parameters."""
    q = np.asarray(reader(agent)(params))
    return q[..., :-1], q[..., -1]


@cache
def reader(agent: SlateQ) -> Callable[[Any], Array]:
    network = QNetwork(agent.layers, agent.dueling)
    documents = jnp.tile(jnp.concatenate([jnp.eye(SIZE), jnp.zeros((1, SIZE))]), (SIZE, 1, 1))

    def read(params: Any) -> Array:
        return jnp.asarray(network.apply(params, jnp.eye(SIZE), documents))

    if agent.ensemble > 1:
        return jax.jit(jax.vmap(lambda params: jax.vmap(read)(params).mean(axis=0)))
    return jax.jit(jax.vmap(read))


@pytest.mark.many_steps
@pytest.mark.parametrize(
    ("agent", "policy"),
    [
        (BASE, "best"),
        (replace(BASE, double=True, target_every=20, target_rate=1.0), "best"),
        (replace(BASE, priority=0.6, correction=1.0), "best"),
        (replace(BASE, dueling=True), "best"),
        (replace(BASE, ensemble=3, share=1.0, batch=256), "best"),
        (replace(BASE, rule="sarsa"), "random"),
        (replace(BASE, rule="sarsa", steps_ahead=3, learning_rate=2e-3, batch=256), "random"),
        (replace(BASE, rule="myopic"), "myopic"),
    ],
    ids=["q", "double, copies", "prioritised", "dueling", "ensemble", "sarsa", "sarsa, 3 steps", "myopic"],
)
def test_values_are_those_of_whole_slates(agent: SlateQ, policy: str) -> None:
    """On average over eight trainings: a single one's are off by more, and by what differs between machines."""
    made, keys = make(agent, Small(), Small().weigh), jnp.stack([jax.random.key(seed) for seed in range(8)])
    start = jax.jit(jax.vmap(made.init))(keys)
    states = jax.jit(jax.vmap(made.chunk, in_axes=(0, 0, None)))(start, keys, jnp.int32(1500))
    q, none, slates = exact(policy)
    found, found_none = (of.mean(axis=0) for of in learnt(agent, states.params))
    if agent.dueling:  # a level that moves between the state's value and the mean over documents
        found, found_none = (x - x.mean() for x in (found, found_none))
        q, none = (x - x.mean() for x in (q, none))
        np.testing.assert_allclose(found, q, atol=0.45)
    else:
        np.testing.assert_allclose(found, q, atol=0.45)
        np.testing.assert_allclose(found_none, none, atol=0.45)
    if policy == "best":
        seen = Small().observe(World(jnp.arange(SIZE)))
        acts = jax.jit(jax.vmap(made.act, in_axes=(0, None, None)))(states.params, keys[0], seen)
        assert sum([set(row) for row in act] == slates for act in acts.tolist()) >= 7


def test_the_correction_rises_with_the_steps_of_training() -> None:
    """The second step that learns is the first whose priorities differ: its exponent alone decides what comes of it."""
    agent = replace(BASE, priority=0.6, correction=0.4, warmup=20, ensemble=2, share=1.0)
    rising = trained(replace(agent, correction_steps=40), 21)[1]
    same = trained(replace(agent, correction=0.4 + 0.6 * 21 / 40), 21)[1]
    other = trained(agent, 21)[1]
    assert float(rising.loss) == pytest.approx(float(same.loss), rel=1e-5)
    assert float(rising.loss) != pytest.approx(float(other.loss), rel=1e-3)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), rising.params, same.params)


def test_looking_ahead_changes_what_is_shown() -> None:
    """Or the test above would show nothing."""
    assert exact("best")[2] != exact("myopic")[2]
    assert np.abs(exact("best")[0] - exact("random")[0]).max() > 1


def blind() -> float:
    """What the best of all slates earns that is shown whatever the state is, from the first state on."""
    earned = []
    for slate in itertools.combinations(range(SIZE), SLATE):
        weights = np.exp(LIKING[:, slate])
        chances = weights / (1 + weights.sum(axis=1, keepdims=True))
        leads = np.diag(1 - chances.sum(axis=1))
        for place, document in enumerate(slate):
            leads[np.arange(SIZE), (np.arange(SIZE) + document) % SIZE] += chances[:, place]
        reward = (chances * REWARD[:, slate]).sum(axis=1)
        earned.append(np.linalg.solve(np.eye(SIZE) - (1 - END) * leads, reward)[0])
    return max(earned)


@pytest.mark.many_steps
@pytest.mark.parametrize("torso", ["gru", "transformer"])
def test_memory_makes_up_for_a_state_that_is_hidden(torso: Torso) -> None:
    """What was clicked tells where the session is: more is earned than any policy can that sees nothing."""
    agent = replace(BASE, explore_last=0.2, explore_steps=200, torso=torso, torso_width=16)
    world = Remembering(Small(hidden=True), 8)
    made = make(agent, world, Small().weigh)
    state = jax.jit(made.chunk)(jax.jit(made.init)(jax.random.key(0)), jax.random.key(1), jnp.int32(400))
    earned = many_episodes(world, made.act, state.params, jax.random.key(2), 2000).reward.mean()
    assert earned > 1.3 * blind()


def test_a_torso_needs_a_memory() -> None:
    with pytest.raises(InputError, match="small remembers no steps"):
        make(replace(BASE, torso="gru"), Small(), Small().weigh)


def test_chunks_do_not_change_a_training_and_seeds_do() -> None:
    world = Small()
    made = make(BASE, world, world.weigh)
    init, chunk = jax.jit(made.init), jax.jit(made.chunk)
    key = jax.random.key(3)
    whole = chunk(init(jax.random.key(0)), key, jnp.int32(80))
    parts = chunk(chunk(init(jax.random.key(0)), key, jnp.int32(57)), key, jnp.int32(23))
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    other = chunk(init(jax.random.key(0)), jax.random.key(4), jnp.int32(80))
    assert not np.array_equal(whole.params["params"]["Dense_0"]["kernel"], other.params["params"]["Dense_0"]["kernel"])


def test_several_seeds_at_once_and_several_devices() -> None:
    world = Small()
    made = make(BASE, world, world.weigh)
    keys = jax.vmap(jax.random.key)(jnp.arange(2))
    states = jax.jit(jax.vmap(made.init))(keys)
    many = jax.jit(jax.vmap(made.chunk, in_axes=(0, 0, None)))(states, keys, jnp.int32(60))
    one = jax.jit(made.chunk)(jax.jit(made.init)(keys[1]), keys[1], jnp.int32(60))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-3, atol=1e-4), many.params, one.params)
    on = placed(BASE, partial(make, simulator=world, weigh=world.weigh), 2)
    copies = jax.device_get(on.init(jax.random.key(0)))
    jax.tree.map(lambda x: np.testing.assert_array_equal(x[0], x[1]), copies.params)
    assert copies.users.place.shape[:2] == (2, BASE.users // 2)
    assert not np.array_equal(copies.users.place[0], copies.users.place[1])
    after = on.chunk(on.put(copies), jax.random.key(1), jnp.int32(60))
    jax.tree.map(lambda x: np.testing.assert_array_equal(x[0], x[1]), after.params)
    assert not np.array_equal(after.users.place[0], after.users.place[1])
    assert not np.allclose(
        after.params["params"]["Dense_0"]["kernel"][0], copies.params["params"]["Dense_0"]["kernel"][0]
    )


@dataclass(frozen=True)
class Corridor:
    """`LENGTH` rooms in a row; document 1 leads on and costs a little, document 0 leads back to the first. The last
    room pays. A session takes as many steps as there are rooms.
    """

    name: str = "corridor"
    candidates: int = 2
    slate: int = 1
    user_width: int = 11
    document_width: int = 2
    ends: bool = True

    def reset(self, key: Key[Array, ""], n: int) -> tuple[Array, Array]:
        return jnp.zeros(n, jnp.int32), jnp.zeros(n, jnp.int32)

    def observe(self, state: tuple[Array, Array]) -> Observation:
        n = len(state[0])
        return Observation(jax.nn.one_hot(state[0], self.user_width), jnp.tile(jnp.eye(2), (n, 1, 1)))

    def step(self, key: Key[Array, ""], state: tuple[Array, Array], slates: Array) -> tuple[Any, Response]:
        room, time = state
        on = slates[:, 0] == 1
        room = jnp.where(on, jnp.minimum(room + 1, self.user_width - 1), 0)
        reward = jnp.where(on, -0.01, 0.0) + (room == self.user_width - 1)
        clicked = jnp.ones(slates.shape, bool)
        return (room, time + 1), Response(clicked, {}, reward, time + 1 >= self.user_width - 1)


@pytest.mark.many_steps
def test_an_ensemble_explores_a_whole_session_long() -> None:
    """The end is found by going on ten times in a row, which chance alone does once in 1,024 sessions, and greed
    never: the price of the first steps tells it not to.
    """
    world, earned = Corridor(), {}
    base = SlateQ(layers=(32,), discount=1.0, batch=64, users=4, remembered=2000, warmup=20, target_every=20)
    for name, agent in {
        "greedy": replace(base, explore=0.1, explore_last=0.1),
        "ensemble": replace(base, explore=0.0, explore_last=0.0, ensemble=8),
    }.items():
        made = make(agent, world, lambda seen: (jnp.ones((len(seen.user), 2)), jnp.zeros(len(seen.user))))
        state = jax.jit(made.chunk)(jax.jit(made.init)(jax.random.key(0)), jax.random.key(1), jnp.int32(1500))
        earned[name] = float(many_episodes(world, made.act, state.params, jax.random.key(2), 4).reward.mean())
    assert earned["greedy"] <= 0
    assert earned["ensemble"] == pytest.approx(0.9)


def test_networks_of_an_ensemble_learn_from_shares_of_their_own() -> None:
    agent = replace(BASE, ensemble=2, share=0.25)
    made = make(agent, Small(), Small().weigh)
    state = jax.jit(made.chunk)(jax.jit(made.init)(jax.random.key(0)), jax.random.key(1), jnp.int32(agent.remembered))
    learns = np.asarray(state.memory.entries.learns).reshape(-1, 2)
    steps = len(learns)
    assert abs(learns.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / (2 * steps))
    assert abs((learns[:, 0] * learns[:, 1]).mean() - 0.0625) < 4 * np.sqrt(0.0625 / steps)  # drawn apart
    assert set(np.asarray(state.network).tolist()) == {0, 1}


def test_names_are_the_papers() -> None:
    assert named("QL-OT-GS") == SlateQ(rule="q", target="O", serve="G")
    assert named("SARSA-TS", BASE) == replace(BASE, rule="sarsa", serve="T")
    assert named("MYOP-GS").rule == "myopic"
    with pytest.raises(InputError, match="did you mean QL-OT-GS"):
        named("QL-OTGS")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"discount": 1.5}, "discount 1.5: expected a share"),
        ({"batch": 0}, "batch 0: expected at least 1"),
        ({"share": 0.0}, "share 0.0: expected more than 0"),
        ({"warmup": 1, "steps_ahead": 1}, "warmup 1: expected more than steps_ahead"),
        ({"warmup": 5000}, "at most remembered"),
        ({"learning_rate": 0.0}, "learning_rate 0.0: expected a number above 0"),
        ({"priority": -0.5}, "priority -0.5: expected a share"),
        ({"correction_steps": -1}, "correction_steps -1: expected at least 0"),
        ({"layers": ()}, "layers .*: expected at least one"),
        ({"torso": "transformer", "torso_width": 33}, "torso_width 33: .* a multiple of 2"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(InputError, match=part):
        SlateQ(**changes)


@pytest.mark.parametrize(("name", "value"), [("rule", "SARSA"), ("target", "S"), ("serve", "g")])
def test_what_types_would_tell_is_told_without_them_too(name: str, value: str) -> None:
    """The tests check annotations where a user's program does not."""
    agent = SlateQ()
    object.__setattr__(agent, name, value)
    with pytest.raises(InputError, match=f"no {name} '{value}': .*take "):
        agent.__post_init__()


@pytest.mark.many_steps
def test_it_earns_more_than_a_myopic_policy_on_interest_evolution() -> None:
    """A third of the published training: looking ahead pays (Table 1 of the paper: 174.6 against 166.3)."""
    of: Simulator = InterestEvolution(slate=3, choice=Logit(), known_budget=True)
    assert isinstance(of, InterestEvolution)
    returns = {}
    for name in ("MYOP-TS", "QL-OT-GS"):
        agent = named(name, SlateQ(layers=(64,), discount=1.0, steps_ahead=5, q_none=True, explore_steps=1000))
        made = make(agent, of, of.weights)
        state = jax.jit(made.chunk)(jax.jit(made.init)(jax.random.key(0)), jax.random.key(1), jnp.int32(3000))
        returns[name] = many_episodes(of, made.act, state.params, jax.random.key(2), 2000).reward.mean()
    assert 164 < returns["MYOP-TS"] < 169
    assert returns["QL-OT-GS"] > 185


def test_features_of_another_width_are_refused() -> None:
    made = make(SlateQ(layers=(4,), users=2, batch=2, remembered=60, warmup=20), Small(), Small().weigh)
    params = jax.jit(made.init)(jax.random.key(0)).params
    seen = Small().observe(Small().reset(jax.random.key(0), 2))
    assert jax.jit(made.act)(params, jax.random.key(1), seen).shape == (2, SLATE)
    wide = seen._replace(documents=jnp.concatenate([seen.documents, seen.documents], axis=2))
    with pytest.raises(InputError, match=r"candidate features of another width: the policy was made for 3, and .* 6;"):
        jax.jit(made.act)(params, jax.random.key(1), wide)
    with pytest.raises(InputError, match=r"user features of another width: the policy was made for 3, and .* 2;"):
        made.act(params, jax.random.key(1), seen._replace(user=seen.user[:, :2]))


def test_a_history_of_another_length_is_refused_where_the_torso_cannot_read_it() -> None:
    key = jax.random.key(0)
    for torso in ("dnn", "transformer", "gru"):
        agent = SlateQ(layers=(4,), torso=torso, torso_width=4, users=2, batch=2, remembered=60, warmup=20)
        made, longer = make(agent, Remembering(Small(), 3), Small().weigh), Remembering(Small(), 5)
        params, seen = jax.jit(made.init)(key).params, longer.observe(longer.reset(key, 2))
        if torso == "gru":
            assert made.act(params, key, seen).shape == (2, SLATE)
        else:
            with pytest.raises(InputError, match="a history of another shape"):
                made.act(params, key, seen)
        with pytest.raises(InputError, match="a history of another shape"):
            made.act(params, key, seen._replace(history=None, events=None))


def alike(seen: Observation) -> tuple[Array, Array]:
    """Every document weighs as much as none."""
    return jnp.ones(seen.documents.shape[:2]), jnp.ones(len(seen.documents))


def test_rewards_without_an_end_have_no_value_unless_discounted() -> None:
    world = InterestExploration(candidates=4, slate=1)
    with pytest.raises(InputError, match="discount 1: interest_exploration's sessions never end"):
        make(SlateQ(discount=1.0), world, alike)
    make(SlateQ(discount=1.0, rule="myopic"), world, alike)


@pytest.mark.parametrize("world", [InterestExploration(candidates=4, slate=1), LongTermSatisfaction(slate=1)])
def test_it_acts_and_learns_where_nothing_is_shown_of_users(world: Simulator) -> None:
    made = make(SlateQ(layers=(4,), users=4, batch=8, remembered=60, warmup=20, q_none=True), world, alike)
    state = jax.jit(made.init)(jax.random.key(0))
    after = jax.jit(made.chunk)(state, jax.random.key(1), jnp.int32(30))
    assert any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(after.params)))
    slates = made.act(after.params, jax.random.key(2), world.observe(world.reset(jax.random.key(3), 5)))
    assert slates.shape == (5, 1)
