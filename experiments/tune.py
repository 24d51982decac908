"""Choose a model's hyper-parameters on validation, by a fixed budget of trials; the test split is never asked.

    python -m experiments.tune ease --data ml-100k --trials 20             (under a minute)
    python -m experiments.tune neumf --data ml-100k --trials 20            (about 5 minutes on 2 cores)

Every flag of `experiments.train` is one here: what is not tuned is as given. The space is the registry's. Every
trial is a line of trials.jsonl; called again, the search goes on where it ended. The best trial's training is left in
--runs: `train --resume` scores it without training it again.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.cli import main, parse_job
from rec_jax.config import Runtime
from rec_jax.problem import pose
from rec_jax.tuning import Trial, Tuned, search_folder, tune


@dataclass(frozen=True)
class TuneRuntime(Runtime):
    """Where and how the trials take place."""

    trials: int = 20
    """How many settings are tried, the defaults first."""


def script(argv: Sequence[str]) -> None:
    """Read the flags, search, print."""
    job = parse_job(argv, "python -m experiments.tune", __doc__ or "", TuneRuntime())
    experiment, runtime, console = job.experiment, job.runtime, Console()
    assert isinstance(runtime, TuneRuntime)
    problem = pose(experiment, runtime.data_dir)
    folder = runtime.run_dir or search_folder(runtime.runs, experiment)

    def told(trial: Trial) -> None:
        value = f"{trial.value:.4f}" if trial.value is not None else f"failed: {trial.error}"
        console.print(
            f"trial {trial.number + 1}/{runtime.trials}  {experiment.stopping.metric} {value}  {trial.seconds:.1f} s  "
            f"{trial.changes or 'defaults'}",
            highlight=False,
            soft_wrap=True,
        )

    found = tune(experiment, runtime.trials, problem, folder, runtime, told=told)
    report(console, found, folder, runtime.runs)


def report(console: Console, found: Tuned, folder: Path, runs: Path) -> None:
    """The best setting, and the command that trains with it, or goes on with what is in `runs` of it."""
    record = found.record
    table = Table("hyper-parameter", "best", "space")
    for path, given in record["space"].items():
        best = record["best"]["changes"].get(path, "default")
        table.add_row(path, f"{best:.4g}" if isinstance(best, float) else str(best), _space(given))
    console.print(table)
    flags = [
        word
        for path, value in record["best"]["changes"].items()
        for word in (f"--{path.rpartition('.')[2].replace('_', '-')}", str(value))
    ]
    if (runs / found.experiment.name).exists():
        flags.append("--resume")
    console.print(
        f"{record['metric']} {record['best']['value']:.4f} on validation ({record['rule']}), defaults "
        f"{record['default_value'] or float('nan'):.4f}; {record['trials']} trials in {record['seconds']:.0f} s\n"
        f"trials  {folder / 'trials.jsonl'}\nbest    {folder / 'best.json'}\n"
        f"train   python -m experiments.train {found.experiment.model} --data {shlex.quote(found.experiment.data)} "
        f"{shlex.join(flags)}",
        highlight=False,
        soft_wrap=True,
    )


def _space(given: dict[str, object]) -> str:
    if "options" in given:
        return str(given["options"])
    return f"{given['low']} to {given['high']}" + (", log" if given["log"] else "")


if __name__ == "__main__":
    main(script)
