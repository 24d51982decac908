"""The generated pages: a README.md with its plots for each paper, and the index of all."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from papers_repro import orders, plots, records
from papers_repro.paper import AT, FOLDER, Published, names, read
from papers_repro.rewritten import told
from papers_repro.standing import Standing, standing
from papers_repro.verdicts import Line, Mean, curves_of, outside, tested
from rec_jax.evaluate.significance import Interval
from rec_jax.files import atomic


def page(paper: Standing, papers: Sequence[Standing]) -> str:
    """The paper's README.md; `papers` are all of them, whose baselines it may show."""
    about, name = paper.about, paper.name
    text = [
        f"# {about.title}",
        "",
        f"{about.authors}. {about.venue}. <{about.link}>",
        "",
        f"- Data: {about.data}.",
        f"- Protocol: {about.protocol}.",
        f"- Run it again: `python -m papers_repro run {name} --again FOLDER` (all of it, beside what is on record; "
        "`--cells` and `--seeds` choose); without `--again`, what has no record yet. This page is written from "
        f"`records/` by `python -m papers_repro render {name}`.",
        "",
        _counts(paper),
        "",
        "![published against ours](plot.png)",
        "",
        "## Published and ours",
        "",
        *_table(paper, papers),
        "",
        *_legend(paper, papers),
        *told(paper.made),
        *orders.told(paper.about, paper.lines),
        *_claims(paper),
        *_curves(paper),
        *_epochs(paper),
        *_learning(paper),
        "## How ours differs from the original",
        "",
        *(f"{number}. {text}" for number, text in enumerate(about.differences, 1)),
        "",
        *(["## What we learned", "", about.learned, ""] if about.learned else []),
    ]
    return "\n".join(text)


def _counts(paper: Standing) -> str:
    good, bad, missing, blocked = paper.tally
    said = f"**{good} of {good + bad} cells with a published value reproduced or better.**"
    said += f" {missing} cells have no record yet." if missing else ""
    return said + (f" {blocked} cannot be run here." if blocked else "")


def _table(paper: Standing, papers: Sequence[Standing]) -> list[str]:
    of = "/".join(metric.split("@")[0].upper() for metric in paper.about.shown)
    unit, epochs = f"{paper.kind.unit}, 95 %", paper.kind.epochs
    heads = ["cell", f"published {of}", "band"]
    heads += ["best epoch on test", "chosen on validation", unit, "epoch"] if epochs else ["ours", unit]
    heads += ["seeds", "min", "verdict"]
    rows = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, said in paper.verdicts.items():
        value, line = paper.published.get(name), paper.lines.get(name)
        if line is not None or value is not None:
            ours = _ours(line, paper.about.shown, epochs)
            beyond = said == "reproduced" and outside(line, value)
            said += "; published outside our interval" if beyond else ""
            rows.append("| " + " | ".join([name, _published(value), _band(value), *ours, said]) + " |")
    lender = paper.about.baselines
    for name, line in _lent(paper, papers).items():
        ours = _ours(line, paper.about.shown, epochs)
        rows.append("| " + " | ".join([f"{name}, of [{lender}](../{lender}/README.md)", "–", "–", *ours, ""]) + " |")
    return rows


def _lent(paper: Standing, papers: Sequence[Standing]) -> dict[str, Line]:
    """The baselines of another paper on the same split, where paper.toml names one."""
    return next((of.baselines for of in papers if of.name == paper.about.baselines), {})


def _ours(line: Line | None, shown: tuple[str, str], epochs: bool) -> list[str]:
    if line is None:
        return ["–"] * (6 if epochs else 4)
    run = [str(len(line.seeds)), f"{line.minutes:.1f}"]
    if not epochs:
        return [_pair(line.chosen, shown), _users(line), *run]
    best, epoch = _pair(line.best, shown) if line.best else "–", ", ".join(map(str, line.epochs)) or "–"
    return [best, _pair(line.chosen, shown), _users(line), epoch, *run]


def _users(line: Line) -> str:
    return ", ".join(
        f"{m.split('@')[0].upper()} {low:.{_digits(low) - 1}f}–{high:.{_digits(low) - 1}f}"
        for m, (low, high) in line.users.items()
    )


def _digits(value: float) -> int:
    """Decimals that are shown: four of a share, fewer of what goes into the hundreds."""
    return 4 if abs(value) < 10 else 2


