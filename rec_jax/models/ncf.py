"""Neural collaborative filtering: GMF, MLP and NeuMF. He et al., "Neural Collaborative Filtering", WWW 2017.

Widths follow the authors' code, where an MLP of X layers over F factors has hidden layers F 2^(X-1), ..., 2F, F
and embeddings as wide as its first hidden layer (the paper's text says F·2^(X-2)). Vectors start from
N(0, .01^2), hidden layers from Glorot's uniform, the prediction layer from LeCun's, as there.

An MLP's first layer acts on [p_u, q_i]; its kernel is applied in two halves, so that a user's half is computed
once for all of the user's items, and the items' half once an evaluation. All products are of two-dimensional
arrays: XLA's CPU code for three-dimensional ones is half as fast.

Checked against Eqs. 8-12 in plain Python (tests/models/test_ncf.py).
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rec_jax.errors import InputError
from rec_jax.models.base import Query, one_by_one

_NORMAL = nn.initializers.normal(0.01)


@dataclass(frozen=True)
class GMFConfig:
    """Generalised matrix factorisation's hyper-parameters."""

    factors: int = 8
    """Width of the user and item vectors."""


@dataclass(frozen=True)
class MLPConfig:
    """The multi-layer perceptron's hyper-parameters."""

    factors: int = 8
    """Width of the last hidden layer; each layer below is twice as wide as the next."""
    depth: int = 3
    """Hidden layers (0: the prediction sees the two vectors themselves)."""


@dataclass(frozen=True)
class NeuMFConfig(MLPConfig):
    """Neural matrix factorisation's hyper-parameters: `factors` is the width of both halves."""

    pretrain_epochs: int = 0
    """Train GMF and MLP first, for at most this many epochs, and start from both (0: start from scratch)."""
    pretrain_learning_rate: float = 1e-3
    """Learning rate of Adam in that stage (the optimiser's own options are for the last stage)."""
    alpha: float = 0.5
    """The weight of GMF's prediction layer when the two are glued (Eq. 13); MLP's is 1 - alpha."""


class GMF(nn.Module):
    """score(u, i) = h^T (p_u * q_i) + b (Eq. 9, on the logit scale)."""

    config: GMFConfig
    n_users: int
    n_items: int

    user_tables = ("user",)

    def setup(self) -> None:
        self.user = nn.Embed(self.n_users, self.config.factors, embedding_init=_NORMAL)
        self.item = nn.Embed(self.n_items, self.config.factors, embedding_init=_NORMAL)
        self.prediction = Prediction(self.config.factors)

    def __call__(self, query: Query, items: Int[Array, "b k"]) -> Float[Array, "b k"]:
        """Logits of `items` for each user."""
        user, item = self.user(query.user), self.item(items)
        self.sow("losses", "l2_user", (user**2).sum(-1))
        self.sow("losses", "l2_item", (item**2).sum(-1))
        kernel, bias = self.prediction()
        return jnp.einsum("bd,bkd->bk", user * kernel, item) + bias

    def prepare(self) -> Float[Array, "n d"]:
        """The item vectors."""
        return self.item.embedding

    def scores(self, cache: Float[Array, "n d"], query: Query) -> Float[Array, "b n"]:
        """Logits of the whole catalogue."""
        kernel, bias = self.prediction()
        return (self.user(query.user) * kernel) @ cache.T + bias


class MLP(nn.Module):
    """score(u, i) = h^T a_X(W_X ... a_1(W_1 [p_u, q_i] + b_1) ...) + b (Eq. 10, on the logit scale)."""

    config: MLPConfig
    n_users: int
    n_items: int

    user_tables = ("tower/user",)

    def setup(self) -> None:
        self.tower = Tower(self.config.factors, self.config.depth, self.n_users, self.n_items)
        self.prediction = Prediction(self.tower.width_out)

    def __call__(self, query: Query, items: Int[Array, "b k"]) -> Float[Array, "b k"]:
        """Logits of `items` for each user."""
        user, item = self.tower.user(query.user), self.tower.item(items)
        self.sow("losses", "l2_user", (user**2).sum(-1))
        self.sow("losses", "l2_item", (item**2).sum(-1))
        kernel, bias = self.prediction()
        return self.tower.project(self.tower.user_half(user), self.tower.item_half(item), kernel) + bias

    def prepare(self) -> Float[Array, "n h"]:
        """The items' half of the first layer."""
        return self.tower.item_half(self.tower.item.embedding)

    def scores(self, cache: Float[Array, "n h"], query: Query) -> Float[Array, "b n"]:
        """Logits of the whole catalogue."""
        kernel, bias = self.prediction()
        return self.tower.project_all(self.tower.user_half(self.tower.user(query.user)), cache, kernel) + bias


