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
    """A system to compare with, and the packages that pip installs for it, on Python 3.11."""

    name: str
    folder: str
    packages: tuple[str, ...]


RECBOLE = Peer(
    "RecBole 1.2.1",
    "recbole-1.2.1",
    ("recbole==1.2.1", "torch==2.13.0", "numpy<2", "pandas<2.2", "scipy<1.12", "setuptools<80"),
)
RECTOOLS = Peer("RecTools 0.19.0", "rectools-0.19.0", ("rectools[torch]==0.19.0", "torch==2.13.0", "setuptools<80"))
IMPLICIT = Peer("implicit 0.7.2", "implicit-0.7.2", ("implicit==0.7.2", "numpy<3", "scipy<2"))


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
    python = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if python is None:
        console.print(f"no peer: {peer.name} needs Python 3.11, and there is no python3.11 here")
        return None
    home = PEERS / peer.folder
    if not (home / "installed").exists():
        console.print(f"installing {peer.name} into {home} (once)")
        shutil.rmtree(home, ignore_errors=True)
        base = subprocess.run([python, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True)
        plain = Path(base.stdout.strip()) / "bin" / "python3.11"
        made = subprocess.run([plain if plain.exists() else python, "-m", "venv", home])
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if made.returncode != 0 or subprocess.run([*pip, *peer.packages]).returncode != 0:
            console.print(f"no peer: {peer.name} could not be installed")
            return None
        (home / "installed").touch()
    return home / "bin" / "python"


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
