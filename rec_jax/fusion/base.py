"""What every fusion is made of: normalised scores and ranks, and a Scorer that combines those of its parts.

Checked against the formulas in plain Python, and against ranks counted in numpy (tests/fusion/test_base.py and its
neighbours): blocks of users, fold-in, and what makes a part unfit.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError, UndefinedScore
from rec_jax.evaluate.protocol import Questions
from rec_jax.evaluate.ranking import PAIRS_PER_BATCH, blank_query, check_shape, in_blocks
from rec_jax.models.base import Query, Scorer

Scores: TypeAlias = Callable[[Any, Query], Array]
Transform: TypeAlias = Callable[[Array], Array]  # one part's scores [b, n] -> [b, n]
Combine: TypeAlias = Callable[[Any, Array], Array]  # (what was learned, features [f, b, k]) -> scores [b, k]


def fused(
    name: str, transform: Transform, combine: Combine, parts: Sequence[Scorer], learned: Any, item_features: Any = None
) -> Scorer:
    """combine(learned, x) of x [f, b, n], the transformed scores of the parts and then the standardised item features.

    Its functions are the same objects for the same kind of fusion and the same functions of the parts. It has a
    fold-in where every part has one. InputError: an item feature [n, c] is NaN or infinite.
    """
    items = np.zeros((0, _width(parts[0]))) if item_features is None else _item_rows(item_features)
    cache = _cache(parts, items) | {"learned": learned}
    functions = _functions(transform, combine, tuple(part.scores for part in parts))
    again = functools.partial(fused, name, transform, combine, learned=learned, item_features=item_features)
    return Scorer(name, cache, *functions, fold_all(parts, again), max(part.reads for part in parts))


def fold_all(
    parts: Sequence[Scorer], fuse: Callable[[Sequence[Scorer]], Scorer]
) -> Callable[[Interactions, int], Scorer] | None:
    """The fold-in of a fusion: that of every part, fused as before; None where a part has none."""
    folds = [part.fold_in for part in parts]
    return None if None in folds else lambda log, n_users: fuse([fold(log, n_users) for fold in folds if fold])


@functools.lru_cache(maxsize=128)
def _features(transform: Transform, parts: tuple[Scores, ...]) -> Scores:
    """(cache, query) -> [f, b, n]: made once for each set of the parts' functions, so that jit knows it again."""

    def features(cache: Any, query: Query) -> Array:
        # Without the barrier XLA may compute a score once a use, with other roundings, and an item not equal itself.
        scores = [jax.lax.optimization_barrier(f(c, query)) for f, c in zip(parts, cache["parts"])]
        extra = jnp.broadcast_to(cache["items"][:, None], (len(cache["items"]), *scores[0].shape))
        return jnp.concatenate([jnp.stack([transform(s) for s in scores]), extra])

    return features


