"""A policy before and after it was trained on users fitted to a real log, beside policies that learn nothing.

    python -m experiments.before_after                        (about 3 minutes on one core)
    python -m experiments.before_after --steps 20000 --seeds 1

SlateQ learns on four fifths of the log's users, in `LoggedUsers`, and all policies are scored on the others, whom no
training saw: 'before' is its network as it was initialised, 'after' the same trained. A document is relevant at a step
if the user would like it at that moment with a chance of at least one half (the simulator's truth: with boredom and
drift, hidden from every policy). Of a user's sessions, and then over users:

- ctr: share of the slates shown that were clicked;
- reward: mean over slates of the clicked document's (rating - lowest) / (highest - lowest), 0 for none;
- return: the same summed over a session;
- precision: relevant documents among the k shown, over k, mean over slates;
- recall: relevant documents shown, over those among the candidates, mean over slates that have one;
- f1: 2 · relevant shown / (k + relevant among the candidates), their harmonic mean, over the same slates;
- coverage: share of the catalogue that was shown to anyone, of all sessions together.

Slates are top-k by default, in the order of chance of a click times worth: SlateQ's optimal slates (`--policy
QL-OT-OS`) are best for users who look at all places alike, and these look at the first most. That top-k is better was
first seen on the test users of another split (`--seed 1`), and then on those who are trained on there; they were split
anew after that, but all of them took part in that choice of one of two.

Intervals are of a bootstrap over users, of values averaged over sessions and seeds. Tests are paired by user (Holm over
all of them), and a difference counts where Welch's t interval over seeds does not hold 0 either. Every seed trains
anew; sessions are the same for all policies and seeds, by the same random numbers, so that what differs between seeds
is the training's. What learns nothing has one value.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from rich.console import Console
from rich.table import Table

from experiments.cli import main, named, parse_options
from experiments.logged_users import FIXED, declared, ranked
from rec_jax.comparison import RESAMPLES
from rec_jax.data.own import Columns
from rec_jax.data.registry import DEFAULT_FOLDER, load
from rec_jax.errors import InputError
from rec_jax.evaluate.report import intervals
from rec_jax.evaluate.significance import pair_records, seed_interval
from rec_jax.fields import added
from rec_jax.files import write_json
from rec_jax.policies.slateq import Agent, SlateQ, make
from rec_jax.policies.slateq import named as slateq
from rec_jax.policies.training import Placed, name_of, placed, train
from rec_jax.randomness import device_key, host_rng
from rec_jax.simulate.base import Response, State
from rec_jax.simulate.episodes import Act, course
from rec_jax.simulate.fitting import Fit, Fitted, fit
from rec_jax.simulate.logged_users import LoggedUsers
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.plots import picture
from rec_jax.train.checkpoints import Checkpoints
from rec_jax.train.devices import share_cores

METRICS = ("ctr", "reward", "return", "precision", "recall", "f1")
BEFORE, AFTER = "SlateQ before", "SlateQ after"
AGENT = SlateQ(layers=(128, 32), q_none=True, discount=0.95, learning_rate=5e-4, explore_steps=2500)
POLICIES = (*(name for name in FIXED if name != "varied"), BEFORE, AFTER)
PAIRS = ((AFTER, BEFORE), (AFTER, "best predicted"), (AFTER, "popularity"), (AFTER, "random"))
"""What is compared, the second taken from the first."""


@dataclass(frozen=True)
class Options:
    """On what, and how much."""

    data: str = "ml-100k"
    """A known data set with ratings, or the path of a log."""
    columns: Columns = Columns()
    fit: Fit = Fit(resamples=200, seed=2)
    policy: str = "QL-TT-TS"
    """SlateQ's name: which slates it learns from and shows."""
    steps: int = 100_000
    """Steps of users in training."""
    seeds: int = 3
    """Trainings."""
    sessions: int = 10
    """Of each test user, the same for every policy."""
    test_share: float = 0.2
    """Share of the users that training does not see."""
    devices: int = added(1)
    """Devices to train on, which share users and batches."""
    data_dir: Path = DEFAULT_FOLDER
    """Folder of the data sets."""
    runs: Path = Path("runs/before_after/trainings")
    """Folder of the trainings: one that was cut off goes on, and none is made twice."""
    out: Path = Path("runs/before_after")
    """Folder of the record and the plot."""


NO_SAY = ("seeds", "sessions", "runs", "out", "data_dir")
"""Options that change no training."""