def _published(value: Published | None) -> str:
    if value is None:
        return "–"
    shown = "/".join(f"{number:.4f}".lstrip("0").rstrip("0").rstrip(".") for number in value.values.values())
    beside = "/".join(f"{number:.4f}".lstrip("0").rstrip("0").rstrip(".") for number in value.beside.values())
    said = f"{shown} [{value.grade}]" + (f" {value.source}" if value.source else "")
    return said + (f"; its best baseline {beside}" if beside else "")


def _band(value: Published | None) -> str:
    """How near ours must come, or what it must reach."""
    if value is None:
        return "–"
    if value.at_least:
        return ", ".join(f"{_short(name)} ≥ {_plain(least)}" for name, least in value.at_least.items())
    return f"{', '.join(map(_short, value.banded))} ±{_plain(value.band)}"


def _plain(value: float) -> str:
    """As it was declared, a share without its leading 0."""
    return f"{value:g}".removeprefix("0")


def _short(metric: str) -> str:
    return metric.split("@")[0].upper()


def _pair(column: dict[str, Mean], shown: tuple[str, str]) -> str:
    return " / ".join(_number(column[name]) for name in shown)


def _titled(shown: tuple[str, str]) -> str:
    return " / ".join(shown).upper()


def _number(value: Mean) -> str:
    digits = _digits(value.mean)
    half = "" if value.half is None else f" ±{value.half:.{digits}f}".replace("±0.", "±.")
    return f"{value.mean:.{digits}f}".removeprefix("0") + half


def _legend(paper: Standing, papers: Sequence[Standing]) -> list[str]:
    unit = paper.kind.unit
    said = (
        f"{_titled(paper.about.shown)}; ± is half of the 95 % t interval over seeds, the column '{unit}' the 95 % "
        f"bootstrap interval over {unit}. Grades: V, read in a primary source; V3, in a transcription; NV, from memory."
        " 'band' is how far ours may lie from the published value, declared before the run; where a reproduced cell's "
        "value lies outside our own interval, that is said."
    )
    of_epochs = (
        " 'min' is the time of a seed, with the choice of its epoch where that was made in the same run. "
        "'Best epoch on test' is what a paper reports that chooses its epoch so; it is shown to be held against such "
        "a paper, and for nothing else."
    )
    return [said + (of_epochs if paper.kind.epochs else " 'min' is the time of a seed."), "", *_searches(paper, papers)]


def _searches(paper: Standing, papers: Sequence[Standing]) -> list[str]:
    """How many trials on validation chose the hyper-parameters of which cells."""
    by_trials: dict[int, list[str]] = {}
    for name, line in {**paper.lines, **_lent(paper, papers)}.items():
        if line.trials and AT not in name:
            by_trials.setdefault(line.trials, []).append(name)
    said = [f"{trials} trials: {', '.join(names)}" for trials, names in sorted(by_trials.items())]
    return [f"Hyper-parameters were searched on validation. {'; '.join(said)}.", ""] if said else []


def _claims(paper: Standing) -> list[str]:
    rows, unit = [], paper.kind.unit
    for claim in paper.about.claims:
        pairs = tested(paper.counted, claim)
        if not pairs:
            continue
        heads = ["pair", f"difference in {claim.metric}", f"95 % over {unit}", "p (Holm)", "95 % over seeds", "holds"]
        rows += [f"**{claim.statement}**", "", "| " + " | ".join(heads) + " |", "|---|---|---|---|---|---|"]
        rows += [
            f"| {t.first} – {t.second} | {t.difference:+.4f} | {t.low:+.4f} to {t.high:+.4f} | {t.p:.4f} "
            f"| {_range(t.seeds)} | {t.holds} |"
            for t in pairs
        ]
        rows += [""]
    epochs = ", of the epochs that validation chose" if paper.kind.epochs else ""
    said = (
        f"Paired randomisation tests over {unit}, of values averaged over seeds{epochs}, Holm-adjusted over the pairs "
        "of each claim by itself, and Welch's t intervals over seeds; a cell of one seed is taken as it is. A claim is "
        "decided where both say so at 5 %."
    )
    return ["## Claims", "", said, "", *rows] if rows else []


def _range(of: Interval) -> str:
    return "–" if of.low is None or of.high is None else f"{of.low:+.4f} to {of.high:+.4f}"


