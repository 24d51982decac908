"""A trainable recommender: a module plus an objective, as a bundle of pure functions over parameters."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key

from rec_jax.data.histories import last_places, seconds32
from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError
from rec_jax.models.base import Leaf, Query, Stream
from rec_jax.objectives.sampling import below, permuted


@struct.dataclass
class TrainData:
    """The train events as device arrays, sorted by user and time, and each user's distinct items in ascending order.

    User u's events run from start[u] to start[u + 1], and the `positives` likewise by positives_start.
    """

    user: Leaf  # int32 [m]
    item: Leaf  # int32 [m]
    rating: Leaf  # float32 [m]
    time: Leaf  # int32 [m], seconds since 1970, 0 unknown
    start: Leaf  # int32 [n_users_plus_1]
    readers: Leaf  # int32 [s]: users of at least two events, whose sequences can be trained on
    positives: Leaf  # int32 [p]
    positives_start: Leaf  # int32 [n_users_plus_1]
    n_users: int = struct.field(pytree_node=False)
    n_items: int = struct.field(pytree_node=False)

    @classmethod
    def of(cls, log: Interactions, n_users: int, n_items: int) -> "TrainData":
        """The data of a log's events."""
        pairs = np.unique(log.user.astype(np.int64) * n_items + log.item)
        start = np.searchsorted(pairs, np.arange(n_users + 1) * n_items)
        events_start = log.by_user(n_users)
        found = cls(
            user=log.user,
            item=log.item,
            rating=log.rating,
            time=seconds32(log.time),
            start=events_start.astype(np.int32),
            readers=np.flatnonzero(np.diff(events_start) >= 2).astype(np.int32),
            positives=(pairs % n_items).astype(np.int32),
            positives_start=start.astype(np.int32),
            n_users=n_users,
            n_items=n_items,
        )
        # Not jnp.asarray of each, which compiles a program for every length there is.
        return jax.device_put(found)

    def digest(self) -> str:
        """The same for the same content, and for no other."""
        found = hashlib.blake2b(f"{self.n_users} {self.n_items}".encode())
        for leaf in jax.tree.leaves(self):
            found.update(f" {leaf.shape} {leaf.dtype} ".encode())
            found.update(np.ascontiguousarray(leaf).data)
        return found.hexdigest()


@struct.dataclass
class Batch:
    """Events of one step: `items[:, 0]` is the event's own, the rest are its negatives.

    `weight` is 0 where the epoch's last batch is padded, and averages 1 over the global batch.
    """

    user: Leaf  # int32 [b]
    items: Leaf  # int32 [b k]
    rating: Leaf  # float32 [b]
    weight: Leaf  # float32 [b]
    label: Leaf = None  # float32 [b]: 0 where items[:, 0] is a negative too; None where it is the event's own in all
    history: Leaf = None  # int32 [b t]: the user's last items before the event, -1 past the end; None if not read
    times: Leaf = None  # int32 [b t]: when that was


@dataclass(frozen=True)
class Penalty:
    """What every objective over looked-up vectors offers."""

    l2: float = 0.0
    """Penalty on the squared vectors of each (user, item) pair of the batch."""
    frequency: float = 1.0
    """Exponent of a row's frequency in its penalty: 1 as often as it comes (each lookup is penalised alike), 0 the
    same for every row, whatever its events."""


Params: TypeAlias = Any
Extra: TypeAlias = Any
Loss = tuple[Float[Array, ""], tuple[Extra, dict[str, Float[Array, ""]]]]


@dataclass(frozen=True)
class Recommender:
    """What training and evaluation need of a model, whatever it is.

    - `init(key, data) -> (params, extra)`; `extra` is what is kept but not optimised.
    - `batch(data, key, epoch, step) -> batch`: the global batch, a function of its arguments alone.
    - `loss(params, extra, batch, key, step) -> (scalar, (extra, metrics))`, an average over the batch by weight.
    - `prepare(params, extra) -> cache`; `scores(cache, query)`; `score_candidates(cache, query, ids)`.
    """

    init: Callable[[Key[Array, ""], TrainData], tuple[Params, Extra]]
    batch: Callable[[TrainData, Key[Array, ""], Int[Array, ""], Int[Array, ""]], Any]
    loss: Callable[[Params, Extra, Any, Key[Array, ""], Int[Array, ""]], Loss]
    prepare: Callable[[Params, Extra], Any]
    scores: Callable[[Any, Query], Float[Array, "b n"]]
    score_candidates: Callable[[Any, Query, Int[Array, "b k"]], Float[Array, "b k"]]
    n_items: int
    steps_per_epoch: int
    examples_per_epoch: int
    """Scored (user, item) pairs an epoch, negatives counted: the unit of 'examples/s'."""
    reads: int = 0
    """How many of a user's last events a query has to bring (0: none)."""
    ordered: bool = True
    """Whether the order of these events matters."""
    stream: Stream | None = None
    """How scores follow events as they come, where the model can."""


