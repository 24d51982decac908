"""Paired tests against scipy, brute force and simulation; intervals over users and over seeds."""

import itertools
import json
import math
from dataclasses import asdict, astuple

import numpy as np
import pytest
import scipy.stats

from rec_jax.errors import InputError
from rec_jax.evaluate.significance import (
    Interval,
    compare_pairs,
    compare_to,
    holm,
    pair_records,
    paired_bootstrap,
    randomization_test,
    seed_difference,
    seed_interval,
)


def pair(n: int, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two systems' values of n users, alike but for noise and a shift."""
    rng = np.random.default_rng(seed)
    b = rng.random(n)
    return b + rng.normal(shift, 0.1, n), b


def test_bootstrap_equals_scipy_up_to_the_draw() -> None:
    a, b = pair(200, 0.01)
    found = paired_bootstrap(a, b, 20_000)
    theirs = scipy.stats.bootstrap((a - b,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert found.difference == pytest.approx((a - b).mean(), rel=1e-12)
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.02 * width)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.02 * width)
    assert found == paired_bootstrap(a, b, 20_000) != paired_bootstrap(a, b, 20_000, seed=1)


def test_bootstrap_p_counts_every_possible_resample() -> None:
    """Of four users' 4^4 resamples, the share whose mean, shifted to 0, is as far off: in plain Python."""
    a, b = np.array([0.5, 1.0, 0.0, 0.75]), np.array([0.25, 0.25, 0.25, 0.25])
    z = (a - b).tolist()
    mean = sum(z) / 4
    shifted = [sum(drawn) / 4 - mean for drawn in itertools.product(z, repeat=4)]
    expected = sum(abs(s) >= abs(mean) - 1e-12 for s in shifted) / 4**4
    assert paired_bootstrap(a, b, 40_000).p == pytest.approx(expected, abs=4 * math.sqrt(expected / 40_000))


@pytest.mark.parametrize("shift", [0.005, 0.01, 0.02])
def test_large_samples_agree_with_the_t_test(shift: float) -> None:
    a, b = pair(500, shift)
    expected = scipy.stats.ttest_rel(a, b).pvalue
    tolerance = 4 * math.sqrt(expected / 20_000) + 0.05 * expected
    assert paired_bootstrap(a, b, 20_000).p == pytest.approx(expected, abs=tolerance)
    assert randomization_test(a, b, 20_000) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("n", [1, 2, 5, 9])
@pytest.mark.parametrize("ties", [False, True])
def test_few_users_are_enumerated(n: int, ties: bool) -> None:
    """Against all sign patterns in plain Python, and scipy's permutation_test."""
    rng = np.random.default_rng(n)
    a, b = (rng.integers(0, 4, n) / 3 if ties else rng.random(n) for _ in range(2))
    z = (a - b).tolist()
    sums = [sum(s * x for s, x in zip(signs, z)) for signs in itertools.product((1, -1), repeat=n)]
    expected = sum(abs(s) >= abs(sum(z)) - 1e-12 for s in sums) / 2**n
    assert randomization_test(a, b, 2**n) == pytest.approx(expected, rel=1e-12)
    if n > 1 and sum(z):
        theirs = scipy.stats.permutation_test((a, b), lambda x, y: (x - y).mean(), permutation_type="samples")
        assert randomization_test(a, b, 2**n) == pytest.approx(theirs.pvalue, rel=1e-12)


def test_more_users_are_sampled_as_scipy_does() -> None:
    a, b = pair(60, 0.02)

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return (x - y).mean(axis=axis)

    theirs = scipy.stats.permutation_test((a, b), difference, permutation_type="samples", n_resamples=20_000, rng=1)
    found = randomization_test(a, b, 20_000)
    assert found == pytest.approx(theirs.pvalue, abs=6 * math.sqrt(found / 20_000))
    assert found == randomization_test(a, b, 20_000) != randomization_test(a, b, 20_000, seed=1)


def test_users_without_a_difference_have_no_sign() -> None:
    """Three users differ among a thousand: eight patterns, of which two are as far off."""
    b = np.random.default_rng(0).random(1000)
    a = b.copy()
    a[[3, 500, 999]] += [0.5, 0.25, 1.0]
    assert randomization_test(a, b, 100) == 0.25
    assert randomization_test(b, b, 100) == 1.0
    assert paired_bootstrap(b, b, 100).p == 1.0


def test_p_is_never_zero() -> None:
    a, b = pair(100, 1.0)
    assert randomization_test(a, b, 99) == paired_bootstrap(a, b, 99).p == 0.01


@pytest.mark.parametrize("test", [randomization_test, lambda a, b, r, s: paired_bootstrap(a, b, r, s).p])
def test_one_in_twenty_is_a_false_alarm_under_the_null(test) -> None:
    """1,500 pairs of systems without a difference, of 60 skewed users: 4 standard errors of .05 are .023."""
    rng = np.random.default_rng(0)
    tables = rng.exponential(size=(1500, 2, 60))
    p = np.array([test(a, b, 299, i) for i, (a, b) in enumerate(tables)])
    assert abs((p <= 0.05).mean() - 0.05) < 0.023
    assert abs((p <= 0.5).mean() - 0.5) < 0.052


def test_a_real_difference_is_found_as_often_as_theory_says() -> None:
    """Power of the two-sided t test at effect .5 and 40 users: .869 (Cohen 1988, from the noncentral t)."""
    effect, n = 0.5, 40
    noncentral, cut = scipy.stats.nct(n - 1, effect * math.sqrt(n)), scipy.stats.t.ppf(0.975, n - 1)
    power = noncentral.sf(cut) + noncentral.cdf(-cut)
    rng = np.random.default_rng(1)
    found = [randomization_test(x, np.zeros(n), 299, i) <= 0.05 for i, x in enumerate(rng.normal(0.5, 1, (800, n)))]
    assert power == pytest.approx(0.869, abs=0.001)
    assert np.mean(found) == pytest.approx(power, abs=4 * math.sqrt(power * (1 - power) / 800))


def test_undefined_users_are_left_out_of_both() -> None:
    a, b = pair(50, 0.05)
    holes_a, holes_b = np.append(a, [math.nan, 0.3, math.nan]), np.append(b, [0.9, math.nan, math.nan])
    assert paired_bootstrap(holes_a, holes_b, 500) == paired_bootstrap(a, b, 500)
    assert randomization_test(holes_a, holes_b, 500) == randomization_test(a, b, 500)


@pytest.mark.parametrize("test", [randomization_test, paired_bootstrap])
def test_bad_input(test) -> None:
    a, b = pair(10, 0.0)
    with pytest.raises(InputError, match=r"10 and of 9 users"):
        test(a, b[:9], 100)
    with pytest.raises(InputError, match="resamples = 0"):
        test(a, b, 0)
    with pytest.raises(InputError, match="infinite"):
        test(np.append(a[:9], math.inf), b, 100)
    with pytest.raises(InputError, match="nothing to compare"):
        test(np.full(3, math.nan), np.ones(3), 100)
    with pytest.raises(InputError, match="at least 2"):
        paired_bootstrap(a[:1], b[:1], 100)


def written_out(p: dict[str, float]) -> dict[str, float]:
    """Holm's procedure: an adjusted p-value is the lowest level at which the steps down reach its hypothesis."""
    adjusted = {}
    for name, value in p.items():
        steps = [sum(other >= q for other in p.values()) * q for q in p.values() if q <= value]
        adjusted[name] = min(1.0, max(steps))
    return adjusted


def test_holm_worked_by_hand() -> None:
    """.01 x 4 = .04; .02 x 3 = .06; .03 x 2 = .06; .04 x 1 = .04, raised to .06. R's p.adjust prints the same."""
    found = holm({"c": 0.03, "a": 0.01, "d": 0.04, "b": 0.02})
    assert found == pytest.approx({"c": 0.06, "a": 0.04, "d": 0.06, "b": 0.06})
    assert list(found) == ["c", "a", "d", "b"]
    assert holm({"x": 0.7, "y": 0.6}) == {"x": 1.0, "y": 1.0}
    assert holm({"x": 0.02}) == {"x": 0.02}
    assert holm({}) == {}


def test_holm_equals_the_procedure_written_out() -> None:
    rng = np.random.default_rng(0)
    for m in range(1, 8):
        p = {f"system {i}": float(v) for i, v in enumerate(rng.random(m) ** 3)}
        p |= {"tied": p["system 0"]}
        assert holm(p) == pytest.approx(written_out(p))


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_holm_wants_probabilities(value: float) -> None:
    with pytest.raises(InputError, match="p-value of x"):
        holm({"x": value})


@pytest.mark.parametrize("n", [2, 3, 10])
def test_seed_interval_equals_scipy(n: int) -> None:
    values = np.random.default_rng(n).normal(0.4, 0.01, n)
    found = seed_interval(values.tolist())
    expected = scipy.stats.t.interval(0.95, n - 1, loc=values.mean(), scale=scipy.stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-10)
    assert found == seed_interval(values)
    assert found.half == pytest.approx((found.high - found.low) / 2)
    assert (found.mean, found.seeds) == (pytest.approx(values.mean()), n)


def test_seed_difference_equals_scipy() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.7, 0.01, 5).tolist(), rng.normal(0.68, 0.004, 3).tolist()
    expected = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    found = seed_difference(a, b)
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-9)
    assert (found.mean, found.seeds) == (pytest.approx(np.mean(a) - np.mean(b)), 3)
    alone = seed_interval([x - 0.6 for x in b])  # a system without chance shifts the other's interval
    other = seed_difference(b, [0.6])
    assert (other.low, other.high) == pytest.approx((alone.low, alone.high))
    assert seed_difference([0.6], b).high == pytest.approx(-alone.low)
    assert seed_difference([0.5, 0.5], [0.25]) == Interval(0.25, 0.25, 0.25, 1)
    assert seed_difference([0.5], [0.25]) == Interval(0.25, None, None, 1)


