"""How a step changes the parameters: the gradient over all devices, then the optimiser, on all rows or on few."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rec_jax.config import Optimization
from rec_jax.errors import InputError
from rec_jax.train import rows
from rec_jax.train.devices import AXIS
from rec_jax.train.optimizer import adam, optimizer, schedule

Loss = Callable[[Any], tuple[Any, Any]]
"""loss(params) -> (scalar, what else it gives)."""


@dataclass(frozen=True)
class Update:
    """Three pure functions; `step` and `finish` belong inside a function that runs along the axis "data".

    - `init(params) -> opt_state`;
    - `step(loss, params, opt_state) -> (value, aux, params, opt_state)`: `value` averaged over the devices;
    - `finish(params, opt_state) -> (params, opt_state)`: called when an epoch ends, so that nothing is owed then.
    """

    init: Callable[[Any], Any]
    step: Callable[[Loss, Any, Any], tuple[Any, Any, Any, Any]]
    finish: Callable[[Any, Any], tuple[Any, Any]] | None = None


@functools.lru_cache(maxsize=8)
def make_update(config: Optimization, steps_per_epoch: int) -> Update:
    """The update rule of an experiment, the same one for the same arguments.

    InputError: numbers out of range, or options that do not go together.
    """
    tx = optimizer(config, steps_per_epoch)
    if not config.sparse_rows:
        return dense(tx)
    if config.optimizer == "adamw" or config.clip_norm:
        name = "--optimizer adamw" if config.optimizer == "adamw" else f"--clip-norm {config.clip_norm}"
        raise InputError(f"{name} changes every row in every step: not with --sparse-rows")
    rate = schedule(config, steps_per_epoch)
    return sparse(tx, rows.sgd(rate) if config.optimizer == "sgd" else rows.adam(rate, **adam(config)))


def dense(tx: optax.GradientTransformation) -> Update:
    """Every parameter in every step, by optax."""

    def step(loss: Loss, params: Any, opt_state: Any) -> tuple[Any, Any, Any, Any]:
        (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        value, gradient = jax.lax.pmean((value, gradient), AXIS)
        updates, opt_state = tx.update(gradient, opt_state, params)
        return value, aux, optax.apply_updates(params, updates), opt_state

    return Update(tx.init, step)


def sparse(tx: optax.GradientTransformation, rule: rows.Rule) -> Update:
    """Embedding tables by `rule`, on the rows that the loss looks up; everything else by optax."""

    def init(params: Any) -> Any:
        tables, others = rows.parted(params)
        states = {path: rule.init(table) for path, table in tables.items()}
        return {"count": jnp.int32(0), "tables": states, "others": tx.init(others)}

    def step(loss: Loss, params: Any, opt_state: Any) -> tuple[Any, Any, Any, Any]:
        tables, others = rows.parted(params)
        count, states = opt_state["count"], dict(opt_state["tables"])
        calls: dict[str, list[int]] = {}
        looked_up = rows.lookups(loss, params)
        for number, call in enumerate(looked_up):
            calls.setdefault("/".join(call.path), []).append(number)
        ids = {path: jnp.concatenate([looked_up[n].ids.reshape(-1) for n in of]) for path, of in calls.items()}
        carried = {path: rule.read(tables[path], states[path], ids[path], count) for path in calls}
        found: list[Any] = [None] * len(looked_up)
        for path, of in calls.items():
            ends = np.cumsum([looked_up[n].ids.size for n in of])[:-1]
            for n, part in zip(of, jnp.split(carried[path][0], ends)):
                found[n] = part.reshape(*looked_up[n].ids.shape, -1)

        def of_rows(others: Any, found: list[Any]) -> tuple[Any, Any]:
            return rows.with_rows(loss, found)(rows.joined(tables, others))

        (value, aux), (gradient, by_call) = jax.value_and_grad(of_rows, argnums=(0, 1), has_aux=True)(others, found)
        value, gradient = jax.lax.pmean((value, gradient), AXIS)
        updates, others_state = tx.update(gradient, opt_state["others"], others)
        others, tables = optax.apply_updates(others, updates), dict(tables)
        for path, of in calls.items():
            d = tables[path].shape[-1]
            wrt_rows = jnp.concatenate([by_call[n].reshape(-1, d) for n in of])
            everywhere = _gathered((ids[path], carried[path], wrt_rows))
            tables[path], states[path] = rule.write(tables[path], states[path], *everywhere, count)
        opt_state = {"count": count + 1, "tables": states, "others": others_state}
        return value, aux, rows.joined(tables, others), opt_state

    def finish(params: Any, opt_state: Any) -> tuple[Any, Any]:
        tables, others = rows.parted(params)
        states, count = opt_state["tables"], opt_state["count"]
        done = {path: rule.finish(table, states[path], count) for path, table in tables.items()}
        after = {path: state for path, (_, state) in done.items()}
        return rows.joined({path: t for path, (t, _) in done.items()}, others), {**opt_state, "tables": after}

    return Update(init, step, finish)


def _gathered(looked_up: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """(ids, what was read of them, the gradient with respect to them) of all devices: the average over them."""
    devices = jax.lax.axis_size(AXIS)
    if devices == 1:
        return looked_up
    ids, carried, gradient = jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, tiled=True), looked_up)
    return ids, carried, gradient / devices
