"""Exploration against exploitation: what too little of it costs, and too much.

    python -m experiments.explore                       (about a minute on 2 cores)
    python -m experiments.explore --users 500 --steps 200

In interest_exploration a user would rather have one topic or the other, and nothing tells which but what the user
clicks. A bandit of each user's own chooses the topic, whose best documents are shown first, for `--steps` steps; 'by
quality' shows the best documents of all, and learns nothing. Regret is what was lost in expectation: the chance of a
click with the best slate there was, less that of the slate shown, added up. Drawn are regret by step, and regret at the
end by how much is explored; intervals are 95 % over users. Where users share a bandit, what one clicks the others need
not find out: all of a group share one, or those of it who would rather have the same topic, who were known to be alike
beforehand. Users of a group all follow what its bandit came to believe, so that intervals of these are over groups
(Student's t).

By default both topics are made as well. With RecSim's own numbers (`--world recsim`) the topic that is made better is
about as good as the other even for those who would rather have that, so that quality alone loses less than a bandit of
each user's own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from rich.console import Console
from rich.table import Table

from experiments.cli import main, parse_options
from rec_jax.errors import InputError
from rec_jax.evaluate.report import intervals
from rec_jax.evaluate.significance import Interval, seed_interval
from rec_jax.files import write_json
from rec_jax.policies import bandits
from rec_jax.policies.bandits import Bandit
from rec_jax.policies.fixed import best
from rec_jax.policies.topics import no_topic, topic_agent
from rec_jax.randomness import device_key
from rec_jax.simulate.interest_exploration import InterestExploration, Users
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.plots import picture

EPSILONS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
SCALES = (0.0, 0.02, 0.1, 0.5, 2.0)
PRIORS = (0.1, 1.0, 10.0)
SHARED = "Thompson, shared by"
EVEN = (0.5, 0.5)
"""Mean logarithms of quality, by topic."""


@dataclass(frozen=True)
class Options:
    """How long, and over how many users."""

    users: int = 2000
    """Users, each with a bandit of its own."""
    steps: int = 500
    """Steps of each user."""
    groups: int = 20
    """Groups of users, where bandits are shared: none learns from another group."""
    slate: int = 2
    """Documents shown."""
    world: Literal["even", "recsim"] = "even"
    """Whether both topics are made as well, or as in RecSim."""
    seed: int = 1
    """Seed of users and choices: the same users for all rules."""
    out: Path = Path("runs/explore")
    """Folder of the record and the plot."""


def rules(arms: int, n: int) -> dict[str, dict[str, Bandit]]:
    """By family and amount of exploration, the least first: a bandit of each user's own."""
    return {
        "epsilon-greedy": {f"{e:g}": bandits.epsilon_greedy(arms, e) for e in EPSILONS},
        "UCB1, scale": {f"{scale:g}": bandits.ucb1(arms, scale) for scale in SCALES},
        "KL-UCB": {"": bandits.kl_ucb(arms)},
        "by quality": {"": no_topic(n)},
        "Thompson, prior": {f"{prior:g}": bandits.thompson(arms, (prior, prior)) for prior in PRIORS},
    }


def clusters(users: Users, group: Int[np.ndarray, "n"]) -> dict[str, Int[np.ndarray, "n"]]:
    """Who of a group shares a bandit, by name: those with the same favourite topic, or all."""
    affinity = np.asarray(users.affinity)
    return {"favourite topic": group * affinity.shape[1] + affinity.argmax(axis=1), "all": group}


class Course(NamedTuple):
    """What n users lost and clicked, by step."""

    regret: Float[Array, "n t"]
    clicks: Float[Array, "n t"]


def first(world: InterestExploration, key: Key[Array, ""], n: int) -> Users:
    """The users of a course with that key."""
    return world.reset(jax.random.fold_in(key, 0), n)


def course(
    world: InterestExploration, bandit: Bandit, key: Key[Array, ""], cluster: Int[np.ndarray, "n"], steps: int
) -> Course:
    """Sessions of n users under bandits over topics, one for all users of a cluster; the users do not depend on it."""
    agent = topic_agent(bandit, world.topics, world.slate, cluster)

    def step(carry: tuple[Users, Any], t: Int[Array, ""]) -> tuple[tuple[Users, Any], tuple[Array, Array]]:
        users, state = carry
        of_rule, of_users = jax.random.split(jax.random.fold_in(key, t + 1))
        topic, slates = agent.act(state, of_rule, users.topics, users.quality)
        lost = world.click_chance(users, best(world.scores(users), world.slate)) - world.click_chance(users, slates)
        after, response = world.step(of_users, users, slates)
        return (after, agent.learn(state, topic, response.reward)), (lost, response.reward)

    begin = (first(world, key, len(cluster)), agent.init())
    _, (lost, clicks) = jax.lax.scan(step, begin, jnp.arange(steps))
    return Course(jnp.cumsum(lost, axis=0).T, clicks.T)


