"""A number's birth certificate: the code, packages and devices it came from."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy")
# Records are results, not code: adding one does not make the next one's code another.
CODE = ("rec_jax", "experiments", "papers_repro", "requirements.txt", ":(exclude)*/records/*")


def code_state(folder: Path | None = None) -> dict[str, Any]:
    """The commit, and whether code or requirements differ from it now; both None outside a git checkout.

    Called when a run starts, since the files may change while it runs.
    """
    folder = folder or Path(__file__).parents[2]
    commit = _git(folder, "rev-parse", "HEAD")
    top = _git(folder, "rev-parse", "--show-toplevel")
    if commit is None or top is None or Path(top) != folder.resolve():
        return {"commit": None, "differs_from_commit": None}
    return {"commit": commit, "differs_from_commit": bool(_git(folder, "status", "--porcelain", "--", *CODE))}


def machine(devices: int) -> dict[str, Any]:
    """Package versions, Python, and the kind and number of devices."""
    return {
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "device": jax.local_devices()[0].device_kind,
        "platform": jax.default_backend(),
        "cores": os.cpu_count(),
        "devices": devices,
        "processes": jax.process_count(),
    }


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
