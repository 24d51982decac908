"""Fit simulated users to a real log of ratings, and say how far they can be trusted.

    python -m experiments.logged_users                        (MovieLens-100K; about 2 minutes on one core)
    python -m experiments.logged_users --data ratings.csv --rating-column stars --time-column ts --like-from 4

Written: record.json, plot.png and a page, README.md, in --out; the fitted tables, which simulators are made of, in
--tables (`rec_jax.simulate.fitting.load_fitted` reads them). Expected on MovieLens-100K: the chance of a like is
calibrated to about a hundredth, and ranks a user's held-out films with an AUC of about .74. The worlds of the
sensitivity table differ from the fitted one by one assumption each; users and random numbers are the same for all of
them.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from rich.console import Console

from experiments.cli import main, named, parse_options
from experiments.logged_users_page import page
from rec_jax.data.own import Columns
from rec_jax.data.registry import DEFAULT_FOLDER, load
from rec_jax.errors import InputError
from rec_jax.evaluate.calibration import reliability, scores
from rec_jax.evaluate.report import intervals
from rec_jax.evaluate.significance import paired_bootstrap
from rec_jax.files import atomic, write_json
from rec_jax.policies.fixed import best
from rec_jax.randomness import device_key
from rec_jax.simulate.base import Observation
from rec_jax.simulate.episodes import Act, many_episodes
from rec_jax.simulate.fitting import Fit, Fitted, Report, fit, save
from rec_jax.simulate.logged_users import LoggedUsers
from rec_jax.tracking.certificate import code_state, machine
from rec_jax.tracking.plots import picture

VARIETY = 0.5
"""Units of rating that the policy 'varied' takes off for sameness."""
FIXED: dict[str, tuple[float, float, float, float]] = {
    "random": (1, 0, 0, 0),
    "popularity": (0, 1, 0, 0),
    "best predicted": (0, 0, 1, 0),
    "varied": (0, 0, 1, -VARIETY),
}
"""By name, what counts: chance, popularity, the platform's prediction, sameness to what was clicked last."""


@dataclass(frozen=True)
class Options:
    """On what, and how much."""

    data: str = "ml-100k"
    """A known data set with ratings, or the path of a log."""
    columns: Columns = Columns()
    fit: Fit = Fit()
    users: int = 4000
    """Sessions of each policy in each world."""
    data_dir: Path = DEFAULT_FOLDER
    """Folder of the data sets."""
    out: Path = Path("runs/logged_users")
    """Folder of the record, the plot and the page."""
    tables: Path = Path("runs/logged_users/fitted")
    """Folder of the fitted tables."""


def ranked(world: LoggedUsers) -> Act:
    """The policy that shows what scores most by its four parameters, those of `FIXED`: one program for all of them."""

    def act(params: Float[Array, "4"], key: Key[Array, ""], seen: Observation) -> Int[Array, "n k"]:
        d = world.width
        recent = seen.user[:, d + 1 : d + 1 + world.genres]
        same = jnp.einsum("ng,ncg->nc", recent, seen.documents[:, :, d + 2 : d + 2 + world.genres])
        parts = (jax.random.uniform(key, same.shape), world.popular(seen), world.predicted(seen), same)
        return best(sum((weight * part for weight, part in zip(params, parts)), jnp.zeros(())), world.slate)

    return act


def worlds(fitted: Fitted) -> dict[str, LoggedUsers]:
    """The world as fitted and declared, and those that differ by one assumption."""
    base = LoggedUsers(fitted)
    found = {"as fitted": base}
    times = {"halved": 0.5, "doubled": 2.0}
    found |= {f"boredom {name}": replace(base, boredom=by * base.bored) for name, by in times.items()}
    found |= {f"drift {name}": replace(base, drift=by * base.drawn) for name, by in times.items()}
    found |= {f"position bias {name}": replace(base, eta=by * base.eta) for name, by in times.items()}
    found["boredom of half a star"] = replace(base, boredom=0.5)
    found["boredom of a star"] = replace(base, boredom=1.0)
    found["appeal of 1"] = replace(base, appeal=1.0)
    found["candidates by popularity"] = replace(base, temper=1.0)
    return found


def calibration(fitted: Fitted, report: Report, resamples: int) -> dict[str, Any]:
    """Forecasts of a like on test ratings: the model's, the platform's, the item's mean, and the base rate."""
    train, test, like_from = report.split.train, report.split.test, fitted.ratings.like_from
    came, liked = (test.rating >= like_from).astype(np.float64), (train.rating >= like_from).astype(np.float64)
    base, items = float(liked.mean()), len(fitted.item)
    count = np.bincount(train.item, minlength=items)
    of_item = (np.bincount(train.item, liked, items) + base) / (count + 1)  # one rating at the base rate is added
    model = fitted.ratings.like(fitted.scores(test.user, test.item))
    forecasts = {
        "fitted users": model,
        "what a platform knows": fitted.ratings.like(fitted.scores(test.user, test.item, known=True)),
        "the item's mean": of_item[test.item],
        "the base rate": np.full(len(came), base),
    }
    thirds = np.quantile(count[test.item], [1 / 3, 2 / 3])
    part = np.searchsorted(thirds, count[test.item])
    rarity = {}
    for third, name in enumerate(("rarest", "middle", "most rated")):
        at = part == third
        if at.any():
            found = scores({"fitted users": model[at]}, came[at], test.user[at], resamples)["fitted users"]
            rarity[name] = {
                "events": int(at.sum()),
                "chance": float(model[at].mean()),
                "share": float(came[at].mean()),
                **{score: dataclasses.asdict(found[score]) for score in ("ece", "auc_user")},
            }
    return {
        "events": len(came),
        "users": len(np.unique(test.user)),
        "scores": {
            name: {score: dataclasses.asdict(e) for score, e in of.items()}
            for name, of in scores(forecasts, came, test.user, resamples).items()
        },
        "reliability": {
            name: [dataclasses.asdict(b) for b in reliability(forecasts[name], came)]
            for name in ("fitted users", "what a platform knows")
        },
        "by_rarity": rarity,
    }


