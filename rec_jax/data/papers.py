"""Logs in the formats that papers published their splits in."""

from pathlib import Path

import numpy as np

from rec_jax.data.interactions import Dataset, build_dataset
from rec_jax.data.movielens import LICENCE, Items, read_movies_dat
from rec_jax.data.tables import Table, read_delimited
from rec_jax.errors import InputError
from rec_jax.files import read_json
from rec_jax.randomness import host_rng

PINTEREST_LICENCE = "pins collected by Geng et al., ICCV 2015, split by the NCF authors; no licence is stated"


def load_ncf(folder: Path, stem: str = "ml-1m", name: str = "ml-1m-ncf", licence: str = LICENCE) -> Dataset:
    """The NCF authors' split of MovieLens-1M or, with the stem 'pinterest-20', of Pinterest (He et al., WWW 2017).

    `ml-1m.train.rating`, `ml-1m.test.rating` (user, item, rating, time; the time may be missing from train),
    `ml-1m.test.negative` ('(user,item)' and 99 item ids) and, where it is there, `ml-1m.valid.rating`: rows of
    train to hold out. Without it each user's last train event by time is held out or, where times are missing
    too, one drawn at random. Times are used for order only where every event has one.
    Titles join where `../movies.dat` and `item_map_original_to_ncf.txt` lie beside it.
    InputError: malformed rows, or a validation row that is not in train.
    """
    columns = ("user", "item", "rating", "time")
    train = read_delimited(folder / f"{stem}.train.rating", "\t", columns, optional=1)
    test = read_delimited(folder / f"{stem}.test.rating", "\t", columns, optional=1)
    timed = "time" in train.columns and "time" in test.columns
    raw = {
        "user": np.concatenate([train.ids("user"), test.ids("user")]),
        "item": np.concatenate([train.ids("item"), test.ids("item")]),
        "rating": np.concatenate([train.floats("rating", 1.0, 5.0), test.floats("rating", 1.0, 5.0)]),
        "time": np.concatenate([t.seconds("time") if timed else np.zeros(len(t), np.int64) for t in (train, test)]),
    }
    if untested := set(raw["user"].tolist()) - set(test.ids("user").tolist()):
        raise InputError(f"{test.path}: user {min(untested)} of {train.path.name} has no test event")
    part = np.repeat([0, 2], [len(train), len(test)])
    part[_held_out(folder / f"{stem}.valid.rating", columns, raw, len(train))] = 1
    return build_dataset(
        name,
        raw,
        items=_titles(folder / "item_map_original_to_ncf.txt", original_column=0),
        authors=(part, _negatives(folder / f"{stem}.test.negative", test)),
        chronological=timed,
        licence=licence,
    )


def load_pinterest(folder: Path) -> Dataset:
    """The NCF authors' split of Pinterest: pins as items, all ratings 1, all times 0."""
    return load_ncf(folder, "pinterest-20", "pinterest-ncf", PINTEREST_LICENCE)


def _held_out(path: Path, columns: tuple[str, ...], raw: dict[str, np.ndarray], n_train: int) -> np.ndarray:
    """The rows of train that are held out for validation, one a user."""
    user, item = raw["user"][:n_train], raw["item"][:n_train]
    if path.exists():
        valid = read_delimited(path, "\t", columns, optional=1)
        row_of = {pair: row for row, pair in enumerate(zip(user.tolist(), item.tolist()))}
        pairs = list(zip(valid.ids("user").tolist(), valid.ids("item").tolist()))
        for line, pair in enumerate(pairs, 1):
            if pair not in row_of:
                raise InputError(f"{path}, line {line}: user {pair[0]}, item {pair[1]} is not a row of train")
        return np.array([row_of[pair] for pair in pairs])
    if raw["time"].any():
        order = np.lexsort((raw["time"][:n_train], user))
    else:
        order = np.lexsort((host_rng(0, "ml-1m-ncf validation").random(n_train), user))
    last = np.flatnonzero(np.diff(user[order], append=-1))
    return order[last]