class Sums(NamedTuple):
    """Of each session, added up over its slates."""

    slates: Float[Array, "n"]
    clicks: Float[Array, "n"]
    reward: Float[Array, "n"]
    precision: Float[Array, "n"]
    recall: Float[Array, "n"]
    f1: Float[Array, "n"]
    findable: Float[Array, "n"]
    """Slates whose candidates held something relevant."""


def sessions(
    world: LoggedUsers, act: Act, params: Any, key: Key[Array, ""], who: Int[Array, "n"]
) -> tuple[Sums, Int[Array, "i"]]:
    """(sums of a session of each of the users `who`, how often each item was shown)."""
    n, k = len(who), world.slate

    def watch(state: State, slates: Array, response: Response) -> tuple[Sums, Array]:
        relevant = world.like(world.scores(state, state.items)) >= 0.5
        there, hits = relevant.sum(axis=1), jnp.take_along_axis(relevant, slates, axis=1).sum(axis=1)
        findable = there > 0
        found = Sums(
            slates=jnp.ones(n),
            clicks=response.clicked.any(axis=1),
            reward=response.reward,
            precision=hits / k,
            recall=jnp.where(findable, hits / jnp.maximum(there, 1), 0),
            f1=jnp.where(findable, 2 * hits / (k + there), 0),
            findable=findable,
        )
        return found, jnp.take_along_axis(state.items, slates, axis=1)

    first = world.reset(jax.random.fold_in(key, 0), n)._replace(who=who)
    (each, items), live = course(world, act, params, key, n, world.budget, watch, first)
    sums = jax.tree.map(lambda x: (x * live).sum(axis=0), each)
    shown = jnp.zeros(len(world.fitted.item), jnp.int32).at[items].add(live[:, :, None].astype(jnp.int32))
    return sums, shown


def by_user(sums: Sums, users: int) -> dict[str, np.ndarray]:
    """Each metric of each user [users], from sessions that stand user by user; NaN where a user never had anything
    relevant to find."""
    total = {name: np.asarray(x, np.float64).reshape(users, -1).sum(axis=1) for name, x in sums._asdict().items()}
    count = len(sums.slates) // users
    findable = np.where(total["findable"] > 0, total["findable"], np.nan)
    return {
        "ctr": total["clicks"] / total["slates"],
        "reward": total["reward"] / total["slates"],
        "return": total["reward"] / count,
        "precision": total["precision"] / total["slates"],
        "recall": total["recall"] / findable,
        "f1": total["f1"] / findable,
    }


def parts(fitted: Fitted, share: float, seed: int) -> tuple[Fitted, Fitted]:
    """(users to train on, users to test on). InputError: a part would be empty."""
    users = len(fitted.user)
    order, cut = host_rng(seed, "before and after").permutation(users), round(users * share)
    if not 0 < cut < users:
        raise InputError(f"--test-share {share:g}: of {users} users {cut} would test; both parts need some")
    return fitted.of_users(np.sort(order[cut:])), fitted.of_users(np.sort(order[:cut]))


def trained(on: Placed[Agent], steps: int, seed: int, folder: Path) -> tuple[Any, Any]:
    """(parameters before, after). What was saved in the folder is gone on with. Raises Diverged where they are not
    finite."""
    state = on.init(device_key(seed, "init"))
    before = jax.tree.map(jnp.copy, on.one(state).params)
    with closing(Checkpoints(folder)) as store:
        after = train(state, on.chunk, device_key(seed, "train"), steps, store=store, put=on.put)
    return before, on.one(after).params


