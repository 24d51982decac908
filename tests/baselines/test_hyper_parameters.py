"""Every hyper-parameter of every baseline does something: another value gives other scores."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.data.interactions import Dataset, build_dataset
from rec_jax.data.splits import Split, leave_one_out
from rec_jax.models.base import Query
from rec_jax.registry import BASELINES
from tests.helpers import N_ITEMS, N_USERS, small_columns

# What a field's effect needs to show, and two values of it.
BASE: dict[str, dict[str, Any]] = {
    "itemknn": {"neighbours": 4, "similarity": "asymmetric", "alpha": 0.3},
    "userknn": {"neighbours": 4, "similarity": "asymmetric", "alpha": 0.3},
    "p3alpha": {"neighbours": 4},
    "rp3beta": {"neighbours": 4},
    "slim": {"neighbours": 4, "l1_ratio": 0.1},
    "puresvd": {"factors": 3},
    "nmf": {"factors": 3, "solver": "mu", "penalty": 1e-3},
    "ials": {"factors": 4, "iterations": 2},
    "fm": {"factors": 4, "rounds": 2, "events_per_step": 32},
}
OTHER: dict[str, Any] = {
    "alpha": 0.8,
    "attributes": False,
    "beta": 0.1,
    "categories": False,
    "category_weight": 0.2,
    "cg_steps": 1,
    "context": False,
    "days": 0.05,
    "events_per_step": 16,
    "factors": 5,
    "init": "random",
    "init_sd": 0.3,
    "iterations": 3,
    "l1_ratio": 0.6,
    "l2": 20.0,
    "loss": {"nmf": "kullback-leibler", "fm": "logistic"},
    "negatives": 2,
    "neighbours": 2,
    "penalty": 0.05,
    "reg": 0.1,
    "reg_exponent": 0.5,
    "reverse": True,
    "rounds": 1,
    "shrink": 3.0,
    "similarity": "cosine",
    "solver": "cd",
    "step_size": 0.05,
    "title_weight": 0.2,
    "tolerance": 0.5,
    "unobserved_weight": 0.9,
    "weighting": "tf-idf",
}


@pytest.fixture(scope="module")
def split() -> Split:
    """The small log with titles, categories and attributes, and hours between the events of a user."""
    columns = small_columns() | {"time": np.arange(1, len(small_columns()["user"]) + 1) * 1800}
    titles = ("red sun", "blue sun", "red moon", "green hill", "blue hill of stars")
    items = {str(i): (titles[i % 5], 1990 + i, (("even", "odd")[i % 2], "abc"[i % 3])) for i in range(N_ITEMS)}
    users = {str(u): {"gender": "MF"[u % 2], "age": str(20 + u)} for u in range(N_USERS)}
    dataset: Dataset = build_dataset("described", columns, items=items, users=users)
    return leave_one_out(dataset)


def scores(split: Split, name: str, config: Any) -> np.ndarray:
    scorer = BASELINES[name].fit(split, config, 1)
    query = Query(jnp.arange(N_USERS), jnp.tile(jnp.array([[3, 2]]), (N_USERS, 1)))
    return np.asarray(scorer.scores(scorer.cache, query))


CASES = [(name, f.name) for name, row in BASELINES.items() for f in dataclasses.fields(row.config)]


@pytest.mark.parametrize(("name", "field"), CASES)
def test_another_value_gives_other_scores(split: Split, name: str, field: str) -> None:
    config = BASELINES[name].config(**BASE.get(name, {}))
    value = OTHER[field][name] if isinstance(OTHER[field], dict) else OTHER[field]
    other = dataclasses.replace(config, **{field: value})
    assert other != config
    assert not np.allclose(scores(split, name, config), scores(split, name, other), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", BASELINES)
def test_another_seed_matters_where_the_registry_says_so(split: Split, name: str) -> None:
    if name == "nmf":  # its default start is that of the singular vectors
        config = BASELINES[name].config(factors=3, init="random", rounds=2)
    else:
        config = BASELINES[name].config(**BASE.get(name, {}))
    row, query = BASELINES[name], Query(jnp.arange(N_USERS))
    one, two = (row.fit(split, config, seed) for seed in (1, 2))
    same = np.array_equal(one.scores(one.cache, query), two.scores(two.cache, query))
    assert same is not row.seeded
