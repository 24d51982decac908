"""What a policy would have earned, by seven estimators, from a real log of another policy, held against the truth.

    python -m experiments.off_policy                     (about 5 minutes on one core)
    python -m experiments.off_policy --campaign men
    python -m experiments.off_policy --propensities estimated

The Open Bandit Dataset has 10,000 rounds of each of two policies in each of three campaigns. From those that chose at
random it is estimated how often items are clicked that Bernoulli Thompson sampling (BTS) chooses; how often they were
clicked is known from its own log. The table shows each estimator's value with its interval, the rounds it rests on and
what has to be said of it, and its relative error over bootstraps of the log. There are 38 clicks in the log of all
items, and weighting makes the most of a few of them.
"""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from experiments.cli import main, parse_options
from rec_jax.config import short_hash, to_json
from rec_jax.data import open_bandit
from rec_jax.data.open_bandit import BanditLog, Campaign, Logger
from rec_jax.data.registry import DEFAULT_FOLDER
from rec_jax.errors import InputError, did_you_mean
from rec_jax.evaluate.behaviour import by_share
from rec_jax.evaluate.off_policy import ESTIMATORS, Estimate, Log, Rounds, Source, estimate
from rec_jax.evaluate.report import intervals
from rec_jax.evaluate.slope import slope
from rec_jax.fields import added
from rec_jax.files import sha256, write_json
from rec_jax.policies.places import place_chances
from rec_jax.tracking.certificate import code_state, machine

RULE = "the evaluated policy's own log"
"""What the metrics of a result are held against."""
NO_LIMIT = 1e12
"""No weight comes near: what has this limit is plain doubly robust."""


@dataclass(frozen=True)
class OffPolicyExperiment:
    """All that decides an estimator's errors."""

    estimator: Annotated[str, tyro.conf.Suppress] = "dm"
    """A name of rec_jax.evaluate.off_policy: dm, ips, snips, dr, sndr, switch-dr, dr-os; the script shows all."""
    campaign: Campaign = "all"
    """Whose items: all, men's or women's."""
    logger: Logger = "random"
    """The policy whose log is weighed."""
    reward_model: Literal["logistic", "mean"] = "logistic"
    """What predicts rewards: a logistic regression a place, or the mean reward."""
    inverse_penalty: float = 100.0
    """C of the logistic regression."""
    iterations: int = 10_000
    """At most this many steps of its solver."""
    folds: int = 3
    """Rounds of a fold are predicted by a model fitted on the other folds."""
    fold_seed: int = 12_345
    """Seed of the folds."""
    limits: tuple[float, ...] = (10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0, 10_000.0, NO_LIMIT)
    """Candidates for the tau of switch-dr and the lambda of dr-os, chosen among by SLOPE in each bootstrap."""
    level: float = 0.05
    """Level of SLOPE's intervals."""
    bootstraps: int = 30
    """Logs of as many rounds, drawn from the log with replacement."""
    propensities: Source = added("logged")
    """The log's own chances, or, as if it had none, shares of the items at each place (in each bootstrap)."""
    seed: int = 1
    """Which bootstraps: seed 1 draws those of numpy's RandomState 0, 1, …, as the published table does."""

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            hint = did_you_mean(self.estimator, ESTIMATORS)
            raise InputError(f"no estimator {self.estimator!r}: {hint}there are {', '.join(ESTIMATORS)}")
        for name, least in (("folds", 2), ("bootstraps", 2), ("iterations", 1), ("seed", 1)):
            if getattr(self, name) < least:
                raise InputError(f"--{name} {getattr(self, name)}: expected at least {least}")
        given = (*self.limits, self.inverse_penalty)
        if not self.limits or not all(0 < number < np.inf for number in given) or not 0 < self.level < 0.5:
            raise InputError(
                f"--limits and --inverse-penalty: expected finite numbers above 0 ({NO_LIMIT:g} is none); --level: one "
                "above 0 and below .5"
            )

    @property
    def hash(self) -> str:
        """Its short hash without the seed."""
        return short_hash(self, "seed")

    @property
    def name(self) -> str:
        """The run's name: estimator, campaign, hash, seed."""
        return f"{self.estimator}-{self.campaign}-{self.hash}-s{self.seed}"


