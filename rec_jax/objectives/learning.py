"""What a value is learnt towards: small pure functions over a batch.

They are here, below the policies, since values are learnt from simulated users and from logs alike.
Checked against the formulas in plain Python (tests/objectives/test_learning.py).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def one_step(
    reward_t: Float[Array, "*s"], discount_t: Float[Array, "*s"], value_t: Float[Array, "*s"]
) -> Float[Array, "*s"]:
    """r + gamma v: `discount_t` is 0 where the session has ended (Sutton and Barto, 2018, Eq. 6.2)."""
    return reward_t + discount_t * value_t


def n_step(
    rewards: Float[Array, "b m"], discounts: Float[Array, "b m"], value_t: Float[Array, "b"]
) -> Float[Array, "b"]:
    """r_1 + d_1 (r_2 + d_2 (… (r_m + d_m v))): m rewards, then the value (Sutton and Barto, 2018, Eq. 7.1)."""
    found = value_t
    for j in reversed(range(rewards.shape[1])):
        found = rewards[:, j] + discounts[:, j] * found
    return found


def of_actions(q: Float[Array, "b a"], action: Int[Array, "b"]) -> Float[Array, "b"]:
    """q of each row's action: SARSA's value of the next state, for the action that was taken there."""
    return jnp.take_along_axis(q, action[:, None], axis=1)[:, 0]


def followed(target: Any, online: Any, step: Int[Array, ""], every: int, rate: float) -> Any:
    """The target network after a step: `rate` of the way to the online one, at each multiple of `every` steps.

    A rate of 1 copies it now and then (Mnih et al., 2015); `every` of 1 with a small rate is Polyak averaging.
    """
    share = jnp.where(step % every == 0, rate, 0.0)
    return jax.tree.map(lambda old, new: old + share * (new - old), target, online)
