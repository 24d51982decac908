"""What corrections are worth to a policy that learns from another one's log: REINFORCE, off-policy and top-K.

    python -m experiments.reinforce                                    (about 4 minutes on one core)
    python -m experiments.reinforce --steps 30 --seeds 1               (a look at it: a minute)

Two worlds without a state, as in the simulations of Chen et al., "Top-K Off-Policy Correction for a REINFORCE
Recommender System" (WSDM 2019, Sec. 6.1; it prints figures, no numbers; sizes as we read them there):

- skewed: ten items, item i pays i, and the log shows i with chance (11 - i) / 55. Without a correction a softmax goes
  to chances in proportion to those of the log times the reward; with it, all goes to the best item.
- two at once: the first two pay 10 and 9, the others 1, the log is uniform, and two are shown. Off-policy correction
  alone goes to the first; with the top-2 correction the first two share what there is.

Then `LoggedUsers`, fitted to a real log: sessions in which slates are drawn by popularity teach a policy without a
correction, with that for the policy, and with that for slates too; a fourth learns from its own slates, which costs
users what it shows them meanwhile. All learn on four fifths of the users, from the first 20 steps of their sessions
(`--length`, in the record's `agent`; the users' own limit is 50), and are scored on the others' whole sessions, beside
policies that learn nothing. Sessions begin with the same users for all. Intervals and tests are over users, of values
averaged over a user's sessions and over seeds; p-values are adjusted (Holm) over all pairs and metrics; and a
difference counts where Welch's t interval over seeds does not hold 0 either.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key
from rich.console import Console
from rich.table import Table

from experiments.before_after import NO_SAY, parts
from experiments.cli import main, named, parse_options
from experiments.logged_users import FIXED, declared, ranked
from experiments.offline_rl_value import METRICS, values
from rec_jax.data.own import Columns
from rec_jax.data.registry import DEFAULT_FOLDER, load
from rec_jax.errors import InputError
from rec_jax.evaluate.report import intervals
from rec_jax.evaluate.significance import pair_records, seed_interval
from rec_jax.fields import added
from rec_jax.files import write_json
from rec_jax.policies import reinforce
from rec_jax.policies.policy_gradient import Logits, PolicyGradient, by_chance, make
from rec_jax.policies.training import name_of, placed, train
from rec_jax.randomness import device_key
from rec_jax.simulate.fitting import Fit, fit
from rec_jax.simulate.logged_users import LoggedUsers
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.plots import picture
from rec_jax.train.checkpoints import Checkpoints
from rec_jax.train.devices import share_cores

ITEMS = 10
WORLDS: dict[str, tuple[list[float], list[float], int]] = {
    "skewed": ([float(i) for i in range(1, 11)], [(11 - i) / 55 for i in range(1, 11)], 1),
    "two at once": ([10.0, 9.0] + [1.0] * 8, [0.1] * 10, 2),
}
"""By name: each item's reward, its chance in the log, and how many are shown at once."""
UPDATES = 6000
"""Batches of the log's draws, in the worlds without a state."""
PLAIN, CORRECTED, TOP_K, OWN = "no correction", "off-policy", "off-policy, top-K", "own slates, top-K"
PAIRS = ((CORRECTED, PLAIN), (TOP_K, CORRECTED), (TOP_K, "the log's"), (TOP_K, OWN), (OWN, "popularity"))
"""What is compared, the first against the second."""


_OWN, _NOTHING = "each learner's correction is its own", "these users show no steps that a torso could read"
NOT_FREE = {"corrected": _OWN, "top_k": _OWN, "torso": _NOTHING, "torso_width": _NOTHING}
"""Fields of the agent that are not free here, and why."""


@dataclass(frozen=True)
class Options:
    """On what, and how much."""

    data: str = "ml-100k"
    """A known data set with ratings, or the path of a log."""
    columns: Columns = Columns()
    fit: Fit = Fit(resamples=200)
    agent: PolicyGradient = PolicyGradient()
    """What all learners share; their corrections are set by their names."""
    sharpness: float = 1.0
    """The log draws slates by exp(sharpness · popularity), of standardised log counts."""
    steps: int = 300
    """Of the optimiser, each after sessions of new users."""
    seeds: int = 3
    """Trainings of each learner."""
    sessions: int = 4096
    """Of test users, drawn anew for each, on which policies are scored."""
    test_share: float = 0.2
    """Share of the users that training does not see."""
    devices: int = added(1)
    """Devices to train on, which share users."""
    data_dir: Path = DEFAULT_FOLDER
    """Folder of the data sets."""
    runs: Path = Path("runs/reinforce/trainings")
    """Folder of the trainings: one that was cut off goes on, and none is made twice."""
    out: Path = Path("runs/reinforce")
    """Folder of the record and the plot."""