def build(
    module: nn.Module,
    data: TrainData,
    batch_size: int,
    negatives: int,
    example_loss: Callable[[Float[Array, "b k"], Batch, Extra], Float[Array, "b"]],
    *,
    draw: Callable[[Key[Array, ""], TrainData, Int[Array, "b"]], Int[Array, "b k"]] | None = None,
    penalty: Penalty = Penalty(),
    offset: Callable[[TrainData], Float[Array, ""]] = lambda data: jnp.float32(0),
    apart: bool = False,
    even_users: bool = False,
    kept: Mapping[str, Callable[[TrainData], Any]] = MappingProxyType({}),
) -> Recommender:
    """The bundle for objectives over events: an event's item, `negatives` drawn items, and a loss of their scores.

    `example_loss(scores, batch, extra)` gives one value an event. `offset(data)` is added to every score (ratings:
    their mean). `penalty` is on the squared vectors that were looked up: over an epoch a row's is proportional to how
    often it is, to the power `frequency`. `apart`: a negative is an example of its own, and the batch holds
    `batch_size` examples of an epoch's, in random order. `even_users`: an event is drawn of a user that is drawn
    evenly, and an epoch has as many steps as otherwise. `kept`: what the loss finds in `extra`, by name, from the
    data. A module with `reads` finds the user's last so many events before the event in its query, whichever item it
    scores. InputError: the batch exceeds the data.
    """
    n_events, each = len(data.user), 1 + negatives if apart else 1
    n_places = n_events * each
    if batch_size > n_places:
        counted = "examples of an epoch" if apart else "train events"
        raise InputError(f"--batch-size {batch_size:,} is larger than the {n_places:,} {counted}; take at most that")

    steps, evenly = -(-n_places // batch_size), drawn_evenly(data) if even_users else None
    fixed: dict[str, Any] = module.fixed(data) if hasattr(module, "fixed") else {}
    reads: int = module.reads if hasattr(module, "reads") else 0

    def init(key: Key[Array, ""], data: TrainData) -> tuple[Params, Extra]:
        past = jnp.zeros((1, 1), jnp.int32) if reads else None
        query, extra = Query(jnp.zeros(1, jnp.int32), None, past, past), {name: of(data) for name, of in kept.items()}
        extra["offset"] = offset(data)
        if fixed:
            extra["fixed"] = fixed
        if penalty.frequency != 1:
            extra["rarity"] = _rarity(data, negatives, penalty.frequency, even_users)
        one_item, rngs = jnp.zeros((1, 1), jnp.int32), {"params": key}
        _, drawn = module.apply(fixed, query, one_item, rngs=rngs, mutable=["params", "losses"])
        return drawn["params"], extra

    def batch(data: TrainData, key: Key[Array, ""], epoch: Int[Array, ""], step: Int[Array, ""]) -> Batch:
        epoch_key = jax.random.fold_in(key, epoch)
        place = step * batch_size + jnp.arange(batch_size)
        if evenly is None:
            index, which = jnp.divmod(permuted(epoch_key, jnp.minimum(place, n_places - 1), n_places), each)
            real = place < n_places
        else:
            index = evenly(data, jax.random.fold_in(epoch_key, steps + step + 1), batch_size)
            which, real = jnp.zeros_like(index), jnp.ones_like(index)
        user, items, label = data.user[index], data.item[index][:, None], None
        if draw is not None:
            drawn = draw(jax.random.fold_in(epoch_key, step + 1), data, user)
            items = jnp.where(which[:, None] == 0, items, drawn) if apart else jnp.concatenate([items, drawn], axis=1)
            label = (which == 0).astype(jnp.float32) if apart else None
        past = before(data, user, index, reads) if reads else (None, None)
        return Batch(user, items, data.rating[index], real * (batch_size / real.sum()), label, *past)

    def variables(params: Params, extra: Extra) -> dict[str, Any]:
        return {"params": params, **extra.get("fixed", {})}

    def loss(params: Params, extra: Extra, batch: Batch, key: Key[Array, ""], step: Int[Array, ""]) -> Loss:
        query = Query(batch.user, None, batch.history, batch.times)
        scores, sown = module.apply(variables(params, extra), query, batch.items, mutable=["losses"])
        value = example_loss(scores + extra["offset"], batch, extra)
        total = (batch.weight * value).mean()
        if penalty.l2 > 0:
            of_user, of_item = sown["losses"]["l2_user"][0], sown["losses"]["l2_item"][0]
            if penalty.frequency != 1:
                rarity = extra["rarity"]
                of_user, of_item = of_user * rarity["user"][batch.user], of_item * rarity["item"][batch.items]
            total += penalty.l2 * (batch.weight * (of_user + of_item.mean(axis=1))).mean()
        return total, (extra, {})

    def prepare(params: Params, extra: Extra) -> Any:
        return {"params": params, "extra": extra, "items": module.apply(variables(params, extra), method="prepare")}

    def scores(cache: Any, query: Query) -> Float[Array, "b n"]:
        known = variables(cache["params"], cache["extra"])
        return module.apply(known, cache["items"], query, method="scores") + cache["extra"]["offset"]

    def score_candidates(cache: Any, query: Query, ids: Int[Array, "b k"]) -> Float[Array, "b k"]:
        known = variables(cache["params"], cache["extra"])
        if hasattr(module, "candidates"):
            return module.apply(known, cache["items"], query, ids, method="candidates") + cache["extra"]["offset"]
        return module.apply(known, query, ids) + cache["extra"]["offset"]

    examples = n_events * (1 + negatives)
    return Recommender(init, batch, loss, prepare, scores, score_candidates, data.n_items, steps, examples, reads)


def drawn_evenly(data: TrainData) -> Callable[[TrainData, Key[Array, ""], int], Int[Array, "b"]]:
    """(data, key, b) -> events, each of a user drawn evenly among those that have any."""
    users = jnp.asarray(np.flatnonzero(np.diff(np.asarray(data.start))), jnp.int32)

    def draw(data: TrainData, key: Key[Array, ""], b: int) -> Int[Array, "b"]:
        of_user, of_event = jax.random.split(key)
        user = users[below(of_user, (b,), len(users))]
        first, last = data.start[user], data.start[user + 1]
        return first + below(of_event, (b,), last - first)

    return draw


def before(
    data: TrainData, user: Int[Array, "b"], place: Int[Array, "b"], length: int
) -> tuple[Int[Array, "b t"], Int[Array, "b t"]]:
    """(items, times) of the last `length` events of each user before the event at `place`, the earliest first.

    They are -1 and 0 past the end. An event's place in the data is its place in the log, sorted by user and time.
    """
    # As if each event had a user of its own, whose history ends where the event stands.
    bounds = jnp.stack([data.start[user], place], axis=1).reshape(-1)
    places, inside = last_places(jnp, bounds, 2 * jnp.arange(len(user)), length)
    return jnp.where(inside, data.item[places], -1), jnp.where(inside, data.time[places], 0)


def _rarity(data: TrainData, negatives: int, frequency: float, even_users: bool) -> dict[str, Array]:
    """(how often a row is looked up in an epoch, relative to the average row)^(frequency - 1), of users and items."""
    n, times = len(data.user), jnp.ones(len(data.user))
    if even_users:
        events = jnp.bincount(data.user, length=data.n_users)
        times = n / (events > 0).sum() / events[data.user]
    of_user = jnp.bincount(data.user, times, length=data.n_users) * (1.0 + negatives)
    of_item = jnp.bincount(data.item, times, length=data.n_items) + n * negatives / data.n_items
    return {
        name: (jnp.maximum(count, 1.0) / count.mean()) ** (frequency - 1)
        for name, count in (("user", of_user), ("item", of_item))
    }
