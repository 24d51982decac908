"""Bands are read from paper.toml as a record's commit has it: on a repository made for the test."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from papers_repro import bands
from rec_jax.errors import InputError
from tests.papers_repro.test_machine import TOML

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """A git repository that the module takes for its own."""

    def run(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    monkeypatch.setattr(bands, "TOP", tmp_path)
    bands.paper_at.cache_clear()
    run("init", "-q")
    return run


def committed(git: Git, folder: Path, text: str) -> str:
    path = folder / "papers_repro" / "small" / "paper.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    git("add", ".")
    git("commit", "-qm", "declare")
    return git("rev-parse", "HEAD")


def test_a_band_is_the_one_of_its_time(git: Git, tmp_path: Path) -> None:
    first = committed(git, tmp_path, TOML)
    second = committed(git, tmp_path, TOML.replace("band = 1.0", "band = 2.0"))
    found = [bands.paper_at(commit, "small") for commit in (first, second)]
    assert [paper.cells[0].band for paper in found if paper] == [1.0, 2.0]
    with pytest.raises(InputError, match=r"where papers_repro/other/paper\.toml is not to be found"):
        bands.paper_at(first, "other")
    with pytest.raises(InputError, match="made at commit ffffffffff"):
        bands.paper_at("f" * 40, "small")


def test_without_history_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "TOP", tmp_path)
    bands.paper_at.cache_clear()
    assert bands.paper_at("a" * 40, "small") is None