@functools.lru_cache(maxsize=128)
def _functions(
    transform: Transform, combine: Combine, parts: tuple[Scores, ...]
) -> tuple[Scores, Callable[..., Array]]:
    features = _features(transform, parts)

    def scores(cache: Any, query: Query) -> Array:
        return combine(cache["learned"], features(cache, query))

    def of_block(cache: Any, asked: tuple[Query, Array]) -> Array:
        query, ids = asked
        return combine(cache["learned"], jnp.take_along_axis(features(cache, query), ids[None], axis=2))

    def score_candidates(cache: Any, query: Query, ids: Array) -> Array:
        # Candidates are few, but their statistics are the catalogue's: as many users at once as in full ranking.
        b, size = len(ids), max(1, PAIRS_PER_BATCH // cache["items"].shape[1])
        if b <= size:
            return of_block(cache, (query, ids))
        at = jnp.arange(-(-b // size) * size) % b
        blocks = jax.tree.map(lambda leaf: leaf[at].reshape(-1, size, *leaf.shape[1:]), (query, ids))
        return jax.lax.map(functools.partial(of_block, cache), blocks).reshape(-1, ids.shape[1])[:b]

    return scores, score_candidates


def scored(
    transform: Transform, parts: Sequence[Scorer], questions: Questions, item_features: Any = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(places in the questions [r], features [f, r, n]), in blocks of users. Errors as in `fuse_weighted`."""
    if len(parts) < 2:
        raise InputError(f"{len(parts)} part(s): a fusion needs at least two recommenders")
    n = len(questions.excluded)
    for part in parts:
        check_shape(part, n)
    items = np.zeros((0, n)) if item_features is None else _item_rows(item_features)
    if items.shape[1] != n:
        raise InputError(f"item_features of {items.shape[1]:,} items: the catalogue has {n:,}")
    function, cache = _features(transform, tuple(part.scores for part in parts)), _cache(parts, items)
    reads = max(part.reads for part in parts)
    for rows, x in in_blocks(function, cache, lambda rows: questions.query(rows, reads), len(questions.user), n):
        check_finite(parts, questions.user[rows], x)
        yield rows, x


def check_finite(parts: Sequence[Scorer], user: np.ndarray, x: np.ndarray) -> None:
    """UndefinedScore: a number of x [parts (and more), users, n] is NaN or infinite."""
    wrong = np.argwhere(~np.isfinite(x).all(axis=2))
    if len(wrong):
        part, row = wrong[0].tolist()
        raise UndefinedScore(f"{parts[part].name}: a score of user {int(user[row])} is NaN or infinite")


def _cache(parts: Sequence[Scorer], items: np.ndarray) -> dict[str, Any]:
    return {"parts": tuple(part.cache for part in parts), "items": jnp.asarray(items, jnp.float32)}


def _width(part: Scorer) -> int:
    return int(jax.eval_shape(part.scores, part.cache, blank_query(part, 1)).shape[1])


def _item_rows(features: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "c n"]:
    """Standardised over the catalogue; a constant is 0. InputError: a number is NaN or infinite."""
    if not np.isfinite(features).all():
        raise InputError("item_features: a number is NaN or infinite")
    return np.asarray(_z_scores(jnp.asarray(features.T, jnp.float32)))


def take(questions: Questions, rows: np.ndarray) -> Questions:
    """The questions at these places [r], in this order."""
    positives, seen = ([column[r] for r in rows] for column in (questions.positives, questions.seen))
    candidates = None if questions.candidates is None else [questions.candidates[r] for r in rows]
    user, time = questions.user[rows], questions.time[rows]
    return dataclasses.replace(questions, user=user, time=time, positives=positives, seen=seen, candidates=candidates)


def _z_scores(scores: Float[Array, "b n"]) -> Float[Array, "b n"]:
    centred = scores - scores.mean(axis=1, keepdims=True)
    constant = scores.max(axis=1, keepdims=True) == scores.min(axis=1, keepdims=True)
    # Brought to at most 1 first: the squares of small scores would vanish in float32.
    unit = jnp.where(constant, 0.0, centred / jnp.where(constant, 1.0, jnp.abs(centred).max(axis=1, keepdims=True)))
    return unit / jnp.where(constant, 1.0, jnp.sqrt((unit**2).mean(axis=1, keepdims=True)))


def _min_max(scores: Float[Array, "b n"]) -> Float[Array, "b n"]:
    low = scores.min(axis=1, keepdims=True)
    spread = scores.max(axis=1, keepdims=True) - low
    return (scores - low) / jnp.where(spread == 0, 1.0, spread)


NORMALISATIONS: dict[str, Transform] = {"z-score": _z_scores, "min-max": _min_max}


def ranks(scores: Float[Array, "b n"]) -> Float[Array, "b n"]:
    """1 is the highest; tied items share their mean rank; NaN for a user with a score that is NaN or infinite."""

    def of_user(row: Array) -> Array:
        ordered = jnp.sort(row)
        lower, not_higher = (jnp.searchsorted(ordered, row, side=side) for side in ("left", "right"))
        return len(row) - (lower + not_higher - 1) / 2

    return jnp.where(jnp.isfinite(scores).all(axis=1, keepdims=True), jax.vmap(of_user)(scores), jnp.nan)


def linear(learned: Any, x: Float[Array, "f b k"]) -> Float[Array, "b k"]:
    """The features times learned["weights"] [f], summed, and learned["intercept"]."""
    return (learned["weights"][:, None, None] * x).sum(axis=0) + learned["intercept"]
