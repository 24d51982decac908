"""Neural-linear Thompson sampling: a network learns features of the arms, a Bayesian regression on them explores.

Riquelme, Tucker and Snoek, ICLR 2018 ("Deep Bayesian Bandits Showdown"), Sec. 4: a network predicts rewards; its last
layer is replaced by a Bayesian linear regression, exact and cheap, from which Thompson sampling draws. The network is
retrained now and then on what was seen, and the regression made anew on the features as they then are.

Ours differs: one regression for all arms, whose features tell them apart (as `bandits.lin_ts`), not one an arm; and the
last `capacity` events are kept, not all, so that shapes stay fixed.

Checked against the posterior written out in NumPy, counted draws, and a reward that no linear rule can learn
(tests/policies/test_neural_linear.py).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key

from rec_jax.errors import InputError
from rec_jax.policies.bandits import Bandit, check_context


class Features(nn.Module):
    """Hidden layers of rectified units; the last one's outputs are the features, and predict the reward."""

    hidden: Sequence[int]

    @nn.compact
    def __call__(self, x: Float[Array, "*s d"]) -> tuple[Float[Array, "*s w"], Float[Array, "*s"]]:
        for width in self.hidden:
            x = nn.relu(nn.Dense(width)(x))
        return x, nn.Dense(1)(x)[..., 0]


class Belief(NamedTuple):
    """What a regression on features z has seen: sum z zᵀ, sum r z, sum r², and how many events."""

    zz: Float[Array, "n w w"]
    rz: Float[Array, "n w"]
    rr: Float[Array, "n"]
    events: Float[Array, "n"]


class State(NamedTuple):
    """Of n runs: the network's parameters, the regression, and the last events in a ring."""

    params: Any
    belief: Belief
    x: Float[Array, "n c d"]
    reward: Float[Array, "n c"]
    seen: Int[Array, "n"]
    """Pulls so far."""