@dataclass(frozen=True)
class Judged:
    """All estimators on one log, of which bootstraps take rows: they share the model's fits."""

    truth: float
    whole: dict[str, Estimate]
    values: dict[str, np.ndarray]
    """By estimator, the value in each bootstrap."""
    limits: dict[str, list[float]]
    """By estimator that has one, the limit chosen in each bootstrap."""
    data: dict[str, str]
    seconds: float


def features(context: Float[np.ndarray, "m d"], items: Float[np.ndarray, "m e"]) -> Float[np.ndarray, "m f"]:
    """What the model sees of a user and an item."""
    return np.concatenate([context, items], axis=1)


def predicted(log: BanditLog, experiment: OffPolicyExperiment) -> Float[np.ndarray, "m a"]:
    """The reward of every item in every round, at the place of the round, by a model that did not see the round.

    Where nothing, or everything, was clicked in the other folds, it is their mean. A bootstrap of the log holds copies
    of its rounds, which may stand in other folds. InputError: more folds than rounds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold

    if experiment.folds > len(log):
        raise InputError(f"--folds {experiment.folds}: the log has {len(log):,} rounds; take at most as many")
    found = np.zeros((len(log), len(log.items)))
    folds = KFold(experiment.folds, shuffle=True, random_state=experiment.fold_seed)
    for seen, unseen in folds.split(log.context):
        if experiment.reward_model == "mean":
            found[unseen] = log.reward[seen].mean()
            continue
        for place in np.unique(log.position):
            fit, ask = (rows[log.position[rows] == place] for rows in (seen, unseen))
            clicked = log.reward[fit]
            if len(np.unique(clicked)) < 2:
                found[ask] = clicked.mean() if len(fit) else log.reward.mean()
                continue
            model = LogisticRegression(C=experiment.inverse_penalty, max_iter=experiment.iterations)
            model.fit(features(log.context[fit], log.items[log.action[fit]]), clicked)
            of_user, of_item = np.split(model.coef_[0], [log.context.shape[1]])
            scores = (log.context[ask] @ of_user)[:, None] + (log.items @ of_item)[None] + model.intercept_
            found[ask] = 1 / (1 + np.exp(-scores))
    return found


def estimates(
    log: BanditLog, chances: Float[np.ndarray, "a places"], experiment: OffPolicyExperiment, resamples: int
) -> tuple[dict[str, Estimate], dict[str, float]]:
    """(by every estimator, the limits that SLOPE chose) of the policy with these chances at each place."""
    if experiment.propensities == "estimated":  # neither policy looks at the user
        log = dataclasses.replace(log, propensity=by_share(log.action, len(log.items), log.position))
    policy, model = chances.T[log.position], predicted(log, experiment)
    every = np.arange(len(log))
    w = policy[every, log.action] / log.propensity
    q, v = model[every, log.action], (policy * model).sum(axis=1)
    chosen = {}
    for name in ("switch-dr", "dr-os"):
        of_limit = [
            ESTIMATORS[name](Rounds(w, log.reward, q, v, tau=limit, shrink=limit))[0][0] for limit in experiment.limits
        ]
        chosen[name] = experiment.limits[slope(of_limit, experiment.level)]
    logged = Log(log.action, log.reward, log.propensity, experiment.propensities)
    tau, shrink = chosen["switch-dr"], chosen["dr-os"]
    return estimate(logged, policy, model, tau=tau, shrink=shrink, resamples=resamples), chosen


def judge(experiment: OffPolicyExperiment, data_dir: Path = DEFAULT_FOLDER) -> Judged:
    """Every estimator on the whole log and on its bootstraps; kept for the other estimators of the same setting."""
    return _judged(dataclasses.replace(experiment, estimator="dm"), data_dir)


@lru_cache(maxsize=4)
def _judged(experiment: OffPolicyExperiment, data_dir: Path) -> Judged:
    began, evaluated = time.monotonic(), "random" if experiment.logger == "bts" else "bts"
    given = experiment.propensities == "logged"
    log = open_bandit.load(experiment.logger, experiment.campaign, data_dir, chances=given)
    own = open_bandit.load(evaluated, experiment.campaign, data_dir, chances=False)  # type: ignore[arg-type]
    chances = _chances(evaluated, experiment.campaign, own, data_dir)
    whole, limits = estimates(log, chances, experiment, 2000)
    values = {name: np.zeros(experiment.bootstraps) for name in ESTIMATORS}
    chosen = {name: list[float]() for name in limits}
    for number in range(experiment.bootstraps):
        # Not the house's generator: these are the draws behind the published table, so that it is the same data.
        draw = np.random.RandomState((experiment.seed - 1) * experiment.bootstraps + number)
        found, limits = estimates(log.rows(draw.choice(len(log), len(log))), chances, experiment, 1)
        for name, of in found.items():
            values[name][number] = of.value
        for name, limit in limits.items():
            chosen[name].append(limit)
    folder = open_bandit.fetched(data_dir)
    files = [f"{policy}-{experiment.campaign}.csv" for policy in (experiment.logger, evaluated)]
    data = {name: sha256(folder / name) for name in files}
    return Judged(float(own.reward.mean()), whole, values, chosen, data, time.monotonic() - began)


def _chances(evaluated: str, campaign: Campaign, own: BanditLog, data_dir: Path) -> Float[np.ndarray, "a places"]:
    """The evaluated policy's chance of each item at each place."""
    items, places = len(own.items), int(own.position.max()) + 1
    if evaluated == "random":
        return np.full((items, places), 1 / items)
    alpha, beta = open_bandit.prior(campaign, data_dir)
    if len(alpha) != items:
        raise InputError(f"campaign {campaign}: {len(alpha)} priors for {items} items; fetch the data anew")
    return place_chances(alpha, beta, places)


