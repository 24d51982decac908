"""The birth certificate in a real git repository."""

import subprocess
from pathlib import Path

from rec_jax.tracking.certificate import code_state, machine


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_commit_and_difference(tmp_path: Path) -> None:
    assert code_state(tmp_path) == {"commit": None, "differs_from_commit": None}
    git(tmp_path, "init", "-q")
    (tmp_path / "rec_jax").mkdir()
    (tmp_path / "rec_jax" / "a.py").write_text("x = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert code_state(tmp_path) == {"commit": head, "differs_from_commit": False}
    (tmp_path / "notes.txt").write_text("not code")
    assert code_state(tmp_path)["differs_from_commit"] is False
    (tmp_path / "experiments" / "records").mkdir(parents=True)
    (tmp_path / "experiments" / "records" / "r.json").write_text("{}")
    assert code_state(tmp_path)["differs_from_commit"] is False
    (tmp_path / "rec_jax" / "b.py").write_text("")
    assert code_state(tmp_path) == {"commit": head, "differs_from_commit": True}
    assert code_state(tmp_path / "rec_jax")["commit"] is None  # a folder inside somebody else's repository


def test_machine_names_versions_and_devices() -> None:
    found = machine(4)
    assert found["devices"] == 4
    assert found["packages"]["jax"].count(".") >= 2
    assert found["platform"] == "cpu"
