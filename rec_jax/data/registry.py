"""The known data sets, one row each, and `load`, which reads any of them or a log of the user's own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rec_jax.data.fetch import Archive, ByHand, Files, Source, Wheel, ensure
from rec_jax.data.interactions import Dataset
from rec_jax.data.movielens import LICENCE, load_1m_official, load_100k_official, load_100k_wheel
from rec_jax.data.own import OWN_FORMATS, Columns, load_own
from rec_jax.data.papers import PINTEREST_LICENCE, load_lightgcn, load_ncf, load_pinterest, load_s3rec, load_sasrec
from rec_jax.errors import InputError, did_you_mean

DEFAULT_FOLDER = Path("~/.cache/rec_jax")


@dataclass(frozen=True)
class Route:
    """One way to a data set: the files it needs, the source that brings them, the loader that reads them."""

    files: tuple[str, ...]
    source: Source
    load: Callable[[Path], Dataset]


@dataclass(frozen=True)
class Known:
    """A known data set. `expected` counts (users, items, interactions) are checked after every load; None: not
    known."""

    summary: str
    folder: str
    licence: str
    expected: tuple[int, int, int | None]
    routes: tuple[Route, ...]


_WHEEL = "recbole/dataset_example/ml-100k"
_NCF = "https://raw.githubusercontent.com/hexiangnan/neural_collaborative_filtering/master/Data"
_SASREC = "b725f3acb3986fe3130bffd1e77a74d182a1f51799567a236dbd60270f95b0a2"

_S3REC = "https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/master/data"
_LIGHTGCN = "https://raw.githubusercontent.com/gusye1234/LightGCN-PyTorch/master/data"
AMAZON_LICENCE = "Amazon reviews collected by McAuley et al. (2015), for research; as S3-Rec's authors prepared them"
YELP_LICENCE = "Yelp's open data set, for academic use under Yelp's terms; as the authors of S3-Rec prepared it"
GOWALLA_LICENCE = "check-ins collected by Cho et al., KDD 2011 (SNAP); split by the authors of NGCF and LightGCN"


def _s3rec(name: str, stem: str, what: str, counts: tuple[int, int, int], licence: str) -> Known:
    """A row for a log in S3-Rec's format."""
    return Known(
        summary=f"{what}, 5-core, as S3-Rec's authors published it: chronological, no ratings",
        folder="s3rec",
        licence=licence,
        expected=counts,
        routes=(
            Route(
                (f"{stem}.txt",),
                # The counts verify it: the sum of the official file has not been seen.
                Files(_S3REC, {f"{stem}.txt": None}),
                lambda folder: load_s3rec(folder, stem, name, licence),
            ),
        ),
    )


