"""Folding in unseen users: their own rows are learnt from their histories, everything else stays as trained.

The same objective is minimised over the new rows alone (as iALS does exactly; Rendle et al., RecSys 2021, Sec. 2),
from the average user on. Checked by folding known users in anew (tests/test_recommend.py).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rec_jax.objectives.base import Recommender, TrainData
from rec_jax.randomness import device_key

STEPS = 300
LEARNING_RATE = 0.05


def fold_in(
    build: Callable[[TrainData], Recommender], user_tables: tuple[str, ...], params: Any, extra: Any, data: TrainData
) -> tuple[Recommender, Any]:
    """(recommender, params) for the users of `data`, whose events are their histories.

    `build(data)` makes the recommender for that many users, with all events in a batch; `user_tables` are the paths
    ('tower/user') of the parameters that hold a row a user.
    """
    recommender = build(data)

    def is_user(path: Any, _: Any) -> bool:
        return any(_name(path).startswith(f"{table}/") for table in user_tables)

    def average(path: Any, leaf: Any) -> Any:
        return jnp.tile(leaf.mean(axis=0), (data.n_users, 1)) if is_user(path, leaf) else leaf

    start = jax.tree_util.tree_map_with_path(average, params)
    labels = jax.tree_util.tree_map_with_path(lambda path, leaf: "new" if is_user(path, leaf) else "kept", start)
    rate = optax.cosine_decay_schedule(LEARNING_RATE, STEPS)
    tx = optax.multi_transform({"new": optax.adam(rate), "kept": optax.set_to_zero()}, labels)
    key = device_key(0, "fold in")

    @jax.jit
    def learn(params: Any, extra: Any, data: TrainData) -> Any:
        def body(step: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            params, opt_state = carry
            batch = recommender.batch(data, key, step, jnp.int32(0))
            gradient = jax.grad(lambda p: recommender.loss(p, extra, batch, key, step)[0])(params)
            updates, opt_state = tx.update(gradient, opt_state, params)
            return optax.apply_updates(params, updates), opt_state

        return jax.lax.fori_loop(0, STEPS, body, (params, tx.init(params)))[0]

    return recommender, learn(start, extra, data)


def _name(path: Any) -> str:
    return "/".join(str(part.key) for part in path)
