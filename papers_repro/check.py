"""Whether pages, records, cells and bands belong together."""

from papers_repro import records
from papers_repro.bands import paper_at
from papers_repro.paper import FOLDER, cells, names, published, read
from papers_repro.render import index, page
from rec_jax.errors import InputError


def check_all() -> list[str]:
    """What is wrong, a line each; nothing where all is well."""
    found = [problem for name in names() for problem in check(name)]
    if (FOLDER / "README.md").read_text() != index():
        found.append("papers_repro/README.md: is not what the records say; run python -m papers_repro render")
    return found


def check(paper: str) -> list[str]:
    """The same of one paper: its page equals its records, every record is of a cell of today, bands stand unchanged."""
    found, known, today = [], cells(paper), published(read(paper))
    for path in sorted((FOLDER / paper / "records").glob("*.jsonl")):
        if path.stem not in known:
            found.append(f"{path}: cells.py has no cell of this name")
            continue
        for number, record in enumerate(records.read(paper, path.stem), 1):
            where = f"{path}, line {number}"
            try:
                if record["cell"] != path.stem:
                    found.append(f"{where}: is of the cell {record['cell']!r}")
                if not records.matches(record, known[path.stem]):
                    found.append(f"{where}: its Experiment is not the cell's")
                then = paper_at(record["code"]["commit"], paper)
            except InputError as error:
                found.append(f"{where}: {error}")
                continue
            if then is not None and published(then).get(path.stem) != today.get(path.stem):
                found.append(f"{where}: paper.toml asks for something else than when this was run")
    readme = FOLDER / paper / "README.md"
    if not readme.exists() or readme.read_text() != page(paper):
        found.append(f"{readme}: is not what the records say; run python -m papers_repro render {paper}")
    return found
