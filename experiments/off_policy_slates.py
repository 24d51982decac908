"""Bias, spread and coverage of off-policy estimators for slates, by what users do, where the truth is known.

    python -m experiments.off_policy_slates                      (about a minute on one core)
    python -m experiments.off_policy_slates --sizes 400 1600 --repetitions 50

A slate has three places, each with six items of its own to choose from, one of which is drawn at each; users are of 16
kinds. What is earned at a place depends, by what users do,

- `independent`: on its item alone;
- `cascade`: on what stands above as well, which takes attention away;
- `all`: on what stands below, too.

The truth is a sum over kinds and all 216 slates. Expect: 'sips' has no bias, whatever users do, and the most spread;
'rips' has none but where items below count; 'iips' none where places are independent alone, and the least spread.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from rich.console import Console
from scipy.special import softmax

from experiments import off_policy_truth
from experiments.cli import main, parse_options
from experiments.off_policy_truth import drawn, errors, shown
from rec_jax.errors import InputError
from rec_jax.evaluate.off_policy import SlateLog, slates
from rec_jax.files import write_json
from rec_jax.randomness import host_rng
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.plots import picture

KINDS, PLACES, ARMS = 16, 3, 6
TAKEN = 0.8
"""Of the attention, how much an item that is sure to please takes from another."""
BEHAVIOURS = {"independent": np.zeros((3, 3)), "cascade": np.tri(3, k=-1), "all": 1 - np.eye(3)}
"""By place, which others take attention from it."""
ESTIMATORS = ("sips", "rips", "iips", "sn-sips", "sn-rips", "sn-iips")


@dataclass(frozen=True)
class Options(off_policy_truth.Options):
    """How long the logs are, and how many."""

    sizes: tuple[int, ...] = (200, 800, 3200, 12800)
    """Rounds of a log."""
    out: Path = Path("runs/off-policy-slates")
    """Folder of the record and the plot."""


@dataclass(frozen=True)
class World:
    """Kinds of users, as likely each; every array is by kind s, place k and arm a."""

    pleases: Float[np.ndarray, "s k a"]
    """Chance that an item earns 1, were it alone."""
    logging: Float[np.ndarray, "s k a"]
    judged: Float[np.ndarray, "s k a"]

    def chances(
        self, behaviour: str, kind: Int[np.ndarray, "m"], slate: Int[np.ndarray, "m k"]
    ) -> Float[np.ndarray, "m k"]:
        """That each place earns 1. KeyError: no such behaviour."""
        alone = self.pleases[kind[:, None], np.arange(PLACES), slate]
        left = 1 - TAKEN * alone[:, None, :] * BEHAVIOURS[behaviour]
        return alone * left.prod(axis=2)

    def value(self, behaviour: str) -> float:
        """What the judged policy earns with a slate."""
        every = np.array(list(itertools.product(range(ARMS), repeat=PLACES)))
        total = 0.0
        for kind in range(KINDS):
            odds = self.judged[kind, np.arange(PLACES), every].prod(axis=1)
            total += float(odds @ self.chances(behaviour, np.full(len(every), kind), every).sum(axis=1))
        return total / KINDS

    def log(self, rng: np.random.Generator, rounds: int, behaviour: str) -> tuple[SlateLog, Float[np.ndarray, "m k"]]:
        """(a log of the logging policy, the judged policy's chance of each place's item)."""
        kind = rng.integers(0, KINDS, rounds)
        slate = drawn(rng, self.logging, kind)
        reward = (rng.random((rounds, PLACES)) < self.chances(behaviour, kind, slate)).astype(np.float64)
        at = (kind[:, None], np.arange(PLACES), slate)
        return SlateLog(reward, self.logging[at]), self.judged[at]


def made(seed: int, sharpness: float) -> World:
    """A world in which the judged policy half knows what is good, and the logging policy likes something else."""
    good, other = host_rng(seed, "world of slates").normal(size=(2, KINDS, PLACES, ARMS))
    logging, judged = (softmax(sharpness * of, axis=2) for of in (other, good - other / 2))
    return World(1 / (1 + np.exp(-good)), logging, judged)


def run(options: Options) -> dict[str, Any]:
    """By behaviour, estimator and size: bias, sd, root mean squared error and coverage; and the truth."""
    world, code = made(options.seed, options.sharpness), code_state()
    found: dict[str, Any] = {}
    for behaviour in BEHAVIOURS:
        truth, of_size = world.value(behaviour), {name: dict[str, Any]() for name in ESTIMATORS}
        for size in options.sizes:
            rng, rows = host_rng(options.seed, f"slates, {behaviour}, {size}"), []
            for number in range(options.repetitions):
                log, judged = world.log(rng, size, behaviour)
                rows.append(slates(log, judged, resamples=options.resamples, seed=number))
            for name in ESTIMATORS:
                of_size[name][str(size)] = errors([row[name] for row in rows], truth)
        found[behaviour] = {"truth": truth, "estimators": of_size}
    settings = {name: getattr(options, name) for name in ("repetitions", "resamples", "sharpness", "seed", "sizes")}
    largest = float((world.judged / world.logging).max())
    return {"behaviours": found, "largest_weight": largest, **settings, "code": code, "machine": machine(1)}


def draw(record: dict[str, Any], path: Path) -> None:
    """|bias| above, sd below, by the rounds of the log, a column a behaviour."""
    with picture(path, (11, 6), 2, len(BEHAVIOURS), sharey="row") as (figure, panels):
        sizes = np.array(record["sizes"])
        for column, (behaviour, of) in enumerate(record["behaviours"].items()):
            for axes, what in ((panels[column], "bias"), (panels[len(BEHAVIOURS) + column], "sd")):
                for number, (name, of_size) in enumerate(of["estimators"].items()):
                    values = np.abs([of_size[str(size)][what] for size in sizes])
                    style = {"color": f"C{number % 3}", "linestyle": "--" if number >= 3 else "-"}
                    axes.plot(sizes, values, marker="o", markersize=3, linewidth=1, label=name, **style)
                axes.set(xscale="log", yscale="log")
            panels[column].set_title(f"{behaviour}: truth {of['truth']:.3f}", fontsize=10)
            panels[len(BEHAVIOURS) + column].set_xlabel("rounds of the log")
        panels[0].set_ylabel("size of the bias")
        panels[len(BEHAVIOURS)].set_ylabel("sd over logs")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)


def script(argv: Sequence[str]) -> None:
    """Run, write, draw, print."""
    options = parse_options(Options, argv, "python -m experiments.off_policy_slates", __doc__)
    if not options.sizes or min(options.sizes) < 1 or options.repetitions < 2:
        raise InputError(f"--sizes {options.sizes} --repetitions {options.repetitions}: at least 1, and at least 2")
    console = Console()
    with console.status("drawing logs"):
        record = run(options)
    write_json(options.out / "record.json", record)
    draw(record, options.out / "plot.png")
    for behaviour, of in record["behaviours"].items():
        title = f"{behaviour}: truth {of['truth']:.4f}; {options.repetitions} logs a size"
        console.print(shown(of["estimators"], title))
    console.print(f"written to {options.out}: record.json, plot.png", highlight=False)


if __name__ == "__main__":
    main(script)
