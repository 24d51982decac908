"""What the scripts share: reading an Experiment from flags, and ending well on bad input. (Not an experiment.)"""

import itertools
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tyro

from rec_jax import registry
from rec_jax.config import Experiment, Runtime
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
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
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
    except KeyboardInterrupt:
        print("interrupted: the finished steps are saved; go on with --resume", file=sys.stderr)
        sys.exit(130)
