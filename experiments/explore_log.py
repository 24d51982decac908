"""Exploration against exploitation on real logs, replayed: the price of too little of it, and of too much.

    python -m experiments.explore_log                    (about 2 minutes on 2 cores)
    python -m experiments.explore_log --passes 10 --rounds 6000

MovieLens-100K as a log of ten films: each rating of one of the ten most rated is a round in which that film was
shown, and 4 or 5 stars are a reward. A rule that learns is asked in each round what it would show, and the round counts
where that is the film rated (replay; rec_jax/evaluate/replay.py). Who rated what was not drawn by chance: how likely
each film was shown is estimated by its share of the ratings, the same for all users, and rounds are rejected until
films come equally often. So the result shows how the rules compare on real rewards, not what they would earn.

The Open Bandit Dataset's uniform log needs no such estimate, but holds 46 clicks in 10,000 rounds: the table shows that
the intervals of all rules are then as wide as everything between them.

Drawn are the rewards lost, beside always showing the film that is best in the log, and the share of rewards, by the
films shown; and what was lost in the end, by how much is explored. Intervals are 95 % over passes, each a bootstrap
resample of the log. The price of an amount is what it lost more than the best amount of the same rule in the same
pass; which that is, every second pass tells, and the others what it is worth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from rich.console import Console
from rich.table import Table

from experiments.cli import main, parse_options
from rec_jax.data import open_bandit
from rec_jax.data.registry import DEFAULT_FOLDER, load
from rec_jax.errors import InputError
from rec_jax.evaluate.replay import curve, over_passes, replay, stream
from rec_jax.evaluate.report import Estimate
from rec_jax.files import write_json
from rec_jax.policies import bandits
from rec_jax.policies.bandits import Bandit
from rec_jax.policies.neural_linear import neural_linear
from rec_jax.randomness import device_key, host_rng
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.plots import picture

EPSILONS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
SCALES = (0.0, 0.02, 0.1, 0.5, 2.0)
ALPHAS = (0.0, 0.3, 1.0, 3.0)
LIKED = 4.0
"""Stars from which a rating is a reward."""
AGES = (25, 35, 50)
"""Where ages are parted."""


@dataclass(frozen=True)
class Options:
    """How much is replayed."""

    films: int = 10
    """The most rated films that are shown."""
    passes: int = 40
    """Bootstrap resamples of the log."""
    rounds: int = 10_000
    """Rounds of a pass; about one in as many as there are films is kept."""
    campaign: open_bandit.Campaign = "men"
    """Campaign of the Open Bandit Dataset."""
    seed: int = 1
    """Seed of resamples and choices: the same resamples for all rules."""
    data_dir: Path = DEFAULT_FOLDER
    """Folder of the data sets."""
    out: Path = Path("runs/explore-log")
    """Folder of the record and the plot."""


@dataclass(frozen=True)
class Replayed:
    """A log as columns: what was shown, what it earned, who saw it, and how likely each action was."""

    action: Int[np.ndarray, "m"]
    reward: Float[np.ndarray, "m"]
    user: Float[np.ndarray, "m f"]
    chances: Float[np.ndarray, "a"]
    propensities: str
    """'logged' or 'estimated'."""
    names: tuple[str, ...]

    @property
    def rates(self) -> Float[np.ndarray, "a"]:
        """The share of rewards of each action."""
        shown = np.bincount(self.action, minlength=len(self.chances))
        return np.bincount(self.action, self.reward, minlength=len(self.chances)) / shown


def films(n: int, data_dir: Path) -> Replayed:
    """Ratings of the n most rated films of MovieLens-100K. InputError: fewer than two films, or no data."""
    data = load("ml-100k", data_dir)
    if not 2 <= n <= data.n_items:
        raise InputError(f"--films {n}: expected 2 to {data.n_items:,}")
    log = data.interactions
    most = np.argsort(-np.bincount(log.item, minlength=data.n_items), kind="stable")[:n]
    place = np.full(data.n_items, -1)
    place[most] = np.arange(n)
    rows = np.flatnonzero(place[log.item] >= 0)
    action, user = place[log.item[rows]], log.user[rows]
    age = np.digitize(np.array(data.user_attributes["age"]).astype(float), AGES)
    groups = (age[:, None] == np.arange(1, len(AGES) + 1)).astype(float)
    man = (np.array(data.user_attributes["gender"]) == "M").astype(float)
    features = np.concatenate([np.ones((data.n_users, 1)), man[:, None], groups], axis=1)
    share = np.bincount(action, minlength=n) / len(action)
    titles = tuple(str(data.catalogue.title[item]) for item in most)
    return Replayed(action, (log.rating[rows] >= LIKED).astype(float), features[user], share, "estimated", titles)


def shop(campaign: open_bandit.Campaign, data_dir: Path) -> Replayed:
    """The uniform log of a campaign. InputError: no data."""
    log = open_bandit.load("random", campaign, data_dir)
    items = len(log.items)
    names = tuple(map(str, range(items)))
    return Replayed(log.action, log.reward, np.ones((len(log), 1)), np.full(items, 1 / items), "logged", names)


def rules(arms: int, features: int) -> dict[str, dict[str, Bandit]]:
    """By family and amount of exploration, the least first; the last three are told who looks."""
    width = arms * features
    return {
        "epsilon-greedy": {f"{e:g}": bandits.epsilon_greedy(arms, e) for e in EPSILONS},
        "UCB1, scale": {f"{scale:g}": bandits.ucb1(arms, scale) for scale in SCALES},
        "Thompson": {"": bandits.thompson(arms)},
        "LinUCB, alpha": {f"{alpha:g}": bandits.lin_ucb(width, alpha) for alpha in ALPHAS},
        "LinTS, scale": {f"{scale:g}": bandits.lin_ts(width, scale) for scale in (0.3, 1.0)},
        "neural-linear": {"": neural_linear(arms + features, every=100, steps=60, batch=64, capacity=1024)},
    }


Context = Callable[[Int[Array, "n"]], Float[Array, "n a d"]]
"""The features of the arms in these rounds of the log."""


def crossed(users: Float[Array, "m f"], arms: int) -> Context:
    """Each arm has the user's features in a place of its own, d = a f: what a linear rule needs to tell arms apart."""
    own = jnp.eye(arms)
    return lambda row: jnp.einsum("nf,ab->nabf", users[row], own).reshape(len(row), arms, -1)


