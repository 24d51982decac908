"""The order of the house: what may import what, and what importing costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("wandb", "transformers", "orbax", "matplotlib", "torch")
ORDER = ["data", "models", "objectives", "baselines", "train", "evaluate", "tracking", "fusion", "simulate", "policies"]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "rec_jax").rglob("*.py")
    if not path.name.startswith("__")
)


def test_importing_every_module_loads_nothing_heavy() -> None:
    code = f"import sys, rec_jax, {', '.join(MODULES)}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("layer", ORDER)
def test_a_lower_layer_never_imports_a_higher_one(layer: str) -> None:
    higher = [f"rec_jax.{name}" for name in ORDER[ORDER.index(layer) + 1 :]]
    for path in (ROOT / "rec_jax" / layer).rglob("*.py"):
        for name in imported(path):
            assert not name.startswith(("experiments", "papers_repro", *higher)), (path, name)


def test_policies_know_simulators_by_their_interface_alone() -> None:
    """And by what is the same for all of them: how numbers are drawn, and how sessions are played."""
    known = {f"rec_jax.simulate.{name}" for name in ("base", "draws", "episodes")}
    for path in (ROOT / "rec_jax" / "policies").rglob("*.py"):
        assert {name for name in imported(path) if name.startswith("rec_jax.simulate")} <= known, path


def test_the_library_never_imports_the_scripts() -> None:
    for path in (ROOT / "rec_jax").rglob("*.py"):
        assert not [name for name in imported(path) if name.startswith(("experiments", "papers_repro"))], path


def test_no_pickle_eval_or_exec() -> None:
    for path in [*(ROOT / "rec_jax").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        assert "pickle" not in imported(path), path
        calls = [n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        assert not {"eval", "exec"} & set(calls), path
        assert "allow_pickle" not in path.read_text(), path
