"""Slates out of what each document is worth: top-k, greedy, and the best there is (SlateQ, Ie et al., arXiv:1905.12767,
Sec. 5).

A user shown the slate A chooses document i with chance v_i / (v_0 + sum of v over A), where v are the weights of the
choice model and v_0 that of choosing none. Worth q_i each, and q_0 for none, the slate is worth

    (v_0 q_0 + sum_A v_i q_i) / (v_0 + sum_A v_i).

Weights are [n c], not negative, `of_none` [n] and positive (or 0, where no weight is). Greedy and best slates are
tested against brute force (tests/policies/test_slates.py).
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rec_jax.policies.fixed import best
from rec_jax.simulate.base import check_slate

Builder: TypeAlias = Callable[[Array, Array, Array, Array, int], Int[Array, "n k"]]
"""`(weights [n c], of_none [n], q [n c], q_none [n], k) -> slates [n k]`."""

ROUNDS = 20
"""More than Dinkelbach's method takes: it ends with the first round that changes nothing, mostly the third."""


def value(
    weights: Float[Array, "n c"],
    of_none: Float[Array, "n"],
    q: Float[Array, "n c"],
    q_none: Float[Array, "n"],
    slates: Int[Array, "n k"],
) -> Float[Array, "n"]:
    """What a slate is worth: the mean of q over what the user may choose, none included."""
    shown, worth = (jnp.take_along_axis(of, slates, axis=1) for of in (weights, q))
    return (of_none * q_none + (shown * worth).sum(axis=1)) / (of_none + shown.sum(axis=1))


def top_k(
    weights: Float[Array, "n c"],
    of_none: Float[Array, "n"],
    q: Float[Array, "n c"],
    q_none: Float[Array, "n"],
    k: int,
) -> Int[Array, "n k"]:
    """The k documents with the largest v q, the largest first (Sec. 5.2, 'top-k')."""
    del of_none, q_none
    return best(weights * q, k)


def greedy(
    weights: Float[Array, "n c"],
    of_none: Float[Array, "n"],
    q: Float[Array, "n c"],
    q_none: Float[Array, "n"],
    k: int,
) -> Int[Array, "n k"]:
    """One document after the other, each time the one that makes the slate so far worth most (Sec. 5.2, 'greedy').

    InputError: there are fewer than k.
    """
    check_slate(k, q.shape[1])
    places = jnp.arange(q.shape[1])
    mass, worth = of_none, of_none * q_none
    free, found = jnp.ones(q.shape, bool), list[Array]()
    for _ in range(k):
        with_each = (worth[:, None] + weights * q) / (mass[:, None] + weights)
        place = jnp.argmax(jnp.where(free, with_each, -jnp.inf), axis=1)
        taken = places == place[:, None]
        mass = mass + jnp.where(taken, weights, 0).sum(axis=1)
        worth = worth + jnp.where(taken, weights * q, 0).sum(axis=1)
        free = free & ~taken
        found.append(place.astype(jnp.int32))
    return jnp.stack(found, axis=1)


def optimal(
    weights: Float[Array, "n c"],
    of_none: Float[Array, "n"],
    q: Float[Array, "n c"],
    q_none: Float[Array, "n"],
    k: int,
) -> Int[Array, "n k"]:
    """The slate of exactly k documents that is worth most: a linear-fractional programme, solved exactly.

    SlateQ solves it as a linear programme (Sec. 5.1); here by Dinkelbach's method (Management Science 13, 1967): the
    slate worth w, the best for gain v_i (q_i - w) are the k largest, and where they are the same slate again, it is the
    optimum; the worth rises at each round.
    """

    def slate_of(worth: Float[Array, "n"]) -> Int[Array, "n k"]:
        return best(weights * (q - worth[:, None]), k)

    def improve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rounds, worth, _ = carry
        found = value(weights, of_none, q, q_none, slate_of(worth))
        return rounds + 1, jnp.maximum(found, worth), (found > worth).any()

    def going(carry: tuple[Array, Array, Array]) -> Array:
        rounds, _, changes = carry
        return (rounds < ROUNDS) & changes

    start = value(weights, of_none, q, q_none, top_k(weights, of_none, q, q_none, k))
    _, worth, _ = jax.lax.while_loop(going, improve, (jnp.int32(0), start, jnp.bool_(True)))
    return slate_of(worth)


BUILDERS: dict[str, Builder] = {"T": top_k, "G": greedy, "O": optimal}
"""By the letter that the paper's names have for them (TS, GS, OS to serve; TT, GT, OT in targets)."""
