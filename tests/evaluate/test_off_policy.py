"""Off-policy estimators against the formulas in plain Python, and against worlds whose truth is known."""

import itertools
from typing import Any

import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.evaluate.off_policy import ESTIMATORS, NEED_MODEL, Log, SlateLog, estimate, slates

A = 3
CONTEXTS = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])  # the logging policy, by context
JUDGED = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
REWARD = np.array([[1.0, 0.0, 0.4], [0.2, 0.9, 0.5]])  # chance of a reward of 1
WRONG = np.array([[0.5, 0.5, 0.5], [0.9, 0.1, 0.1]])  # a bad model
TRUTH = float((JUDGED * REWARD).sum(axis=1).mean())


def world(m: int, seed: int) -> tuple[Log, np.ndarray, np.ndarray]:
    """(log, policy, a bad model's rewards): two contexts, equally often."""
    rng = np.random.default_rng(seed)
    context = rng.integers(0, 2, m)
    action = (rng.random(m)[:, None] > np.cumsum(CONTEXTS[context], axis=1)).sum(axis=1)
    reward = (rng.random(m) < REWARD[context, action]).astype(float)
    return Log(action, reward, CONTEXTS[context, action]), JUDGED[context], WRONG[context]


def test_estimates_are_the_formulas() -> None:
    log, policy, model = world(50, 0)
    found = estimate(log, policy, model, tau=1.5, shrink=2.0)
    w = [policy[i][a] / p for i, (a, p) in enumerate(zip(log.action, log.propensity))]
    r, q = log.reward.tolist(), [model[i][a] for i, a in enumerate(log.action)]
    v = [sum(p * x for p, x in zip(policy[i], model[i])) for i in range(50)]
    rounds, m = list(zip(w, r, q)), 50
    by_hand = {
        "dm": sum(v) / m,
        "ips": sum(a * b for a, b, _ in rounds) / m,
        "snips": sum(a * b for a, b, _ in rounds) / sum(w),
        "dr": sum(v) / m + sum(a * (b - c) for a, b, c in rounds) / m,
        "sndr": sum(v) / m + sum(a * (b - c) for a, b, c in rounds) / sum(w),
        "switch-dr": sum(v) / m + sum(a * (b - c) for a, b, c in rounds if a <= 1.5) / m,
        "dr-os": sum(v) / m + sum(2 * a / (a**2 + 2) * (b - c) for a, b, c in rounds) / m,
    }
    assert found.keys() == by_hand.keys() == ESTIMATORS.keys()
    for name, value in by_hand.items():
        assert found[name].value == pytest.approx(value, rel=1e-12)
        assert found[name].low < value < found[name].high
    effective = sum(w) ** 2 / sum(a**2 for a in w)
    assert found["ips"].effective == pytest.approx(effective)
    assert found["dm"].effective == 50
    assert "rests on" in found["ips"].warning


def test_what_a_limited_estimator_rests_on_is_what_it_applies() -> None:
    log, policy, model = world(5000, 2)
    w = policy[np.arange(5000), log.action] / log.propensity
    applied = {"switch-dr": np.where(w <= 1.5, w, 0), "dr-os": 2 * w / (w**2 + 2)}
    found = estimate(log, policy, model, tau=1.5, shrink=2.0, resamples=10)
    for name, of in applied.items():
        assert found[name].effective == pytest.approx(of.sum() ** 2 / (of**2).sum())
        assert found[name].kept == pytest.approx(of.sum() / w.sum())
        assert not found[name].warning
    assert {found[name].kept for name in ESTIMATORS if name not in applied} == {1.0}
    cut = estimate(log, policy, model, tau=0.01, shrink=1e-6, resamples=10)
    for name in applied:
        assert cut[name].value == pytest.approx(cut["dm"].value, abs=1e-4)
        assert "hardly more than the model's own answer" in cut[name].warning


def test_weighted_estimators_find_the_truth_where_the_model_does_not() -> None:
    found = estimate(*world(40_000, 1), resamples=200)
    assert abs(found["dm"].value - TRUTH) > 0.1
    for name in ("ips", "snips", "dr", "sndr"):
        assert found[name].low < TRUTH < found[name].high
        assert found[name].high - found[name].low < 0.04
        assert found[name].warning == ""


