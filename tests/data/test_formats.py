"""Loaders on hand-made lines in each official format, and both routes to MovieLens-100K against each other."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from rec_jax.data.interactions import Dataset
from rec_jax.data.movielens import load_1m_official, load_100k_official, load_100k_wheel, title_and_year
from rec_jax.data.papers import PINTEREST_LICENCE, load_lightgcn, load_ncf, load_pinterest, load_s3rec, load_sasrec
from rec_jax.data.registry import DATASETS, load
from rec_jax.errors import InputError
from tests.conftest import SHARED_DATA

FLAGS = "0|" * 18 + "0"


def flags(*places: int) -> str:
    return "|".join("1" if i in places else "0" for i in range(19))


def write(folder: Path, files: dict[str, str], encoding: str = "latin-1") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding=encoding)
    return folder


OFFICIAL_100K = {
    "u.data": "2\t1\t3\t881250949\n1\t267\t5\t875072484\n1\t543\t4\t875071561\n2\t1412\t1\t881250949\n",
    "u.item": (
        f"1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Toy%20Story%20(1995)|{flags(3, 4, 5)}\n"
        f"267|unknown||||{flags(0)}\n"
        f"543|Misérables, Les (1995)|01-Jan-1995||http://us.imdb.com/M/|{flags(8, 12)}\n"
        f"1412|Land Before Time III: The Time of the Great Giving (1995) (V)|01-Jan-1995||http://u/|{flags(3, 4)}\n"
    ),
    "u.user": "1|24|M|technician|85711\n2|53|F|other|T8H1N\n",
}
WHEEL_100K = {
    "ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + OFFICIAL_100K["u.data"],
    "ml-100k.item": (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tToy Story\t1995\tAnimation Children's Comedy\n267\tunkonwn\tunkonwn\tunknown\n"
        "543\tMisérables, Les\t1995\tDrama Musical\n"
        "1412\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation Children's\n"
    ),
    "ml-100k.user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    + OFFICIAL_100K["u.user"].replace("|", "\t"),
}


def test_both_formats_of_ml_100k_give_the_same_dataset(tmp_path: Path) -> None:
    official = load_100k_official(write(tmp_path / "a", OFFICIAL_100K))
    wheel = load_100k_wheel(write(tmp_path / "b", WHEEL_100K, "utf-8"))
    assert official.fingerprint == wheel.fingerprint
    assert official.catalogue == wheel.catalogue
    assert official.user_attributes.keys() == wheel.user_attributes.keys()
    for name, column in official.user_attributes.items():
        assert column.tolist() == wheel.user_attributes[name].tolist()
    log = official.interactions
    assert official.item_ids.tolist() == ["1", "267", "543", "1412"]
    assert log.user.tolist() == [0, 0, 1, 1]
    assert log.item.tolist() == [2, 1, 0, 3]  # sorted by time; user 2's tie keeps the input order
    assert official.catalogue.title[2] == "Misérables, Les"
    assert list(official.catalogue.year) == [1995, 0, 1995, 1995]
    assert official.catalogue.categories[0] == ("Animation", "Children's", "Comedy")
    assert official.user_attributes["zip"].tolist() == ["85711", "T8H1N"]


def test_the_real_ml_100k(ml_100k: Dataset) -> None:
    assert (ml_100k.n_users, ml_100k.n_items, len(ml_100k.interactions)) == DATASETS["ml-100k"].expected
    assert ml_100k.fingerprint == "b6a59e346f2cddc458fa7e44a3c09d945cf75872213a98ad98af749c0b748cd3"
    assert ml_100k.item_label(0) == "Toy Story (1995)"
    assert ml_100k.item_label(266) == "unknown"
    assert ml_100k.item_label(1411) == "Land Before Time III: The Time of the Great Giving (1995)"
    assert ml_100k.user_attributes["occupation"][0] == "technician"


def test_ml_1m_official(tmp_path: Path) -> None:
    files = {
        "ratings.dat": "1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978298413\n",
        "movies.dat": "661::James and the Giant Peach (1996)::Animation|Children's|Musical\n"
        "1193::One Flew Over the Cuckoo's Nest (1975)::Drama\n",
        "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
    }
    dataset = load_1m_official(write(tmp_path, files))
    assert dataset.interactions.item.tolist() == [1, 0, 1]
    assert dataset.item_label(1) == "One Flew Over the Cuckoo's Nest (1975)"
    assert dataset.user_attributes["gender"].tolist() == ["F", "M"]


NCF = {
    "ml-1m.train.rating": "0\t0\t5\t30\n0\t1\t3\t10\n0\t4\t3\t20\n1\t2\t4\t5\n1\t3\t4\t5\n",
    "ml-1m.test.rating": "0\t2\t5\t40\n1\t4\t3\t50\n",
    "ml-1m.test.negative": "(0,2)\t3\t3\t1\n(1,4)\t0\t1\t4\n",
}


def parts(dataset: Dataset) -> dict[tuple[int, int], int]:
    assert dataset.authors is not None
    log = dataset.interactions
    return dict(zip(zip(log.user.tolist(), log.item.tolist()), dataset.authors.part.tolist()))


def test_ncf_format_holds_out_the_last_train_event(tmp_path: Path) -> None:
    dataset = load_ncf(write(tmp_path, NCF))
    assert dataset.chronological
    assert parts(dataset) == {(0, 1): 0, (0, 4): 0, (0, 0): 1, (0, 2): 2, (1, 2): 0, (1, 3): 1, (1, 4): 2}
    assert dataset.authors is not None
    assert dataset.authors.candidates is not None
    assert dataset.authors.candidates.tolist() == [[3, 3, 1], [0, 1, 4]]


def test_ncf_format_without_times_and_with_a_validation_file(tmp_path: Path) -> None:
    untimed = "".join("\t".join(line.split("\t")[:3]) + "\n" for line in NCF["ml-1m.train.rating"].splitlines())
    files = NCF | {"ml-1m.train.rating": untimed, "ml-1m.valid.rating": "0\t1\t3\n1\t2\t4\n"}
    dataset = load_ncf(write(tmp_path, files))
    assert not dataset.chronological
    assert {pair for pair, part in parts(dataset).items() if part == 1} == {(0, 1), (1, 2)}
    del files["ml-1m.valid.rating"]
    drawn = load_ncf(write(tmp_path / "drawn", files))
    held = [pair for pair, part in parts(drawn).items() if part == 1]
    assert sorted(user for user, _ in held) == [0, 1]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("ml-1m.valid.rating", "0\t1\t3\n0\t2\t3\n", "line 2: user 0, item 2 is not a row of train"),
        ("ml-1m.test.negative", "(0,2)\t3\t3\t1\n(1,3)\t0\t1\t4\n", r"line 2, field 'pair': expected .* \(1,4\)"),
        ("ml-1m.test.negative", "(0,2)\t3\t3\t1\n", "has 1 rows where ml-1m.test.rating has 2"),
        ("ml-1m.test.negative", "(0,2)\t3\t3\t1\n(1,4)\t0\t1\n", "line 2: expected 4 fields"),
        ("ml-1m.test.negative", "(0,2)\t3\t3\t9\n(1,4)\t0\t1\t4\n", "items that the log never mentions"),
        ("ml-1m.train.rating", NCF["ml-1m.train.rating"] + "2\t0\t5\t1\n", "user 2 of ml-1m.train.rating has no test"),
        ("ml-1m.test.rating", NCF["ml-1m.test.rating"] + "0\t1\t5\t1\n", "a user has two test events"),
        ("ml-1m.train.rating", "0\t0\t9\t30\n", "line 1, field 'rating': expected a number from 1 to 5, got '9'"),
    ],
)
def test_ncf_format_names_what_is_wrong(tmp_path: Path, file: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_ncf(write(tmp_path, NCF | {file: text}))


def test_pinterest_is_in_the_same_format(tmp_path: Path) -> None:
    files = {name.replace("ml-1m", "pinterest-20"): text for name, text in NCF.items()}
    files["pinterest-20.train.rating"] = "0\t1\t1\t0\n0\t0\t1\t0\n0\t4\t1\t0\n1\t2\t1\t0\n1\t3\t1\t0\n"
    files["pinterest-20.test.rating"] = "0\t2\t1\t0\n1\t4\t1\t0\n"
    dataset = load_pinterest(write(tmp_path, files))
    assert dataset.name == "pinterest-ncf"
    assert dataset.licence == PINTEREST_LICENCE
    assert {pair for pair, part in parts(dataset).items() if part == 2} == {(0, 2), (1, 4)}
    assert sum(part == 1 for part in parts(dataset).values()) == 2  # no times: one of each user's is drawn
    assert dataset.authors is not None
    assert dataset.authors.candidates is not None
    assert dataset.authors.candidates.tolist() == [[3, 3, 1], [0, 1, 4]]


def test_sasrec_format(tmp_path: Path) -> None:
    mapping = {"ml-1m.txt": "1 1\n1 2\n2 2\n2 1\n", "sas_to_original_items.txt": "1 1198\n2 3552\n"}
    write(
        tmp_path,
        {"movies.dat": "1198::Raiders of the Lost Ark (1981)::Action|Adventure\n3552::Caddyshack (1980)::Comedy\n"},
    )
    dataset = load_sasrec(write(tmp_path / "sasrec", mapping))
    assert dataset.chronological
    assert dataset.interactions.item.tolist() == [0, 1, 1, 0]
    assert dataset.item_label(1) == "Caddyshack (1980)"


SASREC = {
    "sasrec/ml-1m.txt": "1 1\n1 2\n2 2\n2 1\n",
    "sasrec/sas_to_original_users.txt": "1 20\n2 10\n",
    "sasrec/sas_to_original_items.txt": "1 1198\n2 3552\n",
    "ratings.dat": "10::1198::4::7\n10::3552::1::6\n20::3552::5::9\n20::1198::2::8\n",
}


@pytest.mark.parametrize("packed", [False, True])
def test_ratings_join_sasrec_s_file(tmp_path: Path, packed: bool) -> None:
    """From the official file, or from one without times that is packed; times stay unknown."""
    (tmp_path / "sasrec").mkdir()
    write(tmp_path, SASREC)
    if packed:
        rows = "10::1198::4\n10::3552::1\n20::3552::5\n20::1198::2\n"
        (tmp_path / "ratings_no_timestamp.dat.gz").write_bytes(gzip.compress(rows.encode()))
        (tmp_path / "ratings.dat").unlink()
    dataset = load_sasrec(tmp_path / "sasrec", rated=True)
    log = dataset.interactions
    assert dataset.name == "ml-1m-sasrec-rated"
    assert (log.user.tolist(), log.item.tolist()) == ([0, 0, 1, 1], [0, 1, 1, 0])
    assert log.rating.tolist() == [2, 5, 1, 4]
    assert not log.time.any()
    plain = load_sasrec(tmp_path / "sasrec")
    assert (plain.name, plain.interactions.rating.tolist()) == ("ml-1m-sasrec", [1, 1, 1, 1])


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "ratings.dat",
            "20::3552::5::9\n",
            "",
            "ml-1m.txt, line 2, field 'item': expected one that user 1 has rated in",
        ),
        ("sasrec/sas_to_original_users.txt", "2 10", "3 10", "ml-1m.txt, line 3, field 'item'"),
        ("ratings.dat", "::5::", "::6::", "line 3, field 'rating': expected a number from 1 to 5"),
    ],
)
def test_ratings_that_do_not_join(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    (tmp_path / "sasrec").mkdir()
    write(tmp_path, SASREC | {file: SASREC[file].replace(old, new)})
    with pytest.raises(InputError, match=message):
        load_sasrec(tmp_path / "sasrec", rated=True)


S3REC = {"Log.txt": "2 7 5 7\n1 5\n", "Log.timestamps.txt": "2 100 100 300\n1 50\n"}


def test_s3rec_format(tmp_path: Path) -> None:
    titles = "item\tasin\ttitle\tcategories\n5\tB5\tFive\tBars, Food\n7\tB7\tSeven\t\n"
    write(tmp_path, {**S3REC, "Log_titles.tsv": titles})
    dataset = load_s3rec(tmp_path, "Log", "log", "none")
    log = dataset.interactions
    assert (log.user.tolist(), log.item.tolist()) == ([0, 1, 1, 1], [0, 1, 0, 1])
    assert log.time.tolist() == [50, 100, 100, 300]
    assert [dataset.item_label(i) for i in range(2)] == ["Five", "Seven"]
    assert dataset.catalogue.categories[0] == ("Bars", "Food")
    assert dataset.chronological
    write(tmp_path, {"Log_item2attributes.json": '{"7": [3, 1], "5": [2]}'})
    both = load_s3rec(tmp_path, "Log", "log", "none")
    assert list(both.catalogue.categories) == [("Bars", "Food"), ("attribute 3", "attribute 1")]
    assert both.fingerprint == dataset.fingerprint
    (tmp_path / "Log_titles.tsv").unlink()
    alone = load_s3rec(tmp_path, "Log", "log", "none").catalogue
    assert (list(alone.title), list(alone.categories)) == (["", ""], [("attribute 2",), ("attribute 3", "attribute 1")])
    (tmp_path / "Log.timestamps.txt").unlink()
    assert load_s3rec(tmp_path, "Log", "log", "none").interactions.time.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("Log.txt", "2 7 x\n", "Log.txt, line 1: expected a user and items, whole numbers, got '2 7 x'"),
        ("Log.txt", "2 7\n\n", "Log.txt, line 2: expected a user and items"),
        ("Log.txt", "2 7\n2 5\n", "Log.txt, line 2, field 'user': 2 has a line before"),
        ("Log.txt", "", "the file is empty"),
        ("Log.timestamps.txt", "2 100 100\n1 50\n", "as many times for each user as Log.txt has items"),
        ("Log.timestamps.txt", "2 100 300 200\n1 50\n", "a user's times fall"),
        ("Log_item2attributes.json", '{"5": ["x"]}', "item 5: expected a list of whole numbers, got ..x"),
        ("Log_item2attributes.json", "[1]", "expected an object of lists"),
        ("Log_item2attributes.json", "{", "Log_item2attributes.json"),
        ("Log_titles.tsv", "", "Log_titles.tsv, line 1: expected columns parted by tabs, the item first, with 'title'"),
        ("Log_titles.tsv", "item\tname\n5\tFive\n", "line 1: expected columns parted by tabs, .* got .'item', 'name'"),
        ("Log_titles.tsv", "item\ttitle\n5\tFive\n7\n", "line 3: expected 2 fields .item, title. parted by"),
    ],
)
def test_s3rec_format_names_what_is_wrong(tmp_path: Path, file: str, text: str, message: str) -> None:
    write(tmp_path, {**S3REC, file: text})
    with pytest.raises(InputError, match=message):
        load_s3rec(tmp_path, "Log", "log", "none")


def test_lightgcn_format(tmp_path: Path) -> None:
    """Of 20 train events two validate, of 3 none; a user may have no test event."""
    twenty = " ".join(map(str, range(100, 120)))
    write(tmp_path, {"train.txt": f"0 {twenty}\n1 100 101 102\n", "test.txt": "0 99\n1\n"})
    dataset = load_lightgcn(tmp_path, "log", "none")
    assert not dataset.chronological
    assert dataset.authors is not None
    user, part = dataset.interactions.user, dataset.authors.part
    assert np.bincount(part[user == 0]).tolist() == [18, 2, 1]
    assert np.bincount(part[user == 1]).tolist() == [3]
    test = dataset.interactions.item[part == 2]
    assert dataset.item_ids[test].tolist() == ["99"]
    again = load_lightgcn(tmp_path, "log", "none").authors
    assert again is not None
    np.testing.assert_array_equal(part, again.part)


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the folder of MovieLens-1M is not on this machine")
@pytest.mark.parametrize(
    "name", ["ml-1m-ncf", "ml-1m-sasrec", "ml-1m-sasrec-rated", "beauty", "sports", "yelp", "gowalla"]
)
def test_the_published_files(name: str) -> None:
    dataset = load(name, SHARED_DATA)
    assert (dataset.n_users, dataset.n_items, len(dataset.interactions)) == DATASETS[name].expected
    if name == "ml-1m-ncf":
        assert dataset.authors is not None
        assert np.bincount(dataset.authors.part).tolist() == [988_129, 6040, 6040]
    if name == "ml-1m-sasrec-rated":
        assert set(dataset.interactions.rating.tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}
    if name == "gowalla":
        assert dataset.authors is not None
        assert np.bincount(dataset.authors.part)[2] == 217_242
    if name == "beauty":
        assert dataset.item_label(0) == "OPI Nail Lacquer, Simmer and Shimmer, 0.5-Fluid Ounce"


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the folder of MovieLens-1M is not on this machine")
def test_original_lines_of_ml_1m(tmp_path: Path) -> None:
    """The first 2,999 users' lines of the official file, with their times: counted independently beforehand."""
    source = SHARED_DATA / "ml-1m"
    lines = gzip.decompress((source / "ratings_users_1-2999_with_timestamps.dat.gz").read_bytes())
    (tmp_path / "ratings.dat").write_bytes(lines)
    for name in ("movies.dat", "users.dat"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    dataset = load_1m_official(tmp_path)
    assert (dataset.n_users, dataset.n_items, len(dataset.interactions)) == (2999, 3615, 487_650)
    assert dataset.interactions.time.min() > 0
    assert dataset.item_label(dataset.item_index("1193")) == "One Flew Over the Cuckoo's Nest (1975)"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Toy Story (1995)", ("Toy Story", 1995)),
        ("Heidi Fleiss: Hollywood Madam (1995) ", ("Heidi Fleiss: Hollywood Madam", 1995)),
        ("Seven (Se7en) (1995)", ("Seven (Se7en)", 1995)),
        ("The Great Giving (1995) (V)", ("The Great Giving", 1995)),
        ("2001: A Space Odyssey (1968)", ("2001: A Space Odyssey", 1968)),
        ("unknown", ("unknown", 0)),
    ],
)
def test_title_and_year(written: str, expected: tuple[str, int]) -> None:
    assert title_and_year(written) == expected


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("u.data", "2\t1\t3\t881250949", "2\t1\t3", "u.data, line 1: expected 4 fields"),
        ("u.data", "1\t267\t5", "1\t267\t6", "line 2, field 'rating': expected a number from 1 to 5, got '6'"),
        ("u.data", "1\t267\t5", "1\t267\tfive", "line 2, field 'rating'"),
        ("u.data", "1\t267\t5\t875072484", "1\t267\t5\tnow", "line 2, field 'time': expected seconds"),
        ("u.data", "2\t1\t3", "7\t1\t3", "user 7 is not in the user file"),
        ("u.item", "|01-Jan-1995||http://us.imdb.com/M/|", "|http://us.imdb.com/M/|", "u.item, line 3: expected 24"),
    ],
)
def test_malformed_rows_are_named(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    files = OFFICIAL_100K | {file: OFFICIAL_100K[file].replace(old, new)}
    with pytest.raises(InputError, match=message):
        load_100k_official(write(tmp_path, files))


def test_an_empty_log(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"u\.data: is empty"):
        load_100k_official(write(tmp_path, OFFICIAL_100K | {"u.data": "\n"}))
