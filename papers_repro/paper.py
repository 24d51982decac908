"""What a paper published and how its cells are run here: `paper.toml` and `cells.py`, read and checked."""

import importlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from papers_repro.kinds import AnyExperiment
from rec_jax.config import from_json
from rec_jax.errors import InputError, did_you_mean

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Cell:
    """A cell of the table as it is run: the Experiment alone decides its numbers."""

    name: str
    experiment: AnyExperiment
    seeds: int = 1
    headline: bool = False
    """Its other seeds come before those of the rest."""
    trials: int = 0
    """Hyper-parameters are chosen among this many on validation; the experiment's own are the first."""
    minutes: float = 1.0
    """Expected time of a seed on two cores, until one is on record."""
    not_run: str = ""
    """Why it is not run here."""


@dataclass(frozen=True)
class Published:
    """A cell as it was published, its grade, and the rule by which ours is judged."""

    name: str
    values: dict[str, float] = field(default_factory=dict)
    """By metric, as the paper's table shows them: 'hr@10', 'ndcg@10'."""
    grade: str = "V"
    """V: read in a primary source; V3: in a transcription; NV: from memory."""
    band: float = 0.01
    """How far ours may lie from the published value for 'reproduced'."""
    banded: tuple[str, ...] = ("hr@10",)
    at_least: dict[str, float] = field(default_factory=dict)
    """Ours must reach these values instead."""
    target: bool = False
    """The values are another system's, to be passed: the cell does not count among the published ones."""
    beside: dict[str, float] = field(default_factory=dict)
    """The best tuned baseline of the published table: where splits differ, the distance to it is what is judged."""
    against: str = "chosen on validation"
    """The column that is judged: 'chosen on validation' or 'best on test'."""
    source: str = ""
    """Where the value is from, if not from the paper itself."""
    less_is_better: bool = False
    """The banded metrics are errors."""


@dataclass(frozen=True)
class Claim:
    """A statement of the paper: in each pair the first system is better than the second."""

    statement: str
    pairs: tuple[tuple[str, str], ...]
    metric: str = "ndcg@10"


@dataclass(frozen=True)
class Series:
    """A panel of the plot: cells along an axis, or, without `x`, side by side under their names."""

    title: str
    cells: tuple[str, ...]
    x: tuple[float, ...] = ()
    xlabel: str = "factors"
    metric: str = "hr@10"


@dataclass(frozen=True)
class Paper:
    """A published paper: its citation, its cells, and what is drawn and claimed of them."""

    title: str
    authors: str
    venue: str
    link: str
    data: str
    protocol: str
    rule: str
    """The candidate rule whose metrics are tabulated."""
    shown: tuple[str, str] = ("hr@10", "ndcg@10")
    """The two metrics of its table; the first chooses the best epoch on test where that is traced."""
    rules: tuple[str, ...] = ()
    """Further candidate rules, each with a row of its own a cell: 'cell @ rule'."""
    differences: tuple[str, ...] = ()
    learned: str = ""
    cells: tuple[Published, ...] = ()
    claims: tuple[Claim, ...] = ()
    series: tuple[Series, ...] = ()
    curves: tuple[str, ...] = ()
    """Cells whose metrics are drawn for K = 1..10."""
    traced: tuple[str, ...] = ()
    """Cells whose metrics on test are drawn by epoch, where they are on record."""
    variants: dict[str, str] = field(default_factory=dict)
    """Panels of the learning curves, by title: what ends the names of its cells ('' for all that no other takes)."""
    baselines: str = ""
    """Another paper's folder whose baseline cells, on the same split, belong into this table too."""


AT = " @ "
"""Between a cell and the rule, in the name of a row under a further rule."""


def rows_of(paper: Paper, cell: str) -> dict[str, str]:
    """The rows of a cell and the candidate rule of each: under the paper's rule by the cell's name alone."""
    return {cell: paper.rule, **{f"{cell}{AT}{rule}": rule for rule in paper.rules}}


def parse(text: str, path: Path) -> Paper:
    """A paper.toml. InputError: not TOML, or an unknown, missing or mistyped field."""
    try:
        stored = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is not TOML ({error})") from error
    try:
        paper: Paper = from_json(Paper, stored, str(path))
    except TypeError as error:
        raise InputError(f"{path}: {error}") from error
    names = [cell.name for cell in paper.cells]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{path}: the cell {min(twice)!r} stands there twice")
    if paper.variants and "" not in paper.variants.values():
        raise InputError(f"{path}: variants: no panel takes the cells that no ending fits; give one the ending ''")
    return paper


def read(name: str, folder: Path = FOLDER) -> Paper:
    """A paper by its folder's name. InputError: unknown, with near names; or its paper.toml is not right."""
    if name not in (known := names(folder)):
        raise InputError(f"unknown paper {name!r}: {did_you_mean(name, known)}known are {', '.join(known)}")
    path = folder / name / "paper.toml"
    return parse(path.read_text(), path)


def names(folder: Path = FOLDER) -> list[str]:
    """The papers' folders: those that say how their cells are run."""
    return sorted(path.parent.name for path in folder.glob("*/cells.py"))


def cells(name: str) -> dict[str, Cell]:
    """A paper's cells by name. InputError: one is there twice, or a claim, series or published value names another."""
    found: dict[str, Cell] = {}
    for cell in importlib.import_module(f"papers_repro.{name}.cells").cells():
        if cell.name in found:
            raise InputError(f"papers_repro/{name}/cells.py: the cell {cell.name!r} is there twice")
        found[cell.name] = cell
    about = read(name)
    rows = {row for cell in found for row in rows_of(about, cell)}
    for where, cell_name in _mentioned(about):
        if cell_name not in rows:
            raise InputError(
                f"papers_repro/{name}/paper.toml: {where} names the cell {cell_name!r}, which cells.py does not have"
            )
    return found


def _mentioned(paper: Paper) -> Iterator[tuple[str, str]]:
    yield from (("[[cells]]", cell.name) for cell in paper.cells)
    yield from (("[[claims]]", cell) for claim in paper.claims for pair in claim.pairs for cell in pair)
    yield from (("[[series]]", cell) for series in paper.series for cell in series.cells)
    yield from (("curves", cell) for cell in paper.curves)
    yield from (("traced", cell) for cell in paper.traced)


def published(paper: Paper) -> dict[str, Published]:
    """The published cells by name."""
    return {cell.name: cell for cell in paper.cells}


Record = dict[str, Any]
"""A finished seed of a cell, as `papers_repro.records` keeps it."""
