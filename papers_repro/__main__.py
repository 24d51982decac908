"""Run published tables again, render them from their records, and check that they belong together.

python -m papers_repro list
python -m papers_repro run slateq --cells random --again runs/again
python -m papers_repro run ncf --cells 'neumf-8*' --budget 30
python -m papers_repro render
python -m papers_repro check
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from experiments.cli import FLAT, main
from papers_repro import check as checking
from papers_repro import paper as papers
from papers_repro.render import render_all, summary
from papers_repro.work import run_paper
from rec_jax.config import Runtime, check_numbers
from rec_jax.data.registry import DEFAULT_FOLDER
from rec_jax.errors import InputError
from rec_jax.tracking.console import ProgressBar


@dataclass(frozen=True)
class List:
    """Every paper, its cells and how many are on record."""


@dataclass(frozen=True)
class Run:
    """Run a paper's cells that have no record yet: seed 1 of each, the headline cells' other seeds, then the rest."""

    paper: tyro.conf.Positional[str]
    """Folder of the paper."""
    cells: str = "*"
    """Only cells whose name fits this pattern."""
    seeds: int | None = None
    """At most this many seeds a cell (default: as many as the cell asks for)."""
    budget: float | None = None
    """Stop cleanly after this many minutes; the next call goes on from there."""
    again: Path | None = None
    """Run what is on record too, anew: runs and records go to this folder, the paper's stay, and each is told beside
    what was on record."""
    runs: Path = Path("runs/papers")
    """Folder of the runs themselves: checkpoints, metrics by epoch."""
    data_dir: Path = DEFAULT_FOLDER
    """Folder of the data sets."""
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Weights & Biases, as in experiments.train."""
    progress: bool = True
    """Show a progress bar."""


@dataclass(frozen=True)
class Render:
    """Write README.md and plots from the records: of a paper, or of all."""

    paper: tyro.conf.Positional[str | None] = None
    """Folder of the paper (default: all)."""


@dataclass(frozen=True)
class Check:
    """Whether every table equals its records, and every record a cell of today."""


def script(argv: Sequence[str]) -> None:
    """Read the command and carry it out."""
    command = tyro.extras.subcommand_cli_from_dict(
        {"list": List, "run": Run, "render": Render, "check": Check},
        args=list(argv),
        prog="python -m papers_repro",
        description=__doc__,
        config=FLAT,
    )
    console = Console()
    if isinstance(command, List):
        console.print(summary())
    elif isinstance(command, Run):
        _run(command, console)
    elif isinstance(command, Render):
        for path in render_all(papers.names() if command.paper is None else [command.paper]):
            console.print(f"written {path}", highlight=False, soft_wrap=True)
    else:
        found = checking.check_all()
        if found:
            raise InputError("\n".join(found))
        console.print(f"{len(papers.names())} papers: every table equals its records, every record a cell")


def _run(command: Run, console: Console) -> None:
    again = command.again.expanduser() if command.again else None
    runtime = Runtime(
        runs=again / "runs" if again else command.runs.expanduser(),
        data_dir=command.data_dir,
        wandb=command.wandb,
        progress=command.progress,
    )
    check_numbers(runtime)
    if command.seeds is not None and command.seeds < 1:
        raise InputError(f"--seeds {command.seeds}: expected at least 1")
    if command.budget is not None and not command.budget > 0:
        raise InputError(f"--budget {command.budget}: expected minutes above 0")
    papers.read(command.paper)

    def tell(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    with ProgressBar(console, "ndcg@10", runtime.progress) as bar:
        made = run_paper(
            command.paper,
            runtime,
            pattern=command.cells,
            seeds=command.seeds,
            budget=command.budget,
            show=bar.show,
            tell=tell,
            folder=again,
        )
    shows = f"they are in {again}" if again else f"`python -m papers_repro render {command.paper}` shows them"
    tell(f"{made} records made; {shows}")


if __name__ == "__main__":
    main(script)
