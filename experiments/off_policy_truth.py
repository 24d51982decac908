"""Bias, spread and coverage of off-policy estimators by the rounds of the log, where the truth is known.

    python -m experiments.off_policy_truth                       (about a minute on one core)
    python -m experiments.off_policy_truth --sizes 200 800 --repetitions 50

Users are of 32 kinds, ten items are shown by a logging policy that likes some of them, and the policy to judge likes
others: some weights are large. The truth is a sum over kinds and items. The model of rewards sees the item and not
the user, so it is wrong, as models are. Expect: 'dm' keeps its bias however long the log; 'ips', 'dr' and their
self-normalised forms lose theirs; 'switch-dr' and 'dr-os' lie between; and intervals over a few rounds hold the truth
less often than the 95 % they claim.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from rich.console import Console
from rich.table import Table
from scipy.special import softmax

from experiments.cli import main, parse_options
from rec_jax.errors import InputError
from rec_jax.evaluate.off_policy import ESTIMATORS, Estimate, Log, estimate
from rec_jax.files import write_json
from rec_jax.randomness import host_rng
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.plots import picture

KINDS, ARMS, FOLDS = 32, 10, 2


@dataclass(frozen=True)
class Options:
    """How long the logs are, and how many."""

    sizes: tuple[int, ...] = (100, 400, 1600, 6400)
    """Rounds of a log."""
    repetitions: int = 200
    """Logs of each size."""
    resamples: int = 200
    """Bootstrap resamples behind each interval."""
    sharpness: float = 1.0
    """How much the two policies care about what they like: weights grow with it."""
    seed: int = 1
    """Seed of the world and of its logs."""
    out: Path = Path("runs/off-policy-truth")
    """Folder of the record and the plot."""


@dataclass(frozen=True)
class World:
    """Kinds of users, as likely each; every array is by kind s and arm a."""

    rewards: Float[np.ndarray, "s a"]
    """Chance of a reward of 1."""
    logging: Float[np.ndarray, "s a"]
    judged: Float[np.ndarray, "s a"]

    @property
    def value(self) -> float:
        """What the judged policy earns."""
        return float((self.judged * self.rewards).sum(axis=1).mean())

    def log(self, rng: np.random.Generator, rounds: int) -> tuple[Int[np.ndarray, "m"], Log]:
        """(kind, log) of as many rounds of the logging policy."""
        kind = rng.integers(0, len(self.rewards), rounds)
        action = drawn(rng, self.logging, kind)
        reward = (rng.random(rounds) < self.rewards[kind, action]).astype(np.float64)
        return kind, Log(action, reward, self.logging[kind, action])


def made(seed: int, sharpness: float) -> World:
    """A world in which the judged policy half knows what is good, and the logging policy likes something else."""
    rng = host_rng(seed, "world")
    good, other = rng.normal(size=(2, KINDS, ARMS))
    logging, judged = (softmax(sharpness * of, axis=1) for of in (other, good - other / 2))
    return World(1 / (1 + np.exp(1 - good)), logging, judged)


def drawn(
    rng: np.random.Generator, chances: Float[np.ndarray, "s *k a"], kind: Int[np.ndarray, "m"]
) -> Int[np.ndarray, "m *k"]:
    """An arm by its chances, for each round's kind of user (and each place)."""
    below = np.cumsum(chances, axis=-1)[kind]
    arms = (rng.random(below.shape[:-1])[..., None] >= below).sum(axis=-1)
    return np.asarray(np.minimum(arms, chances.shape[-1] - 1))


def of_items(log: Log) -> Float[np.ndarray, "m a"]:
    """Each item's mean reward in the other half of the log (of all items where it was not shown there)."""
    found = np.zeros((len(log.action), ARMS))
    half = np.arange(len(log.action)) % FOLDS
    for fold in range(FOLDS):
        seen = half != fold
        shown = np.bincount(log.action[seen], minlength=ARMS)
        total = np.bincount(log.action[seen], log.reward[seen], minlength=ARMS)
        found[half == fold] = np.where(shown > 0, total / np.maximum(shown, 1), log.reward[seen].mean())
    return found


