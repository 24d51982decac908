"""A log of the user's own: three formats, and every kind of bad row."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars
import pytest

from rec_jax.data.own import Columns, load_own
from rec_jax.data.registry import load
from rec_jax.errors import InputError

NAMED = Columns(user_column="who", item_column="what", rating_column="stars", time_column="when")
TEXT = "who,what,stars,when\nbob,b,4,20\nann,a,5,10\nbob,a,3.5,10\n"


def test_csv_tsv_and_parquet_agree(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(TEXT)
    (tmp_path / "log.tsv").write_text(TEXT.replace(",", "\t"))
    polars.read_csv(tmp_path / "log.csv").write_parquet(tmp_path / "log.parquet")
    sets = [load(str(tmp_path / f"log.{kind}"), columns=NAMED) for kind in ("csv", "tsv", "parquet")]
    assert len({s.fingerprint for s in sets}) == 1
    assert sets[0].user_ids.tolist() == ["ann", "bob"]
    assert sets[0].interactions.item.tolist() == [0, 0, 1]
    assert sets[0].interactions.rating.tolist() == [5.0, 3.5, 4.0]


def test_ids_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    head, *rows = TEXT.splitlines()
    (tmp_path / "a.csv").write_text(TEXT)
    (tmp_path / "b.csv").write_text("\n".join([head, *reversed(rows)]) + "\n")
    assert load_own(tmp_path / "a.csv", NAMED).fingerprint == load_own(tmp_path / "b.csv", NAMED).fingerprint


def test_numbers_sort_as_numbers_and_text_stays_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item\n10,007\n9,7\n")
    found = load_own(tmp_path / "a.csv", Columns())
    assert found.user_ids.tolist() == ["9", "10"]
    assert found.item_ids.tolist() == ["007", "7"]


def test_dates_are_seconds(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item,t\n1,1,1970-01-01T00:01:00\n1,2,1970-01-02\n")
    found = load_own(tmp_path / "a.csv", Columns(time_column="t"))
    assert found.interactions.time.tolist() == [60, 86400]


def test_ids_beyond_64_bits_and_odd_file_names(tmp_path: Path) -> None:
    (tmp_path / "log[1].csv").write_text(f"user,item\n{2**64},1\n5,2\n")
    found = load(str(tmp_path / "log[1].csv"))
    assert found.user_ids.tolist() == sorted([str(2**64), "5"])
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        load(str(tmp_path / "folder.csv"))
    polars.DataFrame({"user": [[1], [2]], "item": [1, 2]}).write_parquet(tmp_path / "nested.parquet")
    with pytest.raises(InputError, match="column 'user' holds List"):
        load(str(tmp_path / "nested.parquet"))


def test_quoted_fields_and_no_ratings(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('user,item\nu,"a, b"\n')
    found = load_own(tmp_path / "a.csv", Columns())
    assert found.item_ids.tolist() == ["a, b"]
    assert found.interactions.rating.tolist() == [1.0]
    assert found.interactions.time.dtype == np.int64


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("", NAMED, "is empty"),
        ("who,what,stars,when\n", NAMED, "has a header and no event"),
        (
            TEXT,
            Columns(),
            "has no column 'user'; its columns are who, what, stars, when; name yours with --user-column",
        ),
        ("user;item\n1;2\n", Columns(), "its columns are user;item; a .csv file is parted by ','"),
        (TEXT + "cy,c,4\n", NAMED, "line 5"),
        (TEXT + "cy,c,4,1,9\n", NAMED, "line 5: expected 4 fields"),
        (TEXT + "cy,c,good,30\n", NAMED, "line 5, field 'stars': expected a number, got 'good'"),
        (TEXT + "cy,c,nan,30\n", NAMED, "line 5, field 'stars': expected a number, got 'nan'"),
        (TEXT + "cy,c,4,soon\n", NAMED, "line 5, field 'when': expected seconds since 1970, or an ISO 8601 date"),
        (TEXT + "cy,c,4,1700000000000\n", NAMED, "line 5, field 'when': expected seconds since 1970"),
        (TEXT + 'cy,"c,4,30\n' + "x" * 200_000 + "\n", NAMED, "log.csv"),
        (TEXT + "cy,,4,30\n", NAMED, "line 5, field 'what'"),
        (
            TEXT,
            Columns("who", "what", "stars", "when", rating_low=1.0, rating_high=4.5),
            "line 3, field 'stars': expected a number from 1 to 4.5, got '5'",
        ),
    ],
)
def test_bad_logs_are_named(tmp_path: Path, text: str, columns: Columns, message: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_own(path, columns)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_an_unknown_ending(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="ends in"):
        load_own(tmp_path / "log.xlsx", Columns())


def test_parquet_s_own_types(tmp_path: Path) -> None:
    """Floats that are whole (as pandas writes integers with gaps), booleans, moments; other floats are no ids."""
    path, noon = tmp_path / "a.parquet", datetime(2020, 1, 1, 12, tzinfo=UTC)
    polars.DataFrame({"user": [2.0, 1.0], "item": [True, False], "t": [noon, noon]}).write_parquet(path)
    found = load_own(path, Columns(time_column="t"))
    assert found.user_ids.tolist() == ["1", "2"]
    assert found.item_ids.tolist() == ["False", "True"]
    assert found.interactions.time.tolist() == [1577880000] * 2
    polars.DataFrame({"user": [1.0, 1.5], "item": [1, 2]}).write_parquet(path)
    with pytest.raises(InputError, match=r"row 2, field 'user': expected an id, a whole number or text, got 1\.5"):
        load_own(path, Columns())
    polars.DataFrame({"user": [1, None], "item": [1, 2]}).write_parquet(path)
    with pytest.raises(InputError, match="row 2, field 'user': is empty"):
        load_own(path, Columns())


def test_windows_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\ufeffuser,item\r\nb,y\r\na,x\r\n".encode())
    found = load_own(tmp_path / "a.csv", Columns())
    assert found.user_ids.tolist() == ["a", "b"]
    assert found.item_ids.tolist() == ["x", "y"]


def test_a_broken_parquet_file(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("not parquet")
    with pytest.raises(InputError, match="is not a Parquet file"):
        load(str(tmp_path / "a.parquet"))


def test_signals_are_one_rating_from_0_to_1(tmp_path: Path) -> None:
    """(.2 click + purchase + .5 (seconds - 10) / 40) / 1.7, in plain Python; 70 seconds count as 50."""
    rows = [(1, 0, 10.0), (1, 1, 30.0), (0, 0, 70.0), (1, 1, 50.0)]
    lines = [f"{u},{u},{u},{','.join(map(str, row))}" for u, row in enumerate(rows)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,t,click,purchase,seconds", *lines]) + "\n")
    columns = Columns(time_column="t", signals=("click=.2", "purchase=1", "seconds=.5:10:50:clip"))
    found = load_own(tmp_path / "log.csv", columns).interactions.rating
    wanted = [(0.2 * click + bought + 0.5 * (min(s, 50) - 10) / 40) / 1.7 for click, bought, s in rows]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    with pytest.raises(InputError, match=r"log\.csv, line 4, field 'seconds': .* a number from 10 to 50"):
        load_own(tmp_path / "log.csv", Columns(signals=("seconds=1:10:50",)))
    with pytest.raises(InputError, match="has no column 'bought'"):
        load_own(tmp_path / "log.csv", Columns(signals=("bought=1",)))
    with pytest.raises(InputError, match=r"name the ratings among the signals \(click=1:1:5\)"):
        load_own(tmp_path / "log.csv", Columns(rating_column="click", signals=("purchase=1",)))


@pytest.mark.parametrize("text", ["click", "=1", "click=", "click=a", "click=1:0", "click=1:0:2:clop", "click=1:0:2:3"])
def test_signals_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected NAME=WEIGHT"):
        load_own(Path("never read.csv"), Columns(signals=(text,)))
