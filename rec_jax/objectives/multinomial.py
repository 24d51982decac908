"""The multinomial likelihood of whole rows, with a Gaussian code: what Mult-VAE is trained on. Liang et al.,
"Variational Autoencoders for Collaborative Filtering", WWW 2018.

For a user with items x and a code z ~ q = N(mu, sigma^2), as one sample of it: -log p(x | z) + beta KL(q || N(0, 1))
(Sec. 2.2.2). The authors' beta is min(0.2, step / 200,000): the same as rising to 0.2 over 40,000 steps.

Checked against the formula in plain Python (tests/objectives/test_multinomial.py).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key

from rec_jax.errors import InputError
from rec_jax.models.base import Leaf, Query
from rec_jax.models.multvae import MultVAE, multi_hot
from rec_jax.objectives.base import Extra, Loss, Params, Recommender, TrainData
from rec_jax.objectives.sampling import permuted


@dataclass(frozen=True)
class Multinomial:
    """All of a user's items at once, out of a code of them."""

    beta: float = 0.2
    """Weight of the code's divergence from a standard normal distribution, when it is full."""
    anneal_steps: int = 40_000
    """Steps in which it rises from 0, in a straight line; 0: it is full at once."""


@struct.dataclass
class RowBatch:
    """Users of one step, each with all of its distinct items.

    `weight` is 0 where the epoch's last batch is padded, and averages 1 over the global batch.
    """

    user: Leaf  # int32 [b]
    items: Leaf  # int32 [b t], -1 past the end
    noise: Leaf  # float32 [b z]: of the code. Drawn with the batch, so that it does not depend on the devices
    weight: Leaf  # float32 [b]


def multinomial(module: MultVAE, config: Multinomial, data: TrainData, batch_size: int) -> Recommender:
    """The average over users. An epoch visits every user of a train event once.

    InputError: the batch exceeds the users, or a number out of range.
    """
    counts = np.diff(np.asarray(data.positives_start))
    n, longest = int((counts > 0).sum()), int(counts.max(initial=1))
    if not 0 < batch_size <= n:
        raise InputError(
            f"--batch-size {batch_size:,} is larger than the {n:,} users of at least one train event; take at most that"
        )
    if config.beta < 0 or config.anneal_steps < 0:
        raise InputError(f"--beta {config.beta} --anneal-steps {config.anneal_steps}: expected numbers from 0 on")
    width = module.config.latent

    def init(key: Key[Array, ""], data: TrainData) -> tuple[Params, Extra]:
        return module.init({"params": key}, jnp.zeros((1, data.n_items)))["params"], {}

    def batch(data: TrainData, key: Key[Array, ""], epoch: Int[Array, ""], step: Int[Array, ""]) -> RowBatch:
        epoch_key = jax.random.fold_in(key, epoch)
        place = step * batch_size + jnp.arange(batch_size)
        nth = permuted(epoch_key, jnp.minimum(place, n - 1), n)
        # The nth user of those who have any items.
        user = jnp.searchsorted(jnp.cumsum(jnp.diff(data.positives_start) > 0), nth + 1).astype(jnp.int32)
        noise = jax.random.normal(jax.random.fold_in(epoch_key, step + 1), (batch_size, width))
        real = place < n
        return RowBatch(user, positives(data, user, longest), noise, real * (batch_size / real.sum()))

    def loss(params: Params, extra: Extra, batch: RowBatch, key: Key[Array, ""], step: Int[Array, ""]) -> Loss:
        row = multi_hot(batch.items, module.n_items)
        found: Any = module.apply({"params": params}, row, batch.noise, rngs={"dropout": key})
        logits, mu, log_variance = found
        value = multinomial_loss(logits, row) + annealed(config, step) * divergence(mu, log_variance)
        return (batch.weight * value).mean(), (extra, {})

    def prepare(params: Params, extra: Extra) -> Any:
        return {"params": params}

    def scores(cache: Any, query: Query) -> Float[Array, "b n"]:
        found: Array = module.apply(cache, query, method="scores")  # type: ignore[assignment]
        return found

    def score_candidates(cache: Any, query: Query, ids: Int[Array, "b k"]) -> Float[Array, "b k"]:
        return jnp.take_along_axis(scores(cache, query), ids, axis=1)  # the encoder alone is half of the work

    steps = -(-n // batch_size)
    return Recommender(
        init,
        batch,
        loss,
        prepare,
        scores,
        score_candidates,
        data.n_items,
        steps,
        n * data.n_items,
        module.reads,
        ordered=False,
    )


def positives(data: TrainData, user: Int[Array, "b"], longest: int) -> Int[Array, "b t"]:
    """The users' distinct items, of whom nobody has more than `longest`; -1 past the end."""
    place = data.positives_start[user][:, None] + jnp.arange(longest)
    inside = place < data.positives_start[user + 1][:, None]
    return jnp.where(inside, data.positives[jnp.minimum(place, len(data.positives) - 1)], -1)


def annealed(config: Multinomial, step: Int[Array, ""]) -> Float[Array, ""]:
    """beta min(1, step / anneal_steps). Liang et al. 2018, Sec. 2.2.2."""
    if config.anneal_steps == 0:
        return jnp.float32(config.beta)
    return config.beta * jnp.minimum(1.0, step / config.anneal_steps)


def multinomial_loss(logits: Float[Array, "*s n"], row: Float[Array, "*s n"]) -> Float[Array, "*s"]:
    """-sum_i x_i log softmax(logits)_i. Liang et al. 2018, Eq. 2."""
    return -(row * jax.nn.log_softmax(logits, axis=-1)).sum(-1)


def divergence(mu: Float[Array, "*s z"], log_variance: Float[Array, "*s z"]) -> Float[Array, "*s"]:
    """KL(N(mu, sigma^2) || N(0, 1)) = sum_j (mu_j^2 + sigma_j^2 - log sigma_j^2 - 1) / 2."""
    return (mu**2 + jnp.exp(log_variance) - log_variance - 1).sum(-1) / 2
