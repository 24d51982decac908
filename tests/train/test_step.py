"""The training step: every positive once an epoch, N devices as one, chunks that do not matter, early stopping."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.building import build
from rec_jax.config import Experiment
from rec_jax.errors import InputError
from rec_jax.problem import Problem, pose
from rec_jax.randomness import device_key
from rec_jax.train.devices import select, share_cores
from rec_jax.train.step import TrainState, make_chunk, settle
from rec_jax.train.update import make_update
from rec_jax.training import blank_state
from tests.helpers import small_experiment, write_small_csv


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return small_experiment(write_small_csv(tmp_path / "log.csv"))


@pytest.fixture
def problem(experiment: Experiment, tmp_path: Path) -> Problem:
    return pose(experiment, tmp_path)


def steps(experiment: Experiment, problem: Problem, n_devices: int, *counts: int) -> TrainState:
    """The state after chunks of `counts` steps."""
    recommender = build(experiment, problem)
    devices = select(n_devices, experiment.optimization.batch_size)
    update = make_update(experiment.optimization, recommender.steps_per_epoch)
    chunk = devices.launch(make_chunk(recommender, update, devices.count), replicated=(True, True, False, False))
    state = devices.replicate(blank_state(experiment, recommender, problem))
    data = devices.replicate(problem.train)
    for count in counts:
        state = chunk(state, data, device_key(experiment.seed, "train"), jnp.int32(count))
    return jax.device_get(devices.one(state))


def assert_trees(a: Any, b: Any, **tolerance: float) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **tolerance) if tolerance else np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("objective", ["pointwise", "bpr", "rating"])
def test_each_positive_comes_exactly_once_an_epoch(tmp_path: Path, problem: Problem, objective: str) -> None:
    experiment = small_experiment(tmp_path / "log.csv", "mf", objective)
    recommender, key = build(experiment, problem), jax.random.key(0)
    draw = jax.jit(recommender.batch)
    events = sorted(zip(problem.split.train.user.tolist(), problem.split.train.item.tolist()))
    orders = []
    for epoch in range(2):
        seen: list[tuple[int, int]] = []
        for step in range(recommender.steps_per_epoch):
            batch = draw(problem.train, key, jnp.int32(epoch), jnp.int32(step))
            real = np.asarray(batch.weight) > 0
            seen += zip(np.asarray(batch.user)[real].tolist(), np.asarray(batch.items)[real, 0].tolist())
            assert float(batch.weight.mean()) == pytest.approx(1.0)
        assert sorted(seen) == events
        orders.append(seen)
    assert orders[0] != orders[1] != events
    assert recommender.steps_per_epoch == -(-len(events) // 64)


def test_negatives_are_drawn_anew_and_with_the_flag_never_positive(experiment: Experiment, problem: Problem) -> None:
    strict = dataclasses.replace(experiment, loss=dataclasses.replace(experiment.loss, exclude_positives=True))
    train = set(zip(problem.split.train.user.tolist(), problem.split.train.item.tolist()))
    for config, clean in ((experiment, False), (strict, True)):
        draw = jax.jit(build(config, problem).batch)
        drawn = []
        for epoch in range(20):
            batch = draw(problem.train, jax.random.key(1), jnp.int32(epoch), jnp.int32(0))
            users, negatives = np.asarray(batch.user), np.asarray(batch.items)[:, 1:]
            drawn.append(negatives.tolist())
            hits = [(u, i) in train for u, row in zip(users.tolist(), negatives.tolist()) for i in row]
            assert not (clean and any(hits))
        assert clean or any(hits)
        assert drawn[0] != drawn[1]


@pytest.mark.parametrize(
    ("model", "objective", "atol"),
    [
        ("neumf", None, 1e-6),
        ("mf", None, 1e-6),
        ("sasrec", None, 1e-5),
        ("gru4rec", "cql", 1e-5),
        ("multvae", None, 1e-5),
    ],
)
def test_one_and_four_devices_agree_over_ten_steps(
    tmp_path: Path, problem: Problem, model: str, objective: str | None, atol: float
) -> None:
    """At the same global batch; the epoch is 4 steps (of events; 2 of users), its padded last batch among them.

    Adam scales up the rounding errors of gradients near 0, more so through normalised layers.
    """
    experiment = small_experiment(tmp_path / "log.csv", model, objective)
    one, four = (steps(experiment, problem, n, 10) for n in (1, 4))
    assert one.step == four.step == 10
    assert_trees((one.params, one.extra), (four.params, four.extra), rtol=1e-5, atol=atol)
    assert float(one.loss_sum) == pytest.approx(float(four.loss_sum), rel=1e-5)


def test_how_a_run_is_cut_into_chunks_does_not_matter(experiment: Experiment, problem: Problem) -> None:
    assert_trees(steps(experiment, problem, 1, 10), steps(experiment, problem, 1, 1, 4, 3, 2))


def test_loss_sum_is_of_the_running_epoch(experiment: Experiment, problem: Problem) -> None:
    per_epoch = build(experiment, problem).steps_per_epoch
    total, before = steps(experiment, problem, 1, per_epoch + 1), steps(experiment, problem, 1, per_epoch)
    assert 0 < float(total.loss_sum) < float(before.loss_sum) / (per_epoch - 1)


def test_the_first_bad_step_is_kept(experiment: Experiment, problem: Problem) -> None:
    optimization = dataclasses.replace(experiment.optimization, optimizer="sgd", learning_rate=1e30)
    state = steps(dataclasses.replace(experiment, optimization=optimization), problem, 1, 8)
    assert 1 <= int(state.bad_step) < 8


def test_settle_keeps_the_best_and_counts_the_rest(experiment: Experiment, problem: Problem) -> None:
    state = blank_state(experiment, build(experiment, problem), problem)
    history = []
    for epoch, value in enumerate([0.2, 0.1, 0.3, 0.3, float("nan")], start=1):
        state = dataclasses.replace(state, params=jax.tree.map(lambda x, to=epoch: jnp.full_like(x, to), state.params))
        state = settle(state, jnp.float32(value), jnp.int32(epoch))
        best = float(jax.tree.leaves(state.best_params)[0].ravel()[0])
        history.append((int(state.best_epoch), int(state.stale), best))
    assert history == [(1, 0, 1.0), (1, 1, 1.0), (3, 0, 3.0), (3, 1, 3.0), (3, 2, 3.0)]


def test_batches_and_devices_that_do_not_fit(experiment: Experiment, problem: Problem) -> None:
    huge = dataclasses.replace(experiment.optimization, batch_size=10_000)
    with pytest.raises(InputError, match=r"--batch-size 10,000 is larger than the \d+ train events"):
        build(dataclasses.replace(experiment, optimization=huge), problem)
    with pytest.raises(InputError, match="--batch-size 66 cannot be shared evenly by 4 devices; take 64"):
        select(4, 66)
    with pytest.raises(InputError, match="--devices 9: this process has 4 device"):
        select(9, 64)
    with pytest.raises(InputError, match="--devices 0: expected at least 1"):
        share_cores(0)


def test_a_cpu_s_cores_become_devices_unless_xla_was_told_how_many() -> None:
    said = "from rec_jax.train.devices import share_cores; share_cores(3); import jax; print(len(jax.devices()))"
    for flags, expected in (("", "3"), ("--xla_force_host_platform_device_count=2", "2")):
        environment = os.environ | {"XLA_FLAGS": flags}
        done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, env=environment)
        assert done.stdout.strip() == expected, done.stderr