def _curves(paper: Standing) -> list[str]:
    shown = [name for name in paper.about.curves if name in paper.lines]
    if not shown:
        return []
    kinds = [metric.split("@")[0] for metric in paper.about.shown]
    rows = ["## By K", "", f"![{' and '.join(map(str.upper, kinds))} by K](curves.png)", ""]
    for metric in kinds:
        rows += ["| " + " | ".join([f"{metric.upper()}@K", *(str(k) for k in range(1, 11))]) + " |"]
        rows += ["|" + "---|" * 11]
        for name in shown:
            values = [f"{paper.lines[name].chosen[f'{metric}@{k}'].mean:.3f}".lstrip("0") for k in range(1, 11)]
            rows += ["| " + " | ".join([name, *values]) + " |"]
        rows += [""]
    return [*rows, "Of the epoch that validation chose, means over seeds.", ""]


def _epochs(paper: Standing) -> list[str]:
    if not paper.traces:
        return []
    said = "One seed, trained on train and validation events, to see how far training got; no epoch is chosen by it."
    return ["## By epoch", "", "![the metrics on test by epoch](epochs.png)", "", said, ""]


def _learning(paper: Standing) -> list[str]:
    if not any(curves_of(of) for of in paper.counted.values()):
        return []
    return ["## Learning", "", "![return on validation users by steps of training](learning.png)", ""]


def index(papers: Sequence[Standing]) -> str:
    """The page of all papers."""
    text = [
        "# Published tables, run again",
        "",
        "One folder a paper: `paper.toml` says what was published and how near ours must come, `cells.py` how each "
        "cell is run, `records/` what came out; the pages are written from them. (`troubling_analysis` has published "
        "values alone, for `experiments.compare`.) A cell is reproduced, better, not "
        "reproduced, or not run for a reason.",
        "",
        "```sh",
        "python -m papers_repro list                  # what there is, and what is on record",
        "python -m papers_repro run ncf --budget 60   # run what is missing, for an hour; call it again to go on",
        "python -m papers_repro run slateq --cells random --again runs/again      # what is on record, once more",
        "python -m papers_repro render                # write these pages from the records",
        "python -m papers_repro check                 # every table equals its records, every record a cell",
        "```",
        "",
        "Two processes may run the same paper side by side (`taskset -c 0 …`, `taskset -c 1 …`): what one has begun, "
        "the other passes over.",
        "",
        *overview(papers),
        "",
    ]
    for paper in papers:
        name, about = paper.name, paper.about
        text += [f"## [{about.title}]({name}/README.md)", "", f"![{name}]({name}/plot.png)", ""]
        text += [about.learned, ""] if about.learned else []
    return "\n".join(text)


def overview(papers: Sequence[Standing], prefix: str = "") -> list[str]:
    """A table of all papers: how many cells came out how; links begin with `prefix`."""
    rows = ["| paper | reproduced or better | not reproduced | no record yet | cannot be run here |"]
    rows += ["|---|---|---|---|---|"]
    for paper in papers:
        counts = " | ".join(map(str, paper.tally))
        rows.append(f"| [{paper.about.title}]({prefix}{paper.name}/README.md), {paper.about.venue} | {counts} |")
    return rows


def render_all(chosen: Sequence[str]) -> list[Path]:
    """Write the pages and plots of the papers, and the index; the paths that were written. InputError: as `read`."""
    for name in chosen:
        read(name)
    written, papers = [], [standing(name) for name in names()]
    for paper in (paper for paper in papers if paper.name in chosen):
        folder = FOLDER / paper.name
        ours = "ours, chosen on validation" if paper.kind.epochs else "ours"
        plots.series(paper.about, paper.lines, paper.published, folder / "plot.png", ours)
        written.append(folder / "plot.png")
        if any(cell in paper.lines for cell in paper.about.curves):
            plots.curves(paper.about, paper.lines, folder / "curves.png")
            written.append(folder / "curves.png")
        if paper.traces:
            plots.epochs(paper.about, paper.traces, paper.published, folder / "epochs.png")
            written.append(folder / "epochs.png")
        if any(curves_of(of) for of in paper.counted.values()):
            plots.learning(paper.about, paper.counted, folder / "learning.png")
            written.append(folder / "learning.png")
        written.append(_write(folder / "README.md", page(paper, papers)))
    return [*written, _write(FOLDER / "README.md", index(papers))]


def _write(path: Path, text: str) -> Path:
    with atomic(path) as file:
        file.write(text.encode())
    return path


def summary() -> Table:
    """Papers and their cells, for the terminal."""
    table = Table(*("paper", "venue", "cells", "on record", "reproduced or better"))
    for paper in map(standing, names()):
        on_record = sum(bool(records.shown(of)) for of in paper.made.values())
        row = [paper.name, paper.about.venue, len(paper.cells), on_record, paper.tally[0]]
        table.add_row(*map(str, row))
    return table
