"""NAIS: item similarities, weighted by attention. He et al., "NAIS: Neural Attentive Item Similarity Model for
Recommendation", TKDE 2018.

The softmax over a history is smoothed: its sum is raised to the power beta < 1, as histories differ in length too much
for weights that sum to 1 (Sec. 3).

Differences from the authors' code: (1) a history is the user's last events before the one that is scored, where the
code takes all others, later ones too; (2) no pre-training by FISM, and vectors start from N(0, .02^2), not .01; (3)
NAIS-prod alone, not NAIS-concat; (4) the penalty is on the vectors that were looked up (`--l2`), not on W; (5) the
attention's biases start at 0; (6) scores are not scaled by a power of the history's length, whose exponent is 0 there.

Checked against loops in plain numpy (tests/models/test_nais.py).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rec_jax.errors import InputError
from rec_jax.models.base import Query, in_groups, one_by_one
from rec_jax.models.sequence import NORMAL, vectors_of


@dataclass(frozen=True)
class NAISConfig:
    """NAIS's hyper-parameters."""

    factors: int = 16
    """Width of the items' vectors, of which each has two: as a candidate and in a history."""
    attention: int = 16
    """Hidden units of the attention."""
    beta: float = 0.5
    """Exponent of the softmax's sum (1: a softmax)."""
    max_length: int = 50
    """Events of a history that are read, the last ones."""


class NAIS(nn.Module):
    """score(u, i) = b_i + p_i . sum_j a_ij q_j over the user's last events j, on the logit scale,

    a_ij = exp(f_ij) / (sum_j exp(f_ij))^beta, f_ij = h . relu(W (p_i * q_j) + b).
    """

    config: NAISConfig
    n_users: int
    n_items: int

    user_tables: ClassVar[tuple[str, ...]] = ()

    @property
    def reads(self) -> int:
        """How many of a user's last events are read."""
        return self.config.max_length

    def setup(self) -> None:
        c = self.config
        if not 0 <= c.beta <= 1:
            raise InputError(f"--beta {c.beta:g}: expected a number from 0 to 1")
        if c.attention < 1:
            raise InputError(f"--attention {c.attention}: at least 1 hidden unit is needed")
        if c.max_length < 1:
            raise InputError(f"--max-length {c.max_length}: at least 1 event is needed")
        self.item = nn.Embed(self.n_items, c.factors, embedding_init=NORMAL)
        self.past = nn.Embed(self.n_items, c.factors, embedding_init=NORMAL)
        self.item_bias = nn.Embed(self.n_items, 1, embedding_init=nn.initializers.zeros)
        self.kernel = self.param("kernel", nn.initializers.glorot_normal(), (c.factors, c.attention))
        self.bias = self.param("bias", nn.initializers.zeros, (c.attention,))
        self.output = self.param("output", nn.initializers.ones, (c.attention,))

    def __call__(self, query: Query, items: Int[Array, "b k"]) -> Float[Array, "b k"]:
        """Logits of `items` for each user. What is sown of a user is the average of the history's squared norms."""
        (past, real), item, bias = (
            vectors_of(self.past, query, self.reads),
            self.item(items),
            self.item_bias(items)[..., 0],
        )
        self.sow("losses", "l2_user", ((past**2).sum(-1) * real).sum(1) / jnp.maximum(real.sum(1), 1))
        self.sow("losses", "l2_item", (item**2).sum(-1) + bias**2)
        kernel, attention_bias, output, beta = self.kernel, self.bias, self.output, self.config.beta

        def of_group(past: Float[Array, "b t d"], real: Bool[Array, "b t"], item: Float[Array, "b k d"]) -> Array:
            (b, t, d), k = past.shape, item.shape[1]
            x = (past[:, None] * item[:, :, None]).reshape(b * k * t, d) @ kernel + attention_bias
            attention = (nn.relu(x) @ output).reshape(b, k, t)
            weight = smoothed(attention, jnp.broadcast_to(real[:, None], (b, k, t)), beta)
            return (weight * jnp.einsum("bkd,btd->bkt", item, past)).sum(-1)

        return in_groups(of_group, past, real, item) + bias

    def prepare(self) -> dict[str, Array]:
        """The candidates' vectors and biases."""
        return {"item": self.item.embedding, "bias": self.item_bias.embedding[:, 0]}

    def scores(self, cache: dict[str, Any], query: Query) -> Float[Array, "b n"]:
        """Logits of the whole catalogue."""
        of_user = self._of_user()
        return one_by_one(lambda user: of_user(*user, cache), vectors_of(self.past, query, self.reads))

    def candidates(self, cache: dict[str, Any], query: Query, items: Int[Array, "b k"]) -> Float[Array, "b k"]:
        """Logits of `items` for each user: pairs of a candidate and an event of thousands of users fill the memory."""
        of_user = self._of_user()

        def one(user: Any) -> Float[Array, "k"]:
            past, real, ids = user
            return of_user(past, real, {name: rows[ids] for name, rows in cache.items()})

        return one_by_one(one, (*vectors_of(self.past, query, self.reads), items))

    def _of_user(self) -> Any:
        """(vectors of a history [t d], which are real [t], rows of the cache [n ·]) -> logits [n]."""
        kernel, bias, output, beta = self.kernel, self.bias, self.output, self.config.beta

        def of_user(past: Float[Array, "t d"], real: Bool[Array, "t"], rows: dict[str, Any]) -> Float[Array, "n"]:
            item = rows["item"]
            # An event after the other, as [t, n, h] would leave the cache.
            attention = jax.lax.map(lambda q: nn.relu(item @ (q[:, None] * kernel) + bias) @ output, past)
            weight = smoothed(attention.T, jnp.broadcast_to(real, attention.T.shape), beta)
            return (weight * (item @ past.T)).sum(-1) + rows["bias"]

        return of_user


def smoothed(scores: Float[Array, "*s t"], real: Bool[Array, "*s t"], beta: float) -> Float[Array, "*s t"]:
    """exp(s_j) / (sum_j exp(s_j))^beta over the real ones, 0 at the others. He et al. 2018, Sec. 3."""
    scores = jnp.where(real, scores, -1e9)
    total = jax.nn.logsumexp(scores, axis=-1, keepdims=True)
    return jnp.where(real, jnp.exp(jnp.where(real, scores - beta * total, 0.0)), 0.0)
