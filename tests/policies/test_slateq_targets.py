"""What SlateQ learns towards, by hand: the one entry that there is to learn from, and networks that disagree."""

import functools
import itertools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.policies.slateq import SlateQ, make
from tests.policies.test_slateq import BASE, GAMMA, LIKING, SIZE, SLATE, Small, learnt
from tests.policies.test_slates import worth


def noisy(tree: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + rng.normal(size=leaf.shape).astype(np.float32), tree)


def worth_in(state: int, of: tuple[np.ndarray, np.ndarray], slate: tuple[int, ...]) -> float:
    """Of a slate in a state, by the values (q, none) of every state."""
    q, none = of
    return worth(np.exp(LIKING[state]), 1.0, q[state], float(none[state]), slate)


@functools.cache
def compiled(agent: SlateQ) -> tuple[Any, Any]:
    """(init, chunk) of an agent that learns as soon as it can, from the one entry that has enough others after it."""
    ahead, world = agent.steps_ahead, Small()
    made = make(replace(agent, users=1, batch=4, warmup=ahead + 1, remembered=ahead + 1), world, world.weigh)
    return jax.jit(made.init), jax.jit(made.chunk)


def squared_error(agent: SlateQ, seed: int) -> tuple[float, float]:
    """(by the agent, by hand): of the first thing that is learnt, with networks drawn anew."""
    (init, chunk), ahead, key = compiled(agent), agent.steps_ahead, jax.random.key(seed)
    state = chunk(init(key), key, jnp.int32(ahead))
    state = state.replace(params=noisy(state.params, seed), target=noisy(state.target, seed + 100))
    after = chunk(state, key, jnp.int32(1))
    lived = jax.device_get(after.memory.entries)
    places = lived.observation.user[:, 0].argmax(axis=1)
    now, judged = zip(*learnt(agent, jax.tree.map(lambda *of: jnp.stack(of), state.params, state.target)))
    aim, left = 0.0, 1.0
    for j in range(ahead):
        aim += left * float(lived.reward[j, 0])
        left *= GAMMA * (1 - float(lived.done[j, 0]))
    then = int(places[ahead])
    if agent.rule == "sarsa":
        slate = tuple(lived.slates[ahead, 0].tolist())
    else:
        chooser = now if agent.double else judged
        slate = max(itertools.combinations(range(SIZE), SLATE), key=lambda of: worth_in(then, chooser, of))
    aim += left * worth_in(then, judged, slate)
    (q, none), start, chosen = now, int(places[0]), int(lived.place[0, 0])
    return float(after.loss), (aim - float(none[start] if chosen < 0 else q[start, chosen])) ** 2


@pytest.mark.parametrize("ahead", [1, 3])
@pytest.mark.parametrize("rule", ["q", "double", "sarsa"])
def test_what_is_learnt_towards_is_the_rule_s(rule: str, ahead: int) -> None:
    agent = replace(BASE, rule="sarsa" if rule == "sarsa" else "q", double=rule == "double", steps_ahead=ahead)
    for seed in range(5):
        found, by_hand = squared_error(agent, seed)
        assert found == pytest.approx(by_hand, rel=1e-4)


def test_the_rules_differ_on_some_of_these() -> None:
    agents = (BASE, replace(BASE, double=True), replace(BASE, rule="sarsa"))
    by_seed = [[squared_error(agent, seed)[1] for agent in agents] for seed in range(5)]
    assert any(len(set(of)) == 3 for of in by_seed)


def test_two_networks_are_for_the_rule_that_builds_a_slate() -> None:
    with pytest.raises(InputError, match="double: for rule 'q' alone, and this one is 'sarsa'"):
        replace(BASE, rule="sarsa", double=True)