class NeuMF(nn.Module):
    """score(u, i) = h^T [p_u * q_i, MLP's last layer] + b (Eq. 12, on the logit scale)."""

    config: NeuMFConfig
    n_users: int
    n_items: int

    user_tables = ("user", "tower/user")

    def setup(self) -> None:
        if not 0 <= self.config.alpha <= 1:
            raise InputError(f"--alpha {self.config.alpha:g}: expected a number from 0 to 1, GMF's share")
        factors = self.config.factors
        self.user = nn.Embed(self.n_users, factors, embedding_init=_NORMAL)
        self.item = nn.Embed(self.n_items, factors, embedding_init=_NORMAL)
        self.tower = Tower(factors, self.config.depth, self.n_users, self.n_items)
        self.prediction = Prediction(factors + self.tower.width_out)

    def __call__(self, query: Query, items: Int[Array, "b k"]) -> Float[Array, "b k"]:
        """Logits of `items` for each user."""
        user, item = self.user(query.user), self.item(items)
        deep_user, deep_item = self.tower.user(query.user), self.tower.item(items)
        self.sow("losses", "l2_user", (user**2).sum(-1) + (deep_user**2).sum(-1))
        self.sow("losses", "l2_item", (item**2).sum(-1) + (deep_item**2).sum(-1))
        kernel, bias = self.prediction()
        split = self.config.factors
        gmf = jnp.einsum("bd,bkd->bk", user * kernel[:split], item)
        halves = self.tower.user_half(deep_user), self.tower.item_half(deep_item)
        mlp = self.tower.project(*halves, kernel[split:])
        return gmf + mlp + bias

    def prepare(self) -> dict[str, Any]:
        """The items' vectors of GMF, and their half of the MLP's first layer."""
        return {"item": self.item.embedding, "half": self.tower.item_half(self.tower.item.embedding)}

    def scores(self, cache: dict[str, Any], query: Query) -> Float[Array, "b n"]:
        """Logits of the whole catalogue."""
        kernel, bias = self.prediction()
        split = self.config.factors
        gmf = (self.user(query.user) * kernel[:split]) @ cache["item"].T
        half = self.tower.user_half(self.tower.user(query.user))
        mlp = self.tower.project_all(half, cache["half"], kernel[split:])
        return gmf + mlp + bias


class Prediction(nn.Module):
    """The last layer, a vector h and a bias."""

    width: int

    @nn.compact
    def __call__(self) -> tuple[Float[Array, "d"], Float[Array, ""]]:
        """(h, b)."""
        uniform = nn.initializers.lecun_uniform()
        kernel = self.param("kernel", lambda key, width: uniform(key, (width, 1))[:, 0], self.width)
        return kernel, self.param("bias", nn.initializers.zeros, ())


class Tower(nn.Module):
    """Embeddings and hidden layers of the MLP, up to the last hidden one."""

    factors: int
    depth: int
    n_users: int
    n_items: int

    @property
    def width_out(self) -> int:
        """Width of what the prediction layer sees."""
        return self.factors if self.depth else 2 * self.factors

    def setup(self) -> None:
        widths = [self.factors * 2**layer for layer in reversed(range(self.depth))]
        embedded = widths[0] if widths else self.factors
        self.user = nn.Embed(self.n_users, embedded, embedding_init=_NORMAL)
        self.item = nn.Embed(self.n_items, embedded, embedding_init=_NORMAL)
        if widths:
            glorot = nn.initializers.glorot_uniform()
            self.kernel = self.param("kernel", glorot, (2 * embedded, widths[0]))
            self.bias = self.param("bias", nn.initializers.zeros, (widths[0],))
        self.hidden = [nn.Dense(width, kernel_init=nn.initializers.glorot_uniform()) for width in widths[1:]]

    def user_half(self, vector: Float[Array, "b d"]) -> Float[Array, "b h"]:
        """A user vector's share of the first layer."""
        return vector @ self.kernel[: vector.shape[-1]] if self.depth else vector

    def item_half(self, vector: Float[Array, "*any d"]) -> Float[Array, "*any h"]:
        """An item vector's share of the first layer, with its bias."""
        if not self.depth:
            return vector
        flat = vector.reshape(-1, vector.shape[-1])
        return (flat @ self.kernel[vector.shape[-1] :] + self.bias).reshape(*vector.shape[:-1], -1)

    def project(
        self, user: Float[Array, "b h"], item: Float[Array, "#b k h"], kernel: Float[Array, "d"]
    ) -> Float[Array, "b k"]:
        """The hidden layers over both halves, times the prediction layer's share of them."""
        b, k = user.shape[0], item.shape[1]
        if not self.depth:
            split = user.shape[-1]
            return (user @ kernel[:split])[:, None] + item @ kernel[split:]
        x = nn.relu((user[:, None] + item).reshape(b * k, -1))
        for layer in self.hidden:
            x = nn.relu(layer(x))
        return (x @ kernel).reshape(b, k)

    def project_all(
        self, user: Float[Array, "b h"], item: Float[Array, "n h"], kernel: Float[Array, "d"]
    ) -> Float[Array, "b n"]:
        """The same for the whole catalogue, by the layers' parameters: linen's own cannot be called inside a map."""
        layers = [layer.variables["params"] for layer in self.hidden]

        def one(half: Float[Array, "h"]) -> Float[Array, "n"]:
            x = nn.relu(half + item)
            for layer in layers:
                x = nn.relu(x @ layer["kernel"] + layer["bias"])
            return x @ kernel

        return one_by_one(one, user) if self.depth else self.project(user, item[None], kernel)


def glue(gmf: dict[str, Any], mlp: dict[str, Any], alpha: float) -> dict[str, Any]:
    """NeuMF's parameters from trained GMF and MLP of the same factors (Sec. 3.4.1, Eq. 13).

    The prediction layer is [alpha h_gmf, (1 - alpha) h_mlp]; its bias, likewise weighted, is as in the authors' code.
    """
    prediction = {
        "kernel": jnp.concatenate([alpha * gmf["prediction"]["kernel"], (1 - alpha) * mlp["prediction"]["kernel"]]),
        "bias": alpha * gmf["prediction"]["bias"] + (1 - alpha) * mlp["prediction"]["bias"],
    }
    return {"user": gmf["user"], "item": gmf["item"], "tower": mlp["tower"], "prediction": prediction}
