"""The lists that users would be shown: for each user the k best items of the catalogue, seen ones left out.

Checked against a sort in numpy on the host (tests/evaluate/test_lists.py).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32, Key

from rec_jax.errors import InputError, UndefinedScore
from rec_jax.evaluate.protocol import Questions
from rec_jax.evaluate.ranking import check_shape, users_at_once
from rec_jax.models.base import Query, Scorer
from rec_jax.randomness import device_key


def top_lists(scorer: Scorer, questions: Questions, k: int) -> Int32[np.ndarray, "q k"]:
    """[q, k]: each user's k best items, best first, among those that are neither seen nor excluded.

    Equal scores stand in a random order that is a fixed function of (user, item): a constant scorer shows every
    user other items, always the same, and a shorter list is the beginning of a longer one. A score of -inf ranks
    with the lowest finite number.

    InputError: the questions have candidates (lists are of the whole catalogue), k is below 1 or larger than the
    catalogue that is left for some user, or the scorer returns another shape than [b, n].
    UndefinedScore: a score of an item that may be recommended is NaN or +inf.
    """
    n, q = len(questions.excluded), len(questions.user)
    _check(questions, k)
    check_shape(scorer, n)
    b = users_at_once(q, n)
    key = device_key(0, "order of equal scores in lists")
    found = np.empty((q, k), np.int32)
    for start in range(0, q, b):
        rows = np.arange(start, min(start + b, q))
        padded = np.resize(rows, b)  # the last batch repeats some users, and is cut below
        query = questions.query(padded, scorer.reads)
        allowed = np.tile(~questions.excluded, (b, 1))
        for place, row in enumerate(padded.tolist()):
            allowed[place, questions.seen[row]] = False
        order = _random_order(n, key, query.user)
        best, undefined = (np.asarray(x) for x in _best(scorer.scores, k, scorer.cache, query, allowed, order))
        if undefined.any():
            user = int(questions.user[padded[int(np.argmax(undefined))]])
            raise UndefinedScore(f"{scorer.name}: a score of user {user} is NaN or infinite; its list is undefined")
        found[rows] = best[: len(rows)]
    return found


def recommendable(questions: Questions) -> Int[np.ndarray, "q"]:
    """How many items each user can be recommended: neither seen nor excluded."""
    allowed = ~questions.excluded
    return np.array([allowed.sum() - allowed[np.unique(seen)].sum() for seen in questions.seen])


def _check(questions: Questions, k: int) -> None:
    if questions.candidates is not None:
        raise InputError(
            f"lists are of the whole catalogue, and these questions have candidates ({questions.rule}); "
            "ask under the rule 'full'"
        )
    if k < 1:
        raise InputError(f"k = {k}: a list needs at least 1 item")
    left = recommendable(questions)
    if k > left.min():
        user = int(questions.user[int(np.argmin(left))])
        raise InputError(
            f"k = {k} is larger than the catalogue: user {user} can be recommended {left.min()} items only; "
            f"ask for at most {left.min()}"
        )


@partial(jax.jit, static_argnums=(0, 1))
def _best(
    scores: Any,
    k: int,
    cache: Any,
    query: Query,
    allowed: Bool[Array, "b n"] | np.ndarray,
    order: Float[Array, "b n"],
) -> tuple[Int[Array, "b k"], Bool[Array, "b"]]:
    # Without the barrier XLA may compute a score once a use, with other roundings, and an item not equal itself.
    raw = jax.lax.optimization_barrier(scores(cache, query).astype(jnp.float32))
    undefined = ((jnp.isnan(raw) | jnp.isposinf(raw)) & allowed).any(axis=1)
    lowest = jnp.finfo(jnp.float32).min
    value = jnp.where(allowed, jnp.maximum(raw, lowest), -jnp.inf)

    # Where the last place is contested, the items above it are in, and the random order picks among its equals.
    last = _top_k(value, k)[0][:, -1:]
    _, chosen = _top_k(jnp.where(value > last, 2.0, jnp.where(value == last, order, -1.0)), k)
    own, ties = (jnp.take_along_axis(x, chosen, axis=1) for x in (value, order))
    *_, best = jax.lax.sort((-own, -ties, chosen), num_keys=3)
    return best, undefined


def _top_k(value: Float[Array, "b n"], k: int) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    # Where only a part of the result is used, XLA on CPU sorts all n instead, 70 times as slow here: hence a barrier.
    best, at = jax.lax.optimization_barrier(jax.lax.top_k(value, k))
    return best, at


@partial(jax.jit, static_argnums=0)  # on its own, for its second of compilation is the same for every recommender
def _random_order(n: int, key: Key[Array, ""], user: Int[Array, "b"]) -> Float[Array, "b n"]:
    """Uniform in [0, 1), a function of (user, item) alone: which users share a batch makes no difference."""
    return jax.vmap(lambda one: jax.random.uniform(jax.random.fold_in(key, one), (n,)))(user)