def test_one_seed_has_no_interval_and_json_stores_that() -> None:
    assert seed_interval([0.5]) == Interval(0.5, None, None, 1)
    assert seed_interval([0.5]).half is None
    assert json.loads(json.dumps(asdict(seed_interval([0.5])), allow_nan=False))["low"] is None
    for values in ([], [0.5, math.nan]):
        with pytest.raises(InputError, match="at least one, all finite"):
            seed_interval(values)


def systems() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    base = rng.random(400)
    shifts = {"reference": 0.0, "clearly worse": -0.05, "slightly": 0.001, "clearly better": 0.05}
    return {name: base + rng.normal(shift, 0.1, 400) for name, shift in shifts.items()}


def test_every_system_against_one() -> None:
    values = systems()
    values["slightly"][:7] = math.nan
    found = compare_to("reference", values, 1000)
    assert list(found) == ["clearly worse", "slightly", "clearly better"]
    assert [row.verdict for row in found.values()] == ["worse", "not significant", "better"]
    assert [row.users for row in found.values()] == [400, 393, 400]
    raw = {}
    for name, row in found.items():
        boot = paired_bootstrap(values[name], values["reference"], 1000)
        assert astuple(row)[1:5] == pytest.approx(astuple(boot))  # summed in another order
        raw[name] = randomization_test(values[name], values["reference"], 1000)
        assert row.p_randomization == raw[name]
    assert {name: row.p_holm for name, row in found.items()} == pytest.approx(written_out(raw))
    errors = compare_to("reference", values, 1000, lower_is_better=True)
    assert [row.verdict for row in errors.values()] == ["better", "not significant", "worse"]
    assert json.loads(json.dumps({name: asdict(row) for name, row in found.items()}, allow_nan=False))