def joined(users: Float[Array, "m f"], arms: int) -> Context:
    """The arm's indicator beside the user's features, d = a + f: a network crosses them itself."""

    def context(row: Int[Array, "n"]) -> Float[Array, "n a d"]:
        n, f = len(row), users.shape[1]
        own = jnp.broadcast_to(jnp.eye(arms), (n, arms, arms))
        return jnp.concatenate([own, jnp.broadcast_to(users[row][:, None], (n, arms, f))], axis=2)

    return context


def played(
    log: Replayed, options: Options, which: Mapping[str, Mapping[str, Bandit]], told: Callable[[str], None]
) -> Any:
    """Every rule on the same resamples: the share of rewards and the rewards lost by the rounds kept.

    Counts go as far as every pass of every rule kept rounds.
    """
    arms, key = len(log.chances), device_key(options.seed, "replay")
    of = stream(log.action, log.reward, log.chances, host_rng(options.seed, "replay"), options.passes, options.rounds)
    users, kept = jnp.asarray(log.user, jnp.float32), {}
    for family, amounts in which.items():
        for amount, bandit in amounts.items():
            told(f"{family} {amount}".strip())
            context = joined if family == "neural-linear" else crossed
            kept[family, amount] = replay(bandit, of, context(users, arms), key)
    most = min(int(k.matched.sum(axis=1).min()) for k in kept.values())
    if most < 2:
        raise InputError(
            f"--rounds {options.rounds}: of them a pass kept {most} with {arms} arms, too few for a curve; take more"
        )
    marks = np.unique(np.linspace(1, most, 26).astype(int))[1:]
    best = float(log.rates.max())
    found: dict[str, dict[str, Any]] = {}
    ends: dict[str, dict[str, Float[np.ndarray, "n"]]] = {}
    for (family, amount), of_rule in kept.items():
        earned = curve(of_rule, marks)
        ends.setdefault(family, {})[amount] = earned[:, -1]
        share, lost = over_passes(earned / marks), over_passes(best * marks - earned)
        found.setdefault(family, {})[amount] = {
            "share": {str(mark): [e.mean, e.low, e.high] for mark, e in zip(marks, share)},
            "lost": {str(mark): [e.mean, e.low, e.high] for mark, e in zip(marks, lost)},
        }
    for family, of_family in ends.items():
        for amount, e in prices(of_family).items():
            found[family][amount]["price"] = [e.mean, e.low, e.high]
    rates = {name: [float(rate), float(chance)] for name, rate, chance in zip(log.names, log.rates, log.chances)}
    about = {"rounds": len(log.action), "rewards": float(log.reward.sum()), "kept": most, "best": best}
    return {"rules": found, **about, "propensities": log.propensities, "rate_and_chance": rates}


def prices(earned: Mapping[str, Float[np.ndarray, "n"]]) -> dict[str, Estimate]:
    """What each amount of exploration earned less than the best one, from the rewards of each of n passes: the first,
    third, … choose the best, the others are measured. The best one costs nothing."""
    best = max(earned, key=lambda amount: float(earned[amount][::2].mean()))
    return {amount: over_passes((earned[best] - of)[1::2, None])[0] for amount, of in earned.items()}


