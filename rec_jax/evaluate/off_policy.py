"""What a policy would have earned, told from a log of what another one did (off-policy evaluation).

A log holds for each of m rounds an action, its reward and the propensity p: the chance with which the logging policy
took it. The policy to judge gives its chance of every action in every round; w is its chance of the logged action over
p. Written with q, a model of the rewards, and v = sum over a of pi(a) q(a), the model's own answer:

| name | estimate | source |
|---|---|---|
| dm | mean v | |
| ips | mean w r | Horvitz and Thompson, 1952 |
| snips | sum w r / sum w | Swaminathan and Joachims, NeurIPS 2015 |
| dr | mean v + w (r - q) | Dudík et al., ICML 2011 |
| sndr | mean v + sum w (r - q) / sum w | |
| switch-dr | mean v + w (r - q), the second part where w <= tau alone | Wang et al., ICML 2017 |
| dr-os | mean v + w lambda / (w² + lambda) (r - q) | Su et al., ICML 2020 |

Slates of K places, with a reward at each (`slates`): `sips` weighs a slate by the product of its places' w (standard),
`rips` a place by the product of those down to it (McInerney et al., KDD 2020: what a user does depends on what stood
above), `iips` by its own alone (Li et al., KDD 2018), each plain or self-normalised by place ('sn-…').

Checked against the formulas in plain Python, and against worlds whose true values are known by enumeration
(tests/evaluate/test_off_policy.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from rec_jax.errors import InputError, check_literal, did_you_mean
from rec_jax.evaluate.resampling import counts
from rec_jax.randomness import host_rng

Source: TypeAlias = Literal["logged", "estimated"]
Terms: TypeAlias = list[tuple[np.ndarray, np.ndarray | None]]
"""An estimate is the sum over its terms of mean(first), or of sum(first) / sum(second); arrays are [m]."""

FEW = 100.0
"""An effective sample below this many rounds is warned of."""
MOST = 0.1
"""A share of the weights below this is warned of, where an estimator cuts or shrinks them: the model speaks alone."""


@dataclass(frozen=True)
class Log:
    """Rounds of a logging policy. `propensities`: whether the chances were logged, or estimated afterwards.

    InputError: no propensities, a source of them that is none, actions that are no whole numbers, arrays of unlike
    lengths, no round, rewards that are not finite, a propensity that is missing (NaN), zero, negative or above 1: the
    first such round is named.
    """

    action: Int[np.ndarray, "_"]
    reward: Float[np.ndarray, "_"]
    propensity: Float[np.ndarray, "_"]
    propensities: Source = "logged"

    def __post_init__(self) -> None:
        check_literal("source of propensities", self.propensities, Source)
        _check_there(self.propensity)
        if not np.issubdtype(np.asarray(self.action).dtype, np.integer):
            raise InputError(f"actions of type {np.asarray(self.action).dtype}: expected whole numbers from 0")
        lengths = {len(self.action), len(self.reward), len(self.propensity)}
        if len(lengths) > 1 or 0 in lengths:
            raise InputError(
                f"a log of {len(self.action):,} actions, {len(self.reward):,} rewards and {len(self.propensity):,} "
                "propensities: expected as many of each, and at least one"
            )
        _check_rewards(self.reward)
        _check_propensities(self.propensity)


@dataclass(frozen=True)
class SlateLog:
    """Rounds in which K places were filled: the propensity of each place's action, and what each place earned.

    InputError: as Log, of the first place of the first round; arrays that are not of rounds by places.
    """

    reward: Float[np.ndarray, "_ _"]
    propensity: Float[np.ndarray, "_ _"]
    propensities: Source = "logged"

    def __post_init__(self) -> None:
        check_literal("source of propensities", self.propensities, Source)
        _check_there(self.propensity)
        if self.reward.ndim != 2 or self.reward.shape != self.propensity.shape or self.reward.size == 0:
            raise InputError(
                f"a log of rewards {self.reward.shape} and propensities {self.propensity.shape}: expected the same "
                "rounds and places, and at least one"
            )
        _check_rewards(self.reward)
        _check_propensities(self.propensity)


def _place(flat: int, of: np.ndarray) -> str:
    if of.ndim == 1:
        return f"round {flat}"
    return "round {}, place {}".format(*divmod(flat, of.shape[1]))


def _check_there(propensity: np.ndarray | None) -> None:
    if propensity is None:
        raise InputError(
            "a log without propensities: expected the chance with which the logging policy took each action; where it "
            "was not logged, that of an estimated policy (rec_jax.evaluate.behaviour), propensities='estimated'"
        )


def _check_rewards(reward: np.ndarray) -> None:
    wrong = np.flatnonzero(~np.isfinite(reward))
    if len(wrong):
        raise InputError(f"{_place(int(wrong[0]), reward)}: reward {reward.flat[wrong[0]]}: expected a finite number")


def _check_propensities(propensity: np.ndarray) -> None:
    wrong = np.flatnonzero(~((propensity > 0) & (propensity <= 1)))  # NaN as well
    if len(wrong):
        raise InputError(
            f"{_place(int(wrong[0]), propensity)}: propensity {propensity.flat[wrong[0]]}: expected the chance with "
            "which the logging policy took the logged action, above 0 and at most 1; a log without chances needs those "
            "of an estimated policy, propensities='estimated'"
        )


@dataclass(frozen=True)
class Estimate:
    """A policy's value by one estimator, with its 95 % bootstrap interval over rounds.

    `effective`: the rounds it rests on, (sum w)² / sum w² of the weights as it applies them (Kish, 1965); of `dm` all.
    `kept`: the share of all weights that it applies, 1 but for switch-dr, which cuts, and dr-os, which shrinks.
    `propensities`: whether the log's chances were logged or estimated.
    """

    estimator: str
    value: float
    low: float
    high: float
    effective: float
    rounds: int
    propensities: Source
    kept: float = 1.0

    @property
    def warning(self) -> str:
        """What has to be said beside the value, or nothing."""
        found = []
        if self.effective < FEW:
            found.append(f"rests on {self.effective:.1f} of {self.rounds:,} rounds: do not trust it")
        if self.kept < MOST:
            found.append(f"applies {self.kept:.1%} of the weights: hardly more than the model's own answer")
        if self.propensities == "estimated":
            found.append("propensities are estimated, not logged")
        return "; ".join(found)


@dataclass(frozen=True)
class Rounds:
    """What the estimators read: importance weights, rewards, and the model's q of the action and v of the policy."""

    w: np.ndarray
    r: np.ndarray
    q: np.ndarray
    v: np.ndarray
    tau: float
    shrink: float


