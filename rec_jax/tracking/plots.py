"""Pictures of runs, drawn from their records."""

from pathlib import Path
from typing import Any

from rec_jax.files import atomic


def learning_curves(runs: dict[str, list[dict[str, Any]]], metric: str, path: Path) -> None:
    """Draw loss and validation by epoch for each run (rows of its metrics.jsonl), the best epoch marked, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    loss, valid = figure.subplots(1, 2)
    for name, rows in runs.items():
        (line,) = loss.plot([r["epoch"] for r in rows], [r["loss"] for r in rows], label=name)
        points = [(r["epoch"], r[f"valid/{metric}"]) for r in rows if f"valid/{metric}" in r]
        if points:
            best = (min if metric in ("rmse", "mae") else max)(points, key=lambda point: point[1])
            valid.plot(*zip(*points), color=line.get_color(), label=f"{name}: best {best[1]:.4f} at epoch {best[0]}")
            valid.plot(*best, "o", color=line.get_color())
    for axes, title in ((loss, "training loss"), (valid, f"validation {metric}")):
        axes.set(title=title, xlabel="epoch")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    with atomic(path) as file:
        figure.savefig(file, format="png", dpi=130)