def test_expectations_by_enumeration() -> None:
    """Over all logs of two rounds, each with its chance: ips and dr are unbiased, snips is not."""
    rounds = [(c, a, r) for c in range(2) for a in range(A) for r in (0, 1)]
    chance = {(c, a, r): 0.5 * CONTEXTS[c, a] * (REWARD[c, a] if r else 1 - REWARD[c, a]) for c, a, r in rounds}
    mean = dict.fromkeys(("ips", "dr", "snips"), 0.0)
    for pair in itertools.product(rounds, repeat=2):
        context, action, reward = (np.array(x) for x in zip(*pair))
        log = Log(action, reward.astype(float), CONTEXTS[context, action])
        found = estimate(log, JUDGED[context], WRONG[context], tuple(mean), resamples=1)
        for name in mean:
            mean[name] += chance[pair[0]] * chance[pair[1]] * found[name].value
    assert mean["ips"] == pytest.approx(TRUTH, abs=1e-9)
    assert mean["dr"] == pytest.approx(TRUTH, abs=1e-9)
    assert abs(mean["snips"] - TRUTH) > 0.01


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = sum(
        found.low < TRUTH < found.high
        for seed in range(200)
        for found in [estimate(*world(400, 100 + seed), ("dr",), resamples=300)["dr"]]
    )
    assert 180 <= held <= 199


def slate_world(m: int, seed: int) -> tuple[SlateLog, np.ndarray, float]:
    """(log, policy, truth): two places of two actions each; a reward at the second place needs the first's action."""
    rng = np.random.default_rng(seed)
    logging, judged = np.array([0.5, 0.5]), np.array([0.8, 0.2])
    action = (rng.random((m, 2)) > 0.5).astype(int)
    chance = np.stack([0.2 + 0.5 * (action[:, 0] == 0), 0.6 * (action[:, 0] == 0) * (action[:, 1] == 1)], axis=1)
    reward = (rng.random((m, 2)) < chance).astype(float)
    truth = 0.2 + 0.5 * judged[0] + 0.6 * judged[0] * judged[1]
    return SlateLog(reward, logging[action]), judged[action], truth


def test_slate_estimators_by_hand_and_in_a_world_where_places_depend_on_those_above() -> None:
    log, policy, _ = slate_world(30, 0)
    found = slates(log, policy, place_weights=(1.0, 0.5), resamples=50)
    w = (policy / log.propensity).tolist()
    r = [[a, 0.5 * b] for a, b in log.reward.tolist()]
    by_hand = {
        "sips": sum(a * b * (x + y) for (a, b), (x, y) in zip(w, r)) / 30,
        "rips": sum(a * x + a * b * y for (a, b), (x, y) in zip(w, r)) / 30,
        "iips": sum(a * x + b * y for (a, b), (x, y) in zip(w, r)) / 30,
        "sn-rips": sum(a * x for (a, _), (x, _) in zip(w, r)) / sum(a for a, _ in w)
        + sum(a * b * y for (a, b), (_, y) in zip(w, r)) / sum(a * b for a, b in w),
    }
    for name, value in by_hand.items():
        assert found[name].value == pytest.approx(value, rel=1e-12)
    log, policy, truth = slate_world(60_000, 1)
    found = slates(log, policy, resamples=100)
    for name in ("sips", "rips", "sn-sips", "sn-rips"):
        assert found[name].value == pytest.approx(truth, abs=0.02)
    assert abs(found["iips"].value - truth) > 0.02  # it believes that places do not matter to each other
    width = {name: of.high - of.low for name, of in found.items()}
    assert width["rips"] < width["sips"]


def test_estimated_propensities_say_so() -> None:
    log, policy, _ = world(5000, 3)
    said = Log(log.action, log.reward, log.propensity, "estimated")
    (found,) = estimate(said, policy, estimators=("ips",), resamples=5).values()
    assert found.propensities == "estimated"
    assert found.warning == "propensities are estimated, not logged"