def run(options: Options, told: Callable[[str], None] = lambda name: None) -> dict[str, Any]:
    """Both logs. InputError: no data, or too little is replayed."""
    if options.passes < 4 or options.rounds < 50 * options.films:
        raise InputError(
            f"--passes {options.passes} --rounds {options.rounds}: at least 4, of which half choose and half measure, "
            "and 50 a film"
        )
    code = code_state()
    log, uniform = films(options.films, options.data_dir), shop(options.campaign, options.data_dir)
    arms = len(uniform.chances)
    few = {
        "epsilon-greedy": {f"{e:g}": bandits.epsilon_greedy(arms, e) for e in (0.0, 0.1, 1.0)},
        "Thompson": {"": bandits.thompson(arms)},
    }
    settings = {k: v for k, v in asdict(options).items() if k not in ("films", "data_dir", "out")}
    return {
        "films": played(log, options, rules(len(log.chances), log.user.shape[1]), told),
        "shop": played(uniform, options, few, told),
        "films_shown": options.films,
        **settings,
        "code": code,
        "machine": machine(len(jax.devices())),
    }


def at_the_end(of: Mapping[str, Any], what: str = "lost") -> list[float]:
    """[mean, low, high] of a rule at the last count."""
    return list(of[what].values())[-1]


def draw(record: Mapping[str, Any], path: Path) -> None:
    """What was lost, and the share of rewards, by films shown, of each family's best and of epsilon's ends; what was
    lost in the end by amount."""
    with picture(path, (15, 4.2), 1, 3) as (figure, (lost, left, right)):
        films_, shown = record["films"], {}
        for family, of_family in films_["rules"].items():
            amount = min(of_family, key=lambda name: at_the_end(of_family[name])[0])
            shown[f"{family} {amount}".strip()] = of_family[amount]
        epsilon = films_["rules"]["epsilon-greedy"]
        for amount in (min(epsilon, key=float), max(epsilon, key=float)):
            shown.setdefault(f"epsilon-greedy {amount}", epsilon[amount])
        for number, (name, of) in enumerate(shown.items()):
            for axes, what in ((lost, "lost"), (left, "share")):
                mean, low, high = np.array(list(of[what].values())).T
                at = [int(mark) for mark in of[what]]
                axes.plot(at, mean, label=name, color=f"C{number}")
                axes.fill_between(at, low, high, color=f"C{number}", alpha=0.1, linewidth=0)
        lost.set(xlabel="films shown", ylabel="likes lost beside the best film", title="regret: the best of each rule")
        left.axhline(films_["best"], color="0.5", linestyle=":", linewidth=1)
        left.set(xlabel="films shown", ylabel=f"share liked ({LIKED:g} stars or more)", title="the best of each rule")
        left.legend(frameon=False, fontsize=7)
        families = [item for item in films_["rules"].items() if len(item[1]) > 1]
        for number, (family, of_family) in enumerate(families):
            mean, low, high = np.array([at_the_end(of) for of in of_family.values()]).T
            spread = np.linspace(0, 1, len(mean)) + 0.01 * number
            right.errorbar(
                spread, mean, [mean - low, high - mean], label=family, marker="o", capsize=2, color=f"C{number}"
            )
            for x, y, amount in zip(spread, mean, of_family):
                right.annotate(amount, (x, y), textcoords="offset points", xytext=(3, 5), fontsize=7)
        right.set(xlabel="less ← exploration → more", xticks=[], ylabel="likes lost beside the best film")
        right.set_title(f"after {films_['kept']:,} films shown")
        right.legend(frameon=False, fontsize=7)
        figure.suptitle(f"MovieLens-100K, {record['films_shown']} films, replayed; {said(films_)}", fontsize=10)


def said(of_log: Mapping[str, Any]) -> str:
    """What has to stand beside a result of that log."""
    return f"propensities are {of_log['propensities']}"


def script(argv: Sequence[str]) -> None:
    """Run, write, draw, print."""
    options = parse_options(Options, argv, "python -m experiments.explore_log", __doc__)
    console = Console()
    with console.status("replaying") as status:
        record = run(options, lambda name: status.update(name))
    write_json(options.out / "record.json", record)
    draw(record, options.out / "plot.png")
    for name in ("films", "shop"):
        of_log = record[name]
        title = f"{name}: {of_log['rewards']:,.0f} rewards in {of_log['rounds']:,} rounds; {said(of_log)}"
        columns = ("rule", "exploration", "share of rewards (95 %)", "rewards lost (95 %)", "price (95 %)")
        table = Table(*columns, title=title)
        for family, of_family in of_log["rules"].items():
            for amount, of in of_family.items():
                (share, *ends), (lost, low, high) = at_the_end(of, "share"), at_the_end(of)
                shown = f"{share:.4f} ({ends[0]:.4f}–{ends[1]:.4f})"
                price = "{:.1f} ({:.1f}–{:.1f})".format(*of["price"]) if len(of_family) > 1 else ""
                table.add_row(family, amount, shown, f"{lost:.1f} ({low:.1f}–{high:.1f})", price)
        console.print(table)
    console.print(f"written to {options.out}: record.json, plot.png", highlight=False)


if __name__ == "__main__":
    main(script)