def _negatives(path: Path, test: Table) -> np.ndarray:
    """[users in the order of their ids, negatives a user]: the published candidates by original item id."""
    width = len(path.read_text().partition("\n")[0].split("\t")) if path.exists() else 2
    names = ("pair", *(f"negative {k}" for k in range(1, width)))
    table = read_delimited(path, "\t", names)
    ids = np.stack([table.floats(name).astype(np.int64) for name in names[1:]], axis=1)
    users = test.ids("user")
    if len(np.unique(users)) != len(users):
        raise InputError(f"{test.path}: a user has two test events; expected one a user")
    events = [f"({u},{i})" for u, i in zip(test.columns["user"], test.columns["item"])]
    for row, pair in enumerate(table.columns["pair"].tolist()):
        if row >= len(events) or pair != events[row]:
            want = events[row] if row < len(events) else "no more rows"
            raise table.fail(row, "pair", f"the event of the same line of {test.path.name}, {want}")
    if len(table) < len(events):
        raise InputError(f"{path}: has {len(table):,} rows where {test.path.name} has {len(events):,}")
    return ids[np.argsort(users, kind="stable")]


def load_sasrec(folder: Path, rated: bool = False) -> Dataset:
    """SASRec's file of MovieLens-1M (Kang and McAuley, ICDM 2018): 'user item' a line, chronological, ids from 1.

    Ratings are 1 and times 0 (unknown). Titles join where `../movies.dat` and `sas_to_original_items.txt` are.
    `rated`: the ratings join, by user and item, from `../ratings.dat` or `../ratings_no_timestamp.dat.gz` (the same
    without its last column), through `sas_to_original_users.txt` and `sas_to_original_items.txt`; it is then a data
    set of its own name. InputError: malformed rows, or an event without a rating.
    """
    log = read_delimited(folder / "ml-1m.txt", " ", ("user", "item"))
    raw = {
        "user": log.ids("user"),
        "item": log.ids("item"),
        "rating": _ratings(folder, log) if rated else np.ones(len(log)),
        "time": np.zeros(len(log), np.int64),
    }
    items = _titles(folder / "sas_to_original_items.txt", original_column=1)
    return build_dataset("ml-1m-sasrec-rated" if rated else "ml-1m-sasrec", raw, items=items, licence=LICENCE)


def _ratings(folder: Path, log: Table) -> np.ndarray:
    """[events]: what MovieLens-1M's ratings say of each event of SASRec's file."""
    whole = folder.parent / "ratings.dat"
    path = whole if whole.exists() else folder.parent / "ratings_no_timestamp.dat.gz"
    known = read_delimited(path, "::", ("user", "item", "rating", "time"), optional=1, encoding="latin-1")
    pairs = zip(known.columns["user"].tolist(), known.columns["item"].tolist())
    rating_of = dict(zip(pairs, known.floats("rating", 1.0, 5.0).tolist()))
    original = {}
    for kind in ("user", "item"):
        table = read_delimited(folder / f"sas_to_original_{kind}s.txt", " ", ("ours", "original")).columns
        original[kind] = dict(zip(table["ours"].tolist(), table["original"].tolist()))
    found = np.empty(len(log))
    for row, (user, item) in enumerate(zip(log.columns["user"].tolist(), log.columns["item"].tolist())):
        rating = rating_of.get((original["user"].get(user, ""), original["item"].get(item, "")))
        if rating is None:
            raise log.fail(row, "item", f"one that user {user} has rated in {path.name}")
        found[row] = rating
    return found


def load_s3rec(folder: Path, stem: str, name: str, licence: str) -> Dataset:
    """A log in the format of S3-Rec (Zhou et al., CIKM 2020): 'user item item ...' a line, chronological, ids from 1.

    `STEM.timestamps.txt`, where it lies beside, holds the times of the items in the same places; else they are 0
    (unknown). Titles join from `STEM_titles.tsv` (item, ..., title), and attributes, as categories, from
    `STEM_item2attributes.json` where no categories stand beside the titles; both where they are there. Ratings are 1.
    InputError: a line that is not whole numbers, a user twice, times that do not match or fall, or attributes that are
    not lists of whole numbers by item.
    """
    user, item = _user_lines(folder / f"{stem}.txt")
    time, times = np.zeros(len(user), np.int64), folder / f"{stem}.timestamps.txt"
    if times.exists():
        of, time = _user_lines(times)
        if not np.array_equal(of, user):
            raise InputError(f"{times}: expected as many times for each user as {stem}.txt has items")
        if (np.diff(time)[np.diff(user) == 0] < 0).any():
            raise InputError(f"{times}: a user's times fall; expected them in the order of {stem}.txt")
    raw = {"user": user, "item": item, "rating": np.ones(len(user)), "time": time}
    items = _attributes(folder / f"{stem}_item2attributes.json")
    for one, (title, year, categories) in _titles_tsv(folder / f"{stem}_titles.tsv").items():
        items[one] = title, year, categories or (items[one][2] if one in items else ())
    return build_dataset(name, raw, items=items or None, licence=licence)


