"""The README is true: its tables equal their records, its recipe works, its files exist, its flags parse."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cli import parse_job
from experiments.readme import rendered
from tests.helpers import write_small_csv

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_tables_equal_their_records() -> None:
    assert rendered(README) == README


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_map_names_what_is_there() -> None:
    house = README[README.index("## Layout") :]
    names = re.findall(r"^ *([a-z_]+(?:/|\.py)) ", house, flags=re.MULTILINE)
    assert len(names) >= 13
    for name in names:
        assert (ROOT / name).exists() or (ROOT / "rec_jax" / name).exists(), name
    for folder in (ROOT / "rec_jax").iterdir():
        if folder.is_dir() and (folder / "__init__.py").exists():
            assert f"  {folder.name}/" in house, folder


COMMANDS = [
    line.split("#")[0].strip() for line in re.findall(r"^python -m experiments\.train .*$", README, re.MULTILINE)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_training_commands_parse(command: str) -> None:
    arguments = shlex.split(command)[3:]
    if "--help" not in arguments and arguments[0] != "cml":
        parse_job(arguments, "p", "d")


def test_the_recipe_adds_a_model_in_two_files(tmp_path: Path) -> None:
    """As the README tells it, on a copy of the code: train and recommend (in one process, which saves a start), and the
    common tests for the new row.
    """
    module, row = re.findall(r"```python\n# (rec_jax/.*?\n)(.*?)```", README, flags=re.DOTALL)
    for folder in ("rec_jax", "experiments", "tests"):
        # What is compiled may come along, but for what another worker is writing just now.
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.pyc.*"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / module[0].strip()).write_text(module[1])
    registry = tmp_path / "rec_jax" / "registry.py"
    text = registry.read_text()
    text = text.replace("from rec_jax.models import (\n", "from rec_jax.models import (\n    cml,\n", 1)
    text = text.replace("MODELS: dict[str, Model] = {\n", "MODELS: dict[str, Model] = {\n    " + row[1], 1)
    registry.write_text(text)
    write_small_csv(tmp_path / "log.csv")

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    flags = ["cml", "--width", "16", "--data", "log.csv", "--batch-size", "64", "--epochs", "3", "--wandb", "off"]
    trained = ["from experiments import recommend", "from experiments.train import train", f"train({flags})"]
    trained += ["from pathlib import Path", "(run,) = Path('runs').iterdir()"]
    trained += ["recommend.script([str(run), '--user', '3'])"]
    assert "recommended to user 3" in python("-c", "\n".join(trained))
    tested = python("-m", "pytest", "tests/test_registry.py", "-k", "cml and not rating", "-p", "no:cacheprovider")
    assert "8 passed" in tested or "10 passed" in tested, tested
