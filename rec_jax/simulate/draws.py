"""Random numbers made from the words of one block: one call of the generator a step, not one a quantity.

Checked against their distributions, by counts and by SciPy's tests (tests/simulate/test_draws.py; the weighted
ones: test_logged_users.py).
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

LARGEST = 5.5
"""No normal draw is further from 0."""
BIAS = 1e-4
"""At most by this share may two whole numbers differ in probability."""


def uniform(bits: UInt32[Array, "*s"]) -> Float[Array, "*s"]:
    """Uniform in (0, 1), at the middles of 2^23 intervals: neither 0 nor 1 comes up."""
    return ((bits >> 9).astype(jnp.float32) + 0.5) * jnp.float32(2**-23)


def normal(bits: UInt32[Array, "*s"]) -> Float[Array, "*s"]:
    """Standard normal, by the inverse of its distribution function; never beyond LARGEST in size."""
    return jnp.float32(math.sqrt(2)) * jax.lax.erf_inv(2 * uniform(bits) - 1)


def words_of(count: int, base: int) -> int:
    """How many words `digits` needs for `count` numbers below `base`."""
    return -(-count // _a_word(base))


def digits(bits: UInt32[Array, "n w"], base: int, count: int) -> Int[Array, "n c"]:
    """`count` whole numbers a row, uniform below `base`, several of them out of one word.

    They are the word's digits in base `base`, the lowest first; of the last the probabilities differ most, by less
    than BIAS.
    """
    found, rest = list[Array](), bits
    for _ in range(_a_word(base)):
        rest, digit = rest // base, rest % base
        found.append(digit)
    return jnp.concatenate(found, axis=1)[:, :count].astype(jnp.int32)


def _a_word(base: int) -> int:
    return max(1, int(math.log(2**32 * BIAS) / math.log(max(base, 2))))


def distinct(bits: UInt32[Array, "n k"], among: int) -> Int[Array, "n k"]:
    """k different whole numbers a row, below `among`, in random order: every ordered choice is as likely.

    The i-th is drawn among the among - i that are left, and counted over those already taken.
    """
    taken = list[Array]()
    for i in range(bits.shape[1]):
        number = (bits[:, i] % (among - i)).astype(jnp.int32)
        for other in _ascending(taken):
            number = number + (number >= other)
        taken.append(number)
    return jnp.stack(taken, axis=1)


def _ascending(numbers: list[Array]) -> list[Array]:
    return list(jnp.sort(jnp.stack(numbers), axis=0)) if len(numbers) > 1 else numbers


def weighted_distinct(bits: UInt32[Array, "n k"], chances: Float[Array, "m"]) -> Int[Array, "n k"]:
    """k different whole numbers a row, below m: each drawn in proportion to `chances` among those that are left.

    `chances` sum to 1 and none is 0; k is at most m. Their sums are rounded, by which, very rarely, a number can
    come twice; `distinct_of_lines` is exact.
    """
    ends = jnp.cumsum(chances)
    starts = jnp.append(ends - chances, jnp.inf)  # the last: of none taken yet
    pieces = jnp.append(chances, 0.0)
    return _off_the_line(
        bits,
        len(chances),
        ends[-1],
        lambda taken: (starts[taken], pieces[taken]),
        lambda mark: jnp.searchsorted(ends, mark, side="right"),
    )


def distinct_of_lines(bits: UInt32[Array, "n k"], ends: Int[Array, "n m"]) -> Int[Array, "n k"]:
    """k different whole numbers a row, below m, each row by chances of its own: `ends` are the running sums of whole
    weights, at most 2^24 in all.

    What weighs 0 is never drawn, since no sum of whole numbers is rounded; at least k of a row weigh more.
    """
    size = ends.shape[1]

    def piece(taken: Int[Array, "n k"]) -> tuple[Array, Array]:
        at = jnp.take_along_axis(ends, jnp.minimum(taken, size - 1), axis=1)
        before = jnp.take_along_axis(ends, jnp.maximum(taken - 1, 0), axis=1)
        start = jnp.where(taken > 0, before, 0)
        none = taken == size
        return jnp.where(none, jnp.iinfo(ends.dtype).max, start), jnp.where(none, 0, at - start)

    find = jax.vmap(lambda line, mark: jnp.searchsorted(line, mark, side="right"))
    return _off_the_line(bits, size, ends[:, -1], piece, lambda mark: find(ends, mark))


def _off_the_line(
    bits: UInt32[Array, "n k"],
    size: int,
    total: Array,
    piece: Callable[[Array], tuple[Array, Array]],
    find: Callable[[Array], Array],
) -> Int[Array, "n k"]:
    """Numbers are found on the line of those left: the whole line, `total` long, with the pieces of those taken cut
    out. `piece` of numbers: where they start and how long they are; of `size`, which is none: beyond all, and 0.
    """
    n, k = bits.shape

    def draw(taken: Int[Array, "n k"], at: tuple[Array, Array]) -> tuple[Array, Array]:
        place, word = at
        start, cut = piece(jnp.sort(taken, axis=1))
        before = jnp.cumsum(cut, axis=1)
        mark = (uniform(word) * (total - before[:, -1])).astype(total.dtype)
        # A piece is passed where the mark lies beyond its start, which the pieces cut before it have moved down.
        passed = mark[:, None] >= start - (before - cut)
        mark = mark + jnp.where(passed, cut, 0).sum(axis=1)
        found = jnp.minimum(find(mark), size - 1).astype(jnp.int32)
        return jnp.where(jnp.arange(k) == place, found[:, None], taken), found

    first = jnp.full((n, k), size, jnp.int32)
    _, found = jax.lax.scan(draw, first, (jnp.arange(k), bits.T))
    return found.T
