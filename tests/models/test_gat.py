"""Graph attention against a loop in plain numpy, its gradient against that of a dense attention matrix."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.models.base import Query
from rec_jax.models.gat import GAT, GATConfig
from rec_jax.objectives.base import TrainData
from rec_jax.objectives.pairwise import Pairwise, pairwise
from tests.models.test_lightgcn import DATA, LONELY_ITEM, LONELY_USER, N_ITEMS, N_USERS, D, normalised, start

CONFIG = GATConfig(D, layers=2, heads=2, slope=0.3, init_sd=1.0)


def made(data: TrainData = DATA, **changes: Any) -> tuple[Any, Any, Any]:
    recommender = pairwise(GAT(dataclasses.replace(CONFIG, **changes), N_USERS, N_ITEMS), Pairwise(), data, 8)
    return recommender, *jax.jit(recommender.init)(jax.random.key(0), data)


def by_loops(params: Any) -> np.ndarray:
    """Everyone's vectors, a node, a head and a neighbour at a time."""
    edges, layers = normalised() > 0, [start(params)]
    for k in range(CONFIG.layers):
        found = np.zeros_like(layers[0])
        for kernel, attention in zip(np.asarray(params[f"kernel_{k}"]), np.asarray(params[f"attention_{k}"])):
            z = layers[-1] @ kernel
            for i in range(len(z)):
                neighbours = np.flatnonzero(edges[i]).tolist()
                raised = []
                for j in neighbours:
                    logit = float(np.concatenate([z[i], z[j]]) @ attention[:, 0])
                    raised.append(math.exp(logit if logit > 0 else CONFIG.slope * logit))
                for j, share in zip(neighbours, raised):
                    found[i] += share / sum(raised) * z[j] / CONFIG.heads
        layers.append(found)
    return np.mean(layers, axis=0)


def test_scores_are_the_loop_s() -> None:
    recommender, params, extra = made()
    vectors = by_loops(params)
    expected = vectors[:N_USERS] @ vectors[N_USERS:].T
    cache, user = jax.jit(recommender.prepare)(params, extra), jnp.arange(N_USERS)
    np.testing.assert_allclose(recommender.scores(cache, Query(user)), expected, rtol=1e-3, atol=1e-4)
    ids = jnp.array([[3, 3], [LONELY_ITEM, 0]])
    found = recommender.score_candidates(cache, Query(jnp.array([LONELY_USER, 19])), ids)
    np.testing.assert_allclose(found, [expected[LONELY_USER, ids[0]], expected[19, ids[1]]], rtol=1e-3, atol=1e-4)
    lonely = cache["items"]["user"][LONELY_USER]
    np.testing.assert_allclose(lonely, params["user"]["embedding"][LONELY_USER] / 3, rtol=1e-6)


def test_the_gradient_is_that_of_a_dense_attention_matrix() -> None:
    """Of every parameter."""
    recommender, params, extra = made(layers=1)
    edges, towards = jnp.asarray(normalised() > 0), jax.random.normal(jax.random.key(5), (N_USERS + N_ITEMS, D))
    alone = ~edges.any(axis=1, keepdims=True)

    def dense(params: Any) -> Any:
        x = total = jnp.concatenate([params["user"]["embedding"], params["item"]["embedding"]])
        for kernel, attention in zip(params["kernel_0"], params["attention_0"]):
            z = x @ kernel
            logits = z @ attention[:D] + (z @ attention[D:]).T
            logits = jnp.where(logits > 0, logits, CONFIG.slope * logits)
            shares = jax.nn.softmax(jnp.where(edges | alone, logits, -jnp.inf), axis=1)
            total = total + jnp.where(alone, 0.0, shares) @ z / CONFIG.heads
        return (total / 2 * towards).sum()

    def sparse(params: Any) -> Any:
        found = recommender.prepare(params, extra)["items"]
        return (jnp.concatenate([found["user"], found["item"]]) * towards).sum()

    one, other = (jax.jit(jax.value_and_grad(of))(params) for of in (sparse, dense))
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-4)


def test_no_weight_of_a_neighbour_is_scattered() -> None:
    recommender, params, extra = made(layers=1)

    def through(params: Any, extra: Any) -> Any:
        found = recommender.prepare(params, extra)["items"]
        return found["user"].sum() + found["item"].sum()

    text = jax.jit(jax.grad(through)).lower(params, extra).as_text()
    # Two: everyone's vectors, taken out of the graph's order once each for users and items.
    assert text.count('"stablehlo.scatter"') <= 2


def test_heads_are_needed() -> None:
    with pytest.raises(InputError, match="--heads 0"):
        made(heads=0)