def _dr(rounds: Rounds, weights: np.ndarray) -> Terms:
    return [(rounds.v + weights * (rounds.r - rounds.q), None)]


LIMITED: dict[str, Callable[[Rounds], np.ndarray]] = {
    "switch-dr": lambda x: np.where(x.w <= x.tau, x.w, 0),
    "dr-os": lambda x: x.shrink * x.w / (x.w**2 + x.shrink),
}
"""By estimator that cuts or shrinks them, the weights that it applies."""
ESTIMATORS: dict[str, Callable[[Rounds], Terms]] = {
    "dm": lambda x: [(x.v, None)],
    "ips": lambda x: [(x.w * x.r, None)],
    "snips": lambda x: [(x.w * x.r, x.w)],
    "dr": lambda x: _dr(x, x.w),
    "sndr": lambda x: [(x.v, None), (x.w * (x.r - x.q), x.w)],
    "switch-dr": lambda x: _dr(x, LIMITED["switch-dr"](x)),
    "dr-os": lambda x: _dr(x, LIMITED["dr-os"](x)),
}
NEED_MODEL = ("dm", "dr", "sndr", "switch-dr", "dr-os")


def estimate(
    log: Log,
    policy: Float[np.ndarray, "_ _"],
    model: Float[np.ndarray, "_ _"] | None = None,
    estimators: Sequence[str] = tuple(ESTIMATORS),
    *,
    tau: float = 10.0,
    shrink: float = 100.0,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """The value of `policy`, its chance of every action in every round, by each of `estimators`.

    `model`: predicted rewards; give each round those of a model that was not fitted on it, or the estimates are too
    hopeful. `tau` is switch-dr's limit of w, `shrink` the lambda of dr-os.
    InputError: unknown estimators, a model missing or not finite, shapes that do not fit, an action that the policy
    does not know, chances that are negative or do not add up to 1, a tau not above 0, a shrink that is not or is
    infinite, no resamples.
    """
    m = len(log.action)
    _check_policy(policy, m)
    if unknown := [name for name in estimators if name not in ESTIMATORS]:
        hint = did_you_mean(unknown[0], ESTIMATORS)
        raise InputError(f"no estimator {unknown[0]!r}: {hint}there are {', '.join(ESTIMATORS)}")
    lacking = [name for name in estimators if name in NEED_MODEL and model is None]
    if lacking:
        raise InputError(f"{', '.join(lacking)}: needs predicted rewards of every action in every round (model)")
    if model is not None and model.shape != policy.shape:
        raise InputError(f"predicted rewards {model.shape}: expected those of the policy's actions, {policy.shape}")
    if model is not None and not np.isfinite(model).all():
        row, action = np.argwhere(~np.isfinite(model))[0]
        raise InputError(
            f"round {row}, action {action}: predicted reward {model[row, action]}: expected a finite number"
        )
    if not (tau > 0 and 0 < shrink < np.inf):
        raise InputError(f"tau {tau}, shrink {shrink}: expected numbers above 0, and shrink (a lambda) finite")
    wrong = np.flatnonzero((log.action < 0) | (log.action >= policy.shape[1]))
    if len(wrong):
        raise InputError(
            f"round {wrong[0]}: action {log.action[wrong[0]]}: the policy has actions 0 to {policy.shape[1] - 1}"
        )
    every = np.arange(m)
    w = policy[every, log.action].astype(np.float64) / log.propensity
    nothing = np.zeros(m)
    q, v = (nothing, nothing) if model is None else (model[every, log.action], (policy * model).sum(axis=1))
    rounds = Rounds(w, np.asarray(log.reward, np.float64), q, v, tau, shrink)
    terms = {name: ESTIMATORS[name](rounds) for name in estimators}
    applied = {name: LIMITED[name](rounds) if name in LIMITED else w for name in terms}
    effective = {name: float(m) if name == "dm" else _effective(of) for name, of in applied.items()}
    found = _bootstrapped(terms, effective, m, log.propensities, resamples, seed)
    return {name: replace(of, kept=_share(applied[name], w)) for name, of in found.items()}


def slates(
    log: SlateLog,
    policy: Float[np.ndarray, "_ _"],
    place_weights: Sequence[float] | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """The value of a slate policy: the sum over places of `place_weights` (1 each) times what they earn.

    `policy`: its chance of each place's logged action, given what stands above it, as `log.propensity` is. Where that
    matters, as in slates without repetition, `iips` has a bias: it takes the slates above for the policy's.
    InputError: shapes that do not fit, chances outside 0 to 1, weights that are not finite, no resamples.
    """
    if policy.shape != log.reward.shape:
        raise InputError(f"a policy over {policy.shape}: expected the log's rounds and places, {log.reward.shape}")
    wrong = np.flatnonzero(~((policy >= 0) & (policy <= 1)))  # NaN as well
    if len(wrong):
        at = int(wrong[0])
        raise InputError(f"{_place(at, policy)}: the policy's chance {policy.flat[at]}: expected 0 to 1")
    m, k = log.reward.shape
    shares = np.ones(k) if place_weights is None else np.asarray(place_weights, np.float64)
    if shares.shape != (k,) or not np.isfinite(shares).all():
        raise InputError(f"place_weights {shares.tolist()}: expected a finite one for each of {k} places")
    w = policy.astype(np.float64) / log.propensity
    whole = np.cumprod(w, axis=1)
    weights = {"sips": np.repeat(whole[:, -1:], k, axis=1), "rips": whole, "iips": w}
    earned = log.reward * shares
    terms: dict[str, Terms] = {}
    for name, of in weights.items():
        terms[name] = [((of * earned).sum(axis=1), None)]
        terms[f"sn-{name}"] = [(of[:, j] * earned[:, j], of[:, j]) for j in range(k)]
    effective = {name: min(_effective(of) for of in weights[name.removeprefix("sn-")].T) for name in terms}
    return _bootstrapped(terms, effective, m, log.propensities, resamples, seed)


def _check_policy(policy: np.ndarray, m: int) -> None:
    if policy.ndim != 2 or len(policy) != m:
        raise InputError(f"a policy over {policy.shape}: expected chances of every action in each of {m:,} rounds")
    sums = policy.sum(axis=1)
    wrong = np.flatnonzero((policy < 0).any(axis=1) | ~(np.abs(sums - 1) < 1e-3))
    if len(wrong):
        raise InputError(
            f"round {wrong[0]}: the policy's chances add up to {sums[wrong[0]]:.4g}: expected 1, and none below 0"
        )


def _effective(w: np.ndarray) -> float:
    square = float((w**2).sum())
    return float(w.sum()) ** 2 / square if square else 0.0


def _share(applied: np.ndarray, w: np.ndarray) -> float:
    # No weight at all: `effective` is 0, and tells that.
    return float(_ratio(applied.sum(), w.sum())) if w.any() else 1.0


def _bootstrapped(
    terms: Mapping[str, Terms],
    effective: Mapping[str, float],
    m: int,
    propensities: Source,
    resamples: int,
    seed: int,
) -> dict[str, Estimate]:
    """Values, and percentiles over rounds drawn with replacement: the same draws for all estimators."""
    if resamples < 1:
        raise InputError(f"resamples = {resamples}: expected at least 1, better 2,000")
    rng, drawn = host_rng(seed, "off-policy bootstrap"), {name: list[np.ndarray]() for name in terms}
    for block in counts(rng, m, resamples):
        times = block.astype(np.float64)
        for name, of in terms.items():
            drawn[name].append(sum((_ratio(times @ a, m if b is None else times @ b) for a, b in of), np.zeros(1)))
    found = {}
    for name, of in terms.items():
        value = sum(float(_ratio(a.sum(), m if b is None else b.sum())) for a, b in of)
        low, high = np.percentile(np.concatenate(drawn[name]), [2.5, 97.5])
        found[name] = Estimate(name, value, float(low), float(high), effective[name], m, propensities)
    return found


def _ratio(above: Any, below: Any) -> Any:
    # No round speaks for the policy: nothing is known, and 0 is what plain weighting says as well.
    return np.divide(above, below, out=np.zeros_like(np.asarray(above, np.float64)), where=np.asarray(below) != 0)
