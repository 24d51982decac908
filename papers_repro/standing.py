"""A paper as it stands: what was published, how it is run, what is on record, and what that says; read once."""

from collections.abc import Mapping
from dataclasses import dataclass

from papers_repro import records
from papers_repro.bands import paper_at
from papers_repro.paper import Cell, Paper, Published, Record, cells, published, read
from papers_repro.verdicts import Line, Mean, line_of, over_users, verdict
from rec_jax.registry import OWN


@dataclass(frozen=True)
class Standing:
    """Everything by the cell's name; `published` as paper.toml stood when the cell's first record was made."""

    name: str
    about: Paper
    cells: Mapping[str, Cell]
    published: Mapping[str, Published]
    counted: Mapping[str, Mapping[int, Record]]
    lines: Mapping[str, Line]
    verdicts: Mapping[str, str]

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
    asked: dict[str, Published] = {}
    for cell in known:
        first = next(iter(records.read(name, cell)), None)
        then = paper_at(first["code"]["commit"], name) if first else None
        if (value := published(then or about).get(cell)) is not None:
            asked[cell] = value
    counted = {cell: found for cell in known if (found := records.counted(name, cell))}
    users = over_users(counted)
    lines = {cell: line_of(of_seed, about.rule, users[cell]) for cell, of_seed in counted.items()}
    verdicts = {
        cell: verdict(lines.get(cell), asked.get(cell), of.not_run, _best_baseline(of, known, lines))
        for cell, of in known.items()
    }
    return Standing(name, about, known, asked, counted, lines, verdicts)


def _best_baseline(cell: Cell, known: Mapping[str, Cell], lines: Mapping[str, Line]) -> Mapping[str, Mean] | None:
    """The baseline with the highest NDCG@10 on the same log, of those on record."""
    data = cell.experiment.data
    same = [line for name, line in lines.items() if (e := known[name].experiment).objective == OWN and e.data == data]
    return max(same, key=lambda line: line.chosen["ndcg@10"].mean).chosen if same else None
