"""The Open Bandit Dataset's small logs, and logs in its format: what a policy showed, how likely, and what was clicked.

Saito et al., NeurIPS 2021 (Datasets and Benchmarks): a fashion shop showed items of three campaigns at three places,
chosen at random or by Bernoulli Thompson sampling, and logged the chance of each choice. The 10,000 rounds of each
campaign and policy lie in the wheel of the authors' package; nothing of it is installed or run.

Checked against hand-written logs, and the committed counts of the real ones (tests/data/test_open_bandit.py).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Float, Int

from rec_jax.data.fetch import Wheel, ensure
from rec_jax.data.registry import DEFAULT_FOLDER
from rec_jax.data.tables import Table, read_named
from rec_jax.errors import InputError

Campaign: TypeAlias = Literal["all", "men", "women"]
Logger: TypeAlias = Literal["random", "bts"]
LICENCE = "Open Bandit Dataset (ZOZO, Inc.): CC BY 4.0"
PRIOR = "prior_bts.yaml"
_LOG = ("timestamp", "item_id", "position", "click")
_CHANCE = "propensity_score"
_USER = tuple(f"user_feature_{i}" for i in range(4))
_ITEM = tuple(f"item_feature_{i}" for i in range(4))


@dataclass(frozen=True)
class BanditLog:
    """Rounds of a logging policy, in the order of time; the rows of `items` are the actions."""

    action: Int[np.ndarray, "m"]
    position: Int[np.ndarray, "m"]
    """The place it was shown at, from 0."""
    reward: Float[np.ndarray, "m"]
    """From 0 to 1."""
    propensity: Float[np.ndarray, "m"]
    """The logging policy's chance of the action at that place."""
    context: Float[np.ndarray, "m d"]
    """User features: 1 for each value, without the first of each feature."""
    items: Float[np.ndarray, "a e"]
    """Item features: the codes of three, in the order of their names, and a number."""
    time: Int[np.ndarray, "m"]
    """Seconds since 1970."""

    def __len__(self) -> int:
        return len(self.action)

    def rows(self, chosen: Int[np.ndarray, "k"]) -> "BanditLog":
        """These rounds alone, in that order."""
        of = {name: getattr(self, name)[chosen] for name in ("action", "position", "reward", "propensity", "time")}
        return BanditLog(**of, context=self.context[chosen], items=self.items)


def _members() -> dict[str, str]:
    """Name in the wheel -> plain file name here: each policy's codes of items are its own."""
    found = {f"obp/policy/conf/{PRIOR}": PRIOR}
    for policy in get_args(Logger):
        for campaign in get_args(Campaign):
            inside = f"obp/dataset/obd/{policy}/{campaign}"
            found[f"{inside}/{campaign}.csv"] = f"{policy}-{campaign}.csv"
            found[f"{inside}/item_context.csv"] = f"{policy}-{campaign}-items.csv"
    return found


WHEEL = Wheel("obp==0.4.1", "87dec9caf4283c25ab13036532e0a24566f1c7bdcad1653a8ded43b2f5ef8208", _members())


def fetched(data_dir: Path = DEFAULT_FOLDER) -> Path:
    """The folder of the logs, brought there where they are missing. InputError: no source."""
    folder = data_dir.expanduser() / "open-bandit"
    ensure("open-bandit", folder, [(tuple(WHEEL.members.values()), WHEEL)])
    return folder


def load(policy: Logger, campaign: Campaign, data_dir: Path = DEFAULT_FOLDER, *, chances: bool = True) -> BanditLog:
    """A campaign's log under one policy. InputError: no source, or as `read`."""
    folder = fetched(data_dir)
    return read(folder / f"{policy}-{campaign}.csv", folder / f"{policy}-{campaign}-items.csv", chances=chances)


