"""The loop: chunks of steps, validation, early stopping, checkpoints. Host code; the numbers are made in `step`."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Key

from rec_jax.config import Stopping
from rec_jax.errors import Diverged, Interrupted, UndefinedScore
from rec_jax.objectives.base import Recommender, TrainData
from rec_jax.train.devices import Devices, agree, any_process, is_writer
from rec_jax.train.step import TrainState, make_chunk, settle
from rec_jax.train.update import Update

SECONDS_PER_CHUNK = 2.0
FIRST_CHUNK_STEPS = 16


@runtime_checkable
class Store(Protocol):
    """Where checkpoints go (`rec_jax.train.checkpoints.Checkpoints`)."""

    @property
    def latest(self) -> int | None:
        """The newest step saved."""

    def save(self, step: int, state: Any) -> None:
        """Save a state."""


@dataclass(frozen=True)
class Progress:
    """What a progress bar shows, after every chunk."""

    epoch: int
    epochs: int
    fraction: float
    """Of all epochs, from 0 to 1."""
    loss: float
    """Average of the running epoch so far."""
    examples_per_second: float
    valid: float
    """The last validation, NaN before the first."""


@dataclass(frozen=True)
class Epoch:
    """The record of a finished epoch: `metrics` repeat bit by bit, `timings` do not."""

    epoch: int
    step: int
    metrics: dict[str, float]
    timings: dict[str, float]


@dataclass(frozen=True)
class Plan:
    """How long to train, and whose parameters are kept as the best: those of the epoch with the best validation, or,
    where it was chosen before, of the epoch `keep`. Without `stopping` nothing is validated.
    """

    epochs: int
    stopping: Stopping | None
    lower_is_better: bool = False
    keep: int = 0
    part: str = "valid"
    """What the validated metrics are called in the record of an epoch: 'test' where the test split is traced."""

    @property
    def every(self) -> int:
        """Epochs between validations; 0 for none."""
        return self.stopping.every if self.stopping else 0

    @property
    def patience(self) -> int:
        """Validations without a better value before training ends; 0 for no end."""
        return self.stopping.patience if self.stopping else 0


@dataclass(frozen=True)
class Watchers:
    """Who is told what happens, and where checkpoints go, at least `checkpoint_seconds` apart."""

    store: Store | None = None
    checkpoint_seconds: float = math.inf
    on_chunk: Callable[[Progress], None] = lambda progress: None
    on_epoch: Callable[[Epoch], None] = lambda epoch: None
    on_pause: Callable[[int, float], None] = lambda step, seconds: None


def fit(
    recommender: Recommender,
    update: Update,
    state: TrainState,
    data: TrainData,
    key: Key[Array, ""],
    *,
    devices: Devices,
    plan: Plan,
    validate: Callable[[Any, Any], dict[str, float]],
    watchers: Watchers,
) -> TrainState:
    """Train until `plan.epochs` are done or `plan.patience` validations brought nothing better.

    `validate(params, extra)` gives metrics by name, the stopping's among them. The state, as it comes and as it
    is returned, is of one device; the last one is always saved, also before Interrupted is raised, when `on_pause` is
    told the seconds spent on the unfinished epoch. Raises Diverged.
    """
    chunk = devices.launch(
        make_chunk(recommender, update, devices.count), replicated=(True, True, False, False), donate=(0,)
    )
    keep = devices.launch(settle, replicated=(True, False, False), donate=(0,))
    steps_per_epoch, step, sign = recommender.steps_per_epoch, int(state.step), -1 if plan.lower_is_better else 1
    began_at = step  # of the running epoch's steps, those before this were another session's
    stale, valid = int(state.stale), sign * float(state.best_value) if int(state.best_epoch) else math.nan
    many, everywhere = devices.replicate(state), devices.replicate(data)
    chunk_steps, saved, spent = FIRST_CHUNK_STEPS, time.monotonic(), 0.0

    def save() -> None:
        if watchers.store is not None and is_writer():
            watchers.store.save(step, devices.host(many))

    with _interruption() as interrupted:
        while step < plan.epochs * steps_per_epoch and not (plan.patience and stale >= plan.patience):
            steps = min(int(agree(chunk_steps)), steps_per_epoch - step % steps_per_epoch)
            began = time.monotonic()
            many = chunk(many, everywhere, key, np.int32(steps))
            loss_sum, bad_step = devices.host((many.loss_sum, many.bad_step))
            seconds = time.monotonic() - began
            step, spent = step + steps, spent + seconds
            if bad_step >= 0:
                raise _diverged(int(bad_step), watchers.store)
            done = (step - 1) % steps_per_epoch + 1
            epoch, rate = (step - 1) // steps_per_epoch + 1, steps * _examples(recommender) / seconds
            # The first chunks also compile; grow slowly, so that one slow chunk does not set the pace.
            chunk_steps = max(1, min(chunk_steps * 4, round(steps * SECONDS_PER_CHUNK / seconds)))
            if done == steps_per_epoch:
                metrics, timings = {"loss": float(loss_sum) / steps_per_epoch}, {"train_seconds": spent}
                timings["examples_per_second"] = (step - began_at) * _examples(recommender) / spent
                value = float(epoch == plan.keep) if plan.keep else None
                if plan.stopping is not None and epoch % plan.every == 0:
                    began = time.monotonic()
                    try:
                        found = validate(*devices.one((many.params, many.extra)))
                    except UndefinedScore as error:
                        raise _diverged(step - 1, watchers.store) from error
                    if not all(map(math.isfinite, found.values())):
                        raise _diverged(step - 1, watchers.store)
                    metrics |= {f"{plan.part}/{name}": value for name, value in found.items()}
                    timings["valid_seconds"] = time.monotonic() - began
                    if value is None:
                        valid = float(agree(found[plan.stopping.metric]))
                        value = sign * valid
                if value is not None:
                    many = keep(many, np.float32(value), np.int32(epoch))
                    stale = int(devices.host(many.stale))
                watchers.on_epoch(Epoch(epoch, step, metrics, timings))
                spent, began_at = 0.0, step
            share = step / (plan.epochs * steps_per_epoch)
            watchers.on_chunk(Progress(epoch, plan.epochs, share, float(loss_sum) / done, rate, valid))
            if any_process(interrupted.is_set()):
                break
            if time.monotonic() - saved > watchers.checkpoint_seconds:
                save()
                saved = time.monotonic()
        save()
        if any_process(interrupted.is_set()):
            watchers.on_pause(step, spent)
            raise Interrupted(f"step {step:,} is saved; --resume goes on from there")
    return devices.host(many)


@contextmanager
def _interruption() -> Iterator[threading.Event]:
    """Turns the first Ctrl-C into a flag, so that a chunk is finished and saved; a second one stops at once."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: Any) -> None:
        flag.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handle)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)


def _examples(recommender: Recommender) -> float:
    return recommender.examples_per_epoch / recommender.steps_per_epoch


def _diverged(step: int, store: Store | None) -> Diverged:
    good = (
        "no checkpoint was saved before"
        if store is None or store.latest is None
        else (f"the last good checkpoint is that of step {store.latest}")
    )
    return Diverged(
        f"the loss became NaN or infinite at step {step}; {good}; try a lower --learning-rate or --clip-norm 1"
    )
