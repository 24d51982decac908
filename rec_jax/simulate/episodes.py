"""Sessions from their first step to their last, of many users at once.

Checked against the simulators' steps added up in a plain loop (tests/simulate/test_simulators.py).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from rec_jax.errors import InputError
from rec_jax.simulate.base import Observation, Response, Simulator, State, either
from rec_jax.workers import side_by_side

Act = Callable[[Any, Key[Array, ""], Observation], Int[Array, "n k"]]
"""A policy, `act(params, key, observation)`: which of its candidates each user is shown, as places."""

BLOCK = 4096
"""Users of a compiled loop: their states stay in the processor's cache."""


class Episodes(NamedTuple):
    """What became of n users."""

    reward: Float[Array, "n"]
    """Sum over the session: its return."""
    length: Int[Array, "n"]
    """Steps."""
    clicks: Int[Array, "n"]
    signals: dict[str, Float[Array, "n"]]
    """Each signal of the clicked documents, added up."""
    first: State
    last: State


def episodes(
    simulator: Simulator, act: Act, params: Any, key: Key[Array, ""], n: int, steps: int | None = None
) -> Episodes:
    """Sessions of `n` users until each has ended, or for `steps` steps at most; one compiled loop.

    InputError: sessions never end and no limit is given.
    """
    if steps is None and not simulator.ends:
        raise InputError(f"{simulator.name}: sessions never end; give a limit of steps")
    limit = np.iinfo(np.int32).max if steps is None else steps
    first = simulator.reset(jax.random.fold_in(key, 0), n)
    # Which signals there are, step tells.
    shapes = jax.eval_shape(simulator.step, key, first, jax.ShapeDtypeStruct((n, simulator.slate), jnp.int32))[1]
    nothing = jnp.zeros(n, jnp.float32)
    totals = (nothing, jnp.zeros(n, jnp.int32), jnp.zeros(n, jnp.int32), {name: nothing for name in shapes.signals})

    def going(carry: tuple) -> Array:
        step, _, live, _ = carry
        return (step < limit) & live.any()

    def go(carry: tuple) -> tuple:
        step, state, live, (reward, length, clicks, signals) = carry
        of_policy, of_users = jax.random.split(jax.random.fold_in(key, step + 1))
        after, response = simulator.step(of_users, state, act(params, of_policy, simulator.observe(state)))
        clicked = response.clicked & live[:, None]
        of_clicked = {name: jnp.where(clicked, response.signals[name], 0).sum(axis=1) for name in signals}
        totals = (
            reward + jnp.where(live, response.reward, 0),
            length + live,
            clicks + clicked.sum(axis=1),
            {name: signals[name] + of_clicked[name] for name in signals},
        )
        # Who is done stays as the last step left them.
        state = either(live, after, state)
        return step + 1, state, live & ~response.done, totals

    _, last, _, totals = jax.lax.while_loop(going, go, (jnp.int32(0), first, jnp.ones(n, bool), totals))
    return Episodes(*totals, first, last)


def many_episodes(
    simulator: Simulator,
    act: Act,
    params: Any,
    key: Key[Array, ""],
    n: int,
    steps: int | None = None,
    block: int = BLOCK,
) -> Episodes:
    """`episodes` of any number of users, in blocks side by side on the cores; what comes of it is on the host.

    `act` is compiled: give the same function for the same policy, with other parameters as it learns. InputError: no
    user, or as `episodes`.
    """
    if min(n, block) < 1:
        raise InputError(f"sessions of {n} users, {block} at a time: expected at least 1 of each")
    size = min(block, n)  # not by the number of cores: users must not depend on it

    def run(i: int) -> Episodes:
        return jax.device_get(_run(simulator, act, params, jax.random.fold_in(key, i), size, steps))

    found = side_by_side(run, range(-(-n // size)))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:n], *found)


@partial(jax.jit, static_argnums=(0, 1, 4, 5))
def _run(simulator: Simulator, act: Act, params: Any, key: Key[Array, ""], n: int, steps: int | None) -> Episodes:
    return episodes(simulator, act, params, key, n, steps)


def course(
    simulator: Simulator,
    act: Act,
    params: Any,
    key: Key[Array, ""],
    n: int,
    steps: int,
    watch: Callable[[State, Int[Array, "n k"], Response], Any],
    first: State | None = None,
) -> tuple[Any, Bool[Array, "t n"]]:
    """(what `watch(state, slates, response)` sees at each step [t n …], whether the session was going on) of n users.

    The state is that before the step. Keys are those of `episodes`: the same users do the same. `first`: who begins,
    in place of the users whom the key draws.
    """

    def go(carry: tuple[State, Array], step: Int[Array, ""]) -> tuple[tuple[State, Array], tuple[Any, Array]]:
        state, live = carry
        of_policy, of_users = jax.random.split(jax.random.fold_in(key, step + 1))
        slates = act(params, of_policy, simulator.observe(state))
        after, response = simulator.step(of_users, state, slates)
        kept = either(live, after, state)
        return (kept, live & ~response.done), (watch(state, slates, response), live)

    first = simulator.reset(jax.random.fold_in(key, 0), n) if first is None else first
    return jax.lax.scan(go, (first, jnp.ones(n, bool)), jnp.arange(steps))[1]
