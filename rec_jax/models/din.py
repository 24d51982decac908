"""DIN: a user's last events, weighted by what they have to do with the candidate. Zhou et al., "Deep Interest Network
for Click-Through Rate Prediction", KDD 2018.

The weights are not normalised (Sec. 4.3): a user who did much of the candidate's kind has a longer vector.

Both parts' first layers act on vectors side by side; their kernels are applied by vector. Of the activation unit's
input [e_j, e_i, e_j - e_i, e_j * e_i] only the product belongs to a pair: for an event of the history it is one
two-dimensional product with the whole catalogue, whose other half is computed once an evaluation.

Differences from the authors' code: (1) weights are the unit's outputs, as in the paper, where the code takes a softmax
of them over sqrt(d); (2) no categories, user profiles or context: items alone; (3) neither batch normalisation nor
Dice, which tie the examples of a batch to each other: activations are PReLU, the paper's baseline (Eq. 8); (4) the
unit's hidden layer is 36 wide as in the paper's Fig. 2 (80 and 40 in the code), the layers above 80 and 40 as in the
code (200 and 80 in the paper); no layer between the pooled vector and these, and no bias of the item; (5) embeddings
start from N(0, .02^2), layers from Glorot's normal distribution.

Checked against loops in plain numpy (tests/models/test_din.py).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from rec_jax.errors import InputError
from rec_jax.models.base import Leaf, Query, in_groups, one_by_one
from rec_jax.models.sequence import NORMAL, vectors_of


@dataclass(frozen=True)
class DINConfig:
    """The deep interest network's hyper-parameters."""

    width: int = 32
    """Width of the embeddings."""
    attention_layers: tuple[int, ...] = (36,)
    """Widths of the activation unit's hidden layers."""
    layers: tuple[int, ...] = (80, 40)
    """Widths of the hidden layers over the pooled history and the candidate."""
    max_length: int = 50
    """Events of a history that are read, the last ones."""


class DIN(nn.Module):
    """score(u, i) = MLP([sum_j a(e_j, e_i) e_j, e_i]) (Eq. 3, on the logit scale), over the user's last events j."""

    config: DINConfig
    n_users: int
    n_items: int

    user_tables: ClassVar[tuple[str, ...]] = ()

    @property
    def reads(self) -> int:
        """How many of a user's last events are read."""
        return self.config.max_length

    def setup(self) -> None:
        c = self.config
        for flag, layers in (("--attention-layers", c.attention_layers), ("--layers", c.layers)):
            if not layers or min(layers) < 1:
                raise InputError(f"{flag} {layers}: expected at least one width, each above 0")
        if c.max_length < 1:
            raise InputError(f"--max-length {c.max_length}: at least 1 event is needed")
        self.item = nn.Embed(self.n_items, c.width, embedding_init=NORMAL)
        self.unit = Layers(c.width, 4, c.attention_layers)
        self.above = Layers(c.width, 2, c.layers)

    def __call__(self, query: Query, items: Int[Array, "b k"]) -> Float[Array, "b k"]:
        """Logits of `items` for each user. What is sown of a user is the average of the history's squared norms."""
        (past, real), item = vectors_of(self.item, query, self.reads), self.item(items)
        self.sow("losses", "l2_user", ((past**2).sum(-1) * real).sum(1) / jnp.maximum(real.sum(1), 1))
        self.sow("losses", "l2_item", (item**2).sum(-1))
        unit, above = self.unit(), self.above()

        def of_group(past: Float[Array, "b t d"], real: Bool[Array, "b t"], item: Float[Array, "b k d"]) -> Array:
            (b, t, d), k = past.shape, item.shape[1]
            rows = _rows(item.reshape(b * k, d), unit, above)
            x = (past[:, None] * item[:, :, None]).reshape(b * k * t, d) @ unit.of(3)
            of_past = (past.reshape(b * t, d) @ (unit.of(0) + unit.of(2))).reshape(b, 1, t, -1)
            x = x.reshape(b, k, t, -1) + of_past + rows["unit"].reshape(b, k, 1, -1)
            weight = unit.after_first(x.reshape(b * k * t, -1)).reshape(b, k, t) * real[:, None]
            pooled = jnp.einsum("bkt,btd->bkd", weight, past).reshape(b * k, d)
            return above.after_first(pooled @ above.of(0) + rows["above"]).reshape(b, k)

        return in_groups(of_group, past, real, item)

    def prepare(self) -> dict[str, Float[Array, "n _"]]:
        """The items' vectors, and their share of both first layers."""
        return _rows(self.item.embedding, self.unit(), self.above())

    def scores(self, cache: dict[str, Any], query: Query) -> Float[Array, "b n"]:
        """Logits of the whole catalogue."""
        unit, above = self.unit(), self.above()
        return one_by_one(
            lambda user: _of_user(user[0], user[1], cache, unit, above), vectors_of(self.item, query, self.reads)
        )

    def candidates(self, cache: dict[str, Any], query: Query, items: Int[Array, "b k"]) -> Float[Array, "b k"]:
        """Logits of `items` for each user: pairs of a candidate and an event of thousands of users fill the memory."""
        unit, above = self.unit(), self.above()

        def one(user: Any) -> Float[Array, "k"]:
            past, real, ids = user
            return _of_user(past, real, {name: rows[ids] for name, rows in cache.items()}, unit, above)

        return one_by_one(one, (*vectors_of(self.item, query, self.reads), items))