def stateless(
    rewards: Float[Array, "a"],
    log: Float[Array, "a"],
    k: int,
    corrected: bool,
    key: Key[Array, ""],
    steps: int,
    batch: int = 256,
) -> Float[Array, "a"]:
    """The chances that a softmax goes to, learnt from `steps` batches of the log's draws."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, steps))

    def loss(logits: Array, action: Array) -> Array:
        log_beta = jnp.log(log)[action] if corrected else None
        return reinforce.loss(jnp.broadcast_to(logits, (batch, len(log))), action, rewards[action], log_beta, k)

    def step(t: Array, state: tuple[Array, Any]) -> tuple[Array, Any]:
        action = jax.random.categorical(jax.random.fold_in(key, t), jnp.log(log), shape=(batch,))
        updates, opt_state = optimizer.update(jax.grad(loss)(state[0], action), state[1])
        return state[0] + updates, opt_state

    start = jnp.zeros(len(log))
    return jax.nn.softmax(jax.lax.fori_loop(0, steps, step, (start, optimizer.init(start)))[0])


def simulations(seeds: int) -> dict[str, Any]:
    """By world and learner, each item's chance at the end, by seed."""
    learn = jax.jit(stateless, static_argnums=(2, 3, 5))
    found: dict[str, Any] = {}
    for name, (rewards, log, shown) in WORLDS.items():
        learners = {PLAIN: (1, False), CORRECTED: (1, True)}
        if shown > 1:
            learners[TOP_K] = (shown, True)
        found[name] = {"rewards": rewards, "log": log, "shown": shown, "learners": {}}
        for label, (k, corrected) in learners.items():
            keys = [device_key(seed, f"reinforce, {name}") for seed in range(1, seeds + 1)]
            chances = [learn(jnp.array(rewards), jnp.array(log), k, corrected, key, UPDATES) for key in keys]
            found[name]["learners"][label] = [np.asarray(of, np.float64).round(6).tolist() for of in chances]
    return found


def learners(agent: PolicyGradient, slate: int, log: Logits) -> dict[str, tuple[PolicyGradient, Logits | None]]:
    """By name, the learner and whose slates it learns from."""
    return {
        PLAIN: (dataclasses.replace(agent, corrected=False, top_k=1), log),
        CORRECTED: (dataclasses.replace(agent, corrected=True, top_k=1), log),
        TOP_K: (dataclasses.replace(agent, corrected=True, top_k=slate), log),
        OWN: (dataclasses.replace(agent, top_k=slate), None),
    }


