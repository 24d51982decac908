"""LightGCN against powers of a dense matrix in numpy, its gradient against that of the dense product."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError
from rec_jax.models import lightgcn
from rec_jax.models.base import Query
from rec_jax.models.lightgcn import LightGCN, LightGCNConfig, edges_of, graph_of, product, reordered
from rec_jax.objectives.base import Batch, TrainData
from rec_jax.objectives.pairwise import Pairwise, pairwise
from rec_jax.train.rows import lookups

N_USERS, N_ITEMS, D = 22, 13, 5
LONELY_USER, LONELY_ITEM = 7, 11


def log() -> Interactions:
    """Events that come up to three times; an item of 21 users, and a user and an item without any event."""
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, N_USERS, 100), (rng.random(100) ** 2 * N_ITEMS).astype(int)
    user, item = np.concatenate([user, np.arange(N_USERS)]), np.concatenate([item, np.zeros(N_USERS, int)])
    user, item = (np.concatenate([of, of[:30], of[:9]]) for of in (user, item))
    real = (user != LONELY_USER) & (item != LONELY_ITEM)
    user, item = user[real], item[real]
    order = np.argsort(user, kind="stable")
    user, item = user[order].astype(np.int32), item[order].astype(np.int32)
    return Interactions(user, item, np.ones(len(user), np.float32), np.arange(len(user), dtype=np.int64))


DATA = TrainData.of(log(), N_USERS, N_ITEMS)


def normalised() -> np.ndarray:
    """D^-1/2 A D^-1/2, dense: an edge a pair, however often it comes."""
    n = N_USERS + N_ITEMS
    matrix = np.zeros((n, n))
    for user, item in zip(log().user, log().item):
        matrix[user, N_USERS + item] = matrix[N_USERS + item, user] = 1
    degree = matrix.sum(axis=1)
    scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0)
    return scale[:, None] * matrix * scale


def made(layers: int = 3, l2: float = 0.0) -> tuple[Any, Any, Any]:
    module = LightGCN(LightGCNConfig(D, layers, init_sd=1.0), N_USERS, N_ITEMS)
    recommender = pairwise(module, Pairwise(l2=l2), DATA, 8)
    return recommender, *jax.jit(recommender.init)(jax.random.key(0), DATA)


def start(params: Any) -> np.ndarray:
    return np.concatenate([params[name]["embedding"] for name in ("user", "item")]).astype(np.float64)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_scores_are_those_of_the_matrix_s_powers(layers: int) -> None:
    recommender, params, extra = made(layers)
    vectors = sum(np.linalg.matrix_power(normalised(), k) @ start(params) for k in range(layers + 1)) / (layers + 1)
    expected = vectors[:N_USERS] @ vectors[N_USERS:].T
    cache, user = jax.jit(recommender.prepare)(params, extra), jnp.arange(N_USERS)
    np.testing.assert_allclose(recommender.scores(cache, Query(user)), expected, rtol=1e-4, atol=1e-5)
    ids = jnp.array([[3, 3], [LONELY_ITEM, 0]])
    found = recommender.score_candidates(cache, Query(jnp.array([LONELY_USER, 19])), ids)
    np.testing.assert_allclose(found, [expected[LONELY_USER, ids[0]], expected[19, ids[1]]], rtol=1e-4, atol=1e-5)


def test_who_has_no_event_keeps_its_share_of_layer_0() -> None:
    recommender, params, extra = made(3)
    found = jax.jit(recommender.prepare)(params, extra)["items"]
    for name, lonely in (("user", LONELY_USER), ("item", LONELY_ITEM)):
        np.testing.assert_allclose(found[name][lonely], params[name]["embedding"][lonely] / 4, rtol=1e-6)


def test_the_loss_and_its_gradient_are_those_of_the_dense_matrix() -> None:
    recommender, params, extra = made(2, l2=0.3)
    batch = Batch(jnp.array([4, 4, 19]), jnp.array([[1, 2], [0, 9], [12, 0]]), jnp.ones(3), jnp.array([1.0, 2.0, 0.0]))
    matrix = jnp.asarray(normalised())

    def dense(params: Any) -> Any:
        x = jnp.concatenate([params["user"]["embedding"], params["item"]["embedding"]])
        vectors = (x + matrix @ x + matrix @ (matrix @ x)) / 3
        user, items = vectors[batch.user], vectors[N_USERS + batch.items]
        scores = jnp.einsum("bd,bkd->bk", user, items)
        penalty = (x[batch.user] ** 2).sum(-1) + (x[N_USERS + batch.items] ** 2).sum(-1).mean(axis=1)
        value = jnp.log1p(jnp.exp(scores[:, 1] - scores[:, 0])) + 0.3 * penalty
        return (batch.weight * value).mean()

    def sparse(params: Any) -> Any:
        return recommender.loss(params, extra, batch, jax.random.key(0), jnp.int32(0))[0]

    one, other = (jax.jit(jax.value_and_grad(of))(params) for of in (sparse, dense))
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_nothing_is_scattered() -> None:
    graph, _ = graph_of(*edges_of(DATA), N_USERS + N_ITEMS)

    def through(graph: Any, x: Any) -> Any:
        x = reordered(x, graph["order"], graph["place"])
        return (product(graph, product(graph, x)) ** 2).sum()

    traced = jax.jit(jax.grad(through, argnums=1)).lower(graph, jnp.ones((N_USERS + N_ITEMS, D)))
    assert "gather" in traced.as_text()
    assert "scatter" not in traced.as_text()


def test_slots_hold_every_edge_once() -> None:
    """In groups of eight, the number of groups a power of two; those who have no neighbour in none."""
    n = N_USERS + N_ITEMS
    graph, edges = graph_of(*edges_of(DATA), n)
    order, found, first, flat = np.asarray(graph["order"]), [], 0, []
    for slots in lightgcn.ascending(graph["slots"]):
        assert slots.shape[2] == lightgcn.GROUP
        assert slots.shape[0].bit_count() == 1
        for row in range(slots.shape[1]):
            real = np.asarray(slots[:, row])[np.asarray(slots[:, row]) < n]
            assert slots.shape[0] == 1 or slots.size / slots.shape[1] / 2 < len(real)
            found += [(order[first + row], order[j]) for j in real]
        first += slots.shape[1]
        flat.append(np.asarray(slots).ravel())
    assert sorted(found) == sorted(zip(*(of.tolist() for of in edges_of(DATA))))
    assert sorted(order[first:].tolist()) == [LONELY_USER, N_USERS + LONELY_ITEM]
    assert {len(of) for of in graph["slots"].values()} == {1, 2, 4}  # popular items span several groups
    np.testing.assert_array_equal(np.concatenate(flat)[edges["at"]], edges["column"])


def test_options_out_of_range_and_sparse_rows_are_refused() -> None:
    data_of = pairwise(LightGCN(LightGCNConfig(layers=-1), N_USERS, N_ITEMS), Pairwise(), DATA, 8)
    with pytest.raises(InputError, match="--layers -1"):
        data_of.init(jax.random.key(0), DATA)
    recommender, params, extra = made(0)
    batch = Batch(jnp.array([4]), jnp.array([[1, 2]]), jnp.ones(1), jnp.ones(1))

    def looked_up(params: Any) -> None:
        lookups(lambda p: recommender.loss(p, extra, batch, jax.random.key(0), jnp.int32(0))[0], params)

    with pytest.raises(InputError, match="its gradient is not sparse"):
        jax.eval_shape(looked_up, params)