GOOD: dict[str, Any] = {"action": np.array([0, 1]), "reward": np.ones(2), "propensity": np.full(2, 0.5)}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"propensity": np.array([0.5, 0.0])}, "round 1: propensity 0.0: expected the chance"),
        ({"propensity": np.array([np.nan, 0.5])}, "round 0: propensity nan"),
        ({"propensity": np.array([0.5, 1.5])}, "round 1: propensity 1.5"),
        ({"reward": np.array([np.inf, 0.0])}, "round 0: reward inf"),
        ({"reward": np.ones(3)}, "2 actions, 3 rewards"),
    ],
)
def test_logs_that_cannot_be_used_are_refused(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(InputError, match=part):
        Log(**(GOOD | changes))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"propensity": None}, "a log without propensities: .* propensities='estimated'"),
        ({"action": np.array([0.0, 1.0])}, "actions of type float64: expected whole numbers"),
        ({"propensities": "estimate"}, "no source of propensities 'estimate': did you mean estimated"),
    ],
)
def test_what_types_would_tell_is_told_without_them_too(changes: dict[str, Any], part: str) -> None:
    """The tests check annotations where a user's program does not."""
    log = Log(**GOOD)
    for name, value in changes.items():
        object.__setattr__(log, name, value)
    with pytest.raises(InputError, match=part):
        log.__post_init__()


def test_bad_slate_logs_are_refused() -> None:
    with pytest.raises(InputError, match=r"round 1, place 0: propensity 0\.0"):
        SlateLog(np.ones((2, 2)), np.array([[0.5, 0.5], [0.0, 0.5]]))
    with pytest.raises(InputError, match="expected the same"):
        SlateLog(np.ones((2, 2)), np.ones((2, 3)))
    log = SlateLog(np.ones((2, 2)), np.ones((2, 2)))
    object.__setattr__(log, "reward", np.ones(2))
    object.__setattr__(log, "propensity", np.ones(2))
    with pytest.raises(InputError, match="rounds and places"):
        log.__post_init__()
    log = SlateLog(np.ones((2, 2)), np.ones((2, 2)))
    with pytest.raises(InputError, match="a policy over"):
        slates(log, np.ones((2, 3)))
    with pytest.raises(InputError, match="round 1, place 0: the policy's chance nan: expected 0 to 1"):
        slates(log, np.array([[0.5, 0.5], [np.nan, 0.5]]))
    for weights in ((1.0, 1.0, 1.0), (1.0, float("nan"))):
        with pytest.raises(InputError, match="expected a finite one for each of 2 places"):
            slates(log, np.ones((2, 2)), weights)


@pytest.mark.parametrize(
    ("policy", "given", "part"),
    [
        (np.full((2, 2), 0.6), {}, "round 0: the policy's chances add up to 1.2"),
        (np.array([[0.5, 0.5], [1.5, -0.5]]), {}, "round 1: the policy's chances add up to 1"),
        (np.ones((2, 1)), {"estimators": ("ips",)}, "round 1: action 1: the policy has actions 0 to 0"),
        (np.full((3, 2), 0.5), {}, "in each of 2 rounds"),
        (np.full((2, 2), 0.5), {"estimators": ("dr",)}, "dr: needs predicted rewards"),
        (np.full((2, 2), 0.5), {"estimators": ("snisp",)}, "did you mean snips"),
        (np.full((2, 2), 0.5), {"model": np.ones((2, 3))}, "expected those of the policy's actions"),
        (np.full((2, 2), 0.5), {"estimators": ("ips",), "resamples": 0}, "resamples = 0"),
        (np.full((2, 2), 0.5), {"model": np.array([[1, 1], [1, np.nan]])}, "round 1, action 1: predicted reward nan"),
        (np.full((2, 2), 0.5), {"estimators": ("ips",), "shrink": 0.0}, "shrink 0.0: expected numbers above 0"),
        (np.full((2, 2), 0.5), {"estimators": ("ips",), "shrink": np.inf}, "shrink inf: .* finite"),
    ],
)
def test_what_does_not_fit_is_refused(policy: np.ndarray, given: dict[str, Any], part: str) -> None:
    assert set(NEED_MODEL) < set(ESTIMATORS)
    with pytest.raises(InputError, match=part):
        estimate(Log(**GOOD), policy, **given)