def load_lightgcn(folder: Path, name: str, licence: str) -> Dataset:
    """A split in the format of LightGCN (He et al., SIGIR 2020): 'user item item ...' a line of train.txt and test.txt.

    A user's items have no order, ratings are 1 and times 0 (unknown). One tenth of each user's train events, drawn at
    random, is held out for validation, which the authors do without. InputError: a malformed line, or a user twice.
    """
    train, test = (_user_lines(folder / file) for file in ("train.txt", "test.txt"))
    user, item = (np.concatenate(both) for both in zip(train, test))
    part = np.repeat([0, 2], [len(train[0]), len(test[0])])
    order = np.lexsort((host_rng(0, f"{name} validation").random(len(train[0])), train[0]))
    _, first, count = np.unique(train[0][order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(first, count)
    part[order[place < np.repeat(count // 10, count)]] = 1
    raw = {"user": user, "item": item, "rating": np.ones(len(user)), "time": np.zeros(len(user), np.int64)}
    return build_dataset(name, raw, authors=(part, None), chronological=False, licence=licence)


def _user_lines(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(first number of its line, number) for every number but the first of each line; a user alone has no events."""
    users, numbers, seen = [], [], set()
    for line, text in enumerate(path.read_text().splitlines(), 1):
        try:
            user, *rest = map(int, text.split())
        except ValueError:
            raise InputError(
                f"{path}, line {line}: expected a user and items, whole numbers, got {text[:60]!r}"
            ) from None
        if user in seen:
            raise InputError(f"{path}, line {line}, field 'user': {user} has a line before; expected one a user")
        seen.add(user)
        users.append(np.full(len(rest), user))
        numbers.append(np.array(rest, np.int64))
    if not users:
        raise InputError(f"{path}: the file is empty; expected 'user item item ...' a line")
    return np.concatenate(users), np.concatenate(numbers)


def _titles_tsv(path: Path) -> Items:
    """Titles by item id, from a table with a header whose columns are the item, others, 'title' and 'categories'; none
    where the file is not there. InputError: no title among the columns, no row, or a row of another length."""
    if not path.exists():
        return {}
    header = path.read_bytes().partition(b"\n")[0].decode(errors="replace").rstrip("\r").split("\t")
    if "title" not in header[1:]:
        raise InputError(f"{path}, line 1: expected columns parted by tabs, the item first, with 'title', got {header}")
    table = read_delimited(path, "\t", header, header=True).columns
    categories = table["categories"].tolist() if "categories" in table else [""] * len(table["title"])
    return {
        item: (title, 0, tuple(of.split(", ")) if of else ())
        for item, title, of in zip(table[header[0]].tolist(), table["title"].tolist(), categories)
    }


def _attributes(path: Path) -> Items:
    """The numbered attributes of each item as its categories; none where the file is not there."""
    stored = read_json(path) if path.exists() else {}
    if not isinstance(stored, dict):
        raise InputError(f"{path}: expected an object of lists by item, got {str(stored)[:60]}")
    for item, numbers in stored.items():
        if not (isinstance(numbers, list) and all(type(number) is int for number in numbers)):
            raise InputError(f"{path}, item {item}: expected a list of whole numbers, got {str(numbers)[:60]}")
    return {item: ("", 0, tuple(f"attribute {number}" for number in numbers)) for item, numbers in stored.items()}


def _titles(mapping: Path, original_column: int) -> Items | None:
    """Titles by the paper's item id, through a file that maps them to MovieLens ids, where there is one."""
    movies = mapping.parent.parent / "movies.dat"
    if not (mapping.exists() and movies.exists()):
        return None
    known = read_movies_dat(movies)
    pairs = read_delimited(mapping, " ", ("a", "b")).columns
    paper, original = (pairs["b"], pairs["a"]) if original_column == 0 else (pairs["a"], pairs["b"])
    return {new: known[old] for new, old in zip(paper.tolist(), original.tolist()) if old in known}
