"""MovieLens in the formats it is handed round in. Harper and Konstan, ACM TiiS 2015.

Both routes to MovieLens-100K give the same Dataset: checked on the official `u.data` and `u.item` (their
SHA-256 are in `rec_jax/data/registry.py`'s archive) against the wheel, and by tests on hand-made lines.
"""

import re
from pathlib import Path

from rec_jax.data.interactions import Dataset, build_dataset
from rec_jax.data.tables import Table, read_delimited
from rec_jax.errors import InputError

LICENCE = "MovieLens (GroupLens): research use, no redistribution, no commercial use without permission"
GENRES_100K = tuple(
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical "  # noqa: SIM905
    "Mystery Romance Sci-Fi Thriller War Western".split()
)
Items = dict[str, tuple[str, int, tuple[str, ...]]]
Users = dict[str, dict[str, str]]


def title_and_year(written: str) -> tuple[str, int]:
    """Part 'Toy Story (1995)' into ('Toy Story', 1995); a mark after the year, as in '(1995) (V)', is dropped.

    The year is 0 where there is none.
    """
    match = re.fullmatch(r"(.*?)\s*\((\d{4})\)(?:\s*\(\w+\))?", written.strip())
    return (match[1], int(match[2])) if match else (written.strip(), 0)


def load_100k_official(folder: Path) -> Dataset:
    """`u.data`, `u.item`, `u.user` of GroupLens' own archive (latin-1, parted by tabs and bars)."""
    log = read_delimited(folder / "u.data", "\t", ("user", "item", "rating", "time"), encoding="latin-1")
    catalogue = read_delimited(
        folder / "u.item", "|", ("item", "title", "released", "video", "url", *GENRES_100K), encoding="latin-1"
    )
    items: Items = {}
    for row, (item, written) in enumerate(zip(catalogue.columns["item"], catalogue.columns["title"])):
        flags = {genre: catalogue.columns[genre][row] for genre in GENRES_100K}
        if wrong := [genre for genre, flag in flags.items() if flag not in ("0", "1")]:
            raise catalogue.fail(row, wrong[0], "0 or 1")
        items[str(item)] = (*title_and_year(str(written)), tuple(g for g, flag in flags.items() if flag == "1"))
    people = read_delimited(folder / "u.user", "|", ("user", "age", "gender", "occupation", "zip"), encoding="latin-1")
    return _build("ml-100k", log, items, _users(people))


def load_100k_wheel(folder: Path) -> Dataset:
    """The atomic files that the RecBole wheel carries: tab-separated with a header, the year in a column.

    Its spellings that differ from the official titles are put right: 'unkonwn' for 'unknown' (item 267), and
    the mark '(V)' read as the year of item 1412.
    """
    log = read_delimited(folder / "ml-100k.inter", "\t", ("user", "item", "rating", "time"), header=True)
    catalogue = read_delimited(folder / "ml-100k.item", "\t", ("item", "title", "year", "genres"), header=True)
    items: Items = {}
    for item, title, year, genres in zip(*(catalogue.columns[c].tolist() for c in ("item", "title", "year", "genres"))):
        title = "unknown" if title == "unkonwn" else title
        items[item] = (*title_and_year(f"{title} ({year})" if year.isdigit() else title), tuple(genres.split()))
    people = read_delimited(folder / "ml-100k.user", "\t", ("user", "age", "gender", "occupation", "zip"), header=True)
    return _build("ml-100k", log, items, _users(people))


def load_1m_official(folder: Path) -> Dataset:
    """`ratings.dat`, `movies.dat`, `users.dat` of GroupLens' own archive (latin-1, parted by '::')."""
    log = read_delimited(folder / "ratings.dat", "::", ("user", "item", "rating", "time"), encoding="latin-1")
    people = read_delimited(
        folder / "users.dat", "::", ("user", "gender", "age", "occupation", "zip"), encoding="latin-1"
    )
    return _build("ml-1m", log, read_movies_dat(folder / "movies.dat"), _users(people))


def read_movies_dat(path: Path) -> Items:
    """`movies.dat` of MovieLens-1M: id::title (year)::genre|genre."""
    movies = read_delimited(path, "::", ("item", "title", "genres"), encoding="latin-1").columns
    rows = zip(movies["item"].tolist(), movies["title"].tolist(), movies["genres"].tolist())
    return {item: (*title_and_year(title), tuple(genres.split("|"))) for item, title, genres in rows}


def _users(people: Table) -> Users:
    fields = [name for name in people.columns if name != "user"]
    rows = zip(*(people.columns[name].tolist() for name in fields))
    return {user: dict(zip(fields, row)) for user, row in zip(people.columns["user"].tolist(), rows)}


def _build(name: str, log: Table, items: Items, users: Users) -> Dataset:
    columns = {
        "user": log.ids("user"),
        "item": log.ids("item"),
        "rating": log.floats("rating", 1.0, 5.0),
        "time": log.seconds("time"),
    }
    for kind, known in (("user", users), ("item", items)):
        if unknown := set(columns[kind].astype(str).tolist()) - known.keys():
            raise InputError(f"{log.path}: {kind} {min(unknown)} is not in the {kind} file; the set is incomplete")
    return build_dataset(name, columns, items=items, users=users, licence=LICENCE)
