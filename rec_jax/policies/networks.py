"""What a document is worth to a user, as a Flax module over both; and what reads the steps that the user took.

Checked against the Q network and the recurrent unit written out in NumPy; of every torso, that padding has no say and
the order of events has (tests/policies/test_networks.py).
"""

from typing import Any, Literal, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rec_jax.errors import InputError, check_literal
from rec_jax.models.attention import MultiHead
from rec_jax.models.gru4rec import GRU
from rec_jax.models.layers import Dense, FeedForward
from rec_jax.simulate.base import Observation, Simulator

Torso: TypeAlias = Literal["none", "dnn", "gru", "transformer"]
"""How what a user did is read."""
HEADS = 2
"""Of a transformer's attention."""


class History(nn.Module):
    """A vector [n w] of what each user did: the torso below the Q network. Without events it is one of zeros.

    - dnn: the events side by side, through a layer;
    - gru: the state of a gated recurrent unit after the last event (Cho et al., EMNLP 2014);
    - transformer: one block of causal self-attention with learnt places, at the last event (Vaswani et al., 2017).
    """

    kind: Torso
    width: int = 32
    heads: int = HEADS

    @nn.compact
    def __call__(self, history: Float[Array, "n t h"], events: Int[Array, "n"]) -> Float[Array, "n w"]:
        """From the events, the earliest first, of which the first `events` are real."""
        n, t, _ = history.shape
        real = jnp.arange(t) < events[:, None]
        x = jnp.where(real[:, :, None], history, 0)
        if self.kind == "dnn":
            share = events[:, None] / t  # tells no event from one whose features are 0
            found = nn.relu(Dense(self.width)(jnp.concatenate([x.reshape(n, -1), share], axis=1)))
        elif self.kind == "gru":
            found = _at_last(GRU(self.width)(x), events)
        else:
            places = self.param("places", nn.initializers.normal(0.02), (t, self.width))
            x = Dense(self.width)(x) + places
            normed = nn.LayerNorm()(x)
            x = x + MultiHead(self.width, self.heads, 0.0, causal=True)(normed, normed)
            found = _at_last(x + FeedForward(2 * self.width, 0.0)(nn.LayerNorm()(x)), events)
        return jnp.where(events[:, None] > 0, found, 0)


def _at_last(states: Float[Array, "n t w"], events: Int[Array, "n"]) -> Float[Array, "n w"]:
    return jnp.take_along_axis(states, jnp.maximum(events - 1, 0)[:, None, None], axis=1)[:, 0]


def check_sizes(layers: tuple[int, ...], torso: str, torso_width: int) -> None:
    """InputError: no layer, one without units, an unknown torso, or a width that a transformer's heads cannot share."""
    if not layers or min(layers) < 1:
        raise InputError(f"layers {layers}: expected at least one, of at least one unit")
    check_literal("torso", torso, Torso)
    if torso_width < 1 or (torso == "transformer" and torso_width % HEADS):
        raise InputError(f"torso_width {torso_width}: expected at least 1, for a transformer a multiple of {HEADS}")


def check_remembers(torso: Torso, simulator: Simulator) -> None:
    """InputError: a torso, and a simulator that remembers no steps for it to read."""
    if torso != "none" and _shown_by(simulator).history is None:
        raise InputError(f"torso {torso!r}: {simulator.name} remembers no steps; wrap it as Remembering(…, length)")


def _shown_by(simulator: Simulator) -> Any:
    """Shapes of what it shows of a new user."""
    return jax.eval_shape(lambda: simulator.observe(simulator.reset(jax.random.key(0), 1)))


def finite(params: Any) -> bool:
    """Whether every parameter is a number, and none infinite."""
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params))


def check_widths(seen: Observation, torso: Torso, simulator: Simulator) -> None:
    """InputError: features of other widths than those of the simulator that a policy was made for, or, where it has a
    torso, a history of another shape. Shapes alone are looked at, so that a compiled policy checks them once."""
    for what, asked, made in (
        ("user", seen.user, simulator.user_width),
        ("candidate", seen.documents, simulator.document_width),
    ):
        if asked.shape[-1] != made:
            raise InputError(
                f"{what} features of another width: the policy was made for {made}, and is asked with "
                f"{asked.shape[-1]}; make one for this simulator, or ask with the features that it learnt from"
            )
    if torso != "none":
        free = 2 if torso == "gru" else 1  # a recurrent unit reads any number of steps
        both = seen, _shown_by(simulator)
        given, wanted = (None if of.history is None else of.history.shape[free:] for of in both)
        if given != wanted:
            raise InputError(f"a history of another shape: the policy was made for {wanted}, and is asked with {given}")


class QNetwork(nn.Module):
    """Q [n c] of each document for its user: an MLP over both vectors, `layers` wide, and one number at its end.

    The first layer's product is made apart for users and documents and added up, which is the same as over both
    joined, and c times less work for the users. `torso`: what the user did is read too, and stands beside the user's
    features. `dueling`: a value of the user's state, plus what a document adds to it, less the mean of that over all
    documents (Wang et al., ICML 2016, Eq. 9). SlateQ's network is (256, 32).
    """

    layers: tuple[int, ...] = (256, 32)
    dueling: bool = False
    torso: Torso = "none"
    torso_width: int = 32

    @nn.compact
    def __call__(
        self,
        user: Float[Array, "n u"],
        documents: Float[Array, "n c d"],
        history: Float[Array, "n t h"] | None = None,
        events: Int[Array, "n"] | None = None,
    ) -> Float[Array, "n c"]:
        """Of each document. A torso needs `history` and `events`; ValueError: they are not given."""
        if self.torso != "none":
            if history is None or events is None:
                raise ValueError(f"the torso {self.torso!r} reads what users did: give history and events")
            user = jnp.concatenate([user, History(self.torso, self.torso_width)(history, events)], axis=1)
        if user.shape[1] == 0:  # a world that shows nothing of its users: a constant stands for them
            user = jnp.ones((len(user), 1), documents.dtype)
        first, *others = self.layers
        joined = nn.Dense(first)(user)[:, None, :] + nn.Dense(first, use_bias=False)(documents)
        found = self._rest(nn.relu(joined), others)
        if not self.dueling:
            return found
        state = self._rest(nn.relu(nn.Dense(first)(user)), others)
        return state[:, None] + found - found.mean(axis=1, keepdims=True)

    def _rest(self, x: Float[Array, "*s w"], layers: list[int]) -> Float[Array, "*s"]:
        for width in layers:
            x = nn.relu(nn.Dense(width)(x))
        return jnp.squeeze(nn.Dense(1)(x), axis=-1)