def run(
    experiment: OffPolicyExperiment, data_dir: Path = DEFAULT_FOLDER
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(result, by rule and metric the values of each bootstrap): the estimator's relative errors.

    InputError: no data.
    """
    code, judged = code_state(), judge(experiment, data_dir)
    error = np.abs(judged.values[experiment.estimator] / judged.truth - 1)
    sd = float(error.std(ddof=1))
    metrics = {name: dataclasses.asdict(e) for name, e in intervals({"error": error}, 2000).items()}
    whole = judged.whole[experiment.estimator]
    result = {
        "name": experiment.name,
        "experiment_hash": experiment.hash,
        "seed": experiment.seed,
        "metrics": {RULE: metrics | {"sd": {"mean": sd}}},
        "test_scored": 1,
        "data": {"name": f"open-bandit, {experiment.campaign}", "sha256": judged.data},
        "experiment": to_json(experiment),
        "training": {},
        "estimate": {
            **dataclasses.asdict(whole),
            "warning": whole.warning,
            "truth": judged.truth,
            "limits": judged.limits.get(experiment.estimator, []),
        },
        "code": code,
        "machine": machine(1),
        "times": {"total_seconds": judged.seconds},
    }
    return result, {f"{RULE}/error": error}


@dataclass(frozen=True)
class Options:
    """A setting, of which all estimators are shown, and where the results go."""

    experiment: OffPolicyExperiment = OffPolicyExperiment()
    data_dir: Path = DEFAULT_FOLDER
    """Folder of the data sets."""
    out: Path = Path("runs/off-policy")
    """Folder of the results, one file an estimator."""


def script(argv: Sequence[str]) -> None:
    """Judge, write, print."""
    options = parse_options(Options, argv, "python -m experiments.off_policy", __doc__)
    asked, console = options.experiment, Console()
    with console.status(f"{asked.bootstraps} bootstraps"):
        judged = judge(asked, options.data_dir)
    title = f"campaign {asked.campaign}, from the log of '{asked.logger}'; truth {judged.truth:.4f}"
    table = Table("estimator", "value", "95 %", "rests on", "error ± sd", "said of it", title=title)
    for name in ESTIMATORS:
        result, _ = run(dataclasses.replace(asked, estimator=name), options.data_dir)
        write_json(options.out / f"{result['name']}.json", result)
        of, whole = result["metrics"][RULE], judged.whole[name]
        errs = f"{of['error']['mean']:.3f} ± {of['sd']['mean']:.3f}"
        row = [f"{whole.value:.5f}", f"{whole.low:.5f}–{whole.high:.5f}", f"{whole.effective:,.0f}", errs]
        table.add_row(name, *row, whole.warning)
    console.print(table)
    console.print(f"written to {options.out}", highlight=False)


if __name__ == "__main__":
    main(script)