def sensitivity(fitted: Fitted, users: int, seed: int, told: Callable[[str], None]) -> dict[str, Any]:
    """By world and policy the mean return, with intervals, and the paired differences from the best predicted."""
    found: dict[str, Any] = {}
    for name, world in worlds(fitted).items():
        told(name)
        act, returns, more = ranked(world), dict[str, np.ndarray](), dict[str, Any]()
        for policy, params in FIXED.items():
            play = many_episodes(
                world, act, jnp.asarray(params, jnp.float32), device_key(seed, "sensitivity"), users, block=1024
            )
            returns[policy] = np.asarray(play.reward, np.float64)
            slates = float(np.mean(play.length))
            more[policy] = {"length": slates, "clicks_a_slate": float(np.mean(play.clicks)) / slates}
        of = intervals(returns, 1000)
        reference = returns["best predicted"]
        found[name] = {
            policy: {
                **more[policy],
                "return": dataclasses.asdict(of[policy]),
                "less_best_predicted": {
                    key: value
                    for key, value in dataclasses.asdict(paired_bootstrap(returns[policy], reference, 1000)).items()
                    if key != "p"
                },
            }
            for policy in FIXED
        }
    return found


def declared(world: LoggedUsers) -> dict[str, Any]:
    """The settings that no log of ratings can tell."""
    names = ("candidates", "slate", "temper", "eta", "appeal", "patience", "cost", "budget")
    return {name: getattr(world, name) for name in names}


def run(options: Options, told: Callable[[str], None] = lambda name: None) -> tuple[dict[str, Any], Fitted]:
    """(record, the fitted users). InputError: as `fit`."""
    code = code_state()
    dataset = load(named(options.data), options.data_dir, options.columns)
    told("fitting")
    fitted, report = fit(dataset, options.fit)
    record = {
        "data": {
            "name": dataset.name,
            "users": dataset.n_users,
            "items": dataset.n_items,
            "events": len(dataset.interactions),
            "fingerprint": dataset.fingerprint,
        },
        "split": report.split.description,
        "fit": dataclasses.asdict(options.fit),
        "l2": report.l2,
        "validation_rmse": {f"{l2:g}": rmse for l2, rmse in report.validation.items()},
        "tied": report.tied,
        "genres": len(fitted.genre_names),
        "ratings": dataclasses.asdict(fitted.ratings),
        "boredom": dataclasses.asdict(fitted.boredom),
        "drift": dataclasses.asdict(fitted.drift),
        "recency": report.recency,
        "declared": declared(LoggedUsers(fitted)),
        "calibration": calibration(fitted, report, options.fit.resamples),
        "sensitivity": sensitivity(fitted, options.users, options.fit.seed, told),
        "sessions": options.users,
        "code": code,
        "machine": machine(len(jax.devices())),
    }
    return record, fitted


def draw(record: Mapping[str, Any], path: Path) -> None:
    """The reliability diagram, and the mean return of each policy in each world."""
    with picture(path, (11, 4.4), 1, 2) as (_, (left, right)):
        left.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
        for name, bins in record["calibration"]["reliability"].items():
            chance, share, count = (np.array([b[key] for b in bins]) for key in ("chance", "share", "count"))
            error = 1.96 * np.sqrt(share * (1 - share) / count)
            left.errorbar(chance, share, error, marker="o", capsize=2, markersize=4, label=name)
        left.set(xlabel="predicted chance of a like", ylabel="share liked", title="held-out ratings, tenths by chance")
        names = list(record["sensitivity"])
        for number, policy in enumerate(FIXED):
            of = [record["sensitivity"][name][policy]["return"] for name in names]
            mean, low, high = (np.array([x[key] for x in of]) for key in ("mean", "low", "high"))
            at = np.arange(len(names)) + 0.12 * (number - 1.5)
            error, style = [mean - low, high - mean], {"fmt": "osD^"[number], "markersize": 4, "capsize": 2}
            right.errorbar(mean, at, xerr=error, label=policy, **style)
        right.set_yticks(range(len(names)), names)
        right.invert_yaxis()
        right.set(xlabel="mean return of a session", title="the same policies under other assumptions")
        for axes in (left, right):
            axes.legend(frameon=False, fontsize=8)


def script(argv: Sequence[str]) -> None:
    """Fit, measure, write, print where."""
    options = parse_options(Options, argv, "python -m experiments.logged_users", __doc__)
    if options.users < 2:
        raise InputError(f"--users {options.users}: at least 2 are needed")
    console = Console()
    with console.status("loading") as status:
        record, fitted = run(options, lambda name: status.update(name))
    write_json(options.out / "record.json", record)
    draw(record, options.out / "plot.png")
    with atomic(options.out / "README.md") as file:
        file.write(page(record).encode())
    save(fitted, options.tables)
    console.print(f"written to {options.out}: record.json, plot.png, README.md; tables to {options.tables}")


if __name__ == "__main__":
    main(script)
