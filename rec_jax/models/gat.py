"""Graph attention over users and items. Velickovic et al., "Graph Attention Networks", ICLR 2018, with the layers and
their mean as in LightGCN (He et al., SIGIR 2020), so that the two differ in the weights of neighbours alone.

In every layer and head, z = E W; node i gives its neighbour j the weight softmax_j LeakyReLU(a^T [z_i || z_j]) (Eq. 3);
heads are averaged (Eq. 6). A node's vector is the mean of its layers 0..K, and the score a dot product.

Differences from the paper: (1) the graph is of users and items, and nodes start from learnt vectors instead of
features; (2) a node is not its own neighbour: its own vector has its place in the layers' mean; (3) a layer ends
without a nonlinearity; (4) there is no dropout; (5) every layer's heads are averaged, not the last one's alone.

As in LightGCN nothing is scattered: the gradient of a weighted sum over neighbours is a weighted sum over neighbours,
with the weights of the edges in the opposite direction.

Checked against a loop in plain numpy, and its gradient against that of a dense matrix (tests/models/test_gat.py).
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rec_jax.errors import InputError
from rec_jax.models.lightgcn import GROUP, GraphModel, all_nodes, ascending, edges_of, graph_of, take, with_zero


@dataclass(frozen=True)
class GATConfig:
    """Graph attention's hyper-parameters."""

    factors: int = 64
    """Width of the user and item vectors, and of each head."""
    layers: int = 2
    """Steps along the graph; 0 is plain matrix factorisation."""
    heads: int = 2
    """Attention heads, averaged."""
    slope: float = 0.2
    """LeakyReLU's slope below 0."""
    init_sd: float = 0.1
    """Standard deviation of the initial vectors."""