DATASETS: dict[str, Known] = {
    "ml-100k": Known(
        summary="MovieLens-100K: ratings 1-5 with times, titles, genres, user attributes",
        folder="ml-100k",
        licence=LICENCE,
        expected=(943, 1682, 100_000),
        routes=(
            Route(
                ("u.data", "u.item", "u.user"),
                Archive(
                    "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
                    "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
                    {f"ml-100k/{name}": name for name in ("u.data", "u.item", "u.user")},
                ),
                load_100k_official,
            ),
            Route(
                ("ml-100k.inter", "ml-100k.item", "ml-100k.user"),
                Wheel(
                    "recbole==1.2.1",
                    "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
                    {f"{_WHEEL}/ml-100k.{kind}": f"ml-100k.{kind}" for kind in ("inter", "item", "user")},
                ),
                load_100k_wheel,
            ),
        ),
    ),
    "ml-1m": Known(
        summary="MovieLens-1M, official files: ratings 1-5 with times, titles, genres, user attributes",
        folder="ml-1m",
        licence=LICENCE,
        expected=(6040, 3706, 1_000_209),
        routes=(
            Route(
                ("ratings.dat", "movies.dat", "users.dat"),
                Archive(
                    "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
                    "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
                    {f"ml-1m/{name}": name for name in ("ratings.dat", "movies.dat", "users.dat")},
                ),
                load_1m_official,
            ),
        ),
    ),
    "ml-1m-ncf": Known(
        summary="MovieLens-1M as split by the NCF authors, with their 99 negatives a user (split 'authors')",
        folder="ml-1m/ncf",
        licence=LICENCE,
        expected=(6040, 3706, 1_000_209),
        routes=(
            Route(
                ("ml-1m.train.rating", "ml-1m.test.rating", "ml-1m.test.negative"),
                Files(
                    _NCF,
                    {
                        "ml-1m.train.rating": None,
                        "ml-1m.test.rating": "231ae11eb060b643a8c58c063cd17ffc743b54f569afb073d1abb6cf126b88b5",
                        "ml-1m.test.negative": "127853228a76b7d21c0481e8ef8d00dd009cd5c88670dbdd9e9debfdb9f93de4",
                    },
                ),
                load_ncf,
            ),
        ),
    ),
    "pinterest-ncf": Known(
        summary="Pinterest as split by the NCF authors, with their 99 negatives a user (split 'authors')",
        folder="pinterest/ncf",
        licence=PINTEREST_LICENCE,
        # The paper counts 1,500,809 pins before the split; what the files hold has not been counted.
        expected=(55_187, 9_916, None),
        routes=(
            Route(
                ("pinterest-20.train.rating", "pinterest-20.test.rating", "pinterest-20.test.negative"),
                Files(
                    _NCF, {f"pinterest-20.{kind}": None for kind in ("train.rating", "test.rating", "test.negative")}
                ),
                load_pinterest,
            ),
        ),
    ),
    "ml-1m-sasrec": Known(
        summary="MovieLens-1M as SASRec's authors published it: 5-core, chronological, neither ratings nor times",
        folder="ml-1m/sasrec",
        licence=LICENCE,
        expected=(6040, 3416, 999_611),
        routes=(
            Route(
                ("ml-1m.txt",),
                Files("https://raw.githubusercontent.com/kang205/SASRec/master/data", {"ml-1m.txt": _SASREC}),
                load_sasrec,
            ),
        ),
    ),
    "ml-1m-sasrec-rated": Known(
        summary="The same with MovieLens-1M's ratings 1-5: chronological, no times",
        folder="ml-1m/sasrec",
        licence=LICENCE,
        expected=(6040, 3416, 999_611),
        routes=tuple(
            Route(
                ("ml-1m.txt", "sas_to_original_users.txt", "sas_to_original_items.txt", f"../{ratings}"),
                ByHand("the ratings join through tables of SASRec's ids, 'id original' a line, which nobody publishes"),
                lambda folder: load_sasrec(folder, rated=True),
            )
            for ratings in ("ratings.dat", "ratings_no_timestamp.dat.gz")
        ),
    ),
    "beauty": _s3rec(
        "beauty",
        "Beauty",
        "Amazon Beauty",
        (22_363, 12_101, 198_502),
        AMAZON_LICENCE,
    ),
    "sports": _s3rec(
        "sports",
        "Sports_and_Outdoors",
        "Amazon Sports and Outdoors",
        (35_598, 18_357, 296_337),
        AMAZON_LICENCE,
    ),
    "yelp": _s3rec(
        "yelp",
        "Yelp",
        "Yelp",
        (30_431, 20_033, 316_354),
        YELP_LICENCE,
    ),
    "gowalla": Known(
        summary="Gowalla check-ins as split by the authors of LightGCN (split 'authors'): no order, no times",
        folder="gowalla",
        licence=GOWALLA_LICENCE,
        expected=(29_858, 40_981, 1_027_370),
        routes=(
            Route(
                ("train.txt", "test.txt"),
                # The files' rows are published in several orders, so the counts verify them.
                Files(f"{_LIGHTGCN}/gowalla", {"train.txt": None, "test.txt": None}),
                lambda folder: load_lightgcn(folder, "gowalla", GOWALLA_LICENCE),
            ),
        ),
    ),
}


def load(name: str, data_dir: Path = DEFAULT_FOLDER, columns: Columns | None = None) -> Dataset:
    """Load a known data set, fetched where it is missing, or the log at a path ending in .csv, .tsv or .parquet.

    InputError: an unknown name (near ones are proposed), no source, or counts other than the expected ones.
    """
    if Path(name).suffix in OWN_FORMATS:
        return load_own(Path(name).expanduser(), columns or Columns())
    known = find(name)
    folder = data_dir.expanduser() / known.folder
    route = known.routes[ensure(name, folder, [(r.files, r.source) for r in known.routes])]
    dataset = route.load(folder)
    found = (dataset.n_users, dataset.n_items, len(dataset.interactions))
    if any(count not in (of, None) for of, count in zip(found, known.expected)):
        raise InputError(
            f"{name} in {folder}: expected (users, items, interactions) {known.expected}, found {found}; "
            "the files are incomplete or changed: remove them to fetch them anew"
        )
    return dataset


def find(name: str) -> Known:
    """The row of a known data set. InputError: unknown, with near names."""
    if name not in DATASETS:
        meant = did_you_mean(name, DATASETS, cutoff=0.4)
        raise InputError(
            f"unknown data set {name!r}: {meant}known are {', '.join(DATASETS)}; "
            "a log of your own is named by its path, ending in .csv, .tsv or .parquet"
        )
    return DATASETS[name]
