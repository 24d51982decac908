"""Choc and kale: what a policy shows that counts only the next click, and what one that looks ahead does.

    python -m experiments.long_term                      (about 3 minutes on 2 cores)
    python -m experiments.long_term --world recsim       (RecSim's own numbers, by which looking ahead brings nothing)
    python -m experiments.long_term --seeds 2 --steps 20000

In long_term_satisfaction clickbait (choc) holds users longer now and leaves them less satisfied, nourishing documents
(kale) do the reverse, and satisfaction multiplies how long users stay. Neither is seen but by what users did: SlateQ
with a memory of their last steps learns from the engagement of each step, brought into [0, 1], at each discount. Its
policies are scored on the same test users, beside policies that always show the document nearest to one clickbait
score. Which discount and which clickbait score are best is chosen on validation users, who are others.

Told are the return (the engagement of a session), and over time the mean of: engagement, satisfaction, clickbait,
diversity (entropy of the tenths of the clickbait scale among a user's last ten documents, over log 10) and novelty (1
less the share of a user's earlier documents in the same tenth). Return: 95 % t intervals over seeds; the tests are
paired over users, of returns averaged over seeds, Holm-adjusted, and Welch's over seeds: a difference counts where both
say so.

With RecSim's sensitivity of .01 satisfaction stays within .49 and .51, so that choc is best and no discount earns more
than none; the world that is called `sensitive` has ten times as much.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
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
from rec_jax.data.rewards import Reward, Signal
from rec_jax.errors import InputError
from rec_jax.evaluate.over_time import diversity, mean_over_time, novelty
from rec_jax.evaluate.significance import pair_records, seed_interval
from rec_jax.fields import added
from rec_jax.files import write_json
from rec_jax.policies.fixed import best, random_slates
from rec_jax.policies.rewards import Rewarded
from rec_jax.policies.slateq import SlateQ, make
from rec_jax.policies.training import name_of, placed, train
from rec_jax.randomness import device_key
from rec_jax.simulate.base import Observation, Response, Simulator
from rec_jax.simulate.episodes import Act, course
from rec_jax.simulate.history import Remembering
from rec_jax.simulate.long_term_satisfaction import LongTermSatisfaction, Users
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.plots import picture
from rec_jax.train.checkpoints import Checkpoints
from rec_jax.train.devices import share_cores

DISCOUNTS = (0.0, 0.3, 0.5, 0.7, 0.9, 0.99)
SENSITIVITY = {"sensitive": 0.1, "recsim": 0.01}
CONSTANT = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Clickbait scores that are always shown, as nearly as the candidates allow."""
MOST = 100.0
"""Engagement that counts as 1 in learning, as does any above it: one step in a hundred."""
MEMORY, TENTHS, WINDOW = 8, 10, 10
OVER_TIME = ("engagement", "satisfaction", "clickbait", "diversity", "novelty")


@dataclass(frozen=True)
class Options:
    """How much is learnt, and on how many users it is scored."""

    world: Literal["sensitive", "recsim"] = "sensitive"
    """How much exposure moves satisfaction: .1, or RecSim's .01."""
    seeds: int = 5
    """Trainings at each discount."""
    steps: int = 150_000
    """Users' steps of each."""
    users: int = 4000
    """Test users, the same for all policies, and as many validation users, by whom the best are chosen."""
    seed: int = 1
    """The first seed; the validation and test users are those of seed 0."""
    devices: int = added(1)
    """Devices to train on, which share users and batches."""
    runs: Path = Path("runs/long_term/trainings")
    """Folder of the trainings: one that was cut off goes on, and none is made twice."""
    out: Path = Path("runs/long_term")
    """Folder of the record and the plot."""


class Scores(NamedTuple):
    """A policy's sessions: returns by user, and the means over time."""

    returns: Float[Array, "n"]
    over_time: dict[str, Float[Array, "t"]]


def agent(discount: float) -> SlateQ:
    """One document at a time, so that the slate is worth what it is."""
    return SlateQ(
        discount=discount,
        layers=(32,),
        torso="dnn",
        torso_width=16,
        users=64,
        batch=512,
        explore_steps=800,
        remembered=1000,
        target_every=20,
    )


def always_clicked(seen: Observation) -> tuple[Float[Array, "n c"], Float[Array, "n"]]:
    """The choice model: whatever is shown is clicked."""
    n, candidates, _ = seen.documents.shape
    return jnp.ones((n, candidates)), jnp.zeros(n)