def run(options: Options, told: Callable[[str], None] = lambda name: None) -> dict[str, Any]:
    """The record. InputError: a flag that has no say here. Diverged: parameters are not finite."""
    for name, reason in NOT_FREE.items():
        if getattr(options.agent, name) != getattr(PolicyGradient, name):
            raise InputError(f"--{name.replace('_', '-')}: leave it out; {reason}")
    code = code_state()
    dataset = load(named(options.data), options.data_dir, options.columns)
    told("worlds without a state")
    small = simulations(options.seeds)
    told("fitting users")
    fitted, _ = fit(dataset, options.fit)
    learns, test = (LoggedUsers(part) for part in parts(fitted, options.test_share, options.fit.seed))

    def log(seen: Any) -> Float[Array, "n c"]:
        return options.sharpness * test.popular(seen)

    # What is served differs in parameters alone: one program for all that learnt, and one for those that do not draw.
    serve, rank = make(options.agent, test, log).act, ranked(test)
    each: dict[str, list[dict[str, np.ndarray]]] = {}
    for name in ("random", "popularity", "best predicted"):
        told(name)
        each[name] = [values(test, rank, jnp.asarray(FIXED[name], jnp.float32), options.sessions)]
    each["the log's"] = [values(test, by_chance(log, test.slate), None, options.sessions)]
    for name, (agent, behaviour) in learners(options.agent, test.slate, log).items():
        on = placed(agent, partial(make, simulator=learns, behaviour=behaviour), options.devices)
        each[name], identity = [], name_of(options, name, agent, dataset.fingerprint, without=NO_SAY)
        for seed in range(1, options.seeds + 1):
            told(f"{name}, seed {seed} of {options.seeds}")
            first, key = on.init(device_key(seed, "reinforce, init")), device_key(seed, "reinforce, train")
            with closing(Checkpoints(options.runs / f"{identity}-s{seed}")) as store:
                state = train(first, on.chunk, key, options.steps, store=store, put=on.put)
            each[name].append(values(test, serve, on.one(state).params, options.sessions))
    # A user who clicked nothing has no share of likes, and is left out of that metric in every policy compared.
    means = {name: {m: np.mean([of[m] for of in seeds], axis=0) for m in METRICS} for name, seeds in each.items()}
    return {
        "simulations": small,
        "data": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "world": declared(learns) | {"boredom": learns.bored, "drift": learns.drawn},
        "agent": dataclasses.asdict(options.agent),
        "sharpness": options.sharpness,
        "steps": options.steps,
        "seeds": options.seeds,
        "sessions": options.sessions,
        "train_users": len(learns.fitted.user),
        "test_users": len(test.fitted.user),
        "policies": {
            name: {
                "metrics": {m: dataclasses.asdict(e) for m, e in intervals(means[name], 2000).items()},
                "by_seed": {m: [float(np.nanmean(of[m])) for of in seeds] for m in METRICS},
            }
            for name, seeds in each.items()
        },
        "tests": pair_records(each, PAIRS, 10_000),
        "code": code,
        "machine": machine(options.devices),
    }


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Chances by item in both small worlds; the return of each policy in fitted users."""
    with picture(path, (13, 3.8), 1, 3) as (_, axes):
        at = np.arange(1, ITEMS + 1)
        for panel, (name, of) in zip(axes, record["simulations"].items()):
            panel.plot(at, of["log"], color="0.6", linestyle="--", marker=".", label="the log's")
            for number, (learner, chances) in enumerate(of["learners"].items()):
                panel.plot(at, np.mean(chances, axis=0), marker="o", color=f"C{number}", label=learner)
            title = f"{name}: {of['shown']} shown, items pay {' '.join(f'{r:g}' for r in of['rewards'])}"
            panel.set_title(title, fontsize=9)
            panel.set(xlabel="item", ylabel="chance that the policy goes to", xticks=at)
            panel.legend(frameon=False, fontsize=7)
        panel, names = axes[2], list(record["policies"])
        for place, name in enumerate(names):
            e = record["policies"][name]["metrics"]["return"]
            learnt = len(record["policies"][name]["by_seed"]["return"]) > 1
            error = [[e["mean"] - e["low"]], [e["high"] - e["mean"]]]
            panel.errorbar([e["mean"]], [place], xerr=error, fmt="o", capsize=3, color="C0" if learnt else "0.5")
        panel.set_yticks(range(len(names)), names, fontsize=8)
        panel.invert_yaxis()
        panel.set_title(f"{record['data']['name']}: return in fitted users no training saw", fontsize=9)
        panel.set_xlabel("rewards of a session, 95 % over users")


def script(argv: Sequence[str]) -> None:
    """Run, write, draw, print."""
    options = parse_options(Options, argv, "python -m experiments.reinforce", __doc__)
    if min(options.steps, options.seeds) < 1 or options.sessions < 2 or not options.sharpness >= 0:
        raise InputError(
            f"--steps {options.steps} --seeds {options.seeds} --sessions {options.sessions} --sharpness "
            f"{options.sharpness:g}: expected at least 1 of the first two, 2 sessions, and a sharpness of at least 0"
        )
    share_cores(options.devices)
    console = Console()
    with console.status("loading") as status:
        record = run(options, lambda name: status.update(name))
    write_json(options.out / "record.json", record)
    draw(record, options.out / "plot.png")
    for name, world in record["simulations"].items():
        table = Table("item", *(str(i + 1) for i in range(ITEMS)), title=f"{name}: chances, mean over seeds")
        table.add_row("pays", *(f"{r:g}" for r in world["rewards"]))
        table.add_row("the log's", *(f"{c:.2f}" for c in world["log"]))
        for learner, chances in world["learners"].items():
            table.add_row(learner, *(f"{c:.2f}" for c in np.mean(chances, axis=0)))
        console.print(table)
    table = Table("policy", *METRICS, "return over seeds", title=f"{record['sessions']:,} sessions of test users")
    for name, of in record["policies"].items():
        half = seed_interval(of["by_seed"]["return"]).half
        seeds = "" if half is None else f"± {half:.3f}"
        shown = (f"{e['mean']:.3f} ({e['low']:.3f}–{e['high']:.3f})" for e in of["metrics"].values())
        table.add_row(name, *shown, seeds)
    console.print(table)
    for of in record["tests"]:
        first, second = of["pair"]
        gap = f"{of['difference']:+.3f} ({of['low']:+.3f} to {of['high']:+.3f})"
        console.print(f"{of['metric']}: {first} less {second} {gap}, {of['verdict']}", highlight=False)
    console.print(f"written to {options.out}: record.json, plot.png", highlight=False)


if __name__ == "__main__":
    main(script)
