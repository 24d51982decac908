"""Two frozen trees of dataclasses configure a run, and nothing else does.

`Experiment` decides the numbers: its canonical JSON is hashed, and hash and seed name the run. `Runtime` decides
where and how it runs: recorded, not hashed. The comments under the fields are the command line's help.
"""

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from rec_jax.data.own import Columns
from rec_jax.data.prepare import Preparation
from rec_jax.data.registry import DEFAULT_FOLDER
from rec_jax.errors import InputError
from rec_jax.fields import hashed


@dataclass(frozen=True)
class Protocol:
    """How the log is split, and among which items a held-out one is ranked."""

    split: Literal["leave-one-out", "ratio", "time", "users", "authors"] = "leave-one-out"
    """Which events are held out; 'users' holds out whole users, 'authors' is the split that a data set's authors
    published."""
    ratios: tuple[float, float, float] = (0.6, 0.2, 0.2)
    """Shares of train, validation and test, for the splits 'ratio', 'time' and 'users'."""
    fold_in: float = 0.8
    """Split 'users': the share of a held-out user's events that the trained recommender is given."""
    candidates: tuple[str, ...] = ("full", "ncf-99")
    """Rules to score the test split under: 'full' (all items not seen), or fixed unseen ones: 'ncf-99', 'uniform-100',
    'pop-100' (drawn by popularity)."""
    unseen_items: Literal["keep", "drop"] = "keep"
    """Held-out items that train never saw: rank them like any other, or leave them out on both sides."""
    refit: bool = False
    """After everything was chosen on validation, train again on the train and validation events together."""
    choice_seed: int = 0
    """With --refit: the seed of the training in which validation chooses the epochs, shared by the runs of all seeds
    (0: each run's own)."""
    trace_test: bool = False
    """With --refit: train on to --epochs and score the test split, under the first of --candidates, where validation
    would have been. Nothing is chosen by it: it shows what papers that choose on the test split would report."""
    split_seed: int = 0
    """Seed of a random split and of drawn candidates: the same for all models and seeds that are compared."""


@dataclass(frozen=True)
class Optimization:
    """The optimiser and its schedule."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Update rule (optax)."""
    learning_rate: float = 1e-3
    """Learning rate after warm-up."""
    batch_size: int = 256
    """Positives a step, over all devices, their negatives on top; users a step where a model reads sequences."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    decay: Literal["none", "linear", "cosine"] = "none"
    """How the learning rate falls after warm-up."""
    decay_epochs: int = 0
    """Epochs over which it falls to 0 (with a decay only; apart from --epochs, so that a run can be prolonged)."""
    clip_norm: float = 0.0
    """Clip the gradient to this global norm (0: off)."""
    weight_decay: float = 0.0
    """Decoupled weight decay (adamw only)."""
    beta2: float = 0.999
    """Adam's decay rate of the squared gradients (adam and adamw)."""
    sparse_rows: bool = False
    """Update embedding rows when they are looked up, adam's missed steps made up for: faster for small batches."""


@dataclass(frozen=True)
class Stopping:
    """Which validation result chooses the epoch, and when to give up."""

    metric: str = "ndcg@10"
    """Validation metric: a ranking metric such as ndcg@10, hr@10, recall@20, or rmse, mae."""
    rule: str = "full"
    """Candidate rule of the validation."""
    patience: int = 5
    """Stop after this many validations without a better value (0: never)."""
    every: int = 1
    """Epochs between validations."""


@dataclass(frozen=True)
class Experiment:
    """All that decides a run's numbers."""

    model: Annotated[str, tyro.conf.Fixed]
    """Name of the model or baseline in the registry."""
    architecture: Any
    """The model's own hyper-parameters."""
    objective: str
    """Name of the objective in the registry; 'own' for a baseline, which fits by its own method."""
    loss: Any
    """The objective's own hyper-parameters."""
    data: str = "ml-100k"
    """A known data set (`python -m rec_jax.data list`), or the path of a .csv, .tsv or .parquet log."""
    columns: Columns = Columns()
    preparation: Preparation = Preparation()
    protocol: Protocol = Protocol()
    optimization: Optimization = Optimization()
    stopping: Stopping = Stopping()
    epochs: int = 30
    """At most this many passes over the train events; not part of the run's identity: --resume may raise it."""
    seed: int = 1
    """Seed of everything random in training or fitting."""

    @property
    def hash(self) -> str:
        """Its short hash without the seed and the limit of epochs."""
        return short_hash(self, "seed", "epochs")

    @property
    def name(self) -> str:
        """The run's name: model, data, hash, seed."""
        return f"{self.model}-{Path(self.data).stem}-{self.hash}-s{self.seed}"


