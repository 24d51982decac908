"""A paper as it stands: what was published, how it is run, what is on record, and what that says; read once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from papers_repro import records
from papers_repro.bands import paper_at
from papers_repro.kinds import Kind, kind_of
from papers_repro.paper import Cell, Paper, Published, Record, cells, published, read, rows_of
from papers_repro.verdicts import Line, Mean, line_of, over_users, traces_of, verdict


@dataclass(frozen=True)
class Standing:
    """`cells` and all that was `made` of them by the cell's name, all else by the row's; `published` as paper.toml
    stood when the cell's first record was made.
    """

    name: str
    about: Paper
    cells: Mapping[str, Cell]
    made: Mapping[str, Sequence[Record]]
    published: Mapping[str, Published]
    counted: Mapping[str, Mapping[int, Record]]
    lines: Mapping[str, Line]
    verdicts: Mapping[str, str]

    @property
    def kind(self) -> Kind:
        """The kind of its cells' experiments: all are of one."""
        return kind_of(next(iter(self.cells.values())).experiment)

    @property
    def baselines(self) -> dict[str, Line]:
        """Of its cells on record, those that are not trained but fitted."""
        fitted = [name for name, cell in self.cells.items() if self.kind.baseline(cell.experiment)]
        return {name: self.lines[name] for name in fitted if name in self.lines}

    @property
    def traces(self) -> dict[str, list[dict[str, float]]]:
        """The metrics on test by epoch of the cells that are to be drawn so and are on record, of the first seed."""
        found = {cell: traces_of(self.counted.get(cell, {}), self.about.shown[0]) for cell in self.about.traced}
        return {cell: of[0] for cell, of in found.items() if of}

    @property
    def tally(self) -> tuple[int, int, int, int]:
        """How many cells are reproduced or better, not reproduced, without a record yet, not to be run here."""
        said = list(self.verdicts.values())
        good = sum(text in ("reproduced", "better") for text in said)
        bad = sum(text.startswith("not reproduced") for text in said)
        blocked = sum(bool(cell.not_run) for cell in self.cells.values())
        return good, bad, sum(text.startswith("not run") for text in said) - blocked, blocked


def standing(name: str) -> Standing:
    """A paper as it stands now. InputError: its paper.toml or cells are not right."""
    about, known = read(name), cells(name)
    made = {cell: records.read(name, cell) for cell in known}
    rows = {row: (cell, rule) for cell in known for row, rule in rows_of(about, cell).items()}
    asked: dict[str, Published] = {}
    for row, (cell, _) in rows.items():
        first = next(iter(made[cell]), None)
        then = paper_at(first["code"]["commit"], name) if first else None
        if (value := published(then or about).get(row)) is not None:
            asked[row] = value
    of_cell = {cell: records.shown(of) for cell, of in made.items()}
    counted = {
        row: of_cell[cell] if rule == about.rule else {s: records.under(r, rule) for s, r in of_cell[cell].items()}
        for row, (cell, rule) in rows.items()
        if of_cell[cell]
    }
    users = over_users(counted, about.shown)
    lines = {row: line_of(of_seed, rows[row][1], users[row], about.shown[0]) for row, of_seed in counted.items()}
    verdicts = {
        row: verdict(
            lines.get(row),
            asked.get(row),
            known[cell].not_run,
            _best_baseline(cell, rule, rows, known, lines, about.shown[1]),
        )
        for row, (cell, rule) in rows.items()
        if rule == about.rule or row in asked or row in lines
    }
    return Standing(name, about, known, made, asked, counted, lines, verdicts)


def _best_baseline(
    cell: str,
    rule: str,
    rows: Mapping[str, tuple[str, str]],
    known: Mapping[str, Cell],
    lines: Mapping[str, Line],
    metric: str,
) -> Mapping[str, Mean] | None:
    """The baseline with the highest value of the metric on the same log under the same rule; None until all of them are
    on record, for the best of a few would make the cell look better than it is.
    """
    asked, same = known[cell].experiment, list[Line | None]()
    log = kind_of(asked).log(asked)
    for row, (other, of_rule) in rows.items():
        experiment = known[other].experiment
        if of_rule != rule or known[other].not_run or not kind_of(experiment).baseline(experiment):
            continue
        if kind_of(experiment).log(experiment) == log:
            same.append(lines.get(row))
    there = [line for line in same if line is not None]
    if not there or len(there) < len(same):
        return None
    return max(there, key=lambda line: line.chosen[metric].mean).chosen
