"""The generated pages: a README.md with its plots for each paper, and the index of all."""

from pathlib import Path
from typing import Any

from rich.table import Table

from papers_repro import plots, records
from papers_repro.bands import paper_at
from papers_repro.paper import FOLDER, Cell, Paper, Published, cells, names, published, read
from papers_repro.verdicts import Line, Mean, line_of, tested, verdict
from rec_jax.files import atomic
from rec_jax.registry import OWN


def lines_of(paper: str) -> dict[str, Line]:
    """What is on record, by cell."""
    rule, found = read(paper).rule, {}
    for name in cells(paper):
        if of_seed := records.counted(paper, name):
            found[name] = line_of(of_seed, rule)
    return found


def asked(paper: str, cell: str) -> Published | None:
    """The published cell with its band: as paper.toml stood when the cell's first record was made."""
    first = next(iter(records.read(paper, cell)), None)
    then = paper_at(first["code"]["commit"], paper) if first else None
    return published(then or read(paper)).get(cell)


def verdicts_of(paper: str, lines: dict[str, Line]) -> dict[str, str]:
    """The verdict on every cell."""
    return {
        name: verdict(lines.get(name), asked(paper, name), cell.not_run, best_baseline(cell, paper, lines))
        for name, cell in cells(paper).items()
    }


def best_baseline(cell: Cell, paper: str, lines: dict[str, Line]) -> dict[str, Mean] | None:
    """The tuned baseline with the highest NDCG@10 on the same log, of those on record."""
    known = cells(paper)
    same = [
        line
        for name, line in lines.items()
        if known[name].experiment.objective == OWN and known[name].experiment.data == cell.experiment.data
    ]
    return max(same, key=lambda line: line.chosen["ndcg@10"].mean).chosen if same else None


def page(paper: str) -> str:
    """The paper's README.md."""
    about, lines, known = read(paper), lines_of(paper), cells(paper)
    found = verdicts_of(paper, lines)
    text = [
        f"# {about.title}",
        "",
        f"{about.authors}. {about.venue}. <{about.link}>",
        "",
        f"- Data: {about.data}.",
        f"- Protocol: {about.protocol}.",
        f"- Run it again: `python -m papers_repro run {paper}`; this page is written from `records/` by "
        f"`python -m papers_repro render {paper}`.",
        "",
        _counts(found, known),
        "",
        "![published against ours](plot.png)",
        "",
        "## Published and ours",
        "",
        *_table(paper, lines, found),
        "",
        *_legend(),
        *_claims(paper, about),
        *_curves(about, lines),
        *_baselines(about),
        "## How ours differs from the original",
        "",
        *(f"{number}. {text}" for number, text in enumerate(about.differences, 1)),
        "",
        *(["## What we learned", "", about.learned, ""] if about.learned else []),
    ]
    return "\n".join(text)


def _counts(found: dict[str, str], known: dict[str, Cell]) -> str:
    with_value = [text for text in found.values() if text and not text.startswith(("not run", "not judged"))]
    good = [text for text in with_value if text in ("reproduced", "better")]
    missing = [name for name, text in found.items() if text.startswith("not run") and not known[name].not_run]
    blocked = [name for name, text in found.items() if known[name].not_run]
    said = f"**{len(good)} of {len(with_value)} cells with a published value reproduced or better.**"
    said += f" {len(missing)} cells have no record yet." if missing else ""
    return said + (f" {len(blocked)} cannot be run here." if blocked else "")


def _table(paper: str, lines: dict[str, Line], found: dict[str, str]) -> list[str]:
    heads = ["cell", "published HR/NDCG", "best epoch on test", "chosen on validation", "users, 95 %", "epoch"]
    heads += ["seeds", "min", "verdict"]
    rows = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, said in found.items():
        value, line = asked(paper, name), lines.get(name)
        if line is not None or value is not None:
            rows.append("| " + " | ".join([name, _published(value), *_ours(line), said]) + " |")
    return rows


def _ours(line: Line | None) -> list[str]:
    if line is None:
        return ["–"] * 6
    best, epoch = _pair(line.best) if line.best else "–", "–" if line.epochs is None else str(line.epochs)
    return [best, _pair(line.chosen), _users(line), epoch, str(len(line.seeds)), f"{line.minutes:.1f}"]


def _users(line: Line) -> str:
    return ", ".join(f"{m.split('@')[0].upper()} {low:.3f}–{high:.3f}" for m, (low, high) in line.users.items())


def _published(value: Published | None) -> str:
    if value is None:
        return "–"
    shown = "/".join(f"{number:.4f}".lstrip("0").rstrip("0") for number in value.values.values())
    beside = "/".join(f"{number:.4f}".lstrip("0").rstrip("0") for number in value.beside.values())
    said = f"{shown} [{value.grade}]" + (f" {value.source}" if value.source else "")
    return said + (f"; its best baseline {beside}" if beside else "")


def _pair(column: dict[str, Mean]) -> str:
    return " / ".join(_number(column[name]) for name in ("hr@10", "ndcg@10"))


def _number(value: Mean) -> str:
    return f"{value.mean:.4f}".lstrip("0") + ("" if value.half is None else f" ±{value.half:.4f}".replace("±0.", "±."))


def _legend() -> list[str]:
    return [
        "HR@10 / NDCG@10; ± is half of the 95 % t interval over seeds, the column 'users' the 95 % bootstrap interval "
        "over users. Grades: V, read in a primary source; V3, in a transcription; NV, from memory. 'min' is the time "
        "of a seed, with the choice of its epoch where that was made in the same run. "
        "'Best epoch on test' is what a paper reports that chooses its epoch so; it is shown to be held against such "
        "a paper, and for nothing else.",
        "",
    ]


