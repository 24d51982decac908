"""Pictures of published values against ours, drawn from the records."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from papers_repro.paper import AT, Paper, Published, Record, Series
from papers_repro.verdicts import Line, Mean, curves_of
from rec_jax.tracking.plots import picture

COLUMNS = 4
SIZE, NAMED = (3.3, 2.7), 3.6
"""Width and height of a panel in inches, and the height of one whose cells stand under their names."""


@contextmanager
def _panels(path: Path, panels: int, columns: int, size: tuple[float, float] = SIZE) -> Iterator[tuple[Any, list[Any]]]:
    """A picture of so many panels of that size each; what is over in the last row stays empty."""
    rows = -(-panels // columns)
    with picture(path, (size[0] * columns, size[1] * rows), rows, columns) as (figure, axes):
        for unused in axes[panels:]:
            unused.set_axis_off()
        yield figure, axes[:panels]


def series(paper: Paper, lines: Mapping[str, Line], judged: Mapping[str, Published], path: Path, ours: str) -> None:
    """A panel a series: published values (open), ours by the best epoch on test and by validation's, with intervals."""
    count = max(1, len(paper.series))
    named = [0.4 * len(of.cells) for of in paper.series if not of.x]  # room for names
    size = (max(SIZE[0], *named), NAMED) if named else SIZE
    with _panels(path, count, min(COLUMNS, count), size) as (figure, panels):
        for axes, of in zip(panels, paper.series):
            _panel(axes, of, lines, judged, ours)
        handles: dict[str, Any] = {}
        for axes in panels:
            handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels())}
        if handles:
            figure.legend(
                handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False
            )
        figure.suptitle(f"{_short(paper)}: published and ours", fontsize=10)


def _short(paper: Paper) -> str:
    """What a long title begins with: the name of the method."""
    return paper.title.partition(":")[0]


def _panel(axes: Any, of: Series, lines: Mapping[str, Line], judged: Mapping[str, Published], ours: str) -> None:
    places, line = list(enumerate(of.cells)), "--" if of.x else ""
    published = [(x, judged[c].values[of.metric]) for x, c in places if c in judged and of.metric in judged[c].values]
    if published:
        axes.plot(*zip(*published), f"o{line}", color="0.45", markerfacecolor="white", label="published", zorder=1)
    for label, color, marker, column in (
        ("ours, best epoch on test", "C1", "^", "best"),
        (ours, "C0", "o", "chosen"),
    ):
        found = [
            (x, lines[c], getattr(lines[c], column)) for x, c in places if c in lines and getattr(lines[c], column)
        ]
        if not found:
            continue
        means: list[Mean] = [values[of.metric] for _, _, values in found]
        error = [m.half or 0.0 for m in means]
        if column == "chosen":  # the wider of the two intervals, over users
            users = (line.users.get(of.metric, (0.0, 0.0)) for _, line, _ in found)
            error = [max(e, (u[1] - u[0]) / 2) for e, u in zip(error, users)]
        style = {"color": color, "marker": marker, "capsize": 2, "markersize": 4, "linewidth": 1}
        style |= {} if of.x else {"linestyle": "", "elinewidth": 1}
        mean, half = (dict(zip((x for x, _, _ in found), of)) for of in ([m.mean for m in means], error))
        # A cell without a record leaves a gap: no line is drawn over what nobody has measured.
        at = [x for x, _ in places]
        axes.errorbar(at, [mean.get(x, math.nan) for x in at], [half.get(x, 0.0) for x in at], label=label, **style)
    axes.set_title(of.title, fontsize=9)
    axes.set_ylabel(of.metric.upper() if "@" in of.metric else of.metric, fontsize=8)
    axes.tick_params(labelsize=7)
    if of.x:
        axes.set_xticks(range(len(of.x)), [f"{x:g}" for x in of.x])
        axes.set_xlabel(of.xlabel, fontsize=8)
    else:
        names = [cell.partition(AT)[0] for cell in of.cells]
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.grid(axis="x", linewidth=0.4, alpha=0.4)


def curves(paper: Paper, lines: Mapping[str, Line], path: Path) -> None:
    """The paper's two metrics for K = 1..10."""
    with _panels(path, 2, 2) as (_, panels):
        for axes, metric in zip(panels, (metric.split("@")[0] for metric in paper.shown)):
            for name in (name for name in paper.curves if name in lines):
                values = [lines[name].chosen[f"{metric}@{k}"].mean for k in range(1, 11)]
                axes.plot(range(1, 11), values, ".-", label=name)
            axes.set(xlabel="K", ylabel=f"{metric.upper()}@K", xticks=range(1, 11))
        panels[0].legend(frameon=False, fontsize=7)


def epochs(
    paper: Paper, traces: Mapping[str, list[dict[str, float]]], judged: Mapping[str, Published], path: Path
) -> None:
    """The paper's two metrics on test by epoch, a line a cell, and the published values."""
    with _panels(path, 2, 2) as (_, panels):
        for axes, metric in zip(panels, paper.shown):
            for number, (name, trace) in enumerate(traces.items()):
                values = [point[metric] for point in trace]
                axes.plot([point["epoch"] for point in trace], values, ".-", color=f"C{number}", label=name)
                if name in judged:
                    value = judged[name].values[metric]
                    axes.axhline(value, color=f"C{number}", linestyle="--", label=f"{name}, published")
            axes.set(xlabel="epoch", ylabel=metric.upper())
        panels[0].legend(frameon=False, fontsize=7)


def learning(paper: Paper, counted: Mapping[str, Mapping[int, Record]], path: Path) -> None:
    """The first metric on validation users by steps of training, a line a policy: means over seeds and their range.

    A panel a variant of the table, where a policy keeps its colour.
    """
    variants = paper.variants or {_short(paper): ""}
    learnt = {name: found for name, of_seed in counted.items() if (found := curves_of(of_seed))}
    places = {name: _variant(name, variants) for name in learnt}
    plain = {name: name.removesuffix(variants[places[name]]) for name in learnt}
    number = {name: place for place, name in enumerate(dict.fromkeys(plain.values()))}
    with picture(path, (1.5 + 4.2 * len(variants), 4.4), 1, len(variants), sharey=True) as (figure, panels):
        for axes, title in zip(panels, variants):
            for name in (name for name in learnt if places[name] == title):
                steps = [point["steps"] / 1000 for point in learnt[name][0]]
                values = np.array([[point[paper.shown[0]] for point in curve] for curve in learnt[name]])
                color, style = f"C{number[plain[name]] % 10}", ("-", "--", ":")[number[plain[name]] // 10 % 3]
                axes.plot(steps, values.mean(axis=0), style, color=color, label=plain[name], linewidth=1.2)
                axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.12, linewidth=0)
            axes.set(xlabel="thousand steps of users", title=title)
        panels[0].set_ylabel(f"{paper.shown[0]}, validation users")
        handles = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels())}
        figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False, fontsize=8)


def _variant(name: str, variants: Mapping[str, str]) -> str:
    """The panel of a cell: the one with the longest ending that its name has."""
    return max((title for title, ending in variants.items() if name.endswith(ending)), key=lambda t: len(variants[t]))
