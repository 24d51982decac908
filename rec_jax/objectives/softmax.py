"""Cross-entropy over the whole catalogue, and its best item, whose logits are never held in full.

The gradient is made together with the value, a block of rows at a time: memory grows with the catalogue, and neither
with the batch nor with the length of the sequences, and no product is made twice. Checked against the formula in
plain Python and against the gradient of the plain one (tests/objectives/test_softmax.py).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

LOGITS_AT_ONCE = 2**19
"""2 MB of them: a core's cache."""


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def softmax_cross_entropy(
    states: Float[Array, "m d"],
    vectors: Float[Array, "n d"],
    target: Int[Array, "m"],
    weight: Float[Array, "m"],
    half: bool = False,
) -> Float[Array, ""]:
    """sum_r weight_r (log sum_i exp(h_r . e_i) - h_r . e_target), over rows r and items i.

    Differentiable with respect to states and vectors. Rows of weight 0 cost nothing, and may have any target in range.
    `half`: the products' factors are rounded to bfloat16, and added up in float32.
    """
    return _value(states, vectors, target, weight, half)[0]


def _value(states: Array, vectors: Array, target: Array, weight: Array, half: bool) -> tuple[Array, Any]:
    rows, _, spare = _blocks(len(states), len(vectors))
    # Rows that count come first, and blocks without any are left out: a quarter of all rows may be padding.
    order = jnp.argsort(weight == 0, stable=True)
    h, w = (jnp.pad(x[order], ((0, spare), *((0, 0),) * (x.ndim - 1))) for x in (states, weight))
    own = (h * vectors[jnp.pad(target[order], (0, spare))]).sum(-1)
    as_factor = jnp.bfloat16 if half else jnp.float32
    items = vectors.astype(as_factor)

    def product(a: Array, b: Array, a_axis: int, b_axis: int) -> Array:
        return jax.lax.dot_general(a, b, (((a_axis,), (b_axis,)), ((), ())), preferred_element_type=jnp.float32)

    def block(i: Array, so_far: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        value, of_states, of_vectors = so_far
        mine, weights, found = (jax.lax.dynamic_slice_in_dim(x, i * rows, rows) for x in (h, w, own))
        mine = mine.astype(as_factor)
        logits = product(mine, items, 1, 1)
        top = logits.max(axis=1, keepdims=True)
        raised = jnp.exp(logits - top)
        total = raised.sum(axis=1, keepdims=True)
        share = (raised * (weights[:, None] / total)).astype(as_factor)
        value += (weights * (jnp.log(total) + top)[:, 0] - weights * found).sum()
        of_states = jax.lax.dynamic_update_slice_in_dim(of_states, product(share, items, 1, 0), i * rows, axis=0)
        # [d n], not [n d]: of the two factors the smaller one is turned (by itself two thirds of the time on a CPU).
        return value, of_states, of_vectors + product(mine, share, 0, 0)

    count = -(-(weight != 0).sum() // rows)
    zero = jnp.float32(0), jnp.zeros_like(h), jnp.zeros_like(vectors.T)
    value, of_states, of_vectors = jax.lax.fori_loop(0, count, block, zero)
    of_states = jnp.zeros_like(states).at[order].set(of_states[: len(states)]) - weight[:, None] * vectors[target]
    return value, (of_states, of_vectors.T.at[target].add(-weight[:, None] * states))


def _backward(half: bool, kept: tuple[Array, Array], value: Array) -> tuple[Array, Array, None, None]:
    of_states, of_vectors = kept
    return value * of_states, value * of_vectors, None, None


softmax_cross_entropy.defvjp(_value, _backward)


def best_items(states: Float[Array, "m d"], vectors: Float[Array, "n d"]) -> Int[Array, "m"]:
    """argmax_i h_r . e_i of every row r, a block of rows at a time; of equals the first."""
    rows, blocks, spare = _blocks(len(states), len(vectors))
    places = jnp.arange(len(vectors), dtype=jnp.int32)

    def block(h: Array) -> Array:
        logits = h @ vectors.T
        # On a CPU argmax takes twice the time: it is not vectorised, and costs more than cross-entropy's gradient.
        return jnp.where(logits == logits.max(axis=1, keepdims=True), places, len(places)).min(axis=1)

    parts = jnp.pad(states, ((0, spare), (0, 0))).reshape(blocks, rows, -1)
    return jax.lax.map(block, parts).reshape(-1)[: len(states)]


def _blocks(m: int, n: int) -> tuple[int, int, int]:
    """(rows of a block, blocks, rows that the last one lacks) for the logits of m rows over n items."""
    rows = max(1, min(m, LOGITS_AT_ONCE // n))
    blocks = -(-m // rows)
    return rows, blocks, blocks * rows - m
