"""Training embedding tables on the rows that a step looks up, which costs what the batch touches, not what there is.

At NCF's batch of 256 examples, dense Adam on MovieLens-1M's tables is most of a step. Here the gradient is taken with
respect to the looked-up rows: linen's `Embed` calls are intercepted, so no model knows of it.

Under Adam a row that is not looked up still moves, by what is left of its momentum. Lazy Adam (as in TensorFlow
Addons) leaves it where it is, which on MovieLens-1M is a learning rate several times smaller for most rows. Here the
steps a row missed are made up when it is next looked up, and for all rows when an epoch ends: they sum to a geometric
series, weighted by Adam's bias corrections, so the result is dense Adam's (compared with optax's in
tests/train/test_rows.py). Making up for missed steps: Carpenter, "Lazy Sparse Stochastic Gradient Descent", 2008.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int

from rec_jax.errors import InputError

Path = tuple[str, ...]
EXACT = 2048
"""Steps for which what a missed step costs is tabulated; from then on Adam's bias corrections are smooth."""
TABLE = "embedding"
"""linen's name for the table of an `Embed`."""


@dataclass(frozen=True)
class Rule:
    """How rows are updated: pure functions of a table [n, d], its state, and the number of steps made.

    - `init(table) -> state`;
    - `read(table, state, ids [b], count) -> carried`: `carried[0]` are the rows [b, d] as they are now;
    - `write(table, state, ids [b], carried, gradient [b, d], count) -> (table, state)`; `ids` may repeat;
    - `finish(table, state, count) -> (table, state)`: all rows as they are now.
    """

    init: Callable[[Any], Any]
    read: Callable[..., tuple[Any, ...]]
    write: Callable[..., tuple[Any, Any]]
    finish: Callable[..., tuple[Any, Any]]


@dataclass(frozen=True)
class Lookup:
    """One call of an `Embed`: where its table is, and the rows that were asked for."""

    path: Path
    ids: Int[Array, "*s"]


def parted(params: Any) -> tuple[dict[str, Any], dict[Path, Any]]:
    """(the embedding tables by their path 'tower/user', every other parameter by its keys)."""
    flat = flatten_dict(params)
    tables = {"/".join(path[:-1]): leaf for path, leaf in flat.items() if path[-1] == TABLE}
    return tables, {path: leaf for path, leaf in flat.items() if path[-1] != TABLE}


def joined(tables: dict[str, Any], others: dict[Path, Any]) -> Any:
    """The inverse of `parted`."""
    named: dict[Path, Any] = {(*path.split("/"), TABLE): table for path, table in tables.items()}
    return unflatten_dict({**named, **others})