def nearest(clickbait: float) -> Act:
    """The policy that shows the document nearest to a clickbait score."""
    return lambda params, key, seen: best(-jnp.abs(seen.documents[:, :, 0] - clickbait), 1)


def scored(
    world: LongTermSatisfaction, inside: Simulator, act: Act, params: Any, key: Key[Array, ""], n: int
) -> Scores:
    """Whole sessions of `n` users of `world`, as `inside` shows them to the policy."""

    def watch(state: Any, slates: Int[Array, "n 1"], response: Response) -> tuple[Array, Array, Array]:
        users: Users = state if isinstance(state, Users) else state.state
        shown = response.signals["clickbait"][:, 0]
        return response.signals["engagement"][:, 0], world.satisfaction(users), shown

    (engagement, satisfaction, clickbait), live = course(inside, act, params, key, n, world.budget, watch)
    tenth = jnp.minimum((clickbait * TENTHS).astype(jnp.int32), TENTHS - 1)
    found = (engagement, satisfaction, clickbait, diversity(tenth, TENTHS, WINDOW), novelty(tenth, TENTHS))
    over_time = {name: mean_over_time(of, live) for name, of in zip(OVER_TIME, found)}
    return Scores(jnp.where(live, engagement, 0).sum(axis=0), over_time)


