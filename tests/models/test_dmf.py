"""Deep matrix factorisation against its formulas in plain Python, and its sparse rows against scipy's."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from rec_jax.building import build
from rec_jax.errors import InputError
from rec_jax.models import dmf
from rec_jax.models.base import Query
from rec_jax.objectives.base import Batch, TrainData
from rec_jax.objectives.pointwise import Pointwise, pointwise
from rec_jax.problem import pose
from tests.helpers import N_ITEMS, N_USERS, small_dataset, small_experiment, write_small_csv


def plain_tower(row: list[float], params: Any, layers: int) -> list[float]:
    """ReLU layers, then length 1."""
    for i in range(layers):
        kernel, bias = np.asarray(params[f"kernel_{i}"]).tolist(), np.asarray(params[f"bias_{i}"]).tolist()
        row = [max(0.0, sum(x * k[j] for x, k in zip(row, kernel)) + bias[j]) for j in range(len(bias))]
    length = math.sqrt(sum(x * x for x in row)) or 1.0
    return [x / length for x in row]


@pytest.fixture
def data() -> TrainData:
    log = small_dataset()
    return TrainData.of(log.interactions, log.n_users, log.n_items)


def matrix_of(data: TrainData) -> np.ndarray:
    found = np.zeros((N_USERS, N_ITEMS))
    found[np.asarray(data.user), np.asarray(data.item)] = np.asarray(data.rating)
    return found


@pytest.mark.parametrize("graded", [True, False])
def test_scores_and_loss_are_those_of_the_paper(data: TrainData, graded: bool) -> None:
    module = dmf.DMF(dmf.DMFConfig((6, 4), (5, 4), init_sd=0.3), N_USERS, N_ITEMS)
    made = pointwise(module, Pointwise(negatives=2, graded=graded), data, 8)
    params, extra = made.init(jax.random.key(0), data)
    known = matrix_of(data)
    users = [plain_tower(known[u].tolist(), params["user_tower"], 2) for u in range(N_USERS)]
    items = [plain_tower(known[:, i].tolist(), params["item_tower"], 2) for i in range(N_ITEMS)]
    cosine = [[max(1e-6, sum(a * b for a, b in zip(u, i))) for i in items] for u in users]
    expected = [[math.log(p) - math.log(1 - p) for p in row] for row in cosine]
    cache = made.prepare(params, extra)
    np.testing.assert_allclose(made.scores(cache, Query(jnp.arange(N_USERS))), expected, rtol=1e-3, atol=1e-3)
    picked = jnp.array([[0, 3], [7, 7], [19, 2]])
    np.testing.assert_allclose(
        made.score_candidates(cache, Query(jnp.array([4, 0, 29])), picked),
        [[expected[u][i] for i in row] for u, row in zip((4, 0, 29), picked.tolist())],
        rtol=1e-3,
        atol=1e-3,
    )
    user, picked_items, rating = [3, 8], [[1, 2, 5], [0, 9, 4]], [2.0, 5.0]
    total = 0.0
    for u, row, r in zip(user, picked_items, rating):
        for place, i in enumerate(row):
            y = 0.0 if place else (r / 5 if graded else 1.0)
            total -= y * math.log(cosine[u][i]) + (1 - y) * math.log(1 - cosine[u][i])
    batch = Batch(jnp.array(user), jnp.array(picked_items), jnp.array(rating), jnp.ones(2))
    loss = made.loss(params, extra, batch, jax.random.key(0), jnp.int32(0))[0]
    assert float(loss) == pytest.approx(total / 6, rel=1e-4)


def test_rows_are_those_of_the_matrix_and_a_repeated_pair_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dmf, "BLOCK", 4)
    rng = np.random.default_rng(0)
    row, column = rng.integers(0, 9, 60), rng.integers(0, 7, 60)
    value = rng.integers(1, 6, 60).astype(np.float32)
    last = {(r, c): v for r, c, v in zip(row.tolist(), column.tolist(), value.tolist())}
    keys = np.array(list(last))
    expected = scipy.sparse.coo_matrix((list(last.values()), keys.T), (9, 7)).toarray()
    held = dmf._sparse(row, column, value, 9)
    np.testing.assert_array_equal(dmf.dense(held, jnp.arange(9), 7), expected)
    np.testing.assert_array_equal(dmf.dense(held, jnp.array([8, 8, 0]), 7), expected[[8, 8, 0]])
    blocks = [dmf.dense_block(held, jnp.int32(first), 7) for first in (0, 4, 8)]
    np.testing.assert_array_equal(np.concatenate(blocks), np.pad(expected, ((0, 3), (0, 0))))
    assert held["value"].size == len(last)  # memory in proportion to the ratings


def test_everyone_in_blocks_is_each_one_read_alone(data: TrainData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients, with blocks of which the last is short."""
    monkeypatch.setattr(dmf, "BLOCK", 7)
    module = dmf.DMF(dmf.DMFConfig((6, 4), (5, 4), init_sd=0.3), N_USERS, N_ITEMS)
    made = pointwise(module, Pointwise(negatives=2), data, 8)
    params, extra = made.init(jax.random.key(1), data)
    few = Batch(jnp.array([3, 8]), jnp.array([[1, 2], [0, 9]]), jnp.ones(2), jnp.ones(2))
    many = jax.tree.map(lambda x: jnp.tile(x, (20,) + (1,) * (x.ndim - 1)), few)  # 40 users, 80 items: more than all

    def loss(params: Any, batch: Batch) -> Any:
        return made.loss(params, extra, batch, jax.random.key(0), jnp.int32(0))[0]

    (a, da), (b, db) = (jax.value_and_grad(loss)(params, batch) for batch in (few, many))
    assert float(a) == pytest.approx(float(b), rel=1e-5)
    for x, y in zip(jax.tree.leaves(da), jax.tree.leaves(db), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("user", "item"), [((8, 4), (8, 5)), ((), (4,)), ((0, 4), (4,))])
def test_towers_that_do_not_meet(tmp_path: Path, user: tuple[int, ...], item: tuple[int, ...]) -> None:
    what = small_experiment(write_small_csv(tmp_path / "log.csv"), "dmf")
    what = dataclasses.replace(what, architecture=dmf.DMFConfig(user, item))
    problem = pose(what, tmp_path)
    recommender = build(what, problem)
    with pytest.raises(InputError, match="last widths must be equal"):
        jax.jit(recommender.init)(jax.random.key(0), problem.train)
