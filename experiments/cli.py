"""What the scripts share: reading an Experiment from flags, and ending well on bad input. (Not an experiment.)"""

import dataclasses
import itertools
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from rec_jax import registry
from rec_jax.config import Experiment, Protocol, Runtime, Stopping, check_numbers
from rec_jax.data.own import OWN_FORMATS, Columns
from rec_jax.data.prepare import Preparation
from rec_jax.errors import Diverged, InputError, did_you_mean
from rec_jax.train.devices import share_cores
from rec_jax.workers import keep_programs

T = TypeVar("T")
FLAT = (tyro.conf.OmitArgPrefixes,)
"""A field of a nested dataclass is a flag by its own name."""


def parse_options(options: type[T], argv: Sequence[str], prog: str, description: str | None) -> T:
    """Read the flags of a dataclass that may nest those of a configuration.

    InputError: a seed that is none, or devices that cannot be made.
    """
    found = tyro.cli(options, args=list(argv), prog=prog, description=description, config=FLAT)
    _check_seeds(found)
    _make_devices(getattr(found, "runtime", None))
    return found


def _check_seeds(options: Any) -> None:
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            _check_seeds(value)
        elif field.name == "seed":
            check_numbers(value, field.name)


def check_many_runs(runtime: Runtime) -> None:
    """InputError: flags of a single run, for a script that makes many."""
    if runtime.run_dir is not None or runtime.resume:
        raise InputError(
            "--run-dir, --resume: are of a single run, and this makes many; --runs names the folder that holds them, "
            "where what is finished is not done again"
        )


def _make_devices(runtime: Runtime | None) -> None:
    """Of a CPU's cores, where one process is to train on so many devices."""
    if runtime is not None and runtime.devices is not None and runtime.processes == 1 and runtime.coordinator is None:
        share_cores(runtime.devices)


@dataclass(frozen=True)
class Job:
    """An experiment, and where and how to run it."""

    experiment: Experiment
    runtime: Runtime = Runtime()


@dataclass(frozen=True)
class BaselineFlags:
    """What a baseline leaves to be said: it has no objective, no optimiser and no epochs."""

    model: Annotated[str, tyro.conf.Fixed]
    """Name of the baseline in the registry."""
    architecture: Any
    """The baseline's own hyper-parameters."""
    data: str = "ml-100k"
    """A known data set (`python -m rec_jax.data list`), or the path of a .csv, .tsv or .parquet log."""
    columns: Columns = Columns()
    preparation: Preparation = Preparation()
    protocol: Protocol = Protocol()
    metric: str = "ndcg@10"
    """Validation metric, where hyper-parameters are tuned."""
    rule: str = "full"
    """Candidate rule of the validation."""
    seed: int = 1
    """Seed of everything random in fitting."""


@dataclass(frozen=True)
class BaselineJob:
    """A baseline's experiment, and where and how to run it."""

    experiment: BaselineFlags
    runtime: Runtime = Runtime()


def parse_job(argv: Sequence[str], prog: str, description: str, runtime: Runtime | None = None) -> Job:
    """Read `MODEL --flag value …`; the objective is looked at first, since it decides which flags there are.

    `runtime` gives the flags of where and how: those of Runtime, or of a script's own kind of it.
    """
    if argv and not argv[0].startswith("-") and argv[0] not in registry.names():
        hint = did_you_mean(argv[0], registry.names())
        raise InputError(f"no model {argv[0]!r}: {hint}there are {', '.join(registry.names())}")
    where = runtime or Runtime()
    objective = next((b for a, b in itertools.pairwise(argv) if a == "--objective"), None)
    objective = next((a.split("=", 1)[1] for a in argv if a.startswith("--objective=")), objective)
    jobs: dict[str, tuple[str, Any]] = {
        name: (row.summary, BaselineJob(BaselineFlags(name, row.config()), where))
        for name, row in registry.BASELINES.items()
    }
    for name, row in registry.MODELS.items():
        help_text = f"{row.summary}; --objective {{{','.join(row.objectives)}}}"
        # Only the model that is asked for has to know the objective; an unknown one is an error for all.
        asked = objective if name in argv or objective not in registry.OBJECTIVES else None
        jobs[name] = (help_text, Job(registry.experiment(name, asked), where))
    found = tyro.extras.overridable_config_cli(
        jobs,
        args=list(argv),
        prog=prog,
        description=description,
        config=(*FLAT, tyro.conf.SuppressFixed),
    )
    job = _whole(found) if isinstance(found, BaselineJob) else found
    _make_devices(job.runtime)
    return dataclasses.replace(job, experiment=dataclasses.replace(job.experiment, data=named(job.experiment.data)))


def _whole(job: BaselineJob) -> Job:
    """A baseline's flags as an Experiment."""
    given = {f.name: getattr(job.experiment, f.name) for f in dataclasses.fields(job.experiment)}
    stopping = Stopping(metric=given.pop("metric"), rule=given.pop("rule"))
    return Job(registry.experiment(given.pop("model"), stopping=stopping, **given), job.runtime)


def named(data: str) -> str:
    """A data set's name; the path of an own log is made absolute, so that it is found again from any folder."""
    return str(Path(data).expanduser().absolute()) if Path(data).suffix in OWN_FORMATS else data


def main(script: Callable[[Sequence[str]], None]) -> None:
    """Run a script on the command line's arguments; bad input is one message and exit code 2, not a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("rec_jax").setLevel(logging.INFO)
    # Orbax warns three times a folder that what is opened to be read is opened to be read.
    logging.getLogger("absl").setLevel(logging.ERROR)
    keep_programs()
    try:
        script(sys.argv[1:])
    except (InputError, Diverged) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interruption:
        print(f"interrupted{': ' if interruption.args else ''}{interruption}", file=sys.stderr)
        sys.exit(130)
