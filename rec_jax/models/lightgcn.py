"""LightGCN: the embeddings of a user's and an item's neighbourhoods, averaged. He et al., "LightGCN: Simplifying and
Powering Graph Convolution Network for Recommendation", SIGIR 2020.

E^(k+1) = D^-1/2 A D^-1/2 E^(k) over the graph of users and items (Eqs. 3 and 8), the mean of layers 0..K (Eq. 4 with
alpha_k = 1/(K+1), as in Sec. 3.1.2), and a dot product (Eq. 5). A pair that comes twice is one edge.

Differences from the authors' code: (1) a step's penalty is averaged over a pair's items, the positive one among them,
and not halved; (2) the graph is whole in every step: there is no option to drop edges (the authors' is off).

The product with the graph is nearly all of a step. Added up edge by edge (`segment_sum`, sorted) it is a scatter, for
which a row an edge is laid out: at Gowalla's size (70,839 nodes, 810,128 edges, 64 factors, one core) that takes 41 ms
within a compiled loop and 150 ms by itself. As sums of gathered rows (`graph_of`) it takes 14 ms and 13 to 36 ms. The
matrix is symmetric, so that the product is its own gradient and nothing is ever scattered over the graph.

Checked against powers of a dense matrix in numpy (tests/models/test_lightgcn.py).
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rec_jax.errors import InputError
from rec_jax.models.base import Query, power_of_two

GROUP = 8
"""Gathered rows that are added in one pass: XLA makes a loop over the width of them, which runs in vector registers."""


@dataclass(frozen=True)
class LightGCNConfig:
    """LightGCN's hyper-parameters."""

    factors: int = 64
    """Width of the user and item vectors."""
    layers: int = 3
    """Steps along the graph; 0 is plain matrix factorisation."""
    init_sd: float = 0.1
    """Standard deviation of the initial vectors."""


