"""A factorization machine with context, for implicit feedback. Rendle, ICDM 2010, Eq. 1 and Lemma 3.1; trained by
BPR (Rendle et al., UAI 2009, Sec. 4) or by cross-entropy over positives and negatives, with Adam.

A (user, item, moment) has features on two sides: the user, the user's attributes, the hour and the weekday; the item
and its categories (which share a value of 1). With a and b the sums of both sides' vectors the score is <a, b>, plus
what each side gives by itself: an item's part is computed once. Checked against the formula over explicit feature
vectors in plain Python (tests/baselines/test_fm.py).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from rec_jax.data.interactions import Dataset
from rec_jax.data.splits import Split
from rec_jax.errors import InputError
from rec_jax.models.base import Leaf, Query, Scorer, context_of
from rec_jax.objectives.base import TrainData
from rec_jax.objectives.sampling import permuted, true_negatives
from rec_jax.randomness import device_key

HOURS, DAYS = 24, 7
# The brackets that MovieLens-1M's ages come in.
AGES = (18, 25, 35, 45, 50, 56)


@dataclass(frozen=True)
class FMConfig:
    """The factorization machine's hyper-parameters."""

    factors: int = 32
    """Width of the features' vectors."""
    rounds: int = 20
    """Passes over the train events, with negatives drawn anew."""
    loss: Literal["bpr", "logistic"] = "bpr"
    """Pairs of a positive and a negative, or cross-entropy of each."""
    negatives: int = 1
    """Negatives an event: items drawn uniformly among those the user has not in train."""
    l2: float = 0.002
    """Penalty on the squared vectors and weights of each event's features."""
    step_size: float = 0.005
    """Adam's learning rate."""
    events_per_step: int = 1024
    """Events that one step averages over."""
    init_sd: float = 0.05
    """Standard deviation of the initial vectors."""
    context: bool = True
    """Use the hour (UTC) and the weekday of the event."""
    attributes: bool = True
    """Use the users' attributes (ages in brackets; postal codes are left out)."""
    categories: bool = True
    """Use the items' categories."""


@struct.dataclass
class Features:
    """Which features a user and an item have, as ids padded with `count` (a feature of no vector and no weight).

    Ids run over users, items, attribute values, categories, hours, weekdays; `hour` is the first hour's id.
    """

    user: Leaf  # int32 [n_users a]
    item: Leaf  # int32 [n_items c]
    item_value: Leaf  # float32 [n_items c]
    hour: int = struct.field(pytree_node=False)
    count: int = struct.field(pytree_node=False)
    context: bool = struct.field(pytree_node=False)


Params = dict[str, Array]
"""`vectors` [count, d], `weights` [count], `bias` []."""


@struct.dataclass
class Side:
    """The sums over one side's features that a score needs: of x v, of its squared length, of x w."""

    vector: Leaf  # float32 [... d]
    own: Leaf  # float32 [...]: the pairs within the side, and its weights
    norm: Leaf  # float32 [...]: squared vectors and weights, for the penalty


def fit_fm(split: Split, config: FMConfig, seed: int = 0) -> Scorer:
    """Fit on the train events. InputError: a number out of range, or a user who has every item in train."""
    if min(config.factors, config.rounds, config.negatives, config.events_per_step) < 1:
        raise InputError(f"{config}: expected factors, rounds, negatives and events_per_step of at least 1")
    if min(config.step_size, config.init_sd) <= 0 or config.l2 < 0:
        raise InputError(f"{config}: expected a positive step_size and init_sd, and no negative l2")
    data = TrainData.of(split.train, split.dataset.n_users, split.dataset.n_items)
    full = np.flatnonzero(np.diff(np.asarray(data.positives_start)) >= data.n_items)
    if len(full):
        raise InputError(f"{split.dataset.name}: {len(full):,} users have every item in train: no negative exists")
    features = features_of(split.dataset, config)
    key = device_key(seed, "factorization machine")
    vectors = config.init_sd * jax.random.normal(device_key(seed, "init"), (features.count, config.factors))
    params = {"vectors": vectors, "weights": jnp.zeros(features.count), "bias": jnp.zeros(())}
    context = jnp.asarray(context_of(split.train.time))
    state = (params, optax.scale_by_adam().init(params))
    plan = Plan(config.loss, config.negatives, min(config.events_per_step, len(split.train)))
    rates = {"l2": jnp.float32(config.l2), "step_size": jnp.float32(config.step_size)}
    for epoch in range(config.rounds):
        state = _round(state, features, data, context, jax.random.fold_in(key, epoch), rates, plan)
    return fm_scorer(state[0], features)


def features_of(dataset: Dataset, config: FMConfig) -> Features:
    """The features of every user and item. The users' attributes: empty strings are unknown, and give no feature."""
    count, offset = dataset.n_users + dataset.n_items, dataset.n_users
    user = [np.arange(dataset.n_users)]
    for name, column in sorted(dataset.user_attributes.items()):
        if config.attributes and not name.lower().startswith("zip"):
            values = np.array([_bracket(v) for v in column.tolist()]) if name.lower() == "age" else column
            kinds = {kind: count + i for i, kind in enumerate(sorted(set(values.tolist()) - {""}))}
            user.append(np.array([kinds.get(v, -1) for v in values.tolist()]))
            count += len(kinds)
    rows = dataset.catalogue.categories if config.categories else [()] * dataset.n_items
    names = {name: count + i for i, name in enumerate(sorted({c for row in rows for c in row}))}
    count += len(names)
    width = 1 + max((len(row) for row in rows), default=0)
    item, value = np.full((dataset.n_items, width), -1), np.zeros((dataset.n_items, width), np.float32)
    for i, row in enumerate(rows):
        item[i, : 1 + len(row)] = [offset + i, *(names[c] for c in row)]
        value[i, : 1 + len(row)] = [1.0, *(1 / len(row) for _ in row)]
    hour, count = count, count + (HOURS + DAYS if config.context else 0)
    user_ids, item_ids = (
        jnp.asarray(np.where(ids < 0, count, ids), jnp.int32) for ids in (np.stack(user, axis=1), item)
    )
    return Features(user_ids, item_ids, jnp.asarray(value), hour, count, config.context)