def test_many_systems_need_more_evidence() -> None:
    """One p-value between .01 and .05 is significant alone, and not among five."""
    a, b = pair(100, 0.023, seed=2)
    assert 0.01 < randomization_test(a, b, 2000) < 0.04
    assert compare_to("b", {"a": a, "b": b}, 2000)["a"].verdict == "better"
    alike = {f"like b {i}": b.copy() for i in range(4)}
    assert compare_to("b", {"a": a, "b": b} | alike, 2000)["a"].verdict == "not significant"


def test_pairs_with_references_of_their_own() -> None:
    values = systems()
    names = [("clearly better", "slightly"), ("clearly worse", "reference"), ("slightly", "reference")]
    found = compare_pairs({(a, b): (values[a], values[b]) for a, b in names}, 1000)
    assert list(found) == names
    raw = {}
    for (a, b), row in found.items():
        assert row.difference == pytest.approx((values[a] - values[b]).mean())
        raw[a] = randomization_test(values[a], values[b], 1000)
    assert [row.p_holm for row in found.values()] == pytest.approx(list(written_out(raw).values()))
    assert [row.verdict for row in found.values()] == ["better", "worse", "not significant"]
    with pytest.raises(InputError, match="3 comparisons at once could never be significant; ask for at least 60"):
        compare_pairs({(a, b): (values[a], values[b]) for a, b in names}, 59)
    assert compare_pairs({}, 1000) == {}