def run(options: Options, told: Callable[[str], None] = lambda name: None) -> dict[str, Any]:
    """The record: each metric of each policy with intervals, tests of pairs, and coverage by seed."""
    code, agent = code_state(), slateq(options.policy, AGENT)
    dataset = load(named(options.data), options.data_dir, options.columns)
    told("fitting users")
    fitted, _ = fit(dataset, options.fit)
    learns, test = (LoggedUsers(part) for part in parts(fitted, options.test_share, options.fit.seed))
    identity = name_of(options, agent, dataset.fingerprint, without=NO_SAY)
    users = len(test.fitted.user)
    who = jnp.repeat(jnp.arange(users, dtype=jnp.int32), options.sessions)
    fixed, learnt = ranked(test), make(agent, test, test.weights).act
    on = placed(agent, partial(make, simulator=learns, weigh=learns.weights), options.devices)
    play = jax.jit(sessions, static_argnums=(0, 1))
    values: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in POLICIES}
    coverage: dict[str, list[float]] = {name: [] for name in POLICIES}

    def score(name: str, act: Act, params: Any) -> None:
        sums, shown = jax.device_get(play(test, act, params, device_key(0, "before and after, test"), who))
        values[name].append(by_user(sums, users))
        coverage[name].append(float((shown > 0).mean()))

    for name in POLICIES:
        if name in FIXED:
            told(name)
            score(name, fixed, jnp.asarray(FIXED[name], jnp.float32))
    for seed in range(1, options.seeds + 1):
        told(f"seed {seed} of {options.seeds}")
        before, after = trained(on, options.steps // agent.users, seed, options.runs / f"{identity}-s{seed}")
        score(BEFORE, learnt, before)
        score(AFTER, learnt, after)
    means = {
        name: {of: np.mean([seed[of] for seed in seeds], axis=0) for of in METRICS} for name, seeds in values.items()
    }
    return {
        "data": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "world": declared(learns) | {"boredom": learns.bored, "drift": learns.drawn},
        "policy": options.policy,
        "agent": dataclasses.asdict(agent),
        "steps": options.steps,
        "seeds": options.seeds,
        "sessions": options.sessions,
        "train_users": len(learns.fitted.user),
        "test_users": users,
        "policies": {
            name: {
                "metrics": {of: dataclasses.asdict(e) for of, e in intervals(means[name], 2000).items()},
                "by_seed": {of: [float(np.nanmean(seed[of])) for seed in values[name]] for of in METRICS},
                "coverage": dataclasses.asdict(seed_interval(coverage[name])),
            }
            for name in POLICIES
        },
        "tests": pair_records(values, PAIRS, RESAMPLES),
        "code": code,
        "machine": machine(options.devices),
    }


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Each metric of each policy with its interval over users; coverage as a mean over seeds."""
    with picture(path, (11, 5), 2, 4, sharey=True) as (figure, grid):
        names = list(record["policies"])
        shown = ("ctr", "reward", "return", "coverage", "precision", "recall", "f1")
        for axes, metric in zip(grid, shown):
            for at, name in enumerate(names):
                of = record["policies"][name]
                e = _of_share(of["coverage"]) if metric == "coverage" else of["metrics"][metric]
                error = None if e["low"] is None else [[e["mean"] - e["low"]], [e["high"] - e["mean"]]]
                axes.errorbar([e["mean"]], [at], xerr=error, fmt="o", capsize=2, color=f"C{at}")
            axes.set(title=metric)
            axes.set_yticks(range(len(names)), names)
            axes.margins(y=0.15)
        grid[0].invert_yaxis()
        grid[-1].set_axis_off()
        seeds = f"{record['policy']}, {record['steps']:,} steps of training, seeds: {record['seeds']}"
        figure.suptitle(f"{record['data']['name']}: {record['test_users']} users no training saw, {seeds}", fontsize=10)


def _of_share(e: Mapping[str, Any]) -> Mapping[str, Any]:
    """The interval within 0 and 1: Student's t over seeds knows of no bounds."""
    return e if e["low"] is None else {**e, "low": max(e["low"], 0.0), "high": min(e["high"], 1.0)}


def _shown(e: Mapping[str, float]) -> str:
    return f"{e['mean']:.3f} ({e['low']:.3f}–{e['high']:.3f})" if e["low"] is not None else f"{e['mean']:.3f}"


def script(argv: Sequence[str]) -> None:
    """Run, write, draw, print."""
    options = parse_options(Options, argv, "python -m experiments.before_after", __doc__)
    if min(options.seeds, options.sessions) < 1 or options.steps < AGENT.users:
        raise InputError(
            f"--seeds {options.seeds} --sessions {options.sessions} --steps {options.steps}: expected at least 1 of "
            f"the first two, and {AGENT.users} steps"
        )
    share_cores(options.devices)
    console = Console()
    with console.status("loading") as status:
        record = run(options, lambda name: status.update(name))
    write_json(options.out / "record.json", record)
    draw(record, options.out / "plot.png")
    table = Table("policy", *METRICS, "coverage", title=f"{record['test_users']} test users, {options.seeds} seeds")
    for name, of in record["policies"].items():
        table.add_row(name, *(_shown(of["metrics"][m]) for m in METRICS), _shown(_of_share(of["coverage"])))
    console.print(table)
    for of in (test for test in record["tests"] if test["metric"] == "return"):
        first, second = of["pair"]
        gap = f"{of['difference']:+.3f} ({of['low']:+.3f} to {of['high']:+.3f})"
        console.print(f"{first} less {second}: return {gap}, {of['verdict']}", highlight=False)
    console.print(f"written to {options.out}: record.json, plot.png", highlight=False)


if __name__ == "__main__":
    main(script)