def run(options: Options, told: Callable[[str], None] = lambda name: None) -> dict[str, Any]:
    """The record: policies at each discount and those that learn nothing. Diverged: parameters are not finite."""
    code, world = code_state(), LongTermSatisfaction(slate=1, sensitivity=SENSITIVITY[options.world])
    reward = Reward((Signal("engagement", 1.0, 0.0, MOST, clip=True),))
    rewarded, key = Rewarded(world, reward), device_key(0, "long term, test")
    rewarded.check()
    inside = Remembering(rewarded, MEMORY)
    others = device_key(0, "long term, valid")
    policies, returns, valid = dict[str, Any](), dict[str, np.ndarray](), dict[str, float]()
    fixed = {"random": partial(random_slates, k=1)} | {f"clickbait {c:g}": nearest(c) for c in CONSTANT}
    for name, act in fixed.items():
        told(name)
        play = jax.jit(partial(scored, world, world, act, None, n=options.users))
        one = jax.device_get(play(key=key))
        if name.startswith("clickbait"):
            valid[name] = float(play(key=others).returns.mean())
        returns[name] = np.asarray(one.returns, np.float64)[None]
        policies[name] = {"returns": [float(one.returns.mean())], "over_time": _listed(one.over_time)}
    first, keys = (
        jnp.stack([device_key(options.seed + i, f"long term, {purpose}") for i in range(options.seeds)])
        for purpose in ("init", "train")
    )
    for discount in DISCOUNTS:
        name = f"discount {discount:g}"
        told(name)
        of = agent(discount)
        on = placed(of, partial(make, simulator=inside, weigh=always_clicked), options.devices, seeds=True)
        identity = name_of(options, of, inside, without=("users", "runs", "out"))
        with closing(Checkpoints(options.runs / identity)) as store:
            steps = -(-options.steps // of.users)
            params = on.one(train(on.init(first), on.chunk, keys, steps, store=store, put=on.put)).params
        score = jax.jit(lambda params, key, act=on.made.act: scored(world, inside, act, params, key, options.users))
        by_seed = [jax.tree.map(lambda x, i=i: x[i], params) for i in range(options.seeds)]
        each = [jax.device_get(score(of_seed, key)) for of_seed in by_seed]
        valid[name] = float(np.mean([score(of_seed, others).returns.mean() for of_seed in by_seed]))
        returns[name] = np.stack([np.asarray(one.returns, np.float64) for one in each])
        policies[name] = {
            "returns": [float(one.returns.mean()) for one in each],
            "over_time": _listed(jax.tree.map(lambda *of: np.mean(of, axis=0), *(one.over_time for one in each))),
        }
    settings = {"world": options.world, "sensitivity": world.sensitivity, "seeds": options.seeds}
    settings |= {"steps": options.steps, "users": options.users, "seed": options.seed}
    top, ceiling = chosen(valid)
    choice = {"by": "validation users", "users": options.users, "returns": valid, "best": [top, ceiling]}
    return {
        "policies": policies,
        "chosen": choice,
        "tests": tests_of(returns, top, ceiling),
        **settings,
        "code": code,
        "machine": machine(options.devices),
    }


def chosen(valid: Mapping[str, float]) -> tuple[str, str]:
    """The best discount and the best document that is always shown, by their mean returns on validation users."""
    learnt, always = ([name for name in valid if name.startswith(kind)] for kind in ("discount", "clickbait"))
    return max(learnt, key=valid.__getitem__), max(always, key=valid.__getitem__)


def tests_of(returns: Mapping[str, np.ndarray], top: str, ceiling: str) -> list[dict[str, Any]]:
    """Each discount against none, and `top` of them against `ceiling`, the document that is always shown: chosen on
    other users than those of these returns [seeds users], or the last difference would be taken for larger than it is.
    """
    learnt = [name for name in returns if name.startswith("discount")]
    first = learnt[0]
    pairs = [*((name, first) for name in learnt[1:]), (top, ceiling)]
    found = {name: [{"return": one} for one in seeds] for name, seeds in returns.items()}
    return pair_records(found, pairs, 10_000)


def _listed(over_time: Mapping[str, Any]) -> dict[str, list[float]]:
    return {name: np.asarray(of, np.float64).round(6).tolist() for name, of in over_time.items()}


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Return by discount, beside documents that are always shown; and each measure over time."""
    with picture(path, (12, 6.5), 2, 3) as (figure, axes):
        policies = record["policies"]
        learnt = {name: of for name, of in policies.items() if name.startswith("discount")}
        spread = [seed_interval(of["returns"]) for of in learnt.values()]
        means, at = [i.mean for i in spread], range(len(learnt))
        halves = [i.half or 0.0 for i in spread]
        axes[0].errorbar(at, means, halves, marker="o", capsize=3, color="C0", label="SlateQ with a memory")
        axes[0].set_xticks(list(at), [name.removeprefix("discount ") for name in learnt])
        for name, of in policies.items():
            if name not in learnt:
                axes[0].axhline(of["returns"][0], linewidth=0.8, linestyle="--", color="0.6")
                axes[0].annotate(
                    name, (len(learnt) - 1, of["returns"][0]), fontsize=7, ha="right", va="bottom", color="0.4"
                )
        axes[0].set(xlabel="discount", ylabel="engagement of a session", title="return")
        lines = [*learnt, "random"]
        for place, measure in enumerate(OVER_TIME, 1):
            for number, name in enumerate(lines):
                values = np.array(policies[name]["over_time"][measure])
                style = {"color": "0.5", "linestyle": ":"} if name == "random" else {"color": f"C{number}"}
                smooth = np.convolve(values, np.ones(3) / 3, "valid") if measure == "engagement" else values
                axes[place].plot(np.arange(1, len(smooth) + 1), smooth, label=name, linewidth=1.2, **style)
            axes[place].set(xlabel="step", title=measure + (", mean of three steps" if measure == "engagement" else ""))
        figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=len(lines), frameon=False)


def script(argv: Sequence[str]) -> None:
    """Run, write, draw, print. InputError: too few of something."""
    options = parse_options(Options, argv, "python -m experiments.long_term", __doc__)
    if min(options.seeds, options.steps) < 1 or options.users < 2:
        raise InputError(
            f"--seeds {options.seeds} --steps {options.steps} --users {options.users}: expected at least 1, 1 and 2"
        )
    share_cores(options.devices)
    console = Console()
    with console.status("learning") as status:
        record = run(options, lambda name: status.update(name))
    write_json(options.out / "record.json", record)
    draw(record, options.out / "plot.png")
    table = Table("policy", "return (95 % over seeds)", *OVER_TIME[1:], title=f"{options.users:,} test users")
    for name, of in record["policies"].items():
        found = seed_interval(of["returns"])
        spread = "" if found.low is None else f" ({found.low:.0f}–{found.high:.0f})"
        means = [f"{np.mean(of['over_time'][measure]):.3f}" for measure in OVER_TIME[1:]]
        table.add_row(name, f"{found.mean:.0f}{spread}", *means)
    console.print(table)
    top, ceiling = record["chosen"]["best"]
    console.print(
        f"best on {options.users:,} validation users: {top}; of those always shown: {ceiling}", highlight=False
    )
    for test in record["tests"]:
        first, second = test["pair"]
        over = "" if test["over_seeds"] is None else "; over seeds {:+.1f} to {:+.1f}".format(*test["over_seeds"])
        console.print(
            f"{first} – {second}: {test['difference']:+.1f} ({test['low']:+.1f} to {test['high']:+.1f}), "
            f"p {test['p_holm']:.4f}{over}: {test['verdict']}",
            highlight=False,
        )
    console.print(f"written to {options.out}: record.json, plot.png", highlight=False)


if __name__ == "__main__":
    main(script)