def test_comparisons_that_cannot_be_made() -> None:
    values = systems()
    with pytest.raises(InputError, match="'best': no such system; known are reference"):
        compare_to("best", values, 1000)
    with pytest.raises(InputError, match="ask for at least 60"):
        compare_to("reference", values, 59)
    found = compare_to("reference", values, 60)
    assert found["clearly better"].verdict == "better"
    assert compare_to("reference", {"reference": np.ones(3)}, 1000) == {}


SEEDS, USERS = 3, 400


def two_over_seeds(of_seed: float) -> dict[str, list[dict[str, np.ndarray]]]:
    """By seed, two metrics of two systems of which 'a' is .1 better, and whose seeds lie apart by about `of_seed`."""
    rng = np.random.default_rng(0)
    user = rng.random(USERS)

    def seeds(by: float) -> list[dict[str, np.ndarray]]:
        means = by + of_seed * scipy.stats.zscore(rng.random(SEEDS), ddof=1)
        return [{m: user + mean + rng.normal(0, 0.05, USERS) for m in ("hr", "ndcg")} for mean in means]

    return {"a": seeds(0.1), "b": seeds(0.0)}


@pytest.mark.parametrize(("of_seed", "verdict"), [(0.01, "better"), (0.5, "not significant")])
def test_a_difference_counts_where_users_and_seeds_both_say_so(of_seed: float, verdict: str) -> None:
    """The users of three seeds that lie far apart are as sure as those of seeds that agree; the seeds are not."""
    found = two_over_seeds(of_seed)
    rows = pair_records(found, [("a", "b")], 500)
    assert [(row["pair"], row["metric"]) for row in rows] == [(["a", "b"], "hr"), (["a", "b"], "ndcg")]
    for row in rows:
        a, b = ([of[row["metric"]] for of in found[name]] for name in "ab")
        assert row["difference"] == pytest.approx((np.mean(a, axis=0) - np.mean(b, axis=0)).mean())
        assert row["low"] < row["difference"] < row["high"]
        assert row["p_holm"] < 0.05
        welch = scipy.stats.ttest_ind(np.mean(a, axis=1), np.mean(b, axis=1), equal_var=False)
        assert row["over_seeds"] == pytest.approx(list(welch.confidence_interval()))
        assert (row["over_seeds"][0] > 0) == (row["verdict"] == "better")
        assert row["verdict"] == verdict
    adjusted = holm({str(i): row["p"] for i, row in enumerate(rows)})
    assert [row["p_holm"] for row in rows] == pytest.approx(list(adjusted.values()))


def test_one_seed_has_no_spread_and_users_alone_decide() -> None:
    found = {name: seeds[:1] for name, seeds in two_over_seeds(0.01).items()}
    rows = pair_records(found, [("a", "b")], 500)
    assert all((row["over_seeds"], row["verdict"]) == (None, "better") for row in rows)


def test_a_user_without_a_value_in_some_seed_is_left_out_of_both() -> None:
    found = two_over_seeds(0.01)
    whole = pair_records(found, [("a", "b")], 500)[1]
    found["b"][1]["ndcg"][:100] = np.nan
    row = pair_records(found, [("a", "b")], 500)[1]
    a, b = (np.mean([of["ndcg"][100:] for of in found[name]], axis=0) for name in "ab")
    assert row["difference"] == pytest.approx((a - b).mean()) != whole["difference"]
    # And over seeds as well, or the interval would be of another difference.
    a, b = (np.stack([of["ndcg"][100:] for of in found[name]]).mean(axis=1) for name in "ab")
    welch = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert row["over_seeds"] == pytest.approx(list(welch))
    assert row["over_seeds"] != pytest.approx(whole["over_seeds"])
