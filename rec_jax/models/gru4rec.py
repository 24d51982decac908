"""GRU4Rec: a recurrent network over a user's last events. Hidasi et al., "Session-based Recommendations with Recurrent
Neural Networks", ICLR 2016.

Differences from the authors' code: (1) users' whole histories are the sessions, in batches of users, not parallel
sessions; (2) the input is an embedding of the item, of the state's width, by default the one that scores use (the
authors' 'constrained embedding', Hidasi and Karatzoglou, CIKM 2018, Sec. 3).

Checked against a loop in plain Python (tests/models/test_gru4rec.py).
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rec_jax.errors import InputError
from rec_jax.models.base import Query
from rec_jax.models.layers import Dense, Dropout
from rec_jax.models.sequence import NORMAL, SequenceModel, latest, own_vectors


@dataclass(frozen=True)
class GRU4RecConfig:
    """GRU4Rec's hyper-parameters."""

    width: int = 64
    """Width of embeddings and states."""
    layers: int = 1
    """Recurrent layers, one over the other."""
    dropout: float = 0.2
    """Dropout of the embeddings and of each layer's states."""
    max_length: int = 200
    """Events of a history that are read, the last ones."""
    tied: bool = True
    """The items' vectors in the scores are those of the input."""


class GRU4Rec(SequenceModel):
    """score(i | history) = h_t . M_i, h_t the last layer's state."""

    config: GRU4RecConfig

    recurrent = True

    def setup(self) -> None:
        c = self.config
        if c.layers < 1:
            raise InputError(f"--layers {c.layers}: expected at least 1")
        self.item = nn.Embed(self.n_items, c.width, embedding_init=NORMAL)
        self.layers = [GRU(c.width) for _ in range(c.layers)]
        self.drop = Dropout(c.dropout)
        self.output = own_vectors(c.tied, self.n_items, c.width)

    def states(self, query: Query) -> Float[Array, "b t d"]:
        """The state at every position."""
        items = latest(query, self.config.max_length).history
        # Without any event, what is read is not item 0.
        x = self.drop(jnp.where((items >= 0)[..., None], self.item(jnp.maximum(items, 0)), 0))
        for layer in self.layers:
            x = self.drop(layer(x))
        return x

    def item_vectors(self) -> Float[Array, "n d"]:
        """Of the input, or their own."""
        return (self.output or self.item).embedding

    def begin(self, b: int) -> tuple[Float[Array, "b d"], ...]:
        """What is remembered of `b` users before their first event."""
        return tuple(jnp.zeros((b, self.config.width)) for _ in self.layers)

    def observe(
        self, memory: tuple[Float[Array, "b d"], ...], query: Query, place: Int[Array, ""]
    ) -> tuple[tuple[Float[Array, "b d"], ...], Float[Array, "b d"]]:
        """(what is remembered, the state) after the event `query.history` [b 1]; a history of any length is read."""
        x, kept = self.item(query.history[:, 0]), []
        for layer, state in zip(self.layers, memory):
            x = layer.step(state, layer.inputs(x))
            kept.append(x)
        return tuple(kept), x


class GRU(nn.Module):
    """A gated recurrent unit over time. Cho et al., EMNLP 2014, Sec. 2.3, with the reset after the product.

    r = s(W_r x + U_r h + b_r), z = s(W_z x + U_z h + b_z), n = tanh(W_n x + b_n + r * (U_n h + c)),
    h' = (1 - z) * n + z * h. The inputs' share of all three is one product for all positions.
    """

    width: int

    def setup(self) -> None:
        self.inputs = Dense(3 * self.width)
        orthogonal = nn.initializers.orthogonal()
        self.kernels = [self.param(f"kernel_{of}", orthogonal, (self.width, self.width)) for of in "rzn"]
        self.bias = self.param("bias", nn.initializers.zeros, (self.width,))

    def __call__(self, x: Float[Array, "b t e"]) -> Float[Array, "b t d"]:
        """The state after every position."""
        shares = self.inputs(x).swapaxes(0, 1)
        kernel, bias = jnp.concatenate(self.kernels, axis=1), self.bias

        def one(state: Array, share: Array) -> tuple[Array, Array]:
            state = _next(state, share, kernel, bias)
            return state, state

        _, states = jax.lax.scan(one, jnp.zeros((x.shape[0], self.width)), shares)
        return states.swapaxes(0, 1)

    def step(self, state: Float[Array, "b d"], share: Float[Array, "b e"]) -> Float[Array, "b d"]:
        """The state after one event more, from the inputs' share."""
        return _next(state, share, jnp.concatenate(self.kernels, axis=1), self.bias)


def _next(
    state: Float[Array, "b d"], share: Float[Array, "b e"], kernel: Float[Array, "d e"], bias: Float[Array, "d"]
) -> Float[Array, "b d"]:
    reset, update, new = jnp.split(share, 3, axis=-1)
    of_reset, of_update, of_new = jnp.split(state @ kernel, 3, axis=-1)
    reset, update = nn.sigmoid(reset + of_reset), nn.sigmoid(update + of_update)
    return (1 - update) * jnp.tanh(new + reset * (of_new + bias)) + update * state
