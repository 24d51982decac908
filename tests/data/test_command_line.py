"""`python -m rec_jax.data`."""

from pathlib import Path

import pytest

from rec_jax.data.__main__ import main
from tests.helpers import write_small_csv


def test_list_names_every_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "ml-100k" in out
    assert "ml-1m-sasrec" in out


def test_describe_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.csv").write_text("user,item,t\na,x,10\na,x,10\na,y,86500\nb,x,10\n")
    assert main(["describe", str(tmp_path / "log.csv"), "--time-column", "t"]) == 0
    out = capsys.readouterr().out
    for line in ("users            2", "1970-01-01 to 1970-01-02", "33.3% of events", "1 events repeat", "100.00%"):
        assert line in out


def test_fetch_and_describe_the_real_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "ml-100k"]) == 0
    assert main(["describe", "ml-100k"]) == 0
    assert "research use" in capsys.readouterr().out


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "ml-10m"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown data set 'ml-10m': did you mean")
    assert main(["describe", str(write_small_csv(tmp_path / "log.csv")), "--user-column", "uid"]) == 2