def _claims(paper: str, about: Paper) -> list[str]:
    rows = []
    for claim in about.claims:
        pairs = tested(paper, claim)
        if not pairs:
            continue
        rows += [f"**{claim.statement}**", "", f"| pair | difference in {claim.metric} | 95 % | p (Holm) | holds |"]
        rows += ["|---|---|---|---|---|"]
        rows += [
            f"| {t.first} – {t.second} | {t.difference:+.4f} | {t.low:+.4f} to {t.high:+.4f} | {t.p:.4f} | {t.holds} |"
            for t in pairs
        ]
        rows += [""]
    head = ["## Claims", "", "Paired randomisation tests over users, of values averaged over seeds, of the epochs "]
    head[-1] += "that validation chose; 5 %."
    return [*head, "", *rows] if rows else []


def _curves(about: Paper, lines: dict[str, Line]) -> list[str]:
    shown = [name for name in about.curves if name in lines]
    if not shown:
        return []
    rows = ["## By K", "", "![HR and NDCG by K](curves.png)", ""]
    for metric in ("hr", "ndcg"):
        rows += ["| " + " | ".join([f"{metric.upper()}@K", *(str(k) for k in range(1, 11))]) + " |"]
        rows += ["|" + "---|" * 11]
        for name in shown:
            values = [f"{lines[name].chosen[f'{metric}@{k}'].mean:.3f}".lstrip("0") for k in range(1, 11)]
            rows += ["| " + " | ".join([name, *values]) + " |"]
        rows += [""]
    return [*rows, "Of the epoch that validation chose, means over seeds.", ""]


def _baselines(about: Paper) -> list[str]:
    if not about.baselines:
        return []
    other, lines = about.baselines, lines_of(about.baselines)
    tuned = [name for name, cell in cells(other).items() if cell.trials and name in lines]
    rows = [f"Hyper-parameters chosen on validation; on the same split, from [{other}](../{other}/README.md).", ""]
    rows += ["| baseline | HR@10 / NDCG@10 | users, 95 % | seeds |", "|---|---|---|---|"]
    for name in tuned:
        line = lines[name]
        rows += [f"| {name} | {_pair(line.chosen)} | {_users(line)} | {len(line.seeds)} |"]
    return ["## Tuned baselines", "", *rows, ""] if tuned else []


def index() -> str:
    """The page of all papers."""
    text = [
        "# Published tables, run again",
        "",
        "One folder a paper: `paper.toml` says what was published and how near ours must come, `cells.py` how each "
        "cell is run, `records/` what came out; the pages are written from them. A cell is reproduced, better, not "
        "reproduced, or not run for a reason.",
        "",
        "```sh",
        "python -m papers_repro list                  # what there is, and what is on record",
        "python -m papers_repro run ncf --budget 60   # run what is missing, for an hour; call it again to go on",
        "python -m papers_repro render                # write these pages from the records",
        "python -m papers_repro check                 # every table equals its records, every record a cell",
        "```",
        "",
        "Two processes may run the same paper side by side (`taskset -c 0 …`, `taskset -c 1 …`): what one has begun, "
        "the other passes over.",
        "",
        *overview(),
        "",
    ]
    for name in names():
        text += [f"## [{read(name).title}]({name}/README.md)", "", f"![{name}]({name}/plot.png)", ""]
        text += [read(name).learned, ""] if read(name).learned else []
    return "\n".join(text)


def overview(prefix: str = "") -> list[str]:
    """A table of all papers: how many cells came out how; links begin with `prefix`."""
    rows = ["| paper | reproduced or better | not reproduced | no record yet | cannot be run here |"]
    rows += ["|---|---|---|---|---|"]
    for name in names():
        counts = " | ".join(map(str, _tally(name)))
        rows.append(f"| [{read(name).title}]({prefix}{name}/README.md), {read(name).venue} | {counts} |")
    return rows


def _tally(paper: str) -> tuple[int, int, int, int]:
    known, found = cells(paper), verdicts_of(paper, lines_of(paper))
    good = sum(text in ("reproduced", "better") for text in found.values())
    bad = sum(text.startswith("not reproduced") for text in found.values())
    blocked = sum(bool(cell.not_run) for cell in known.values())
    return good, bad, sum(text.startswith("not run") for text in found.values()) - blocked, blocked


def render_all(chosen: list[str]) -> list[Path]:
    """Write the pages and plots of the papers, and the index; the paths that were written."""
    written = []
    for name in chosen:
        about, lines = read(name), lines_of(name)
        judged = {cell: value for cell in cells(name) if (value := asked(name, cell)) is not None}
        plots.series(about, lines, judged, FOLDER / name / "plot.png")
        written.append(FOLDER / name / "plot.png")
        if any(cell in lines for cell in about.curves):
            plots.curves(about, lines, FOLDER / name / "curves.png")
            written.append(FOLDER / name / "curves.png")
        written.append(_write(FOLDER / name / "README.md", page(name)))
    return [*written, _write(FOLDER / "README.md", index())]


def _write(path: Path, text: str) -> Path:
    with atomic(path) as file:
        file.write(text.encode())
    return path


def summary() -> Table:
    """Papers and their cells, for the terminal."""
    table = Table(*("paper", "venue", "cells", "on record", "reproduced or better"))
    for name in names():
        known, lines = cells(name), lines_of(name)
        row: list[Any] = [name, read(name).venue, len(known), len(lines), _tally(name)[0]]
        table.add_row(*map(str, row))
    return table