def _bracket(age: str) -> str:
    """The age's bracket by its lower end; what is no number stays as it is."""
    return str(max((a for a in AGES if a <= int(age)), default=0)) if age.isdigit() else age


def fm_scorer(params: Params, features: Features) -> Scorer:
    """The Scorer of trained parameters; without context it answers queries as if their moment were unknown.

    An unseen user has no vector and no attributes, so there is no fold-in.
    """
    items = item_side(params, features, jnp.arange(len(features.item)))
    cache = {"params": params, "features": features, "items": items}
    return Scorer("fm", cache, _scores, _score_candidates)


def query_side(params: Params, features: Features, user: Int[Array, "b"], context: Int[Array, "b 2"] | None) -> Side:
    """The user's features and the moment's."""
    ids = features.user[user]
    if features.context and context is not None:
        moment = features.hour + jnp.array([0, HOURS]) + context
        ids = jnp.concatenate([ids, jnp.where(context < 0, features.count, moment)], axis=1)
    return _side(params, ids, jnp.ones(ids.shape))


def item_side(params: Params, features: Features, items: Int[Array, "*b"]) -> Side:
    """The features of items."""
    return _side(params, features.item[items], features.item_value[items])


def _side(params: Params, ids: Int[Array, "*b c"], value: Float[Array, "*b c"]) -> Side:
    """Lemma 3.1: the pairs of a set of features are half of |sum of x v|^2 less the sum of |x v|^2."""
    vectors = params["vectors"].at[ids].get(mode="fill", fill_value=0.0)
    weights = params["weights"].at[ids].get(mode="fill", fill_value=0.0)
    scaled = vectors * value[..., None]
    total, squares = scaled.sum(axis=-2), (scaled**2).sum(axis=(-2, -1))
    own = ((total**2).sum(axis=-1) - squares) / 2 + (weights * value).sum(axis=-1)
    return Side(total, own, squares + ((weights * value) ** 2).sum(axis=-1))


@dataclass(frozen=True)
class Plan:
    """What a compiled round depends on; everything else is an argument."""

    loss: str
    negatives: int
    events: int


@partial(jax.jit, static_argnames="plan", donate_argnums=0)
def _round(
    state: Any,
    features: Features,
    data: TrainData,
    context: Int[Array, "m 2"],
    key: Key[Array, ""],
    rates: dict[str, Array],
    plan: Plan,
) -> Any:
    """One pass over the train events in a random order; the last step is padded with events of weight 0."""
    m, b = len(data.user), plan.events
    order_key, negative_key = jax.random.split(key)
    adam = optax.scale_by_adam()

    def loss(params: Params, at: Int[Array, "b"], weight: Float[Array, "b"], key: Key[Array, ""]) -> Float[Array, ""]:
        user, item = data.user[at], data.item[at]
        drawn = true_negatives(key, user, plan.negatives, data.n_items, data.positives, data.positives_start)
        query = query_side(params, features, user, context[at])
        items = item_side(params, features, jnp.concatenate([item[:, None], drawn], axis=1))
        score = jnp.einsum("bd,bkd->bk", query.vector, items.vector) + items.own
        if plan.loss == "bpr":
            each = jax.nn.softplus(score[:, 1:] - score[:, :1]).mean(axis=1)
        else:
            score = score + query.own[:, None] + params["bias"]
            each = jax.nn.softplus(-score[:, 0]) + jax.nn.softplus(score[:, 1:]).sum(axis=1)
        each = each + rates["l2"] * (query.norm + items.norm.sum(axis=1))
        return (each * weight).sum() / weight.sum()

    def step(index: Int[Array, ""], state: Any) -> Any:
        params, moments = state
        place = index * b + jnp.arange(b)
        at = permuted(order_key, place % m, m)
        gradient = jax.grad(loss)(params, at, (place < m).astype(jnp.float32), jax.random.fold_in(negative_key, index))
        direction, moments = adam.update(gradient, moments)
        return jax.tree.map(lambda p, d: p - rates["step_size"] * d, params, direction), moments

    return jax.lax.fori_loop(0, -(-m // b), step, state)


def _scores(cache: dict[str, Any], query: Query) -> Float[Array, "b n"]:
    side, items = query_side(cache["params"], cache["features"], query.user, query.context), cache["items"]
    return side.vector @ items.vector.T + items.own + (side.own + cache["params"]["bias"])[:, None]


def _score_candidates(cache: dict[str, Any], query: Query, ids: Int[Array, "b k"]) -> Float[Array, "b k"]:
    side, items = query_side(cache["params"], cache["features"], query.user, query.context), cache["items"]
    dots = jnp.einsum("bd,bkd->bk", side.vector, items.vector[ids])
    return dots + items.own[ids] + (side.own + cache["params"]["bias"])[:, None]
