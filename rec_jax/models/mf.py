"""Dot-product matrix factorisation. Rendle et al., "Neural Collaborative Filtering vs. Matrix Factorization
Revisited", RecSys 2020, Eq. 1; with biases as Koren et al., "Matrix Factorization Techniques", 2009, Eq. 4.

Checked against the formula in plain Python (tests/models/test_mf.py).
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rec_jax.models.base import Query


@dataclass(frozen=True)
class MFConfig:
    """Matrix factorisation's hyper-parameters."""

    factors: int = 32
    """Width of the user and item vectors."""
    biases: bool = True
    """Add a bias a user, a bias an item and a global one."""
    init_sd: float = 0.1
    """Standard deviation of the initial vectors."""


class MF(nn.Module):
    """score(u, i) = <p_u, q_i> (+ b_u + b_i + b)."""

    config: MFConfig
    n_users: int
    n_items: int

    user_tables = ("user", "user_bias")

    def setup(self) -> None:
        width, normal = self.config.factors, nn.initializers.normal(self.config.init_sd)
        self.user = nn.Embed(self.n_users, width, embedding_init=normal)
        self.item = nn.Embed(self.n_items, width, embedding_init=normal)
        if self.config.biases:
            self.user_bias = nn.Embed(self.n_users, 1, embedding_init=nn.initializers.zeros)
            self.item_bias = nn.Embed(self.n_items, 1, embedding_init=nn.initializers.zeros)
            self.bias = self.param("bias", nn.initializers.zeros, ())

    def __call__(self, query: Query, items: Int[Array, "b k"]) -> Float[Array, "b k"]:
        """Scores of `items` for each user."""
        user, item = self.user(query.user), self.item(items)
        score, of_user, of_item = jnp.einsum("bd,bkd->bk", user, item), (user**2).sum(-1), (item**2).sum(-1)
        if self.config.biases:
            user_bias, item_bias = self.user_bias(query.user), self.item_bias(items)[..., 0]
            score = score + user_bias + item_bias + self.bias
            of_user, of_item = of_user + user_bias[:, 0] ** 2, of_item + item_bias**2
        self.sow("losses", "l2_user", of_user)
        self.sow("losses", "l2_item", of_item)
        return score

    def prepare(self) -> dict[str, Any]:
        """The item vectors and biases."""
        biases = {"item_bias": self.item_bias.embedding[:, 0]} if self.config.biases else {}
        return {"item": self.item.embedding, **biases}

    def scores(self, cache: dict[str, Any], query: Query) -> Float[Array, "b n"]:
        """Scores of the whole catalogue."""
        score = self.user(query.user) @ cache["item"].T
        return score + self.user_bias(query.user) + cache["item_bias"] + self.bias if self.config.biases else score