@dataclass(frozen=True)
class Runtime:
    """Where and how a run takes place."""

    run_dir: Path | None = None
    """The run's own folder (default: one named after the experiment, in --runs)."""
    runs: Path = Path("runs")
    """Folder of runs."""
    data_dir: Path = DEFAULT_FOLDER
    """Folder of the data sets."""
    resume: bool = False
    """Go on from the newest good checkpoint in the run's folder, or start where there is none."""
    devices: int | None = None
    """How many of the devices to train on (default: all of all processes); of a CPU's cores, so many are made."""
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Weights & Biases: 'auto' is online where you are logged in, else offline (sync later with `wandb sync`)."""
    wandb_project: str = "rec_jax"
    """Project of the W&B run."""
    checkpoint_seconds: float = 30.0
    """At least this long between checkpoints; the last state is always kept."""
    k: tuple[int, ...] = (1, 5, 10, 20)
    """Cut-offs of the reported metrics."""
    bootstrap: int = 2000
    """Resamples of the users behind each 95 % interval."""
    progress: bool = True
    """Show a progress bar."""
    coordinator: str | None = None
    """Several processes: address host:port of process 0, or 'auto' on a cluster that jax knows."""
    processes: int = 1
    """Several processes: how many there are."""
    process_id: int = 0
    """Several processes: which one this is."""


AT_LEAST_ONE = (
    *("factors", "epochs", "batch_size", "every", "negatives", "k", "bootstrap", "processes", "trials"),
    *("width", "heads", "inner", "max_length"),
)
POSITIVE = ("learning_rate", "pretrain_learning_rate", "init_sd", "temperature")
ANY_SIGN = ("min_rating", "rating_low", "rating_high")


def canonical(experiment: Any, *without: str) -> str:
    """The JSON of a dataclass that is hashed: keys sorted, `without` these fields, and without later ones at their
    defaults.
    """
    stored = {name: value for name, value in to_json(experiment, hashed).items() if name not in without}
    return json.dumps(stored, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def short_hash(experiment: Any, *without: str) -> str:
    """The first 10 hexadecimal digits of the SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical(experiment, *without).encode()).hexdigest()[:10]


def check_numbers(value: Any, name: str = "") -> None:
    """Walk a configuration: every number is finite and not negative, and what counts something is at least 1.

    InputError: the flag with its value and what was expected.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            check_numbers(getattr(value, field.name), field.name)
    elif isinstance(value, tuple):
        if not value and name in ("k", "candidates"):
            raise InputError(f"--{name}: at least one is needed")
        for entry in value:
            check_numbers(entry, name)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        limits = {
            "seed": (0, 2**32 - 1),
            "split_seed": (0, 2**32 - 1),
            "beta2": (0, 1),
            "calibration": (0, 1),
            "dropout": (0, 0.95),
        }
        low: float
        low, high = limits.get(name, (1 if name in AT_LEAST_ONE else 0, math.inf))
        low = -math.inf if name in ANY_SIGN else low
        if not math.isfinite(value) or not low <= value <= high or (name in POSITIVE and value == 0):
            wanted = (
                f"from {low} to {high}" if high < math.inf else "above 0" if name in POSITIVE else f"of at least {low}"
            )
            raise InputError(f"--{name.replace('_', '-')} {value}: expected a number {wanted}")


def changed(value: Any, changes: Mapping[str, Any]) -> Any:
    """A dataclass tree with some leaves replaced, each named by its path ('architecture.factors').

    InputError: no such field, or a value of another type.
    """
    for path, leaf in changes.items():
        value = _changed(value, path.split("."), leaf, path)
    return value


def _changed(value: Any, path: list[str], leaf: Any, whole: str) -> Any:
    known = [f.name for f in dataclasses.fields(value)]
    if path[0] not in known:
        raise InputError(f"{whole}: {type(value).__name__} has no field {path[0]!r}; its fields are {', '.join(known)}")
    hint = typing.get_type_hints(type(value))[path[0]]
    new = _changed(getattr(value, path[0]), path[1:], leaf, whole) if path[1:] else from_json(hint, leaf, whole)
    return dataclasses.replace(value, **{path[0]: new})


def to_json(value: Any, keep: Callable[[dataclasses.Field[Any], Any], bool] = lambda field, value: True) -> Any:
    """Dataclasses as dictionaries, tuples as lists, paths as text: what `json` takes. Of fields, those to `keep`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(f, getattr(value, f.name)) for f in dataclasses.fields(value)]
        return {f.name: to_json(of, keep) for f, of in fields if keep(f, of)}
    if isinstance(value, (tuple, list)):
        return [to_json(v, keep) for v in value]
    return str(value) if isinstance(value, Path) else value


def from_json(cls: Any, stored: Any, where: str = "") -> Any:
    """The inverse of `to_json` for a type: missing fields take today's defaults.

    InputError: a field that today's dataclass does not have, or a value of another type.
    """
    where = where or getattr(cls, "__name__", "")
    if dataclasses.is_dataclass(cls) and isinstance(stored, dict):
        hints = typing.get_type_hints(cls)
        if unknown := stored.keys() - hints.keys():
            raise InputError(f"{where}: has no field {min(unknown)!r}; its fields are {', '.join(hints)}")
        return cls(**{name: from_json(hints[name], value, f"{where}.{name}") for name, value in stored.items()})  # type: ignore[operator]
    origin, arguments = typing.get_origin(cls), typing.get_args(cls)
    if cls is Any:
        return stored
    if origin in (types.UnionType, typing.Union):
        options = [a for a in arguments if a is not type(None)]
        return None if stored is None else from_json(options[0], stored, where)
    if origin is dict and isinstance(stored, dict):
        return {key: from_json(arguments[1], value, f"{where}.{key}") for key, value in stored.items()}
    if origin is Literal and stored in arguments:
        return stored
    if origin is tuple and isinstance(stored, (list, tuple)):
        kinds = [arguments[0]] * len(stored) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) == len(stored):
            return tuple(from_json(kind, value, where) for kind, value in zip(kinds, stored))
    if cls is float and type(stored) is int:
        return float(stored)
    if cls is Path and isinstance(stored, str):
        return Path(stored)
    if isinstance(cls, type) and type(stored) is cls:
        return stored
    raise InputError(f"{where}: expected {cls if origin else getattr(cls, '__name__', cls)}, got {stored!r}")
