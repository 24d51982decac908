"""Running a paper's cells: in which order, until when, and what is skipped or taken up again."""

import fnmatch
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from papers_repro import records
from papers_repro.kinds import Job, kind_of
from papers_repro.paper import FOLDER, Cell, cells, read
from papers_repro.verdicts import minutes_of
from rec_jax.config import Runtime
from rec_jax.errors import InputError
from rec_jax.files import make_folder
from rec_jax.problem import Problem
from rec_jax.tracking.certificate import code_state
from rec_jax.training import Show

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Unit:
    """A seed of a cell that is to be run."""

    cell: Cell
    seed: int


def units(paper: str, pattern: str = "*", seeds: int | None = None, folder: Path | None = None) -> list[Unit]:
    """What has no record in `folder` (None: the papers' own): seed 1 of every cell, then the other seeds of the
    headline cells, then of the rest.

    InputError: no cell has such a name, or one has a record of another experiment.
    """
    folder = folder or FOLDER
    chosen = [cell for name, cell in cells(paper).items() if fnmatch.fnmatchcase(name, pattern)]
    if not chosen:
        raise InputError(f"--cells {pattern}: no cell of {paper} has such a name; they are {', '.join(cells(paper))}")
    found = []
    for cell in chosen:
        if cell.not_run:
            continue
        done = records.counted(paper, cell.name, folder)
        if other := [seed for seed, record in done.items() if not records.matches(record, cell)]:
            raise InputError(
                f"{records.path_of(paper, cell.name, folder)}: the record of seed {other[0]} is of another experiment "
                "than the cell; name the cell anew, or give it back its experiment"
            )
        wanted = range(1, min(cell.seeds, seeds or cell.seeds) + 1)
        found += [Unit(cell, seed) for seed in wanted if seed not in done]
    return sorted(found, key=lambda unit: (unit.seed > 1, not unit.cell.headline and unit.seed > 1))


def expected_minutes(paper: str, unit: Unit) -> float:
    """What a seed took when it was run before, or is expected to take."""
    took = [minutes_of(r) for r in records.counted(paper, unit.cell.name).values()]
    return max(took) if took else unit.cell.minutes


def run_paper(
    paper: str,
    runtime: Runtime,
    *,
    pattern: str = "*",
    seeds: int | None = None,
    budget: float | None = None,
    show: Show = lambda stage, progress: None,
    tell: Tell = print,
    folder: Path | None = None,
) -> int:
    """Run what has no record in `folder` yet (None: the papers' own); the number of records made. A unit that another
    process runs is passed over. Where the folder is not the papers' own, each is told beside theirs.

    At the end of the `budget` in minutes the training that runs is saved, to be taken up by the next call.
    InputError: bad cells or records.
    """
    folder = folder or FOLDER
    todo, done, problems = units(paper, pattern, seeds, folder), 0, dict[tuple[object, ...], Problem]()
    if todo and code_state()["differs_from_commit"] is not False:
        tell("the code here is not that of a commit: records made now are kept, but no table shows them; commit first")
    began, minutes = time.monotonic(), {unit: expected_minutes(paper, unit) for unit in todo}
    with _alarm(budget, tell) as rang:
        for number, unit in enumerate(todo):
            if rang.is_set():  # what it raised was caught on the way
                raise KeyboardInterrupt
            left = sum(minutes[other] for other in todo[number:])
            name = f"{unit.cell.name} seed {unit.seed}"
            with _held(runtime.runs / f".{paper}-{unit.cell.name}-{unit.seed}.lock") as mine:
                if not mine or unit.seed in records.counted(paper, unit.cell.name, folder):
                    continue
                tell(f"[{number + 1}/{len(todo)}] {name}: about {minutes[unit]:.1f} min of {left:.0f}")
                at = time.monotonic()
                run_unit(paper, unit, runtime, problems, show, tell, folder)
            done += 1
            tell(f"{name}: {(time.monotonic() - at) / 60:.1f} min; {(time.monotonic() - began) / 60:.0f} min so far")
    return done


def run_unit(
    paper: str,
    unit: Unit,
    runtime: Runtime,
    problems: dict[tuple[object, ...], Problem],
    show: Show,
    tell: Tell,
    folder: Path,
) -> None:
    """Run it as its kind is run, append the record, and say what it holds."""
    cell, about = unit.cell, read(paper)
    choice = records.choice_of(paper, cell, folder)
    job = Job(cell.name, unit.seed, cell.trials, choice, about.shown, runtime, problems, show, tell)
    result, per_unit = kind_of(cell.experiment).run(cell.experiment, job)
    records.append(paper, records.record_of(cell.name, about, result, per_unit), folder)

    def means(of: Mapping[str, Any]) -> str:
        return " ".join(f"{m.upper()} {of['metrics'][about.rule][m]['mean']:.4f}" for m in about.shown)

    said = f"{cell.name} seed {unit.seed}: {means(result)}"
    if folder != FOLDER:
        before = records.counted(paper, cell.name).get(unit.seed)
        said += f" (on record: {means(before) if before else 'none'})"
    tell(said)


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Whether the lock could be had: not while another process runs the same."""
    make_folder(path.parent)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def _alarm(minutes: float | None, tell: Tell) -> Iterator[threading.Event]:
    """Ctrl-C after that many minutes, which is no error: training finishes its chunk and saves its state. Yields what
    is set by then.
    """
    rang, before = threading.Event(), signal.getsignal(signal.SIGINT)

    def ring() -> None:
        rang.set()
        os.kill(os.getpid(), signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        # Raised where Python collects garbage, an interruption would be told and forgotten: it comes again.
        if frame is not None and frame.f_code.co_name == "_xla_gc_callback":
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            raise KeyboardInterrupt

    if minutes is not None:
        signal.signal(signal.SIGINT, interrupt)
    timer = threading.Timer(60 * minutes, ring) if minutes is not None else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield rang
    except KeyboardInterrupt as interruption:
        if not rang.is_set():
            raise
        tell(f"the budget of {minutes:g} minutes is used up; the next call goes on from here {interruption}")
    finally:
        if timer is not None:
            timer.cancel()
            signal.signal(signal.SIGINT, before)
