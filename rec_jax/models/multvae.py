"""Mult-VAE: a variational autoencoder of a user's row of items. Liang et al., "Variational Autoencoders for
Collaborative Filtering", WWW 2018.

The row of 0 and 1 is brought to length 1 and corrupted by dropout; tanh layers give the mean and log variance of a
Gaussian z (Sec. 2.2), and tanh layers from z the logits of a multinomial distribution over the catalogue (Sec. 2.1,
Eq. 1). A user's scores are the logits at z = mu, of a row made of the history: no parameter belongs to a user.

Differences from the authors' code: (1) biases start from 0, not from N(0, .001^2); (2) items that the user has are
taken out of a ranking by the protocol, not here.

Checked against the layers written out in plain Python (tests/models/test_multvae.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rec_jax.errors import InputError
from rec_jax.models.base import Query
from rec_jax.models.layers import Dense, Dropout


@dataclass(frozen=True)
class MultVAEConfig:
    """Mult-VAE's hyper-parameters."""

    hidden: tuple[int, ...] = (600,)
    """Widths of the encoder's tanh layers; the decoder has them in reverse."""
    latent: int = 200
    """Width of z."""
    dropout: float = 0.5
    """Share of a row's items that are hidden from the encoder."""
    max_events: int = 10_000
    """Events of a history that scores are made of, the last ones."""


class MultVAE(nn.Module):
    """score(i | history) = f(mu(x))_i, x the row of the history's items."""

    config: MultVAEConfig
    n_users: int
    n_items: int

    user_tables: ClassVar[tuple[str, ...]] = ()
    """No parameter belongs to a user: unseen users are served by their histories."""

    @property
    def reads(self) -> int:
        """How many of a user's last events are read."""
        return self.config.max_events

    def setup(self) -> None:
        c = self.config
        if min((*c.hidden, c.latent, c.max_events)) < 1:
            raise InputError(
                f"--hidden {c.hidden} --latent {c.latent} --max-events {c.max_events}: expected numbers above 0"
            )
        if not 0 <= c.dropout < 1:
            raise InputError(f"--dropout {c.dropout}: expected a number from 0 to below 1")
        uniform = nn.initializers.glorot_uniform()
        self.encoder = [Dense(width, kernel_init=uniform) for width in (*c.hidden, 2 * c.latent)]
        self.decoder = [Dense(width, kernel_init=uniform) for width in (*reversed(c.hidden), self.n_items)]
        self.drop = Dropout(c.dropout)

    def __call__(
        self, row: Float[Array, "b n"], noise: Float[Array, "b z"] | None = None
    ) -> tuple[Float[Array, "b n"], Float[Array, "b z"], Float[Array, "b z"]]:
        """(logits, mu, log sigma^2) of rows of 0 and 1, at z = mu + sigma noise, or at z = mu."""
        length = jnp.sqrt(jnp.maximum(row.sum(axis=1, keepdims=True), 1.0))  # of 0 and 1; a row of zeros stays one
        mu, log_variance = jnp.split(_layers(self.encoder, self.drop(row / length)), 2, axis=-1)
        z = mu if noise is None else mu + jnp.exp(log_variance / 2) * noise
        return _layers(self.decoder, z), mu, log_variance

    def scores(self, query: Query) -> Float[Array, "b n"]:
        """Logits of the whole catalogue, from the users' histories."""
        return self(multi_hot(query.history, self.n_items))[0]


def _layers(layers: Sequence[Dense], x: Float[Array, "b _"]) -> Float[Array, "b w"]:
    """One after the other, tanh between them."""
    for layer in layers[:-1]:
        x = nn.tanh(layer(x))
    return layers[-1](x)


def multi_hot(items: Int[Array, "b t"], n_items: int) -> Float[Array, "b n"]:
    """1 where an item is among `items`, however often, 0 elsewhere; -1 is no item."""
    rows = jnp.arange(len(items))[:, None]
    return jnp.zeros((len(items), n_items)).at[rows, jnp.where(items >= 0, items, n_items)].set(1.0, mode="drop")
