"""Where held-out items rank: counted on the device, in batches of users, without sorting the catalogue."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from rec_jax.data.histories import Histories
from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError, UndefinedScore
from rec_jax.evaluate.protocol import Questions
from rec_jax.models.base import GROUP, Query, Scorer, power_of_two
from rec_jax.workers import side_by_side

# Scores held at once: 2^19 pairs are 2 MB, times an MLP's widest layer of 64 a transient of 128 MB.
PAIRS_PER_BATCH = 2**19


@dataclass(frozen=True, eq=False)
class Ranks:
    """For each held-out item, in one flat row ordered by user: what a metric needs to know.

    `above` and `tied` count candidates that score higher, and equally (itself included); `positives_above` and
    `positives_tied` count the held-out items among them. `row` is the item's place in `user`; `candidates` and
    `positives` count by user.
    """

    user: np.ndarray
    row: np.ndarray
    above: np.ndarray
    tied: np.ndarray
    positives_above: np.ndarray
    positives_tied: np.ndarray
    candidates: np.ndarray
    positives: np.ndarray


def rank(scorer: Scorer, questions: Questions) -> Ranks:
    """Rank every held-out item among its candidates.

    UndefinedScore: a score is NaN or infinite. InputError: the scorer returns another shape than it should.
    """
    width = len(questions.excluded) if questions.candidates is None else max(map(len, questions.candidates))
    b = users_at_once(len(questions.user), width)
    # Users with as many positives, and histories as long, are ranked together, so that little is padded.
    keys = [np.array([len(p) for p in questions.positives])]
    if scorer.reads and questions.known is not None:
        keys.insert(0, np.minimum(questions.known.lengths(questions.user), scorer.reads))
    order = np.lexsort(keys)
    check_shape(scorer, len(questions.excluded))
    excluded = jax.device_put(questions.excluded)

    def batch(start: int) -> tuple[np.ndarray, ...]:
        rows = order[start : start + b].tolist()
        padded = np.resize(rows, b)  # the last batch repeats some users, and is cut below
        positives = _pad([questions.positives[r] for r in padded])
        query = questions.query(padded, scorer.reads)
        if questions.candidates is None:
            seen = _pad([questions.seen[r] for r in padded])
            counts = _count_full(scorer.scores, scorer.cache, query, positives, seen, excluded)
        else:
            ids = _pad([questions.candidates[r] for r in padded], width)
            counts = _count_candidates(scorer.score_candidates, scorer.cache, query, positives, ids)
        *columns, candidates, undefined = (np.asarray(c)[: len(rows)] for c in counts)
        if undefined.any():
            user = int(questions.user[rows[int(np.argmax(undefined))]])
            raise UndefinedScore(f"{scorer.name}: a score of user {user} is NaN or infinite; ranks would be arbitrary")
        lengths = np.array([len(questions.positives[r]) for r in rows])
        real = np.arange(positives.shape[1]) < lengths[:, None]
        return (np.repeat(rows, lengths), *(c[real] for c in columns), candidates.repeat(lengths))

    found = side_by_side(batch, range(0, len(order), b))
    row, *columns = (np.concatenate(c) for c in zip(*found))
    back = np.argsort(row, kind="stable")
    above, tied, positives_above, positives_tied, candidates = (c[back] for c in columns)
    first = np.searchsorted(row[back], np.arange(len(questions.user)))
    lengths = np.array([len(p) for p in questions.positives])
    return Ranks(questions.user, row[back], above, tied, positives_above, positives_tied, candidates[first], lengths)


def users_at_once(count: int, width: int) -> int:
    """Users of a batch whose scores of `width` items each are held, of `count` in all: whole groups of them, for models
    that read histories in these (`models.base.in_groups`).
    """
    b = max(1, min(count, PAIRS_PER_BATCH // width))
    return b + -b % GROUP if b > GROUP else b


# (function, cache, query) -> function(cache, query): one compilation a function, whatever its cache holds.
apply = jax.jit(lambda function, cache, query: function(cache, query), static_argnums=0)


def in_blocks(
    function: Callable[[Any, Query], Array], cache: Any, query: Callable[[np.ndarray], Query], count: int, n_items: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(places [r] among `count`, function(cache, query(places)) [..., r, n]), in blocks of users of one size."""
    size = users_at_once(count, n_items)
    for start in range(0, count, size):
        rows = np.arange(start, min(start + size, count))
        padded = np.resize(rows, size)  # the last block repeats some users, and is cut
        yield rows, np.asarray(apply(function, cache, query(padded)))[..., : len(rows), :]