def read(log: Path, items: Path, *, chances: bool = True) -> BanditLog:
    """A log in the data set's format; without `chances` its propensities are not read, and NaN.

    InputError, with file, line and field: no propensities, or one that is not above 0 and at most 1, rewards outside
    0 to 1, places below 1, an item that the other file does not have.
    """
    catalogue = read_named(items, ("item_id", *_ITEM))
    known = _whole(catalogue, "item_id", 0)
    if sorted(known.tolist()) != list(range(len(known))):
        raise InputError(f"{items}: field 'item_id': expected 0 to {len(known) - 1}, each once")
    by_id = np.argsort(known)
    if chances:
        _logged_chances(log)
    table = read_named(log, (*_LOG, *((_CHANCE,) if chances else ()), *_USER))
    action, position = _whole(table, "item_id", 0), _whole(table, "position", 1) - 1
    if (wrong := np.flatnonzero(action >= len(known))).size:
        raise table.fail(int(wrong[0]), "item_id", f"an item of {items.name}, 0 to {len(known) - 1}")
    chance = table.floats(_CHANCE, 0.0, 1.0) if chances else np.full(len(action), np.nan)
    if (wrong := np.flatnonzero(chance == 0)).size:
        raise table.fail(int(wrong[0]), _CHANCE, "a chance above 0: what was shown could be shown")
    time = table.seconds("timestamp")
    order = np.argsort(time, kind="stable")
    codes = [np.unique(catalogue.columns[name].astype(str), return_inverse=True)[1] for name in _ITEM[1:]]
    found = BanditLog(
        action=action,
        position=position,
        reward=table.floats("click", 0.0, 1.0),
        propensity=chance,
        context=np.concatenate([_indicators(table.columns[name].astype(str)) for name in _USER], axis=1),
        items=np.stack([*codes, catalogue.floats(_ITEM[0])], axis=1).astype(np.float64)[by_id],
        time=time,
    )
    return found.rows(order)


def _logged_chances(log: Path) -> None:
    """InputError: the log has no column of them; other columns are missed by `read_named`."""
    try:
        with log.open(encoding="utf-8") as file:
            header = file.readline().rstrip("\r\n").split(",")
    except (OSError, UnicodeDecodeError):
        return  # told by `read_named`
    if set(_LOG) <= set(header) and _CHANCE not in header:
        raise InputError(
            f"{log}, line 1: no column {_CHANCE!r}: a log without the actions' probabilities cannot be weighed; log "
            "them, or have them estimated (--propensities estimated), which everything that rests on it then says"
        )


def _whole(table: Table, name: str, low: int) -> Int[np.ndarray, "m"]:
    values = table.floats(name)
    if (wrong := np.flatnonzero((values < low) | (values != np.floor(values)))).size:
        raise table.fail(int(wrong[0]), name, f"a whole number from {low}")
    return values.astype(np.int64)


def _indicators(values: np.ndarray) -> Float[np.ndarray, "m d"]:
    return (values[:, None] == np.unique(values)[None, 1:]).astype(np.float64)


def prior(campaign: Campaign, data_dir: Path = DEFAULT_FOLDER) -> tuple[np.ndarray, np.ndarray]:
    """(alpha [a], beta [a]): what the shop's Thompson sampling believed of each item when the logs began."""
    return read_prior(fetched(data_dir) / PRIOR, campaign)


def read_prior(path: Path, campaign: str) -> tuple[np.ndarray, np.ndarray]:
    """From lines of `campaign:`, `  alpha:`, `    - 47.0`: so much of YAML and no more.

    InputError: another line, an unknown campaign, numbers that are not positive, unlike lengths.
    """
    found, of_campaign, of_name = dict[str, dict[str, list[float]]](), "", ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text, indent = line.strip(), len(line) - len(line.lstrip())
        if not text:
            continue
        if indent == 0 and text.endswith(":"):
            of_campaign, of_name = text[:-1], ""
            found[of_campaign] = {}
        elif indent == 2 and text in ("alpha:", "beta:") and of_campaign:
            of_name = text[:-1]
            found[of_campaign][of_name] = []
        elif indent == 4 and text.startswith("- ") and of_name:
            found[of_campaign][of_name].append(_positive(text[2:], f"{path}, line {number}"))
        else:
            raise InputError(f"{path}, line {number}: expected 'NAME:', '  alpha:', '  beta:' or '    - 1.0': {line!r}")
    if campaign not in found:
        raise InputError(f"{path}: has no campaign {campaign!r}; there are {', '.join(found)}")
    alpha, beta = (np.array(found[campaign].get(name, [])) for name in ("alpha", "beta"))
    if len(alpha) != len(beta) or not len(alpha):
        raise InputError(f"{path}: {campaign}: {len(alpha)} alpha and {len(beta)} beta: expected one of each an item")
    return alpha, beta


def _positive(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"{where}: expected a number above 0, got {text!r}")
    return value
