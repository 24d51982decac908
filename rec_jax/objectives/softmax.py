"""Cross-entropy over the whole catalogue, and its best item, whose logits are never held in full.

The gradient is made together with the value, a block of rows at a time: memory grows with the catalogue, and neither
with the batch nor with the length of the sequences, and no product is made twice. Checked against the formula in
plain Python and against the gradient of the plain one (tests/objectives/test_softmax.py).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

LOGITS_AT_ONCE = 2**19
"""2 MB of them: a core's cache."""


@jax.custom_vjp
def softmax_cross_entropy(
    states: Float[Array, "m d"],
    vectors: Float[Array, "n d"],
    target: Int[Array, "m"],
    weight: Float[Array, "m"],
) -> Float[Array, ""]:
    """sum_r weight_r (log sum_i exp(h_r . e_i) - h_r . e_target), over rows r and items i.

    Differentiable with respect to states and vectors. Rows of weight 0 may have any target in range.
    """
    return _value(states, vectors, target, weight)[0]


def _value(states: Array, vectors: Array, target: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    rows, blocks, spare = _blocks(len(states), len(vectors))
    h, w = (jnp.pad(x, ((0, spare), *((0, 0),) * (x.ndim - 1))) for x in (states, weight))
    found = (h * vectors[jnp.pad(target, (0, spare))]).sum(-1)

    def block(of_vectors: Array, part: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        h, w, own = part
        logits = h @ vectors.T
        top = logits.max(axis=1, keepdims=True)
        raised = jnp.exp(logits - top)
        total = raised.sum(axis=1, keepdims=True)
        share = raised * (w[:, None] / total)
        value = (w * (jnp.log(total) + top)[:, 0] - w * own).sum()
        return of_vectors + share.T @ h, (value, share @ vectors)

    parts = (h.reshape(blocks, rows, -1), w.reshape(blocks, rows), found.reshape(blocks, rows))
    of_vectors, (value, of_states) = jax.lax.scan(block, jnp.zeros_like(vectors), parts)
    of_states = of_states.reshape(blocks * rows, -1)[: len(states)] - weight[:, None] * vectors[target]
    return value.sum(), (of_states, of_vectors.at[target].add(-weight[:, None] * states))


def _backward(kept: tuple[Array, Array], value: Array) -> tuple[Array, Array, None, None]:
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
