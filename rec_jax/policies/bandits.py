"""Bandits: which arm to pull when a pull is the only way to learn what it pays.

A bandit is a frozen bundle of pure functions over n runs side by side; an arm may be a document, a topic or a slate.
`choose(state, key, context)` gives an arm a run, `update(state, arm, reward, context)` what is known after its reward.
`context` [n a d] holds the features of each arm, which only the linear ones read.

Checked against the formulas in plain Python, brute force and counted draws (tests/policies/test_bandits.py).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rec_jax.errors import InputError


class Bandit(NamedTuple):
    """A rule for pulling arms."""

    init: Callable[[int], Any]
    """The state of n runs before the first pull."""
    choose: Callable[[Any, Key[Array, ""], Float[Array, "n a d"]], Int[Array, "n"]]
    update: Callable[[Any, Int[Array, "n"], Float[Array, "n"], Float[Array, "n a d"]], Any]
    rewards: tuple[float, float] | None = None
    """The least and the largest reward that the rule is made for; None: any."""

    def check(self, rewards: Any) -> None:
        """InputError: a reward that is not finite, or that the rule is not made for; values that are still being traced
        are not looked at."""
        if isinstance(rewards, jax.core.Tracer):
            return
        found = np.asarray(rewards)
        if self.rewards is None:
            if not np.isfinite(found).all():
                raise InputError(f"reward {found[~np.isfinite(found)].flat[0]}: expected finite numbers")
            return
        low, high = self.rewards
        outside = ~((found >= low) & (found <= high))
        if outside.any():
            raise InputError(
                f"reward {found[outside].flat[0]:g}, one of {int(outside.sum()):,} not from {low:g} to {high:g}: the "
                "rule's bounds hold for no others; bring rewards into that range (rec_jax.data.rewards)"
            )


UNIT = (0.0, 1.0)


class Pulls(NamedTuple):
    """What arms without features have paid."""

    pulls: Float[Array, "n a"]
    total: Float[Array, "n a"]

    @property
    def mean(self) -> Float[Array, "n a"]:
        """By arm; 0 where it was never pulled."""
        return self.total / jnp.maximum(self.pulls, 1)


def _none(arms: int) -> Callable[[int], Pulls]:
    if arms < 1:
        raise InputError(f"arms {arms}: expected at least 1")
    return lambda n: Pulls(jnp.zeros((n, arms)), jnp.zeros((n, arms)))


def _counted(state: Pulls, arm: Int[Array, "n"], reward: Float[Array, "n"], context: Any) -> Pulls:
    del context
    pulled = jax.nn.one_hot(arm, state.pulls.shape[1])
    return Pulls(state.pulls + pulled, state.total + pulled * reward[:, None])


def _largest(key: Key[Array, ""], scores: Float[Array, "n a"]) -> Int[Array, "n"]:
    """The arm with the largest score, of equals a random one."""
    tied = scores >= scores.max(axis=1, keepdims=True)
    return jnp.argmax(jnp.where(tied, jax.random.uniform(key, scores.shape), -1.0), axis=1).astype(jnp.int32)


def _never_first(state: Pulls, scores: Float[Array, "n a"]) -> Float[Array, "n a"]:
    return jnp.where(state.pulls == 0, jnp.inf, scores)


def _check_amount(name: str, amount: float) -> None:
    if not 0 <= amount < math.inf:
        raise InputError(f"{name} {amount}: expected an amount of exploration, at least 0")


def epsilon_greedy(arms: int, epsilon: float, decay: float = 0.0) -> Bandit:
    """The best mean, or with chance epsilon a random arm (Sutton and Barto, 2018, Sec. 2.4).

    With `decay` c the chance at pull t is min(epsilon, c a / t), which explores less and less (Auer et al., Machine
    Learning 47, 2002, Sec. 2). InputError: no arm, a chance outside 0 to 1, or a decay below 0.
    """
    _check_amount("decay", decay)
    if not 0 <= epsilon <= 1:
        raise InputError(f"epsilon {epsilon}: expected a chance, from 0 to 1")

    def choose(state: Pulls, key: Key[Array, ""], context: Any) -> Int[Array, "n"]:
        del context
        of_chance, of_arm, of_ties = jax.random.split(key, 3)
        n = len(state.pulls)
        t = state.pulls.sum(axis=1) + 1
        chance = jnp.minimum(epsilon, decay * arms / t) if decay else epsilon
        explores = jax.random.uniform(of_chance, (n,)) < chance
        return jnp.where(explores, jax.random.randint(of_arm, (n,), 0, arms), _largest(of_ties, state.mean))

    return Bandit(_none(arms), choose, _counted)


def ucb1(arms: int, scale: float = 2.0) -> Bandit:
    """mean + sqrt(scale ln t / pulls), each arm once first (Auer et al., Machine Learning 47, 2002, Fig. 1).

    For rewards from 0 to 1. InputError: no arm, or a scale below 0.
    """
    _check_amount("scale", scale)

    def choose(state: Pulls, key: Key[Array, ""], context: Any) -> Int[Array, "n"]:
        del context
        log = jnp.log(jnp.maximum(state.pulls.sum(axis=1, keepdims=True), 1))
        bonus = jnp.sqrt(scale * log / jnp.maximum(state.pulls, 1))
        return _largest(key, _never_first(state, state.mean + bonus))

    return Bandit(_none(arms), choose, _counted, UNIT)


def kl_ucb(arms: int, c: float = 0.0) -> Bandit:
    """The largest mean q that is still likely: pulls · KL(mean, q) <= ln t + c ln ln t, with t all pulls so far
    (Garivier and Cappé, COLT 2011, who count the coming one too).

    For rewards from 0 to 1, KL that of Bernoulli variables; by bisection. InputError: no arm, or c below 0.
    """
    _check_amount("c", c)

    def choose(state: Pulls, key: Key[Array, ""], context: Any) -> Int[Array, "n"]:
        del context
        t = jnp.maximum(state.pulls.sum(axis=1, keepdims=True), 2)
        allowed = jnp.log(t) + c * jnp.log(jnp.maximum(jnp.log(t), 1))
        return _largest(key, _never_first(state, kl_bound(state.mean, allowed / jnp.maximum(state.pulls, 1))))

    return Bandit(_none(arms), choose, _counted, UNIT)


def kl_bound(mean: Float[Array, "n a"], most: Float[Array, "n a"]) -> Float[Array, "n a"]:
    """The largest q in [mean, 1] with KL(mean, q) <= most, to 1e-6."""

    def halve(_: Int[Array, ""], bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) / 2
        inside = bernoulli_kl(mean, middle) <= most
        return jnp.where(inside, middle, low), jnp.where(inside, high, middle)

    low, _ = jax.lax.fori_loop(0, 22, halve, (mean, jnp.ones_like(mean)))
    return low


def bernoulli_kl(p: Float[Array, "*s"], q: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """p ln(p / q) + (1 - p) ln((1 - p) / (1 - q)), with 0 ln 0 = 0."""
    return jax.scipy.special.rel_entr(p, q) + jax.scipy.special.rel_entr(1 - p, 1 - q)


def thompson(arms: int, prior: tuple[float, float] = (1.0, 1.0)) -> Bandit:
    """The arm whose mean, drawn from what is believed of it, is largest (Thompson, 1933; Chapelle and Li, NIPS 2011).

    For rewards from 0 to 1: an arm's mean has the distribution Beta(prior_1 + total, prior_2 + pulls - total).
    InputError: no arm, or a prior that is not positive and finite.
    """
    if not all(0 < of < math.inf for of in prior):
        raise InputError(f"prior {prior}: expected two finite numbers above 0")

    def choose(state: Pulls, key: Key[Array, ""], context: Any) -> Int[Array, "n"]:
        del context
        drawn = jax.random.beta(key, prior[0] + state.total, prior[1] + state.pulls - state.total)
        return jnp.argmax(drawn, axis=1).astype(jnp.int32)

    return Bandit(_none(arms), choose, _counted, UNIT)


class Linear(NamedTuple):
    """Ridge regression of rewards on features: the inverse of A = l2 I + sum x xᵀ, and b = sum r x."""

    inverse: Float[Array, "n d d"]
    b: Float[Array, "n d"]

    @property
    def weights(self) -> Float[Array, "n d"]:
        """A⁻¹ b."""
        return jnp.einsum("nde,ne->nd", self.inverse, self.b)


def check_context(width: int, context: Float[Array, "n a d"]) -> None:
    """InputError: features of another width than those that a rule was made for; shapes alone are looked at."""
    if context.shape[-1] != width:
        raise InputError(f"context of width {context.shape[-1]}: the rule was made for features of width {width}")


def _no_events(width: int, l2: float) -> Callable[[int], Linear]:
    if width < 1 or not 0 < l2 < math.inf:
        raise InputError(f"width {width}, l2 {l2}: expected features, and a finite penalty above 0")
    return lambda n: Linear(jnp.tile(jnp.eye(width) / l2, (n, 1, 1)), jnp.zeros((n, width)))


def _regressed(state: Linear, arm: Int[Array, "n"], reward: Float[Array, "n"], context: Array) -> Linear:
    """One event more, by the formula of Sherman and Morrison: d² work, not d³."""
    x = jnp.take_along_axis(context, arm[:, None, None], axis=1)[:, 0]
    moved = jnp.einsum("nde,ne->nd", state.inverse, x)
    shrink = 1 + jnp.einsum("nd,nd->n", x, moved)
    inverse = state.inverse - moved[:, :, None] * moved[:, None, :] / shrink[:, None, None]
    return Linear(inverse, state.b + reward[:, None] * x)


def lin_ucb(width: int, alpha: float = 1.0, l2: float = 1.0) -> Bandit:
    """θᵀx + alpha sqrt(xᵀ A⁻¹ x) (Li et al., WWW 2010, Algorithm 1, one model for all arms; features tell them apart).

    InputError: no features, no finite penalty, or alpha below 0; when it chooses, features of another width.
    """
    _check_amount("alpha", alpha)

    def choose(state: Linear, key: Key[Array, ""], context: Float[Array, "n a d"]) -> Int[Array, "n"]:
        check_context(width, context)
        spread = jnp.einsum("nad,nde,nae->na", context, state.inverse, context)
        mean = jnp.einsum("nad,nd->na", context, state.weights)
        return _largest(key, mean + alpha * jnp.sqrt(jnp.maximum(spread, 0)))

    return Bandit(_no_events(width, l2), choose, _regressed)


def lin_ts(width: int, scale: float = 1.0, l2: float = 1.0) -> Bandit:
    """θ drawn from N(A⁻¹ b, scale² A⁻¹), then the largest θᵀx (Agrawal and Goyal, ICML 2013, Algorithm 1).

    InputError: no features, no finite penalty, or a scale below 0; when it chooses, features of another width.
    """
    _check_amount("scale", scale)

    def choose(state: Linear, key: Key[Array, ""], context: Float[Array, "n a d"]) -> Int[Array, "n"]:
        check_context(width, context)
        noise = jax.random.normal(key, state.b.shape)
        # Rounding may leave the inverse a little less than positive definite.
        root = jnp.linalg.cholesky(state.inverse + 1e-7 * jnp.eye(noise.shape[1]))
        drawn = state.weights + scale * jnp.einsum("nde,ne->nd", root, noise)
        return jnp.argmax(jnp.einsum("nad,nd->na", context, drawn), axis=1).astype(jnp.int32)

    return Bandit(_no_events(width, l2), choose, _regressed)


class Curve(NamedTuple):
    """What n runs of t pulls brought."""

    arm: Int[Array, "n t"]
    reward: Float[Array, "n t"]
    state: Any


def play(
    bandit: Bandit,
    pays: Callable[[Key[Array, ""], Int[Array, "n"]], Float[Array, "n"]],
    context: Float[Array, "n a d"],
    key: Key[Array, ""],
    steps: int,
) -> Curve:
    """`steps` pulls in each of n runs whose arms do not change: `pays(key, arm)` draws the rewards.

    InputError: it drew one that is not finite or that the bandit is not made for; not where all of this is compiled.
    """

    def pull(state: Any, step: Int[Array, ""]) -> tuple[Any, tuple[Array, Array]]:
        of_choice, of_reward = jax.random.split(jax.random.fold_in(key, step))
        arm = bandit.choose(state, of_choice, context)
        reward = pays(of_reward, arm)
        return bandit.update(state, arm, reward, context), (arm, reward)

    state, (arm, reward) = jax.lax.scan(pull, bandit.init(len(context)), jnp.arange(steps))
    bandit.check(reward)
    return Curve(arm.T, reward.T, state)
