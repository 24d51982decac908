"""How a cell is judged, beside the published value and our own baselines; and what holds of a claim."""

import dataclasses
from typing import Any

import pytest

from papers_repro.paper import Published
from papers_repro.verdicts import Contrast, Line, Mean, verdict
from rec_jax.evaluate.significance import Interval


def line(chosen: float, best: float) -> Line:
    of = lambda value: {"hr@10": Mean(value, None), "ndcg@10": Mean(value / 2, None)}  # noqa: E731
    return Line((1,), of(chosen), of(best), {}, (), 0, 1.0)


@pytest.mark.parametrize(
    ("chosen", "best", "changes", "expected"),
    [
        (0.60, 0.69, {}, "reproduced"),
        (0.60, 0.6951, {}, "not reproduced (hr@10 -0.0149)"),
        (0.60, 0.73, {}, "better"),
        (0.71, 0.60, {"against": "chosen on validation"}, "reproduced"),
        (0.71, 0.60, {"against": "chosen on validation", "banded": ("hr@10", "ndcg@10")}, "not reproduced"),
        (0.71, 0.60, {"against": "chosen on validation", "at_least": {"hr@10": 0.7}}, "reproduced"),
        (0.69, 0.60, {"against": "chosen on validation", "at_least": {"hr@10": 0.7}}, "not reproduced (hr@10 -0.0100)"),
        (0.71, 0.60, {"at_least": {"hr@10": 0.61}, "target": True}, "not passed (hr@10 -0.0100)"),
        (0.66, 0.60, {"against": "chosen on validation", "beside": {"hr@10": 0.75}}, "reproduced"),
        (
            0.70,
            0.60,
            {"against": "chosen on validation", "beside": {"hr@10": 0.70}},
            "not reproduced (hr@10 -0.0500 in the gap",
        ),
    ],
)
def test_verdicts(chosen: float, best: float, changes: dict[str, Any], expected: str) -> None:
    """A published .70/.45 with a band of .010, and a baseline of ours at .71."""
    value = 0.71 if expected.endswith("(hr@10 -0.0149)") else 0.70
    asked = Published("x", {"hr@10": value, "ndcg@10": 0.45}, **{"against": "best on test", **changes})
    if "-0.0500" in expected:
        asked = dataclasses.replace(asked, values={"hr@10": 0.74, "ndcg@10": 0.45})
    assert verdict(line(chosen, best), asked, baseline={"hr@10": Mean(0.71, None)}).startswith(expected)
    assert verdict(None, asked, "data") == "not run: data"
    assert verdict(line(chosen, best), None) == ""


@pytest.mark.parametrize(
    ("difference", "p", "seeds", "expected"),
    [
        (0.1, 0.001, (0.05, 0.15), "yes"),
        (-0.1, 0.001, (-0.15, -0.05), "no"),
        (0.1, 0.001, (-0.05, 0.25), "undecided"),  # by luck of the seeds
        (0.1, 0.2, (0.05, 0.15), "undecided"),  # by luck of the users
        (0.1, 0.001, (None, None), "yes"),
    ],
)
def test_a_claim_holds_over_users_and_over_seeds(
    difference: float, p: float, seeds: tuple[float | None, float | None], expected: str
) -> None:
    assert Contrast("a", "b", difference, 0.0, 0.2, p, Interval(difference, *seeds, 3)).holds == expected


def test_of_errors_less_is_better() -> None:
    asked = Published("x", {"hr@10": 0.3}, band=0.02, less_is_better=True)
    found = [verdict(line(error, 0), asked) for error in (0.25, 0.285, 0.315, 0.35)]
    assert found == ["better", "reproduced", "reproduced", "not reproduced (hr@10 +0.0500)"]