def _rows(item: Float[Array, "n d"], unit: "Stack", above: "Stack") -> dict[str, Float[Array, "n _"]]:
    """What is the candidate's alone: its vector, and its share of both first layers, biases with it."""
    return {
        "item": item,
        "unit": item @ (unit.of(1) - unit.of(2)) + unit.biases[0],
        "above": item @ above.of(1) + above.biases[0],
    }


def _of_user(
    past: Float[Array, "t d"], real: Bool[Array, "t"], rows: dict[str, Any], unit: "Stack", above: "Stack"
) -> Float[Array, "n"]:
    """Logits of the items of `rows`, for one history: an event after the other, as [t, n, h] would leave the cache."""

    def weight(event: Float[Array, "d"]) -> Float[Array, "n"]:
        own = event @ (unit.of(0) + unit.of(2))
        return unit.after_first(rows["unit"] + own + rows["item"] @ (event[:, None] * unit.of(3)))

    weights = jax.lax.map(weight, past) * real[:, None]
    return above.after_first(weights.T @ past @ above.of(0) + rows["above"])


@struct.dataclass
class Stack:
    """The parameters of `Layers`: linen's own layers cannot be called inside a map over users."""

    kernels: Leaf
    biases: Leaf
    slopes: Leaf  # of every layer but the last
    width: int = struct.field(pytree_node=False)

    def of(self, number: int) -> Float[Array, "d h"]:
        """The first kernel's rows for the vector `number` of those that stand side by side."""
        return self.kernels[0][number * self.width : (number + 1) * self.width]

    def after_first(self, x: Float[Array, "m h"]) -> Float[Array, "m"]:
        """The output, from the first layer's sums."""
        for slope, kernel, bias in zip(self.slopes, self.kernels[1:], self.biases[1:], strict=True):
            x = jnp.where(x > 0, x, slope * x) @ kernel + bias
        return x[:, 0]


class Layers(nn.Module):
    """Hidden layers of `widths` units over `vectors` of one width side by side, then one linear unit.

    Hidden units are PReLU: max(x, 0) + a min(x, 0), with a slope `a` of each unit's own.
    """

    width: int
    vectors: int
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self) -> Stack:
        """The parameters."""
        sizes, glorot = (self.vectors * self.width, *self.widths, 1), nn.initializers.glorot_normal()
        kernels = [self.param(f"kernel_{n}", glorot, shape) for n, shape in enumerate(pairwise(sizes))]
        biases = [self.param(f"bias_{n}", nn.initializers.zeros, (to,)) for n, to in enumerate(sizes[1:])]
        slope = nn.initializers.constant(0.25)  # He et al., ICCV 2015, Sec. 2.1
        slopes = [self.param(f"slope_{n}", slope, (to,)) for n, to in enumerate(self.widths)]
        return Stack(kernels, biases, slopes, self.width)
