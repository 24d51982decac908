"""Train a policy in a simulator and score it once on test users.

    python -m experiments.policy QL-OT-GS                     (SlateQ; under a minute on one core)
    python -m experiments.policy QL-OT-OS --known-budget --q-none --discount 1 --steps-ahead 5
    python -m experiments.policy QL-OT-OS --torso gru --remember 20             (reads what users did)
    python -m experiments.policy random
    python -m experiments.policy QL-OT-GS --devices 4         (users and batches shared out, gradients averaged)
    python -m experiments.policy --help

Policies are `random`, `interest` (the documents a user likes most), `good topics` (those of the best topics, which no
policy is told), and SlateQ by the paper's names: MYOP-TS, SARSA-GS, QL-OT-TS, … The world is RecSim's
interest_evolution. Validation users show how learning went; the test users are the same for all policies and seeds.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from experiments.cli import main, parse_options
from experiments.recsim import policies
from rec_jax.config import short_hash, to_json
from rec_jax.errors import InputError
from rec_jax.evaluate.report import intervals
from rec_jax.fields import added
from rec_jax.files import make_folder, read_json, read_lines, write_json, write_lines
from rec_jax.policies.slateq import Agent, SlateQ, Weigh, make, named
from rec_jax.policies.training import Placed, placed, train
from rec_jax.randomness import device_key
from rec_jax.simulate.choice import Cascade, ChoiceModel, Logit, Proportional
from rec_jax.simulate.episodes import Act, Episodes, many_episodes
from rec_jax.simulate.history import Remembering
from rec_jax.simulate.interest_evolution import InterestEvolution
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.weights_and_biases import Tracker
from rec_jax.train.checkpoints import Checkpoints
from rec_jax.train.devices import share_cores

CHOICES: dict[str, ChoiceModel] = {"logit": Logit(), "proportional": Proportional(), "cascade": Cascade()}
World: TypeAlias = InterestEvolution | Remembering
RULE = "test users"
"""What the metrics of a result are of."""


@dataclass(frozen=True)
class PolicyExperiment:
    """All that decides a policy's numbers."""

    policy: Annotated[str, tyro.conf.Positional]
    """random, interest, good topics, or a name of SlateQ's (QL-OT-GS)."""
    agent: SlateQ = SlateQ()
    """How SlateQ learns; its rule and slates are those of the name."""
    choice: Literal["logit", "proportional", "cascade"] = "logit"
    """How users choose from a slate."""
    candidates: int = 10
    """Documents to choose from, at each step."""
    slate: int = 3
    """Documents shown."""
    known_budget: bool = False
    """Let the policy know how much of a user's time is left."""
    remember: int = added(0)
    """Let its torso read so many of a user's last steps."""
    steps: int = 300_000
    """Steps of users in training."""
    test_users: int = 5000
    """Users on whom the policy is scored at the end."""
    valid_users: int = 2000
    """Users on whom it is scored meanwhile."""
    every: int = 30_000
    """Steps between scores on validation users."""
    seed: int = 1
    """Seed of everything random in training."""

    def __post_init__(self) -> None:
        if self.learns and self.agent != (agent := named(self.policy, self.agent)):
            # The name says it; two fields that could disagree would make one of them a lie.
            for name in ("rule", "target", "serve"):
                given, said = getattr(self.agent, name), getattr(agent, name)
                if given not in (said, getattr(SlateQ, name)):
                    raise InputError(
                        f"--{name} {given}: {self.policy} has {said!r}; leave it out, or name another policy"
                    )
            object.__setattr__(self, "agent", agent)
        if self.remember < 0:
            raise InputError(f"--remember {self.remember}: expected at least 0")
        if self.learns and (self.agent.torso != "none") != (self.remember > 0):
            raise InputError(
                f"--torso {self.agent.torso} --remember {self.remember}: a torso reads what is remembered; give both, "
                "as in --torso gru --remember 20, or neither"
            )
        for name in ("steps", "test_users", "valid_users", "every"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected at least 1")

    @property
    def learns(self) -> bool:
        """Whether there is anything to train."""
        return self.policy not in policies(self.slate)["interest_evolution"]

    @property
    def world(self) -> World:
        """The simulator. InputError: the slate is larger than the candidates."""
        choice = CHOICES[self.choice]
        plain = InterestEvolution(self.candidates, self.slate, choice, known_budget=self.known_budget)
        return Remembering(plain, self.remember, ("quality",), plain.video_length) if self.remember else plain

    @property
    def hash(self) -> str:
        """Its short hash without the seed."""
        return short_hash(self, "seed")

    @property
    def name(self) -> str:
        """The run's name: policy, hash, seed."""
        return f"{self.policy.replace(' ', '-')}-{self.hash}-s{self.seed}"


Told = Callable[[dict[str, float]], None]


class Learned(NamedTuple):
    """A policy, its parameters (None where it has none), and its scores on validation users as it learnt."""

    act: Act
    params: Any
    curve: list[dict[str, float]]


def run(
    experiment: PolicyExperiment, told: Told = lambda scores: None, folder: Path | None = None, devices: int = 1
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(result, by rule and metric the values of each test user): train, score once on test.

    `told` hears validation's scores as they come. With a `folder` the training is saved there at each of them, and goes
    on from where it was cut off. Users and batches are shared out over `devices`; each device has users of its own, so
    that another number of them is another training of the same kind. Raises Diverged where parameters are not finite.
    InputError: too few devices, or users that cannot be shared evenly.
    """
    code, began, world = code_state(), time.monotonic(), experiment.world
    if experiment.learns:
        learned = learn(experiment, told, folder, devices)
    else:
        learned = Learned(policies(world.slate)["interest_evolution"][experiment.policy], None, [])
    trained = time.monotonic() - began
    per_user = scored(world, learned.act, learned.params, "test", experiment.test_users)
    took = time.monotonic() - began
    estimates = {name: dataclasses.asdict(e) for name, e in intervals(per_user, 2000).items()}
    result = {
        "name": experiment.name,
        "experiment_hash": experiment.hash,
        "seed": experiment.seed,
        "metrics": {RULE: estimates},
        "test_scored": 1,
        "experiment": to_json(experiment),
        "training": {"curve": learned.curve},
        "code": code,
        "machine": machine(devices),
        "times": {"train_seconds": trained, "total_seconds": took},
    }
    return result, {f"{RULE}/{name}": values for name, values in per_user.items()}


def learn(experiment: PolicyExperiment, told: Told, folder: Path | None, devices: int = 1) -> Learned:
    """Train a policy of SlateQ's. Parameters and errors as in `run`."""
    curve, training = list[dict[str, float]](), _placed(experiment.agent, experiment.world, devices)
    with _saved(folder, experiment, devices) as saved:
        return Learned(training.made.act, _trained(experiment, training, curve, told, saved), curve)


class Saved(NamedTuple):
    """Where a training is saved: its states, and its curve, a line of JSON a score."""

    store: Checkpoints
    curve: Path


@contextmanager
def _saved(folder: Path | None, experiment: PolicyExperiment, devices: int) -> Iterator[Saved | None]:
    """InputError: the training there was begun on another number of devices."""
    if folder is None:
        yield None
        return
    config = folder / "config.json"
    began_on = read_json(config)["devices"] if config.exists() else devices
    if began_on != devices:
        raise InputError(f"{folder}: was begun on {began_on} device(s); go on with --devices {began_on}")
    write_json(config, {"name": experiment.name, "experiment": to_json(experiment), "devices": devices})
    with closing(Checkpoints(folder / "checkpoints")) as store:
        yield Saved(store, folder / "curve.jsonl")


@lru_cache(maxsize=4)
def _placed(agent: SlateQ, world: World, devices: int) -> Placed[Agent]:
    """The agent's functions, compiled once for all seeds. InputError: as `placed`."""
    return placed(agent, partial(make, simulator=world, weigh=_weights(world)), devices)


def _trained(
    experiment: PolicyExperiment, on: Placed[Agent], curve: list[dict[str, float]], told: Told, saved: Saved | None
) -> Any:
    """The parameters after all steps; `curve` grows by a score each `every` steps."""
    world, many = experiment.world, experiment.agent.users
    curve += read_lines(saved.curve) if saved else []

    def heard(step: int, state: Any) -> None:
        now = on.one(state)
        means = _means(scored(world, on.made.act, now.params, "valid", experiment.valid_users))
        # A score whose state was not saved in time comes again.
        curve[:] = [point for point in curve if point["steps"] < step * many]
        curve.append({"steps": step * many, "loss": float(now.loss), **means})
        told(curve[-1])
        if saved is not None:
            write_lines(saved.curve, curve)

    state = train(
        on.init(device_key(experiment.seed, "init")),
        on.chunk,
        device_key(experiment.seed, "train"),
        -(-experiment.steps // many),
        every=-(-experiment.every // many),
        store=saved.store if saved else None,
        put=on.put,
        heard=heard,
    )
    return on.one(state).params


def _weights(world: World) -> Weigh:
    """How users choose."""
    plain: Any = world.simulator if isinstance(world, Remembering) else world
    weights: Weigh = plain.weights
    return weights


def scored(world: World, act: Act, params: Any, part: str, n: int) -> dict[str, np.ndarray]:
    """By user: the return (minutes watched), the quality of what was clicked, and steps.

    Quality's mean over users is that of a clicked document, R: the mean of a session's sum Q over that of its clicks C.
    A user's value of it is R + (Q - R C) / mean(C), by which that ratio changes where the user counts for more: so
    intervals over users take it that clicks vary too (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    Sec. 21: the influence function).
    """
    found: Episodes = many_episodes(world, act, params, device_key(0, part), n)
    sums, clicks = (np.asarray(of, np.float64) for of in (found.signals["quality"], found.clicks))
    each = max(float(clicks.mean()), 1e-9)
    ratio = float(sums.mean()) / each
    quality = (ratio + (sums - ratio * clicks) / each).astype(np.float32)
    return {"return": np.asarray(found.reward), "quality": quality, "length": np.asarray(found.length, np.float32)}


def _means(per_user: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in per_user.items()}


@dataclass(frozen=True)
class Options:
    """A policy's experiment, and where and how it is run."""

    experiment: PolicyExperiment
    runs: Path = Path("runs")
    """Folder of runs."""
    resume: bool = False
    """Go on where this experiment's training was cut off, or start where there is none."""
    devices: int = 1
    """Devices to train on, which share users and batches."""
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Weights & Biases: 'auto' is online where you are logged in, else offline (sync later with `wandb sync`)."""
    wandb_project: str = "rec_jax"
    """Project of the W&B run."""


def script(argv: Sequence[str]) -> None:
    """Train, score, write, print."""
    options = parse_options(Options, argv, "python -m experiments.policy", __doc__)
    share_cores(options.devices)
    console, experiment = Console(), options.experiment
    folder = options.runs / experiment.name
    if folder.exists() and not options.resume:
        raise InputError(f"{folder}: holds a run already; continue it with --resume, or choose other --runs")
    world = experiment.world  # what cannot be made or shared is told before anything is written
    if experiment.learns:
        _placed(experiment.agent, world, options.devices)
    config = {"experiment": to_json(experiment), "devices": options.devices}
    make_folder(folder)
    before = read_json(folder / "result.json")["test_scored"] if (folder / "result.json").exists() else 0
    tracker = Tracker(options.wandb, options.wandb_project, folder, experiment.name, config, experiment.hash)

    def told(scores: dict[str, float]) -> None:
        line = f"{scores['steps']:>9,} steps   return {scores['return']:.1f}   quality {scores['quality']:.3f}"
        console.print(line, highlight=False)
        tracker.log(int(scores["steps"]), {f"valid/{name}": of for name, of in scores.items() if name != "steps"})

    with closing(tracker):
        result, _ = run(experiment, told, folder, options.devices)
        of = result["metrics"][RULE]
        tracker.summarise({f"test/{name}": estimate["mean"] for name, estimate in of.items()})
    result["test_scored"] += before
    write_json(folder / "result.json", result)
    table = Table("policy", "return", "quality", "length", title=f"{experiment.test_users:,} test users")
    table.add_row(experiment.policy, *(f"{e['mean']:.3f} ({e['low']:.3f}–{e['high']:.3f})" for e in of.values()))
    console.print(table)
    console.print(f"written to {folder / 'result.json'}")


if __name__ == "__main__":
    main(script)
