"""Row-sparse updates against the dense ones of optax, for every model; and what they refuse."""

import dataclasses
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rec_jax.building import build
from rec_jax.config import Optimization
from rec_jax.errors import InputError
from rec_jax.problem import pose
from rec_jax.randomness import device_key
from rec_jax.registry import MODELS
from rec_jax.train import rows
from rec_jax.train.devices import select
from rec_jax.train.optimizer import adam
from rec_jax.train.step import TrainState, make_chunk
from rec_jax.train.update import make_update
from rec_jax.training import blank_state
from tests.helpers import small_experiment, write_small_csv


def trained(folder: Path, model: str, optimization: Optimization, *counts: int, devices: int = 1) -> TrainState:
    """The state after chunks of `counts` steps of 8 events."""
    experiment = small_experiment(write_small_csv(folder / "log.csv"), model)
    experiment = dataclasses.replace(
        experiment, optimization=optimization, loss=dataclasses.replace(experiment.loss, l2=0.01)
    )
    problem = pose(experiment, folder)
    recommender, where = build(experiment, problem), select(devices, optimization.batch_size)
    update = make_update(optimization, recommender.steps_per_epoch)
    chunk = where.launch(make_chunk(recommender, update, where.count), replicated=(True, True, False, False))
    state, data = where.replicate(blank_state(experiment, recommender, problem)), where.replicate(problem.train)
    for count in counts or (2 * recommender.steps_per_epoch,):
        state = chunk(state, data, device_key(1, "train"), jnp.int32(count))
    return jax.device_get(where.one(state))


def largest_difference(a: Any, b: Any) -> float:
    return max(float(np.abs(x - y).max()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


# All of LightGCN's table moves in every step: it is refused, as below. Which rows are touched is the model's affair,
# how they are moved the rule's: one model stands for all with SGD.
@pytest.mark.parametrize(
    ("rule", "model"),
    [("sgd", "neumf")]
    + [("adam", name) for name, row in MODELS.items() if "pointwise" in row.objectives and name != "lightgcn"],
)
def test_two_epochs_end_where_dense_updates_end(tmp_path: Path, rule: Any, model: str) -> None:
    """30 users, 20 items, 8 events a step: most rows miss most steps."""
    plain = Optimization(rule, learning_rate=0.01, batch_size=8, warmup_steps=5)
    dense, sparse = (trained(tmp_path, model, dataclasses.replace(plain, sparse_rows=of)) for of in (False, True))
    moved = largest_difference(trained(tmp_path, model, plain, 0).params, dense.params)
    assert largest_difference(dense.params, sparse.params) < moved * (1e-5 if rule == "sgd" else 2e-3)
    assert float(sparse.loss_sum) == pytest.approx(float(dense.loss_sum), rel=1e-5)


def test_it_does_not_matter_how_steps_are_cut_into_chunks_or_shared_by_devices(tmp_path: Path) -> None:
    config = Optimization(batch_size=8, sparse_rows=True)
    whole, cut = trained(tmp_path, "neumf", config, 40), trained(tmp_path, "neumf", config, 7, 30, 3)
    for x, y in zip(jax.tree.leaves(whole), jax.tree.leaves(cut), strict=True):
        np.testing.assert_array_equal(x, y)
    shared = trained(tmp_path, "neumf", config, 40, devices=4)
    assert largest_difference(whole.params, shared.params) < 1e-5


@pytest.mark.parametrize("missed", [0, 1, 5, 60])
@pytest.mark.parametrize("before", [1, 30, 3000])
def test_missed_steps_are_made_up_for_as_adam_would_have_made_them(before: int, missed: int) -> None:
    """A row is updated `before` times, left alone `missed` times, and read: against optax, step by step."""
    rate = optax.linear_schedule(0.01, 0.005, 4000)
    dense, rule = optax.adam(rate, **adam(Optimization())), rows.adam(rate, **adam(Optimization()))
    gradients = np.concatenate([np.random.default_rng(0).normal(0.3, 1, (before, 4)), np.zeros((missed, 4))])
    start = jnp.ones((1, 4))

    def step(carry: Any, g: Any) -> Any:
        p, state = carry
        updates, state = dense.update(g[None], state, p)
        return (optax.apply_updates(p, updates), state), p

    (expected, _), path = jax.lax.scan(step, (start, dense.init(start)), jnp.asarray(gradients, jnp.float32))
    table, state = start, rule.init(start)
    ids = jnp.zeros(1, jnp.int32)

    def sparse_step(carry: Any, given: Any) -> Any:
        (table, state), (count, g) = carry, given
        return rule.write(table, state, ids, rule.read(table, state, ids, count), g[None], count), None

    counts = jnp.arange(before, dtype=jnp.int32)
    (table, state), _ = jax.lax.scan(
        sparse_step, (table, state), (counts, jnp.asarray(gradients[:before], jnp.float32))
    )
    read = rule.read(table, state, ids, jnp.int32(before + missed))[0]
    moved = float(jnp.abs(expected - path[before - 1] if missed else 0 * expected).max())
    np.testing.assert_allclose(read, expected, rtol=1e-5, atol=1e-5 + 1e-4 * moved)


def test_gradients_of_a_row_that_comes_twice_add_up() -> None:
    ids, gradient = jnp.array([3, 1, 3, 0, 3]), jnp.arange(10.0).reshape(5, 2)
    once, total = rows.summed(ids, gradient, 4)
    found = {int(i): total[place].tolist() for place, i in enumerate(once) if i < 4}
    assert found == {0: [6.0, 7.0], 1: [2.0, 3.0], 3: [0.0 + 4 + 8, 1.0 + 5 + 9]}
    assert sorted(np.asarray(once).tolist()) == [0, 1, 3, 4, 4]


class Whole(nn.Module):
    """Uses its table whole, beside looking rows up."""

    both: bool

    @nn.compact
    def __call__(self, ids: Any) -> Any:
        table = nn.Embed(5, 2)
        found = table(ids).sum() if self.both else 0.0
        return found + table.attend(jnp.ones(2)).sum()


@pytest.mark.parametrize(
    ("both", "message"), [(True, "'Embed_0' is also used whole"), (False, "'Embed_0' is not looked")]
)
def test_a_table_that_is_not_only_looked_up_is_refused(both: bool, message: str) -> None:
    module, ids = Whole(both), jnp.array([1, 2])
    params = module.init(jax.random.key(0), ids)["params"]
    with pytest.raises(InputError, match=message):
        rows.lookups(lambda p: module.apply({"params": p}, ids), params)


@pytest.mark.parametrize("config", [Optimization("adamw"), Optimization(clip_norm=1.0)])
def test_rules_that_change_every_row_are_refused(config: Optimization) -> None:
    with pytest.raises(InputError, match="not with --sparse-rows"):
        make_update(dataclasses.replace(config, sparse_rows=True), 1)