def run(options: Options, told: Callable[[str], None] = lambda name: None) -> dict[str, Any]:
    """Every rule on the same users: by family and amount, regret at 25 places, the last one the end, with intervals."""
    world, code = InterestExploration(slate=options.slate), code_state()
    if options.world == "even":
        world = replace(world, quality_mean=EVEN)
    key = device_key(options.seed, "explore")
    marks = np.unique(np.linspace(1, options.steps, 25).astype(int)) - 1
    found: dict[str, dict[str, Any]] = {}

    def play(
        family: str,
        amount: str,
        bandit: Bandit,
        cluster: Int[np.ndarray, "n"],
        told_of: Callable[[dict[str, np.ndarray]], Mapping[str, Any]],
    ) -> None:
        told(f"{family} {amount}".strip())
        sessions = jax.jit(partial(course, world, bandit, cluster=cluster, steps=options.steps))
        regret, clicks = (np.asarray(x, np.float64) for x in sessions(key=key))
        bandit.check(clicks)
        curve = told_of({str(mark + 1): regret[:, mark] for mark in marks})
        found.setdefault(family, {})[amount] = {
            "curve": {at: [e.mean, e.low, e.high] for at, e in curve.items()},
            "clicks": float(clicks.mean()),
        }

    alone = np.arange(options.users)
    for family, of_family in rules(world.topics, options.users).items():
        for amount, bandit in of_family.items():
            play(family, amount, bandit, alone, lambda per_user: intervals(per_user, 1000))
    group = alone % options.groups
    for name, cluster in clusters(first(world, key, options.users), group).items():
        play(SHARED, name, bandits.thompson(world.topics), cluster, partial(over_groups, group))
    settings = {
        "world": options.world,
        "users": options.users,
        "steps": options.steps,
        "groups": options.groups,
        "slate": options.slate,
        "seed": options.seed,
    }
    return {"rules": found, **settings, "code": code, "machine": machine(len(jax.devices()))}


def over_groups(group: Int[np.ndarray, "n"], per_user: Mapping[str, Float[np.ndarray, "n"]]) -> dict[str, Interval]:
    """Mean and interval over groups of the mean over a group's users, by name."""
    sizes = np.bincount(group)
    return {name: seed_interval(np.bincount(group, of) / sizes) for name, of in per_user.items()}


def at_the_end(of: Mapping[str, Any]) -> list[float]:
    """[mean, low, high] of a rule's regret at the last step."""
    return list(of["curve"].values())[-1]


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Regret by step of the best of each family and of epsilon's ends, and regret at the end by amount."""
    with picture(path, (11, 4), 1, 2) as (_, (left, right)):
        families = record["rules"]
        shown = {}
        for family, of_family in families.items():
            amount = min(of_family, key=lambda name: at_the_end(of_family[name])[0])
            shown[f"{family} {amount}".strip()] = of_family[amount]
        epsilon = families["epsilon-greedy"]
        for amount in (min(epsilon, key=float), max(epsilon, key=float)):
            shown.setdefault(f"epsilon-greedy {amount}", epsilon[amount])
        for number, (name, of) in enumerate(shown.items()):
            steps = [int(at) for at in of["curve"]]
            mean, low, high = np.array(list(of["curve"].values())).T
            left.plot(steps, mean, label=name, color=f"C{number}")
            left.fill_between(steps, low, high, color=f"C{number}", alpha=0.2, linewidth=0)
        left.set(
            xlabel="step", ylabel="clicks lost, in expectation", title="regret: the best of each rule, and the ends"
        )
        left.legend(frameon=False, fontsize=7)
        for number, (family, of_family) in enumerate(
            item for item in families.items() if len(item[1]) > 1 and item[0] != SHARED
        ):
            mean, low, high = np.array([at_the_end(of) for of in of_family.values()]).T
            at = np.linspace(0, 1, len(mean))
            right.errorbar(at, mean, [mean - low, high - mean], label=family, marker="o", capsize=2, color=f"C{number}")
            for x, y, amount in zip(at, mean, of_family):
                right.annotate(amount, (x, y), textcoords="offset points", xytext=(3, 5), fontsize=7)
        right.set(xlabel="less ← exploration → more", xticks=[], title=f"regret after {record['steps']:,} steps")
        right.legend(frameon=False, fontsize=7)


def script(argv: Sequence[str]) -> None:
    """Run, write, draw, print."""
    options = parse_options(Options, argv, "python -m experiments.explore", __doc__)
    if min(options.users, options.steps) < 2:
        raise InputError(f"--users {options.users} --steps {options.steps}: at least 2 are needed")
    if not 2 <= options.groups <= options.users // 2:
        raise InputError(f"--groups {options.groups}: expected from 2 to half of {options.users} users")
    console = Console()
    with console.status("playing") as status:
        record = run(options, lambda name: status.update(name))
    write_json(options.out / "record.json", record)
    draw(record, options.out / "plot.png")
    title = f"{options.users:,} users, {options.steps:,} steps"
    table = Table("rule", "exploration", "clicks lost (95 %)", "clicks a step", title=title)
    for family, of_family in record["rules"].items():
        for amount, of in of_family.items():
            mean, low, high = at_the_end(of)
            table.add_row(family, amount, f"{mean:.2f} ({low:.2f}–{high:.2f})", f"{of['clicks']:.4f}")
    console.print(table)
    console.print(f"written to {options.out}: record.json, plot.png", highlight=False)


if __name__ == "__main__":
    main(script)
