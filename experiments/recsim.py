"""RecSim's own statistics, which our simulators are held against.

    python -m experiments.recsim                          (RecSim's half some minutes, ours 1, on 2 cores)
    python -m experiments.recsim --episodes 1000 --own 10000

Three fixed policies in each environment of RecSim, slates of 2 of 10; RecSim is installed in an environment of its
own, on an older Python where one is found. The statistics, with their standard errors, are written to a file; the one
that tests read is tests/simulate/recsim.json (--out).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.peers import RECSIM, measured, python_of
from experiments.cli import main, parse_options
from rec_jax.errors import InputError
from rec_jax.files import write_json
from rec_jax.policies.fixed import interest, random_slates, scored
from rec_jax.randomness import device_key
from rec_jax.simulate.base import Simulator
from rec_jax.simulate.episodes import Act, Episodes, many_episodes
from rec_jax.simulate.interest_evolution import InterestEvolution
from rec_jax.simulate.interest_exploration import InterestExploration
from rec_jax.simulate.long_term_satisfaction import LongTermSatisfaction

STEPS = 50
"""Of a session that never ends."""
SLATE = 2
SIMULATORS: dict[str, Callable[[], Simulator]] = {
    "interest_evolution": InterestEvolution,
    "interest_exploration": InterestExploration,
    "long_term_satisfaction": LongTermSatisfaction,
}


@cache
def policies(slate: int) -> dict[str, dict[str, Act]]:
    """By simulator and name, as `recsim_episodes.py` has them: fixed policies that show `slate` documents."""
    at_random = partial(random_slates, k=slate)
    return {
        "interest_evolution": {
            "random": at_random,
            "interest": scored(interest, slate),
            "good topics": scored(lambda seen: jnp.argmax(seen.documents, axis=2).astype(jnp.float32), slate),
        },
        "interest_exploration": {
            "random": at_random,
            "quality": scored(lambda seen: seen.documents[:, :, 2], slate),
            "second topic": scored(lambda seen: seen.documents[:, :, 1], slate),
        },
        "long_term_satisfaction": {
            "random": at_random,
            "choc": scored(lambda seen: seen.documents[:, :, 0], slate),
            "kale": scored(lambda seen: -seen.documents[:, :, 0], slate),
        },
    }


POLICIES = policies(SLATE)
STATISTICS = {
    "interest_evolution": ("reward", "length", "clicks", "quality", "topic", "drift"),
    "interest_exploration": ("reward", "quality", "topic"),
    "long_term_satisfaction": ("reward", "length", "clickbait", "exposure"),
}
"""What is compared; the others are constants there. All but length and exposure are sums over a session; drift is the
sum over topics of how far interests went."""


@dataclass(frozen=True)
class Options:
    """How much."""

    episodes: int = 5_000
    """Sessions of RecSim, for each policy."""
    own: int = 100_000
    """Sessions of ours."""
    seed: int = 1
    """Seed of both."""
    out: Path = Path("runs/recsim.json")
    """Where RecSim's statistics are written."""


@cache
def simulator(name: str) -> Simulator:
    """The simulator as RecSim's default is."""
    return SIMULATORS[name]()


def limit(name: str) -> int | None:
    """Steps after which a session is cut off."""
    return None if simulator(name).ends else STEPS


def statistics(name: str, found: Episodes) -> dict[str, dict[str, float]]:
    """Mean and standard error of each statistic of our sessions."""
    values: dict[str, Any] = {"reward": found.reward, "length": found.length, "clicks": found.clicks}
    values |= found.signals
    if name == "interest_evolution":
        values["drift"] = np.abs(found.last.interests - found.first.interests).sum(axis=1)
    if name == "long_term_satisfaction":
        values["exposure"] = found.last.exposure
    kept = {of: np.asarray(values[of], np.float64) for of in STATISTICS[name]}
    return {of: {"mean": x.mean(), "se": x.std(ddof=1) / len(x) ** 0.5} for of, x in kept.items()}


def ours(name: str, policy: str, n: int, seed: int) -> dict[str, dict[str, float]]:
    """`statistics` of n of our sessions."""
    key = device_key(seed, f"{name} {policy}")
    return statistics(name, many_episodes(simulator(name), POLICIES[name][policy], None, key, n, limit(name), 16384))


def distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """How many combined standard errors two means are apart; 0 where both are the same constant."""
    gap, error = abs(one["mean"] - other["mean"]), float(np.hypot(one["se"], other["se"]))
    return gap / error if error else (0.0 if gap == 0 else float("inf"))


def reference(options: Options, console: Console) -> dict[str, Any]:
    """RecSim's statistics. InputError: RecSim cannot be installed."""
    python = python_of(RECSIM, console)
    if python is None:
        raise InputError("RecSim is not to be had here: install Python 3.9 beside this one and run again")
    scores = np.random.default_rng(options.seed).uniform(-1, 1, (20, SLATE)).round(3).tolist()
    found: dict[str, Any] = {"recsim": RECSIM.packages[0], "seed": options.seed, "environments": {}}
    with console.status("RecSim"):
        chances = measured(python, "recsim_episodes.py", Path.cwd(), "choice", scores)
        found["choice"] = {"scores": scores, "chances": chances}
        for name, policies in POLICIES.items():
            for policy in policies:
                asked = (name, policy, options.episodes, limit(name) or 0, options.seed)
                row = measured(python, "recsim_episodes.py", Path.cwd(), *asked)
                kept = {of: row["statistics"][of] for of in STATISTICS[name]}
                of_policy = {"episodes": row["episodes"], "statistics": kept}
                found["environments"].setdefault(name, {})[policy] = of_policy
                console.print(f"{name}, {policy}: {row['steps']:,} steps, {row['seconds']:.0f} s", highlight=False)
    return found


def script(argv: Sequence[str]) -> None:
    """Measure, write, print."""
    options = parse_options(Options, argv, "python -m experiments.recsim", __doc__)
    if options.episodes < 2 or options.own < 2:
        raise InputError(f"--episodes {options.episodes} --own {options.own}: at least 2 are needed")
    console = Console()
    found = reference(options, console)
    write_json(options.out, found)
    table = Table("environment", "policy", "statistic", "RecSim", "rec_jax", "standard errors apart")
    for name, policies in found["environments"].items():
        for policy, row in policies.items():
            own = ours(name, policy, options.own, options.seed)
            for of, there in row["statistics"].items():
                shown = [f"{x['mean']:.3f} ± {x['se']:.3f}" for x in (there, own[of])]
                table.add_row(name, policy, of, *shown, f"{distance(there, own[of]):.2f}")
    console.print(table)
    console.print(f"written to {options.out} ({len(jax.devices())} device(s))")


if __name__ == "__main__":
    main(script)