def errors(estimates: Sequence[Estimate], truth: float) -> dict[str, float]:
    """What an estimator's values over logs show: bias with its standard error, sd, root mean squared error, how many
    intervals hold the truth, and the mean effective sample."""
    values = np.array([e.value for e in estimates])
    error = values - truth
    return {
        "bias": float(error.mean()),
        "bias_se": float(error.std(ddof=1) / len(error) ** 0.5),
        "sd": float(values.std(ddof=1)),
        "rmse": float(np.sqrt((error**2).mean())),
        "coverage": float(np.mean([e.low <= truth <= e.high for e in estimates])),
        "effective": float(np.mean([e.effective for e in estimates])),
    }


def run(options: Options) -> dict[str, Any]:
    """By estimator and size: bias, sd, root mean squared error and coverage, and the mean effective sample."""
    world, code = made(options.seed, options.sharpness), code_state()
    found: dict[str, dict[str, Any]] = {name: {} for name in ESTIMATORS}
    for size in options.sizes:
        rng, rows = host_rng(options.seed, f"logs of {size}"), []
        for number in range(options.repetitions):
            kind, log = world.log(rng, size)
            judged = world.judged[kind]
            rows.append(estimate(log, judged, of_items(log), resamples=options.resamples, seed=number))
        for name in ESTIMATORS:
            found[name][str(size)] = errors([row[name] for row in rows], world.value)
    settings = {name: getattr(options, name) for name in ("repetitions", "resamples", "sharpness", "seed")}
    largest = float((world.judged / world.logging).max())
    about = {"truth": world.value, "largest_weight": largest, "kinds": KINDS, "arms": ARMS, "sizes": options.sizes}
    return {"estimators": found, **about, **settings, "code": code, "machine": machine(1)}


def draw(record: dict[str, Any], path: Path) -> None:
    """|bias|, sd and coverage by the rounds of the log, a line an estimator."""
    with picture(path, (11, 3.6), 1, 3) as (figure, panels):
        sizes = np.array(record["sizes"])
        for number, (name, of_size) in enumerate(record["estimators"].items()):
            for axes, what in zip(panels, ("bias", "sd", "coverage")):
                values = np.abs([of_size[str(size)][what] for size in sizes])
                axes.plot(sizes, values, "o-", color=f"C{number}", label=name, markersize=3, linewidth=1)
        panels[2].axhline(0.95, color="0.5", linestyle=":", linewidth=1)
        for axes, title in zip(panels, ("size of the bias", "sd over logs", "intervals of 95 % that hold the truth")):
            axes.set(xscale="log", xlabel="rounds of the log", title=title)
        for axes in panels[:2]:
            axes.set_yscale("log")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)


def shown(estimators: Mapping[str, Mapping[str, Mapping[str, float]]], title: str) -> Table:
    """A table of errors, a line an estimator and size."""
    table = Table("estimator", "rounds", "rests on", "bias ± se", "sd", "coverage", title=title)
    for name, of_size in estimators.items():
        for size, of in of_size.items():
            bias = f"{of['bias']:+.4f} ± {of['bias_se']:.4f}"
            table.add_row(name, size, f"{of['effective']:,.0f}", bias, f"{of['sd']:.4f}", f"{of['coverage']:.0%}")
    return table


def script(argv: Sequence[str]) -> None:
    """Run, write, draw, print."""
    options = parse_options(Options, argv, "python -m experiments.off_policy_truth", __doc__)
    if not options.sizes or min(options.sizes) < 2 * FOLDS or options.repetitions < 2:
        raise InputError(f"--sizes {options.sizes} --repetitions {options.repetitions}: at least 4, and at least 2")
    console = Console()
    with console.status("drawing logs"):
        record = run(options)
    write_json(options.out / "record.json", record)
    draw(record, options.out / "plot.png")
    weights = f"weights up to {record['largest_weight']:.0f}"
    title = f"truth {record['truth']:.4f}, {weights}; {options.repetitions} logs a size"
    console.print(shown(record["estimators"], title))
    console.print(f"written to {options.out}: record.json, plot.png", highlight=False)


if __name__ == "__main__":
    main(script)
