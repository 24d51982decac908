"""What the records of a cell say: means, intervals, the verdict on the published value, and the tests of the claims."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from papers_repro import records
from papers_repro.paper import Claim, Published, Record
from rec_jax.config import Runtime
from rec_jax.evaluate.report import intervals
from rec_jax.evaluate.significance import LEVEL, Interval, compare_over_seeds, seed_interval
from rec_jax.tracking.tables import far, judged

RESAMPLES = 10_000


@dataclass(frozen=True)
class Mean:
    """A mean over seeds, with half of its 95 % t interval where there are several."""

    mean: float
    half: float | None


@dataclass(frozen=True)
class Line:
    """A cell's seeds together."""

    seeds: tuple[int, ...]
    chosen: dict[str, Mean]
    """Metrics by name, of the epoch that validation chose."""
    best: dict[str, Mean]
    """The same of the epoch that is best on test; empty where it was not traced."""
    users: dict[str, tuple[float, float]]
    """95 % bootstrap interval over users, of the values averaged over seeds, of the metrics shown."""
    epochs: tuple[int, ...]
    """Those that were chosen: one where a choice holds for all seeds, none where there is nothing to choose."""
    trials: int
    """Of the search for hyper-parameters; 0: there was none."""
    minutes: float


@dataclass(frozen=True)
class Contrast:
    """A pair of a claim: mean(first - second) over users, its interval, the p-value adjusted over the claim's pairs;
    and the difference's interval over seeds.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    seeds: Interval

    @property
    def holds(self) -> str:
        """'yes', 'no' (the second is better) or 'undecided': at the 5 % level over users and, where one of the two has
        several seeds, over seeds.
        """
        return "undecided" if self.p >= LEVEL or self.seeds.holds_zero else "yes" if self.difference > 0 else "no"


def over_users(
    counted: Mapping[str, Mapping[int, Record]], shown: tuple[str, str]
) -> dict[str, dict[str, tuple[float, float]]]:
    """95 % bootstrap intervals over users by cell and metric; cells of as many users share their resamples."""
    by_length: dict[int, dict[str, np.ndarray]] = {}
    for cell, of_seed in counted.items():
        for metric in _by_user(of_seed, shown):
            values = values_of(of_seed, metric)
            by_length.setdefault(len(values), {})[f"{cell} {metric}"] = values
    found = {name: e for of in by_length.values() for name, e in intervals(of, Runtime.bootstrap).items()}
    return {
        cell: {m: ((e := found[f"{cell} {m}"]).low, e.high) for m in _by_user(of_seed, shown)}
        for cell, of_seed in counted.items()
    }


def _by_user(of_seed: Mapping[int, Record], shown: tuple[str, str]) -> list[str]:
    """Those of the metrics shown that have values by user."""
    return [metric for metric in shown if all(metric in record["per_user"] for record in of_seed.values())]


def line_of(of_seed: Mapping[int, Record], rule: str, users: dict[str, tuple[float, float]], first: str) -> Line:
    """The seeds of a cell, summarised. They are as `records.counted` gives them, at least one. `first`: the metric that
    chooses the best epoch of a trace.
    """
    found = [of_seed[seed] for seed in sorted(of_seed)]
    names = list(found[0]["metrics"][rule])
    best = [max(trace, key=lambda epoch: epoch[first]) for trace in traces_of(of_seed, first)]
    return Line(
        seeds=tuple(sorted(of_seed)),
        chosen={name: _mean([r["metrics"][rule][name]["mean"] for r in found]) for name in names},
        best={name: _mean([epoch[name] for epoch in best]) for name in names} if best else {},
        users=users,
        epochs=tuple(dict.fromkeys(r["training"]["best_epoch"] for r in found if "best_epoch" in r["training"])),
        trials=max((r.get("tuning") or {}).get("trials", 0) for r in found),
        minutes=float(np.mean([minutes_of(r) for r in found])),
    )


def minutes_of(record: Record) -> float:
    """What a seed took: of one that was resumed, whose total is the last session's, its epochs and its test."""
    times = record["times"]
    parts = sum(times.get(f"{part}_seconds", 0.0) for part in ("train", "valid", "test"))
    return float(max(times["total_seconds"], parts)) / 60