def check_shape(scorer: Scorer, n_items: int) -> None:
    """InputError: the scores of two users over the catalogue, or of three candidates each, have another shape."""
    query, ids = blank_query(scorer, 2), np.zeros((2, 3), np.int32)
    for function, arguments, expected in (
        (scorer.scores, (query,), (2, n_items)),
        (scorer.score_candidates, (query, ids), (2, 3)),
    ):
        shape = jax.eval_shape(function, scorer.cache, *arguments).shape
        if shape != expected:
            raise InputError(f"{scorer.name}: its scores have shape {shape} where {expected} was expected")


def blank_query(scorer: Scorer, b: int) -> Query:
    """A query of the shape that the scorer asks for."""
    nobody = Interactions(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    return Query.at(np.zeros(b, np.int32), np.zeros(b, np.int64), Histories.of(nobody, 1), scorer.reads)


def _pad(rows: Sequence[np.ndarray], width: int | None = None) -> Array:
    """[b, w] with -1 where a row is shorter; w is a power of two unless given, so that few shapes are compiled."""
    width = width or power_of_two(max(map(len, rows)))
    out = np.full((len(rows), width), -1, np.int32)
    for place, row in enumerate(rows):
        out[place, : len(row)] = row
    return jax.device_put(out)


@partial(jax.jit, static_argnums=0)
def _count_full(
    scores: Any,
    cache: Any,
    query: Query,
    positives: Int[Array, "b p"],
    seen: Int[Array, "b s"],
    excluded: Bool[Array, "n"],
) -> tuple[Array, ...]:
    value = scores(cache, query)
    b, n = value.shape
    rows = jnp.arange(b)[:, None]
    allowed = jnp.broadcast_to(~excluded, (b, n)).at[rows, jnp.where(seen < 0, n, seen)].set(False, mode="drop")
    return _count(value, allowed, positives, positives >= 0)


@partial(jax.jit, static_argnums=0)
def _count_candidates(
    score_candidates: Any, cache: Any, query: Query, positives: Int[Array, "b p"], ids: Int[Array, "b k"]
) -> tuple[Array, ...]:
    value = score_candidates(cache, query, jnp.maximum(ids, 0))
    # A row of candidates begins with the positives, so the columns of these are simply counted off.
    columns = jnp.broadcast_to(jnp.arange(positives.shape[1]), positives.shape)
    return _count(value, ids >= 0, columns, positives >= 0)


def _count(
    value: Float[Array, "b n"], allowed: Bool[Array, "b n"], columns: Int[Array, "b p"], real: Bool[Array, "b p"]
) -> tuple[Array, ...]:
    """(above, tied, positives_above, positives_tied: [b, p]; candidates, undefined: [b])."""
    # Without the barrier XLA may compute a score once a use, with other roundings, and an item not equal itself.
    value = jax.lax.optimization_barrier(value)
    own = jnp.take_along_axis(value, jnp.where(real, columns, 0), axis=1)

    def against(score: Float[Array, "b"]) -> tuple[Array, Array]:
        higher = (allowed & (value > score[:, None])).sum(axis=1)
        return higher, (allowed & (value == score[:, None])).sum(axis=1)

    above, tied = jax.lax.map(against, own.T)  # one positive at a time: [b, p, n] would not fit in memory
    higher = (own[:, None, :] > own[:, :, None]) & real[:, None, :]
    equal = (own[:, None, :] == own[:, :, None]) & real[:, None, :]
    undefined = (~jnp.isfinite(value) & allowed).any(axis=1)
    return above.T, tied.T, higher.sum(-1), equal.sum(-1), allowed.sum(axis=1), undefined
