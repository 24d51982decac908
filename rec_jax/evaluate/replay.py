"""What a rule that learns would have earned, told from a log of random choices (replay: Li et al., WSDM 2011).

The rule is asked in each round of the log what it would show. Where that is what was shown, the reward is known: it is
counted and the rule learns from it; else the round is passed over. If the log's choices are uniform and independent
of all else, what is kept is as if the rule had acted itself: its mean reward is unbiased (Theorem 1).

A log that is not uniform is made so first: a round whose item was shown with chance p is kept with chance min p / p
(rejection). Where p is estimated, so is the result, and it says so.

Checked against a loop in plain Python, and against live play on a uniform log (tests/evaluate/test_replay.py).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from rec_jax.errors import InputError
from rec_jax.evaluate.report import Estimate


@runtime_checkable
class Rule(Protocol):
    """What learns, as `rec_jax.policies.bandits.Bandit` does: pure functions over n runs side by side."""

    @property
    def init(self) -> Callable[[int], Any]:
        """The state of n runs."""

    @property
    def choose(self) -> Callable[[Any, Any, Any], Any]:
        """The arm of each run, from state, key and context."""

    @property
    def update(self) -> Callable[[Any, Any, Any, Any], Any]:
        """The state after arm and reward."""

    def check(self, rewards: Any) -> None:
        """InputError: rewards that the rule is not made for."""


class Stream(NamedTuple):
    """n passes over t rounds of a log."""

    action: Int[Array, "n t"]
    reward: Float[Array, "n t"]
    row: Int[Array, "n t"]
    """The round's place in the log: what the context is made from."""
    usable: Bool[Array, "n t"]
    """False where the round was rejected to make choices uniform."""


class Kept(NamedTuple):
    """By pass and round: whether the rule would have shown what was shown, and the reward then (else 0)."""

    matched: Bool[np.ndarray, "n t"]
    reward: Float[np.ndarray, "n t"]


def stream(
    action: Int[np.ndarray, "m"],
    reward: Float[np.ndarray, "m"],
    chances: Float[np.ndarray, "a"],
    rng: np.random.Generator,
    passes: int,
    rounds: int,
) -> Stream:
    """`passes` bootstrap resamples of as many rounds, in which every action comes as often as any other.

    `chances`: with which the log shows each action. InputError: no rounds, an action without a chance, chances that are
    not positive.
    """
    if not len(action) or min(passes, rounds) < 1 or len(action) != len(reward):
        raise InputError(f"{len(action)} rounds, {passes} passes over {rounds}: expected at least one of each")
    if action.min() < 0 or action.max() >= len(chances):
        raise InputError(f"actions from {action.min()} to {action.max()}: there are chances of {len(chances)}")
    if not (np.isfinite(chances) & (chances > 0)).all():
        raise InputError(f"action {int(np.argmin(chances))}: chance {chances.min()}: expected one above 0")
    row = rng.integers(0, len(action), (passes, rounds))
    usable = rng.random((passes, rounds)) < (chances.min() / chances)[action[row]]
    return Stream(
        jnp.asarray(action[row], jnp.int32),
        jnp.asarray(reward[row], jnp.float32),
        jnp.asarray(row, jnp.int32),
        jnp.asarray(usable),
    )


def replay(
    rule: Rule, of: Stream, context: Callable[[Int[Array, "n"]], Float[Array, "n a d"]], key: Key[Array, ""]
) -> Kept:
    """The rule on each pass; `context` gives the arms' features in these rounds of the log.

    InputError: rewards that the rule is not made for.
    """
    rule.check(of.reward)

    def round_(state: Any, at: tuple[Array, ...]) -> tuple[Any, tuple[Array, Array]]:
        t, action, reward, row, usable = at
        seen = context(row)
        matched = (rule.choose(state, jax.random.fold_in(key, t), seen) == action) & usable
        learnt = rule.update(state, action, reward, seen)

        def pick(new: Array, old: Array) -> Array:
            return jnp.where(matched.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        return jax.tree.map(pick, learnt, state), (matched, jnp.where(matched, reward, 0.0))

    @jax.jit
    def run(of: Stream) -> tuple[Array, Array]:
        n, t = of.action.shape
        rounds = (jnp.arange(t), of.action.T, of.reward.T, of.row.T, of.usable.T)
        _, (matched, reward) = jax.lax.scan(round_, rule.init(n), rounds)
        return matched.T, reward.T

    matched, reward = run(of)
    return Kept(np.asarray(matched), np.asarray(reward, np.float64))


def curve(kept: Kept, marks: Int[np.ndarray, "k"]) -> Float[np.ndarray, "n k"]:
    """Rewards of a pass added up over its first 1, 2, … rounds kept, at these counts.

    InputError: a pass kept fewer rounds than the last mark, or a mark below 1.
    """
    if marks.min() < 1:
        raise InputError(f"mark {int(marks.min())}: expected counts of rounds, at least 1")
    fewest = int(kept.matched.sum(axis=1).min())
    if fewest < marks.max():
        raise InputError(f"a pass kept {fewest} rounds: {int(marks.max())} are asked for; replay more rounds")
    found = [np.cumsum(reward[matched])[marks - 1] for matched, reward in zip(kept.matched, kept.reward)]
    return np.stack(found)


def over_passes(values: Float[np.ndarray, "n k"]) -> list[Estimate]:
    """By column, the mean over passes with the 95 % range of the passes: each is a resample of the log itself."""
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    return [Estimate(float(m), float(a), float(b)) for m, a, b in zip(values.mean(axis=0), low, high)]
