"""Seconds until SlateQ's policies have learnt from 300,000 steps of users, as the paper's did, and what they earn then.

    python -m experiments.benchmarks.train_slateq                (2 to 4 minutes on 2 cores)

Policies are those of the paper's table (`papers_repro/slateq`) under the logit choice model, each trained from nothing
in a process of its own: imports are not counted, compilation and one score on 2,000 validation users are. The return is
that of the table's test users, scored when the clock has stopped; the table has several trainings of each. RecSim's own
agent stands on TensorFlow 1, which installs on no Python that is still maintained, so that there is no peer.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.benchmarks.peers import in_a_process
from experiments.cli import main, parse_options
from experiments.policy import PolicyExperiment, learn, scored
from papers_repro.paper import cells, published, read
from rec_jax.errors import InputError
from rec_jax.files import write_json
from rec_jax.tracking.certificate import code_state, machine

PAPER = "slateq"


@dataclass(frozen=True)
class Options:
    """What to measure."""

    policies: tuple[str, ...] = ("MYOP-TS", "SARSA-TS", "QL-TT-TS", "QL-OT-OS", "QL-OT-OS-none")
    """Cells of the table."""
    steps: int | None = None
    """Users' steps (default: the cell's)."""
    out: Path | None = None
    """Write the measurements to this JSON file."""


def measure(name: str, steps: int | None) -> dict[str, Any]:
    """Seconds and steps of a cell's training, and its return on test users."""
    experiment = cells(PAPER)[name].experiment
    assert isinstance(experiment, PolicyExperiment)
    steps = steps or experiment.steps
    began = time.perf_counter()
    learned = learn(replace(experiment, steps=steps, every=steps, seed=1), lambda scores: None, None)
    seconds = time.perf_counter() - began
    returns = scored(experiment.world, learned.act, learned.params, "test", experiment.test_users)["return"]
    return {"seconds": seconds, "steps": steps, "return": float(returns.mean())}


def script(argv: Sequence[str]) -> None:
    """Measure and print. InputError: no such policy."""
    options = parse_options(Options, argv, "python -m experiments.benchmarks.train_slateq", __doc__)
    known = {name for name, cell in cells(PAPER).items() if getattr(cell.experiment, "learns", False)}
    if unknown := [name for name in options.policies if name not in known]:
        raise InputError(f"--policies {unknown[0]}: no policy of the table that learns; there are {sorted(known)}")
    console, code, told = Console(), code_state(), published(read(PAPER))
    table = Table("policy", "seconds", "steps/s", "return", "published")
    rows = []
    for name in options.policies:
        row = {"policy": name, **in_a_process(measure, name, options.steps)}
        row["published"] = told[name].values["return"] if name in told else None
        rows.append(row)
        paper = "–" if row["published"] is None else f"{row['published']:.1f}"
        speed = row["steps"] / row["seconds"]
        table.add_row(name, f"{row['seconds']:.1f}", f"{speed:,.0f}", f"{row['return']:.1f}", paper)
    console.print(table)
    if options.out is not None:
        write_json(options.out, {"rows": rows, "code": code, "machine": machine(1)})
        console.print(f"written to {options.out}")


if __name__ == "__main__":
    main(script)