class GAT(GraphModel):
    """E^(k+1)_i = mean over heads of sum_j alpha_ij W E^(k)_j, over i's neighbours j."""

    config: GATConfig

    @staticmethod
    def fixed(data: Any) -> dict[str, Any]:
        """LightGCN's graph, and of each slot the one of the edge in the opposite direction."""
        graph, edges = graph_of(*edges_of(data), data.n_users + data.n_items)
        return {"graph": {**graph, "mate": mates(graph, edges)}}

    def setup(self) -> None:
        super().setup()
        c, each = self.config, nn.initializers.glorot_normal(batch_axis=0)
        if c.heads < 1:
            raise InputError(f"--heads {c.heads}: at least 1 is needed")
        shape, pair = (c.heads, c.factors, c.factors), (c.heads, 2 * c.factors, 1)
        self.kernels = [self.param(f"kernel_{k}", each, shape) for k in range(c.layers)]
        self.attention = [self.param(f"attention_{k}", each, pair) for k in range(c.layers)]

    def layer(self, k: int, graph: dict[str, Any], x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The average over heads."""
        total = jnp.zeros_like(x)
        for kernel, attention in zip(self.kernels[k], self.attention[k]):
            z = x @ kernel
            own, other = (z @ half for half in jnp.split(attention.reshape(-1), 2))
            total = total + weighted(graph, weights(graph, own, other, self.config.slope), z)
        return total / self.config.heads


Slots = list[Array]
"""A number for each slot of a graph, [s r GROUP] a power, the powers ascending; 0 where a slot is empty."""


def mates(graph: dict[str, Any], edges: dict[str, np.ndarray]) -> dict[str, Any]:
    """Of each slot the one of its edge's opposite, slots numbered through; one past the last where it is empty."""
    row, column, at = edges["row"], edges["column"], edges["at"]
    opposite = np.empty(len(row), np.int64)
    opposite[np.lexsort((row, column))] = np.arange(len(row))  # edges are sorted by (row, column)
    slots = {name: graph["slots"][name] for name in sorted(graph["slots"], key=int)}
    ends = np.cumsum([of.size for of in slots.values()])
    count = int(ends[-1]) if len(ends) else 0
    flat = np.full(count, count, np.int32)
    flat[at] = at[opposite]
    parts = np.split(flat, ends[:-1]) if len(ends) else []
    return {name: jnp.asarray(part.reshape(of.shape)) for part, (name, of) in zip(parts, slots.items())}


def weights(graph: dict[str, Any], own: Float[Array, "n"], other: Float[Array, "n"], slope: float) -> Slots:
    """softmax over i's neighbours j of LeakyReLU(own_i + other_j)."""
    found, first = [], 0
    for ids, of_other in zip(ascending(graph["slots"]), across(graph, other)):
        logits = nn.leaky_relu(own[first : first + ids.shape[1], None] + of_other, slope)
        # A node in a slot has a neighbour, so that no row is empty.
        found.append(nn.softmax(logits, axis=(0, 2), where=ids < len(own)))
        first += ids.shape[1]
    return found


@jax.custom_vjp
def across(graph: dict[str, Any], x: Float[Array, "n"]) -> Slots:
    """The neighbour's number in each slot."""
    padded = with_zero(x)
    return [take(padded, ids) for ids in ascending(graph["slots"])]


def _across_forward(graph: dict[str, Any], x: Array) -> tuple[Slots, Any]:
    return across(graph, x), (graph, x)


def _across_backward(kept: Any, gradient: Slots) -> tuple[None, Array]:
    graph, x = kept
    return None, all_nodes([of.sum(axis=(0, 2)) for of in turned(graph, gradient)], len(x))


across.defvjp(_across_forward, _across_backward)


def turned(graph: dict[str, Any], of: Slots) -> Slots:
    """In each slot, what is in that of the edge in the opposite direction; 0 where it is empty."""
    flat = jnp.concatenate([*(part.reshape(-1) for part in of), jnp.zeros(1)])
    return [take(flat, ids) for ids in ascending(graph["mate"])]


@jax.custom_vjp
def weighted(graph: dict[str, Any], weight: Slots, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """sum_j weight_ij x_j over i's neighbours j."""
    padded = with_zero(x)
    found = [_weighted_sums(padded, ids, of) for ids, of in zip(ascending(graph["slots"]), weight)]
    return all_nodes(found, len(x)) if found else jnp.zeros_like(x)


def _weighted_sums(
    x: Float[Array, "m d"], slots: Int[Array, "s r g"], weight: Float[Array, "s r g"]
) -> Float[Array, "r d"]:
    """The sum over each node's slots; as LightGCN's."""

    def of_group(s: Any) -> Float[Array, "r d"]:
        ids, by = slots[s], weight[s]
        found = by[:, :1] * take(x, ids[:, 0])
        for j in range(1, GROUP):
            found = found + by[:, j : j + 1] * take(x, ids[:, j])
        return found

    return jax.lax.fori_loop(1, len(slots), lambda s, total: total + of_group(s), of_group(0))


def _products(
    gradient: Float[Array, "r d"], x: Float[Array, "m d"], slots: Int[Array, "s r g"]
) -> Float[Array, "s r g"]:
    """<gradient_i, x_j> of each slot."""
    ones = jnp.ones(x.shape[1])

    def of_group(ids: Int[Array, "r g"]) -> Float[Array, "r g"]:
        # A product with ones, for a sum: XLA's own sum over the last axis adds one number at a time.
        return jnp.stack([(gradient * take(x, ids[:, j])) @ ones for j in range(GROUP)], axis=1)

    return jax.lax.map(of_group, slots)


def _weighted_forward(graph: dict[str, Any], weight: Slots, x: Array) -> tuple[Array, Any]:
    return weighted(graph, weight, x), (graph, weight, x)


def _weighted_backward(kept: Any, gradient: Array) -> tuple[None, Slots, Array]:
    graph, weight, x = kept
    padded, by_slot, first = with_zero(x), [], 0
    for ids in ascending(graph["slots"]):
        by_slot.append(_products(gradient[first : first + ids.shape[1]], padded, ids))
        first += ids.shape[1]
    return None, by_slot, weighted(graph, turned(graph, weight), gradient)


weighted.defvjp(_weighted_forward, _weighted_backward)