def lookups(loss: Callable[[Any], Any], params: Any) -> list[Lookup]:
    """The calls of `Embed` that the loss makes, in order. XLA drops what only they were computed for.

    InputError: a table is not looked up, or is also used otherwise.
    """
    calls: list[Lookup] = []

    def note(next_function: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if _is_lookup(context):
            calls.append(Lookup(context.module.path, args[0]))
        return next_function(*args, **kwargs)

    with nn.intercept_methods(note):
        loss(params)
    tables, others = parted(params)
    if missing := tables.keys() - {"/".join(call.path) for call in calls}:
        raise InputError(f"--sparse-rows: the table {min(missing)!r} is not looked up row by row")
    found = [tables["/".join(call.path)][call.ids] for call in calls]
    traced = jax.make_jaxpr(lambda tables: with_rows(loss, found)(joined(tables, others)))(tables).jaxpr
    used = {id(variable) for equation in traced.eqns for variable in equation.invars}
    for path, variable in zip(sorted(tables), traced.invars, strict=True):
        if id(variable) in used:
            raise InputError(f"--sparse-rows: the table {path!r} is also used whole; its gradient is not sparse")
    return calls


def with_rows(loss: Callable[[Any], Any], found: list[Any]) -> Callable[[Any], Any]:
    """The loss with what its calls of `Embed` give, in their order, replaced by `found`."""

    def replaced(params: Any) -> Any:
        given = iter(found)

        def give(next_function: Any, args: Any, kwargs: Any, context: Any) -> Any:
            return next(given) if _is_lookup(context) else next_function(*args, **kwargs)

        with nn.intercept_methods(give):
            return loss(params)

    return replaced


def _is_lookup(context: Any) -> bool:
    return isinstance(context.module, nn.Embed) and context.method_name == "__call__"


def summed(ids: Int[Array, "b"], gradient: Float[Array, "b d"], n: int) -> tuple[Int[Array, "b"], Float[Array, "b d"]]:
    """Each row once: (its id, the sum of its gradients) at one of its places, (n, …) at the others."""
    place = jnp.arange(len(ids))
    chosen = jnp.zeros(n, jnp.int32).at[ids].set(place.astype(jnp.int32))[ids]
    return jnp.where(chosen == place, ids, n), jnp.zeros_like(gradient).at[chosen].add(gradient)


def sgd(rate: optax.Schedule) -> Rule:
    """Gradient descent: p -= rate(t) g, which is sparse by itself."""

    def write(table: Any, state: Any, ids: Any, carried: Any, gradient: Any, count: Any) -> tuple[Any, Any]:
        return table.at[ids].add(-rate(count) * gradient), state

    return Rule(
        init=lambda table: (),
        read=lambda table, state, ids, count: (table[ids],),
        write=write,
        finish=lambda table, state, count: (table, state),
    )


def adam(rate: optax.Schedule, b1: float, b2: float, eps: float) -> Rule:
    """Adam (Kingma and Ba, ICLR 2015, Algorithm 1), with the steps that a row missed made up for.

    The state holds [m, v] of each row side by side, and the number of steps that the row has been through.
    """
    r = b1 / math.sqrt(b2)

    def corrected(t: Any) -> Any:
        """sqrt(1 - b2^t) / (1 - b1^t): what the bias corrections make of the step size."""
        return np.sqrt(-np.expm1(t * math.log(b2))) / -np.expm1(t * math.log(b1))

    steps = np.arange(EXACT)
    ahead = np.broadcast_to(np.asarray(rate(jnp.asarray(steps)), np.float64), EXACT) * corrected(steps + 1.0)
    exact = np.zeros(EXACT + 1)
    exact[EXACT] = ahead[-1] * r / (1 - r)
    for t in reversed(range(EXACT)):
        exact[t] = r * (ahead[t] + exact[t + 1])
    exact = exact.astype(np.float32)

    def owed(t: Any) -> Any:
        """The sum over j >= 1 of r^j rate(t + j) corrected(t + j), step t + j being the j-th from t on."""
        centre = t + 1 / (1 - r)
        smooth = rate(centre - 1) * jnp.sqrt(-jnp.expm1(centre * math.log(b2))) * (r / (1 - r))
        return jnp.where(t < EXACT, jnp.asarray(exact)[jnp.minimum(t, EXACT)], smooth)

    def made_up(p: Any, moments: Any, done: Any, count: Any) -> tuple[Any, Any, Any]:
        """(p, m, v) after the steps done + 1 .. count, whose gradients were 0.

        Step done + j moves p by rate · corrected · b1^j m / (sqrt(b2^j v) + eps'): m / sqrt(v) times r^j.
        """
        m, v = jnp.split(moments, 2, axis=-1)
        k = (count - done).astype(jnp.float32)
        size = owed(done) - jnp.exp(k * math.log(r)) * owed(jnp.broadcast_to(count, done.shape))
        small = eps * jnp.sqrt(-jnp.expm1((done + 1) * math.log(b2)))
        # A number a row: behind the barrier, or XLA computes its exponentials anew for each of the row's columns.
        size, small, m_left, v_left = jax.lax.optimization_barrier(
            tuple(x[:, None] for x in (size, small, jnp.exp(k * math.log(b1)), jnp.exp(k * math.log(b2))))
        )
        return p - size * m / (jnp.sqrt(v) + small), m * m_left, v * v_left

    def init(table: Any) -> Any:
        n, d = table.shape
        return {"moments": jnp.zeros((n, 2 * d), table.dtype), "done": jnp.zeros(n, jnp.int32)}

    def read(table: Any, state: Any, ids: Any, count: Any) -> tuple[Any, ...]:
        return made_up(table[ids], state["moments"][ids], state["done"][ids], count)

    def write(table: Any, state: Any, ids: Any, carried: Any, gradient: Any, count: Any) -> tuple[Any, Any]:
        (p, m, v), (ids, gradient) = carried, summed(ids, gradient, len(table))
        t = (count + 1).astype(jnp.float32)
        m, v = b1 * m + (1 - b1) * gradient, b2 * v + (1 - b2) * gradient**2
        step = (m / -jnp.expm1(t * math.log(b1))) / (jnp.sqrt(v / -jnp.expm1(t * math.log(b2))) + eps)
        moments = state["moments"].at[ids].set(jnp.concatenate([m, v], axis=-1), mode="drop")
        done = state["done"].at[ids].set(count + 1, mode="drop")
        return table.at[ids].set(p - rate(count) * step, mode="drop"), {"moments": moments, "done": done}

    def finish(table: Any, state: Any, count: Any) -> tuple[Any, Any]:
        p, m, v = made_up(table, state["moments"], state["done"], count)
        return p, {"moments": jnp.concatenate([m, v], axis=-1), "done": jnp.full_like(state["done"], count)}

    return Rule(init, read, write, finish)