class GraphModel(nn.Module):
    """score(u, i) = <e_u, e_i>, e the mean of a node's vectors in layers 0..K.

    `config` has fields `factors`, `layers` and `init_sd`; a subclass says what a layer is.
    """

    config: Any
    n_users: int
    n_items: int

    @staticmethod
    def fixed(data: Any) -> dict[str, Any]:
        """The graph of the train events, from `objectives.base.TrainData`."""
        return {"graph": graph_of(*edges_of(data), data.n_users + data.n_items)[0]}

    def setup(self) -> None:
        if self.config.layers < 0 or self.config.factors < 1:
            raise InputError(
                f"--layers {self.config.layers} --factors {self.config.factors}: expected layers from 0 on, "
                "and at least 1 factor"
            )
        normal = nn.initializers.normal(self.config.init_sd)
        self.user = nn.Embed(self.n_users, self.config.factors, embedding_init=normal)
        self.item = nn.Embed(self.n_items, self.config.factors, embedding_init=normal)

    def layer(self, k: int, graph: dict[str, Any], x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Layer k + 1 from layer k, both in the graph's order."""
        raise NotImplementedError

    def everyone(self) -> tuple[Float[Array, "n d"], Int[Array, "n"]]:
        """(every node's vector in the graph's order, the place of each in it: the users', then the items')."""
        graph: Any = self.variables["graph"]
        x = reordered(jnp.concatenate([self.user.embedding, self.item.embedding]), graph["order"], graph["place"])
        total = x
        for k in range(self.config.layers):
            x = self.layer(k, graph, x)
            total = total + x
        return total / (self.config.layers + 1), graph["place"]

    def __call__(self, query: Query, items: Int[Array, "b k"]) -> Float[Array, "b k"]:
        """Scores of `items` for each user."""
        # What is penalised is what is learnt, layer 0, as in the authors' code.
        self.sow("losses", "l2_user", (self.user(query.user) ** 2).sum(-1))
        self.sow("losses", "l2_item", (self.item(items) ** 2).sum(-1))
        found, place = self.everyone()
        return jnp.einsum("bd,bkd->bk", found[place[query.user]], found[place[self.n_users + items]])

    def prepare(self) -> dict[str, Float[Array, "_ d"]]:
        """Everyone's vectors."""
        found, place = self.everyone()
        return {"user": found[place[: self.n_users]], "item": found[place[self.n_users :]]}

    def scores(self, cache: dict[str, Any], query: Query) -> Float[Array, "b n"]:
        """Scores of the whole catalogue."""
        return cache["user"][query.user] @ cache["item"].T

    def candidates(self, cache: dict[str, Any], query: Query, items: Int[Array, "b k"]) -> Float[Array, "b k"]:
        """Scores of `items` for each user."""
        return jnp.einsum("bd,bkd->bk", cache["user"][query.user], cache["item"][items])


class LightGCN(GraphModel):
    """E^(k+1) = D^-1/2 A D^-1/2 E^(k)."""

    config: LightGCNConfig

    def layer(self, k: int, graph: dict[str, Any], x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The neighbours' vectors, each over the roots of both numbers of neighbours."""
        return product(graph, x)


def edges_of(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """(from [2e], to [2e]) of every edge in both directions; items are numbered after the users."""
    user = np.repeat(np.arange(data.n_users), np.diff(np.asarray(data.positives_start)))
    item = data.n_users + np.asarray(data.positives)
    return np.concatenate([user, item]), np.concatenate([item, user])


def graph_of(row: np.ndarray, column: np.ndarray, n: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(a graph for `product`, where each edge's slot is) from the edges row -> column, distinct and in both directions.

    Nodes are put in the order of their number of neighbours: `order` says who stands at a place, `place` where a node
    stands. All with 2^(j-1) + 1 to 2^j neighbours (or up to GROUP) are together, and their neighbours' places stand in
    `slots`, by the power: [2^j / GROUP, nodes, GROUP], n where nobody is. Those without neighbours come last. On
    Gowalla 1.4 times as many slots as edges are held. `share` is 1 / sqrt(neighbours), 0 of none.

    Slots are numbered through, the powers ascending: `at` [2e] of `row`'s and `column`'s edges, here sorted by place.
    """
    degree = np.bincount(row, minlength=n)
    power = np.array([max(GROUP, power_of_two(int(d))) if d else 2**31 for d in degree.tolist()], np.int64)
    order = np.argsort(power, kind="stable")
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    row, column, power, degree = place[row], place[column], power[order], degree[order]
    by_row = np.lexsort((column, row))
    row, column = row[by_row], column[by_row]
    nth = np.arange(len(row)) - np.searchsorted(row, row)

    slots, at, first, before = {}, np.zeros(len(row), np.int64), 0, 0
    for width in np.unique(power[degree > 0]).tolist():
        count = int((power == width).sum())
        inside = (row >= first) & (row < first + count)
        group, place_in = np.divmod(nth[inside], GROUP)
        found = np.full((width // GROUP, count, GROUP), n, np.int32)
        found[group, row[inside] - first, place_in] = column[inside]
        at[inside] = before + np.ravel_multi_index((group, row[inside] - first, place_in), found.shape)
        slots[str(width)] = jnp.asarray(found)
        first, before = first + count, before + found.size
    share = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0)
    graph = {
        "order": jnp.asarray(order, jnp.int32),
        "place": jnp.asarray(place, jnp.int32),
        "share": jnp.asarray(share, jnp.float32),
        "slots": slots,
    }
    return graph, {"row": row, "column": column, "at": at}


def ascending(slots: dict[str, Any]) -> list[Any]:
    """The slots of each power, the powers ascending: a pytree's own order is that of their names."""
    return [slots[name] for name in sorted(slots, key=int)]


def take(x: Float[Array, "m *s"], ids: Int[Array, "*t"]) -> Float[Array, "..."]:
    """x[ids], without the check that there are such rows: that is a third of the time."""
    return x.at[ids].get(mode="promise_in_bounds")


def with_zero(x: Float[Array, "n *s"]) -> Float[Array, "m *s"]:
    """`x` and a row of zeros: what an empty slot points to."""
    return jnp.concatenate([x, jnp.zeros((1, *x.shape[1:]), x.dtype)])


def all_nodes(found: list[Array], n: int) -> Float[Array, "n *s"]:
    """What was found for the nodes of each power, in order, and 0 for those without neighbours."""
    rest = n - sum(len(x) for x in found)
    tail = found[0].shape[1:] if found else ()
    return jnp.concatenate([*found, jnp.zeros((rest, *tail))])


@jax.custom_vjp
def product(graph: dict[str, Any], x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """D^-1/2 A D^-1/2 x, rows in the graph's order."""
    slots, share = ascending(graph["slots"]), graph["share"][:, None]
    if not slots:
        return jnp.zeros_like(x)
    padded = with_zero(share * x)
    return share * all_nodes([_sums(padded, of) for of in slots], len(x))


def _sums(x: Float[Array, "m d"], slots: Int[Array, "s r g"]) -> Float[Array, "r d"]:
    """The sum of the rows of `x` in each node's slots."""

    def of_group(ids: Int[Array, "r g"]) -> Float[Array, "r d"]:
        found = take(x, ids[:, 0])
        for j in range(1, GROUP):
            found = found + take(x, ids[:, j])
        return found

    return jax.lax.fori_loop(1, len(slots), lambda s, total: total + of_group(slots[s]), of_group(slots[0]))


def _product_forward(graph: dict[str, Any], x: Array) -> tuple[Array, dict[str, Any]]:
    return product(graph, x), graph


def _product_backward(graph: dict[str, Any], gradient: Array) -> tuple[None, Array]:
    return None, product(graph, gradient)


product.defvjp(_product_forward, _product_backward)


@jax.custom_vjp
def reordered(x: Float[Array, "n d"], order: Int[Array, "n"], place: Int[Array, "n"]) -> Float[Array, "n d"]:
    """x[order]; its gradient is taken by the inverse, `place`, and not scattered."""
    return take(x, order)


def _reordered_forward(x: Array, order: Array, place: Array) -> tuple[Array, Array]:
    return take(x, order), place


def _reordered_backward(place: Array, gradient: Array) -> tuple[Array, None, None]:
    return take(gradient, place), None, None


reordered.defvjp(_reordered_forward, _reordered_backward)