def neural_linear(
    width: int,
    hidden: Sequence[int] = (32, 16),
    *,
    every: int = 100,
    steps: int = 50,
    batch: int = 64,
    capacity: int = 2048,
    learning_rate: float = 0.01,
    l2: float = 0.25,
    prior: tuple[float, float] = (6.0, 6.0),
    seed: int = 0,
) -> Bandit:
    """Retrains by `steps` of Adam on batches of what is kept after each `every` pulls of a run.

    The noise's variance is believed to be inverse gamma with `prior` (a, b), weights given it normal with precision
    `l2` over it (Sec. 4, and the paper's values). InputError: no features or layers, or numbers that are
    not positive and finite.
    """
    if (
        width < 1
        or not hidden
        or min(*hidden, every, steps, batch, capacity) < 1
        or not all(0 < of < math.inf for of in (l2, learning_rate, *prior))
    ):
        raise InputError(
            f"width {width}, hidden {tuple(hidden)}, every {every}, steps {steps}, batch {batch}, capacity {capacity}, "
            f"l2 {l2}, learning_rate {learning_rate}, prior {prior}: expected finite numbers above 0, and a layer"
        )
    module, optimizer, root = Features(tuple(hidden)), optax.adam(learning_rate), jax.random.key(seed)
    last = hidden[-1]

    def init(n: int) -> State:
        keys = jax.random.split(root, n)
        params = jax.vmap(lambda key: module.init(key, jnp.zeros(width)))(keys)
        nothing = Belief(jnp.zeros((n, last, last)), jnp.zeros((n, last)), jnp.zeros(n), jnp.zeros(n))
        return State(
            params, nothing, jnp.zeros((n, capacity, width)), jnp.zeros((n, capacity)), jnp.zeros(n, jnp.int32)
        )

    def choose(state: State, key: Key[Array, ""], context: Float[Array, "n a d"]) -> Int[Array, "n"]:
        check_context(width, context)
        features = jax.vmap(lambda params, x: module.apply(params, x)[0])(state.params, context)
        theta = drawn(state.belief, key, l2, prior)
        return jnp.argmax(jnp.einsum("naw,nw->na", features, theta), axis=1).astype(jnp.int32)

    def update(state: State, arm: Int[Array, "n"], reward: Float[Array, "n"], context: Float[Array, "n a d"]) -> State:
        n = len(arm)
        x = jnp.take_along_axis(context, arm[:, None, None], axis=1)[:, 0]
        z = jax.vmap(lambda params, x: module.apply(params, x)[0])(state.params, x)
        belief = Belief(
            state.belief.zz + z[:, :, None] * z[:, None, :],
            state.belief.rz + reward[:, None] * z,
            state.belief.rr + reward**2,
            state.belief.events + 1,
        )
        place = state.seen % capacity
        after = State(
            state.params,
            belief,
            state.x.at[jnp.arange(n), place].set(x),
            state.reward.at[jnp.arange(n), place].set(reward),
            state.seen + 1,
        )
        due = after.seen % every == 0
        # One run after the other, since under vmap a condition would train all runs when one is due.
        runs = due, jnp.arange(n), after
        return jax.lax.cond(due.any(), lambda: jax.lax.map(retrained_where, runs), lambda: after)

    def retrained_where(run: tuple[Bool[Array, ""], Int[Array, ""], State]) -> State:
        due, number, state = run
        found: State = jax.lax.cond(due, retrained, lambda number, state: state, number, state)
        return found

    def retrained(number: Int[Array, ""], state: State) -> State:
        """One run, by draws of its own: no leading n."""
        kept = jnp.minimum(state.seen, capacity)

        def loss(params: Any, rows: Int[Array, "batch"]) -> Float[Array, ""]:
            predicted: Array = module.apply(params, state.x[rows])[1]  # type: ignore[assignment]
            return jnp.square(predicted - state.reward[rows]).mean()

        def step(carry: tuple[Any, Any], key: Key[Array, ""]) -> tuple[tuple[Any, Any], None]:
            params, memory = carry
            gradient = jax.grad(loss)(params, jax.random.randint(key, (batch,), 0, kept))
            changes, memory = optimizer.update(gradient, memory, params)
            return (optax.apply_updates(params, changes), memory), None

        keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(root, number), state.seen), steps)
        (params, _), _ = jax.lax.scan(step, (state.params, optimizer.init(state.params)), keys)
        z = module.apply(params, state.x)[0] * (jnp.arange(capacity) < kept)[:, None]
        r = state.reward * (jnp.arange(capacity) < kept)
        belief = Belief(z.T @ z, z.T @ r, (r**2).sum(), kept.astype(jnp.float32))
        return state._replace(params=params, belief=belief)

    return Bandit(init, choose, update)


def drawn(belief: Belief, key: Key[Array, ""], l2: float, prior: tuple[float, float]) -> Float[Array, "n w"]:
    """Weights from the posterior: with A = l2 I + sum z zᵀ and m = A⁻¹ sum r z, the variance v from the inverse gamma
    with a + events / 2 and b + (sum r² - mᵀ A m) / 2, then weights from N(m, v A⁻¹).
    """
    of_noise, of_weights = jax.random.split(key)
    precision = belief.zz + l2 * jnp.eye(belief.rz.shape[1])
    root = jnp.linalg.cholesky(precision)
    mean = jax.scipy.linalg.cho_solve((root, True), belief.rz[..., None])[..., 0]
    a = prior[0] + belief.events / 2
    # Rounding may take it below 0 where the features explain everything.
    b = prior[1] + jnp.maximum(belief.rr - (mean * belief.rz).sum(axis=1), 0) / 2
    variance = b / jax.random.gamma(of_noise, a)
    noise = jax.random.normal(of_weights, mean.shape)
    spread = jax.scipy.linalg.solve_triangular(jnp.swapaxes(root, 1, 2), noise[..., None], lower=False)[..., 0]
    return mean + jnp.sqrt(variance)[:, None] * spread
