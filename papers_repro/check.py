"""Whether pages, records, cells and bands belong together."""

from collections.abc import Sequence

from papers_repro import records
from papers_repro.bands import paper_at
from papers_repro.paper import FOLDER, names, published, rows_of
from papers_repro.render import index, page
from papers_repro.rewritten import at_gone, pairs
from papers_repro.standing import Standing, standing
from rec_jax.errors import InputError


def check_all() -> list[str]:
    """What is wrong, a line each; nothing where all is well."""
    papers = [standing(name) for name in names()]
    found = [problem for paper in papers for problem in check(paper, papers)]
    if (FOLDER / "README.md").read_text() != index(papers):
        found.append("papers_repro/README.md: is not what the records say; run python -m papers_repro render")
    return found


def check(paper: Standing, papers: Sequence[Standing]) -> list[str]:
    """The same of one paper: its page equals its records, every record is of a cell of today, bands stand unchanged."""
    found, name, today = [], paper.name, published(paper.about)
    for path in sorted((FOLDER / name / "records").glob("*.jsonl")):
        if path.stem not in paper.cells:
            found.append(f"{path}: cells.py has no cell of this name")
            continue
        for number, record in enumerate(paper.made[path.stem], 1):
            where = f"{path}, line {number}"
            try:
                if record["cell"] != path.stem:
                    found.append(f"{where}: is of the cell {record['cell']!r}")
                if not records.matches(record, paper.cells[path.stem]):
                    found.append(f"{where}: its Experiment is not the cell's")
                then = paper_at(record["code"]["commit"], name)
            except InputError as error:
                found.append(f"{where}: {error}")
                continue
            rows = rows_of(paper.about, path.stem)
            if then is not None and any(published(then).get(row) != today.get(row) for row in rows):
                found.append(f"{where}: paper.toml asks for something else than when this was run")
    again = pairs(paper.made)
    unlike = (pair for pair in again if not pair.equal)
    found += [f"{name}: {pair.cell}, seed {pair.seed}, came out otherwise where it was run again" for pair in unlike]
    if not again and at_gone(paper.made):
        found.append(f"{name}: records name a commit that is gone, and no seed was run again at the one in its place")
    readme = FOLDER / name / "README.md"
    if not readme.exists() or readme.read_text() != page(paper, papers):
        found.append(f"{readme}: is not what the records say; run python -m papers_repro render {name}")
    return found
