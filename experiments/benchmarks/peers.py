"""The systems we are measured against: each in an environment of its own under ~/.cache/rec_jax/peers."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console

from rec_jax.data.interactions import Interactions
from rec_jax.data.splits import Split

PEERS = Path("~/.cache/rec_jax/peers").expanduser()
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """A system to compare with, and the packages that pip installs for it, on one of the Pythons named.

    `build`: what has to be there before the packages can be built.
    """

    name: str
    folder: str
    packages: tuple[str, ...]
    pythons: tuple[str, ...] = ("3.11",)
    build: tuple[str, ...] = ()


RECBOLE = Peer(
    "RecBole 1.2.1",
    "recbole-1.2.1",
    ("recbole==1.2.1", "torch==2.13.0", "numpy<2", "pandas<2.2", "scipy<1.12", "setuptools<80"),
)
RECTOOLS = Peer("RecTools 0.19.0", "rectools-0.19.0", ("rectools[torch]==0.19.0", "torch==2.13.0", "setuptools<80"))
IMPLICIT = Peer("implicit 0.7.2", "implicit-0.7.2", ("implicit==0.7.2", "numpy<3", "scipy<2"))
RECSIM = Peer(
    "RecSim (recsim-no-tf 0.2.3)",
    "recsim-no-tf-0.2.3",
    ("recsim-no-tf==0.2.3", "gym==0.21", "numpy<1.24", "scipy", "absl-py", "gin-config", "six"),
    pythons=("3.9", "3.8", "3.10"),
    # gym 0.21 describes itself in a way that later ones refuse.
    build=("pip<24.1", "setuptools<66", "wheel<0.40"),
)


def recbole_settings(folder: Path, **changes: Any) -> str:
    """JSON of RecBole's configuration for the log in `folder`, without output, on the CPU."""
    settings = {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id"]},
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "checkpoint_dir": str(folder),
        "nproc": 1,
    }
    return json.dumps(settings | changes)


def recbole_neumf(factors: int) -> dict[str, Any]:
    """The widths of the NCF authors' code: three layers, of which the last is as wide as the factors."""
    return {
        "mf_embedding_size": factors,
        "mlp_embedding_size": 4 * factors,
        "mlp_hidden_size": [4 * factors, 2 * factors, factors],
        "dropout_prob": 0.0,
    }


def in_a_process(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What `function` returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def python_of(peer: Peer, console: Console) -> Path | None:
    """The peer's own Python, installed where it is missing; None, with the reason printed, where it cannot be."""
    home = PEERS / peer.folder
    own = home / "bin" / "python"
    if not (home / "installed").exists():
        base = next(filter(None, map(interpreter, peer.pythons)), None)
        if base is None:
            console.print(f"no peer: {peer.name} needs Python {' or '.join(peer.pythons)}, and none is here")
            return None
        console.print(f"installing {peer.name} into {home} (once)")
        shutil.rmtree(home, ignore_errors=True)
        pip = [str(own), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        commands = [[str(base), "-m", "venv", str(home)]]
        commands += [[*pip, *peer.build]] if peer.build else []
        commands += [[*pip, *(["--no-build-isolation"] if peer.build else []), *peer.packages]]
        if any(subprocess.run(command).returncode != 0 for command in commands):
            console.print(f"no peer: {peer.name} could not be installed")
            return None
        (home / "installed").touch()
    return own


def interpreter(version: str) -> Path | None:
    """A Python of this version ('3.11'), not one of a virtual environment: on the path, or among pyenv's; or None."""
    running = version == "{}.{}".format(*sys.version_info[:2])
    found = sys.executable if running else shutil.which(f"python{version}")
    if found is not None:
        done = subprocess.run([found, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True)
        plain = Path(done.stdout.strip()) / "bin" / f"python{version}"
        if done.returncode == 0:
            return plain if plain.exists() else Path(found)
    # pyenv puts a python of every version it has on the path; those that are not chosen end with an error.
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    return next((of / "bin" / "python" for of in sorted(root.glob(f"{version}.*")) if of.is_dir()), None)


def measured(
    python: Path, script: str, folder: Path, *arguments: Any, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The line of JSON that `script`, beside this file, prints last when it is run in `folder`, which it is given.

    RuntimeError: it fails.
    """
    command = [str(x) for x in (python, HERE / script, folder, *arguments)]
    given = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=given)
    if done.returncode != 0:
        raise RuntimeError(f"{script} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@contextmanager
def recbole_folder(log: Interactions, ordered: bool = False) -> Iterator[Path]:
    """A folder with `log` in RecBole's format, as the data set 'log', for as long as the block lasts.

    `ordered`: with places in the log as times, so that every system sees the same order.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "log"
        folder.mkdir()
        columns = {"user_id:token": log.user.tolist(), "item_id:token": log.item.tolist()}
        columns |= {"timestamp:float": range(len(log))} if ordered else {}
        rows: Iterable[tuple[int, ...]] = zip(*columns.values())
        text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
        (folder / "log.inter").write_text("\t".join(columns) + "\n" + text)
        yield Path(scratch)


@contextmanager
def sequences_folder(split: Split) -> Iterator[Path]:
    """A folder with the parts of a leave-one-out split in order, as long as the block lasts: for RecBole the whole
    log, 'log'; for RecTools train.csv and valid.csv.
    """
    with recbole_folder(split.dataset.interactions, ordered=True) as folder:
        for name in ("train", "valid"):
            part = split.part(name)
            rows = zip(part.user.tolist(), part.item.tolist(), range(len(part)))
            text = "".join(f"{user},{item},{place}\n" for user, item, place in rows)
            (folder / f"{name}.csv").write_text("user_id,item_id,place\n" + text)
        yield folder