def curves_of(of_seed: Mapping[int, Record]) -> list[list[dict[str, float]]]:
    """Of a policy that learns, by seed: its scores on validation users, as training went."""
    found = [of_seed[seed]["training"].get("curve", []) for seed in sorted(of_seed)]
    return [curve for curve in found if curve]


def traces_of(of_seed: Mapping[int, Record], metric: str) -> list[list[dict[str, float]]]:
    """Of a model that was trained on with looks at test, by seed: the epochs in which the metric was looked at."""
    found = [of_seed[seed]["training"].get("trace", {}).get("by_epoch", []) for seed in sorted(of_seed)]
    # An epoch that was not scored says so by having no metrics.
    return [[epoch for epoch in trace if metric in epoch] for trace in found if trace]


def values_of(of_seed: Mapping[int, Record], metric: str) -> np.ndarray:
    """A metric by user, averaged over seeds."""
    return _by_seed(of_seed, metric).mean(axis=0)


def _by_seed(of_seed: Mapping[int, Record], metric: str) -> np.ndarray:
    """A metric by seed and user."""
    return np.stack([records.unpack(r["per_user"][metric]) for r in of_seed.values()])


def _mean(values: list[float]) -> Mean:
    found = seed_interval(values)
    return Mean(found.mean, None if found.low is None else found.mean - found.low)


def verdict(
    line: Line | None, published: Published | None, not_run: str = "", baseline: Mapping[str, Mean] | None = None
) -> str:
    """'reproduced', 'better', 'not reproduced' with the distance, 'not run' with the reason, or '' for no value; where
    the value is a target, 'passed' or 'not passed' with the distance.

    Reproduced: every banded metric is within the band of the published value, or reaches what it is to reach;
    better: none is below the band. Judged is the column that paper.toml names; where it gives the published table's
    best baseline, the distance to ours, `baseline`.
    """
    if line is None:
        return f"not run: {not_run or 'no record yet'}"
    if published is None:
        return ""
    column = line.best if published.against == "best on test" else line.chosen
    if published.at_least:
        short = {n: column[n].mean - least for n, least in published.at_least.items() if column[n].mean < least}
        good = "passed" if published.target else "reproduced"
        return far(short).replace("reproduced", good) if short else good
    if published.beside and baseline is None:
        return "not judged: not all tuned baselines are on record"
    gaps = {name: column[name].mean - published.values[name] for name in published.banded}
    if published.beside and baseline is not None:
        gaps = {name: gap - (baseline[name].mean - published.beside[name]) for name, gap in gaps.items()}
    # Rounded as published values are, so that a band of .010 holds .010.
    gaps = {name: round(gap, 4) for name, gap in gaps.items()}
    said = judged({n: -gap for n, gap in gaps.items()} if published.less_is_better else gaps, published.band)
    if not said.startswith("not"):
        return said
    return far(gaps).replace(")", " in the gap to the best baseline)") if published.beside else far(gaps)


def outside(line: Line | None, published: Published | None) -> bool:
    """Whether a published value that is judged by its band lies outside our interval over users."""
    if line is None or published is None or published.at_least or published.beside:
        return False
    ends = {name: line.users[name] for name in published.banded if name in line.users}
    chosen = published.against == "chosen on validation"
    return chosen and any(not low <= published.values[name] <= high for name, (low, high) in ends.items())


def tested(counted: Mapping[str, Mapping[int, Record]], claim: Claim) -> list[Contrast]:
    """The claim's pairs of which both cells are on record: paired randomisation tests over users, Holm-adjusted, and
    intervals over seeds.
    """
    pairs = [(a, b) for a, b in claim.pairs if a in counted and b in counted]
    values = {cell: _by_seed(counted[cell], claim.metric) for pair in pairs for cell in pair}
    return [
        Contrast(a, b, of.difference, of.low, of.high, of.p_holm, seeds)
        for (a, b), (of, seeds) in compare_over_seeds(values, pairs, RESAMPLES).items()
    ]
