"""The train state, and the two functions that change it: `chunk` (some steps) and `settle` (a validation)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key

from rec_jax.models.base import Leaf
from rec_jax.objectives.base import Recommender, TrainData
from rec_jax.train.devices import AXIS
from rec_jax.train.update import Update


@struct.dataclass
class TrainState:
    """All that decides a run's future; with the seed it is the whole truth, so a checkpoint holds just this.

    `loss_sum` adds up the losses of the running epoch; `bad_step` is the first step whose loss was not finite, or
    -1. `best_*` and `stale` (validations since the best one) belong to early stopping; values are "higher is better".
    """

    step: Leaf  # int32
    params: Any
    extra: Any
    opt_state: Any
    loss_sum: Leaf  # float32
    bad_step: Leaf  # int32
    best_params: Any
    best_extra: Any
    best_value: Leaf  # float32
    best_epoch: Leaf  # int32
    stale: Leaf  # int32


@functools.partial(jax.jit, static_argnums=2)
def create(params: Any, extra: Any, update: Update) -> TrainState:
    """The state before the first step; one program, where its leaves would be one each."""
    return TrainState(
        step=jnp.int32(0),
        params=params,
        extra=extra,
        opt_state=update.init(params),
        loss_sum=jnp.float32(0),
        bad_step=jnp.int32(-1),
        best_params=jax.tree.map(jnp.copy, params),
        best_extra=jax.tree.map(jnp.copy, extra),
        best_value=jnp.float32(-jnp.inf),
        best_epoch=jnp.int32(0),
        stale=jnp.int32(0),
    )


Chunk = Callable[[TrainState, TrainData, Key[Array, ""], Int[Array, ""]], TrainState]


@functools.lru_cache(maxsize=8)
def make_chunk(recommender: Recommender, update: Update, n_devices: int) -> Chunk:
    """`chunk(state, data, key, steps)`: `steps` training steps as one device sees them.

    Every device draws the whole global batch and takes its slice, so that N devices train as one does; the number
    of steps is an argument of the compiled loop, so that results cannot depend on how a run is cut into chunks. The
    same arguments give the same function: it is compiled once.
    """

    def chunk(state: TrainState, data: TrainData, key: Key[Array, ""], steps: Int[Array, ""]) -> TrainState:
        def body(_: Int[Array, ""], state: TrainState) -> TrainState:
            epoch, step = jnp.divmod(state.step, recommender.steps_per_epoch)
            device = jax.lax.axis_index(AXIS)
            batch = jax.tree.map(
                lambda x: jax.lax.dynamic_slice_in_dim(x, device * (len(x) // n_devices), len(x) // n_devices),
                recommender.batch(data, key, epoch, step),
            )
            # Dropout alone may differ by device: its masks are not part of the global batch.
            noise = jax.random.fold_in(jax.random.fold_in(key, state.step), device)

            def loss_of(params: Any) -> tuple[Any, Any]:
                return recommender.loss(params, state.extra, batch, noise, state.step)

            loss, (extra, _), params, opt_state = update.step(loss_of, state.params, state.opt_state)
            bad = (state.bad_step < 0) & ~jnp.isfinite(loss)
            return dataclasses.replace(
                state,
                step=state.step + 1,
                params=params,
                extra=extra,
                opt_state=opt_state,
                loss_sum=jnp.where(step == 0, 0.0, state.loss_sum) + loss,
                bad_step=jnp.where(bad, state.step, state.bad_step),
            )

        state = jax.lax.fori_loop(0, steps, body, state)
        if update.finish is not None:
            params, opt_state = jax.lax.cond(
                state.step % recommender.steps_per_epoch == 0,
                update.finish,
                lambda *unchanged: unchanged,
                state.params,
                state.opt_state,
            )
            state = dataclasses.replace(state, params=params, opt_state=opt_state)
        # A loss tells of the parameters before its step; what the last step made of them is looked at here.
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)]).all()
        broken = (state.bad_step < 0) & ~finite
        return dataclasses.replace(state, bad_step=jnp.where(broken, state.step - 1, state.bad_step))

    return chunk


def settle(state: TrainState, value: Float[Array, ""], epoch: Int[Array, ""]) -> TrainState:
    """Keep the parameters if the validation `value` (higher is better) beats the best so far; count it else."""
    better: Bool[Array, ""] = value > state.best_value

    def pick(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(better, a, b), new, old)

    return dataclasses.replace(
        state,
        best_params=pick(state.params, state.best_params),
        best_extra=pick(state.extra, state.best_extra),
        best_value=pick(value, state.best_value),
        best_epoch=pick(epoch, state.best_epoch),
        stale=jnp.where(better, 0, state.stale + 1),
    )
