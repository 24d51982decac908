"""Small logs and experiments for tests."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from rec_jax import registry
from rec_jax.config import Experiment, Optimization, Protocol, Runtime, Stopping
from rec_jax.data.interactions import Dataset, Interactions, build_dataset
from rec_jax.models.dmf import DMFConfig
from rec_jax.models.gat import GATConfig
from rec_jax.models.lightgcn import LightGCNConfig
from rec_jax.models.multvae import MultVAEConfig

N_USERS, N_ITEMS = 30, 20
SMALL = {
    "dmf": DMFConfig((16, 8), (16, 8)),
    # At its own size it takes long to compile, and does not stand the overfitting test's large steps.
    "gat": GATConfig(factors=8, layers=1),
    "lightgcn": LightGCNConfig(factors=16, layers=2),
    "multvae": MultVAEConfig((16,), 8, dropout=0.0),
}
"""Widths for thirty users."""


def log_of(pairs: list[tuple[int, int]]) -> Interactions:
    """A log of (user, item), each rated 1 at time 0."""
    user, item = np.array(sorted(pairs), np.int32).reshape(-1, 2).T
    return Interactions(user.copy(), item.copy(), np.ones(len(user), np.float32), np.zeros(len(user), np.int64))


def small_columns(seed: int = 0) -> dict[str, np.ndarray]:
    """Users of even number prefer even items; times in order; ratings 1 to 5; every item occurs."""
    rng = np.random.default_rng(seed)
    users, items = [], []
    for user in range(N_USERS):
        liked = [i for i in range(N_ITEMS) if i % 2 == user % 2]
        chosen = rng.permutation(liked)[:7].tolist() + rng.permutation(N_ITEMS)[:2].tolist()
        chosen = list(dict.fromkeys([*chosen, user % N_ITEMS]))
        users += [user] * len(chosen)
        items += chosen
    m = len(users)
    return {
        "user": np.array(users),
        "item": np.array(items),
        "rating": rng.integers(1, 6, m).astype(float),
        "time": np.arange(1, m + 1) * 60,
    }


def small_dataset(seed: int = 0) -> Dataset:
    return build_dataset("small", small_columns(seed))


def write_small_csv(path: Path, seed: int = 0) -> Path:
    columns = small_columns(seed)
    rows = zip(*(columns[name].tolist() for name in ("user", "item", "rating", "time")))
    path.write_text("user,item,rating,time\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def small_experiment(csv: Path, model: str = "neumf", objective: str | None = None, **changes: Any) -> Experiment:
    """A run of a second on the small log: 1 + 1 held-out items of 20, batches of 64."""
    base = registry.experiment(model, objective, data=str(csv))
    base = dataclasses.replace(
        base,
        columns=dataclasses.replace(base.columns, rating_column="rating", time_column="time"),
        protocol=Protocol(candidates=("full",)),
        optimization=Optimization(batch_size=64, learning_rate=0.02),
        stopping=Stopping(metric=base.stopping.metric.replace("@10", "@3"), patience=0),
        epochs=4,
    )
    if model in SMALL:
        base = dataclasses.replace(base, architecture=SMALL[model])
    if registry.OBJECTIVES[base.objective].sequences:
        shape = {"width": 16, "max_length": 8, "dropout": 0.0}
        if hasattr(base.architecture, "blocks"):  # two are each model's own tests; one compiles in half the time
            shape["blocks"] = 1
        base = dataclasses.replace(base, architecture=dataclasses.replace(base.architecture, **shape))
    if registry.OBJECTIVES[base.objective].sequences or model == "multvae":  # a step is of users, of whom there are 30
        base = dataclasses.replace(base, optimization=dataclasses.replace(base.optimization, batch_size=16))
    return dataclasses.replace(base, **changes)


def quick(run_dir: Path, **changes: Any) -> Runtime:
    """Of tests: what it writes lies in `run_dir`."""
    given = {"run_dir": run_dir, "runs": run_dir / "runs", "wandb": "off", "devices": 1, "bootstrap": 50, "k": (3,)}
    return Runtime(**{**given, **changes})
