"""Pictures of runs, drawn from their records."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rec_jax.files import atomic


@contextmanager
def picture(
    path: Path, size: tuple[float | int, float | int], rows: int = 1, columns: int = 1, **how: Any
) -> Iterator[tuple[Any, list[Any]]]:
    """(the figure, its panels row by row), with grids and two spines each; when the block ends it is there as PNG.

    `size` in inches; `how` as matplotlib's `subplots` takes it. The same picture has the same bytes: the library's
    version is not in it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False, **how).ravel())
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    yield figure, panels
    with atomic(path) as file:
        figure.savefig(file, format="png", dpi=120, metadata={"Software": None})


def learning_curves(runs: dict[str, list[dict[str, Any]]], metric: str, path: Path) -> None:
    """Draw loss and validation by epoch for each run (rows of its metrics.jsonl), the best epoch marked, as PNG."""
    with picture(path, (9, 3.6), 1, 2) as (_, (loss, valid)):
        for name, rows in runs.items():
            (line,) = loss.plot([r["epoch"] for r in rows], [r["loss"] for r in rows], label=name)
            points = [(r["epoch"], r[f"valid/{metric}"]) for r in rows if f"valid/{metric}" in r]
            if points:
                best = (min if metric in ("rmse", "mae") else max)(points, key=lambda point: point[1])
                valid.plot(
                    *zip(*points), color=line.get_color(), label=f"{name}: best {best[1]:.4f} at epoch {best[0]}"
                )
                valid.plot(*best, "o", color=line.get_color())
        for axes, title in ((loss, "training loss"), (valid, f"validation {metric}")):
            axes.set(title=title, xlabel="epoch")
            axes.legend(frameon=False)


def trade_off(record: Mapping[str, Any], path: Path) -> None:
    """Draw a comparison as PNG: accuracy against novelty and against coverage, a point a system.

    Bars are 95 % intervals over users; coverage belongs to all users together and has none. Where lists were not
    made (no rule 'full'), accuracy alone is drawn, a bar a system.
    """
    k, systems = record["k"], record["systems"]
    accuracy = record["columns"][1]
    novelty = f"full/novelty@{k}"
    listed = all(novelty in line["values"] for line in systems.values())
    with picture(path, (11, 4.6), 1, 2 if listed else 1, sharey=True) as (figure, panels):
        for at, (label, line) in enumerate(systems.items()):
            value = line["values"][accuracy]
            error = _half_widths(value)
            style: dict[str, Any] = {"color": f"C{at % 10}", "marker": "os^Dv"[at // 10 % 5]}
            style |= {"capsize": 2, "linestyle": "none"}
            if not listed:
                panels[0].errorbar([at], [value["mean"]], yerr=error, label=label, **style)
                continue
            across = line["values"][novelty]
            panels[0].errorbar(
                [across["mean"]], [value["mean"]], xerr=_half_widths(across), yerr=error, label=label, **style
            )
            panels[1].errorbar([line["lists"][f"coverage@{k}"]], [value["mean"]], yerr=error, **style)
            for axes, x in zip(panels, (across["mean"], line["lists"][f"coverage@{k}"])):
                # Hyper-parameters that were given make a name too long for a picture.
                short = label.partition(":")[0] + " (given)" * (":" in label)
                note = axes.annotate(short, (x, value["mean"]), xytext=(5, 4), textcoords="offset points", fontsize=7)
                note.set_in_layout(False)
        names = (f"novelty@{k} (bits)", f"catalogue coverage@{k}") if listed else ("",)
        rule, metric = accuracy.split("/")
        panels[0].set_ylabel(f"{metric.upper()}, {rule}")
        for axes, name in zip(panels, names):
            axes.set_xlabel(name)
        if not listed:
            panels[0].set_xticks(range(len(systems)), list(systems), rotation=45, ha="right")
        figure.suptitle(f"{record['data']['name']}, {record['protocol']['split']}", fontsize=10)


def _half_widths(value: Mapping[str, Any]) -> list[list[float]]:
    low, high = value["users"]
    return [[value["mean"] - low], [high - value["mean"]]]
