"""What the scripts share: reading an Experiment from flags, and ending well on bad input. (Not an experiment.)"""

import dataclasses
import itertools
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from rec_jax import registry
from rec_jax.config import Experiment, Runtime
from rec_jax.data.own import OWN_FORMATS
from rec_jax.errors import Diverged, InputError


@dataclass(frozen=True)
class Job:
    """An experiment, and where and how to run it."""

    experiment: Experiment
    runtime: Runtime = Runtime()


def parse_job(argv: Sequence[str], prog: str, description: str) -> Job:
    """Read `MODEL --flag value …`; the objective is looked at first, since it decides which flags there are."""
    objective = next((b for a, b in itertools.pairwise(argv) if a == "--objective"), None)
    objective = next((a.split("=", 1)[1] for a in argv if a.startswith("--objective=")), objective)
    jobs = {
        name: (
            f"{row.summary}; --objective {{{','.join(registry.OBJECTIVES)}}}",
            Job(registry.experiment(name, objective)),
        )
        for name, row in registry.MODELS.items()
    }
    job = tyro.extras.overridable_config_cli(
        jobs,
        args=list(argv),
        prog=prog,
        description=description,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff, tyro.conf.SuppressFixed),
    )
    if Path(job.experiment.data).suffix in OWN_FORMATS:  # an own log is found again from any folder
        path = str(Path(job.experiment.data).expanduser().absolute())
        job = dataclasses.replace(job, experiment=dataclasses.replace(job.experiment, data=path))
    return job


def main(script: Callable[[Sequence[str]], None]) -> None:
    """Run a script on the command line's arguments; bad input is one message and exit code 2, not a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("rec_jax").setLevel(logging.INFO)
    try:
        script(sys.argv[1:])
    except (InputError, Diverged) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interruption:
        print(f"interrupted{': ' if interruption.args else ''}{interruption}", file=sys.stderr)
        sys.exit(130)
