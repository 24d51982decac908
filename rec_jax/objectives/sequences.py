"""Objectives over sequences: what a batch of users is, and how padding is kept cheap.

A batch is drawn from users, whatever their lengths. Its gradient is then made in groups of users of like length, each
cut to the shortest of a few lengths that holds it: far less is computed than with all padded to the longest, and the
sum, but for rounding, is the same.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key

from rec_jax.data.histories import last_places
from rec_jax.errors import InputError
from rec_jax.models.base import Leaf, Query, Stream, in_groups
from rec_jax.models.layers import unit
from rec_jax.models.sequence import SequenceModel
from rec_jax.objectives.base import Extra, Loss, Params, Recommender, TrainData
from rec_jax.objectives.sampling import below, permuted

GROUP = 16
"""Users whose gradient is made together on a CPU: their layers stay in a core's cache."""
SHORTEST = 8
"""Events below which cutting saves nothing."""
SHARES = (1 / 4, 1 / 2, 1)
"""The lengths that groups are cut to, of the longest. Each is compiled; more of them save no time that shows."""


@struct.dataclass
class SequenceBatch:
    """What is read of each user of a step, and the items that are to be found.

    `target[:, j]` is to be found by the state at position j; -1: nothing is. `negatives` are of each target, or of each
    user's, or, shared by all, the same in every row. `weight` is of each target of a user: over the global batch,
    sum(weight * targets of the user) is the number of users. A loss may be given weights of each target, [b t].
    `rating` is what the user gave the target, as in the log; None if not read.
    """

    user: Leaf  # int32 [b]
    history: Leaf  # int32 [b t], -1 past the end
    times: Leaf  # int32 [b t]
    target: Leaf  # int32 [b t]
    weight: Leaf  # float32 [b]
    negatives: Leaf = None  # int32 [b t k]; [b t/16 k] where a place's share them; [b k] where a user's or a step's do
    rating: Leaf = None  # float32 [b t]

    def cut(self, length: int) -> "SequenceBatch":
        """The same for users none of whom has more than `length` events."""
        return self.replace(  # type: ignore[attr-defined]
            history=self.history[:, :length],
            times=self.times[:, :length],
            target=self.target[:, :length],
            negatives=self.draws_for(length),
            rating=None if self.rating is None else self.rating[:, :length],
        )

    def draws_for(self, places: int) -> Leaf:
        """The negatives of so many places, in the same proportion to them as of all."""
        if self.negatives is None or self.negatives.ndim == 2:
            return self.negatives
        return self.negatives[:, : -(-places * self.negatives.shape[1] // self.history.shape[1])]


Draw = Callable[[TrainData, Key[Array, ""], Query, Bool[Array, "b"]], SequenceBatch]
"""(data, key, users with their last events: `first` more than the model reads, which of them count) -> the batch, every
weight 1 or, of a user who only fills the epoch's last step, 0."""
RowLoss = Callable[[Float[Array, "m d"], Float[Array, "n d"], SequenceBatch, Extra], Float[Array, ""]]
"""(states at the targets, items' vectors, the batch, extra) -> sum over targets of weight times loss."""


def build_sequences(
    module: SequenceModel,
    data: TrainData,
    batch_size: int,
    draw: Draw,
    row_loss: RowLoss,
    *,
    pairs: int,
    vectors: Callable[[Float[Array, "n d"]], Float[Array, "n d"]],
    normalised: bool,
    kept: dict[str, Callable[[TrainData], Any]],
    picked: Callable[[int], int] | None = None,
    first: int = 1,
    windows: bool = False,
) -> Recommender:
    """The bundle for objectives over sequences.

    An epoch visits every user of at least two train events once. `pairs`: scored items an event, for the rate that
    is shown. `vectors` makes the vectors that scores use of the module's; `normalised`: states have length 1.
    `picked(t)`: the most targets among t positions, where they are few: only their states meet the items.
    `first`: the number, from 0, of the first event that can be a target; so many more than it reads are drawn from.
    `windows`: of a longer history a window is read that is drawn anew each epoch, else its last events.
    InputError: the batch exceeds the users.
    """
    n = len(data.readers)
    if not 0 < batch_size <= n:
        raise InputError(
            f"--batch-size {batch_size:,} is larger than the {n:,} users of at least two train events; "
            "take at most that"
        )
    steps = -(-n // batch_size)

    def init(key: Key[Array, ""], data: TrainData) -> tuple[Params, Extra]:
        query = Query(jnp.zeros(1, jnp.int32), None, jnp.zeros((1, 2), jnp.int32), jnp.zeros((1, 2), jnp.int32))

        def everything(module: SequenceModel) -> Any:
            return module.states(query), module.item_vectors()

        params = module.init({"params": key}, method=everything)["params"]
        return params, {name: of(data) for name, of in kept.items()}

    def batch(data: TrainData, key: Key[Array, ""], epoch: Int[Array, ""], step: Int[Array, ""]) -> SequenceBatch:
        epoch_key = jax.random.fold_in(key, epoch)
        place = step * batch_size + jnp.arange(batch_size)
        which = permuted(epoch_key, jnp.minimum(place, n - 1), n)
        user, length = data.readers[which], module.reads + first
        end = None
        if windows:
            end = window(data, jax.random.fold_in(jax.random.fold_in(epoch_key, 0), step), user, length)
        past = read(data, user, length, end)
        # By length, so that devices' parts of the batch hold the same groups of users as the whole.
        found = shortest_first(draw(data, jax.random.fold_in(epoch_key, step + 1), past, place < n))
        counts = (found.target >= 0).sum(axis=1) * found.weight
        return found.replace(weight=found.weight * (batch_size / counts.sum()))  # type: ignore[attr-defined]

    def applied(params: Params, *arguments: Any, **how: Any) -> Any:
        return module.apply({"params": params}, *arguments, **how)

    def of_group(params: Params, extra: Extra, group: SequenceBatch, key: Key[Array, ""]) -> Float[Array, ""]:
        query = Query(group.user, None, group.history, group.times)

        def scored(module: SequenceModel) -> Array:
            states, asked = module.states(query), group
            if picked is not None:
                states, asked = at_targets(states, group, picked(states.shape[1]))
            flat = states.reshape(-1, states.shape[-1])
            return row_loss(unit(flat) if normalised else flat, vectors(module.item_vectors()), asked, extra)

        return applied(params, method=scored, rngs={"dropout": key})

    def loss(params: Params, extra: Extra, batch: SequenceBatch, key: Key[Array, ""], step: Int[Array, ""]) -> Loss:
        return by_length(of_group, params, extra, batch, key) / len(batch.user), (extra, {})

    def prepare(params: Params, extra: Extra) -> Any:
        return {"params": params, "items": vectors(applied(params, method="item_vectors"))}

    def last(cache: Any, query: Query) -> Float[Array, "b d"]:
        def of(users: Query) -> Float[Array, "b d"]:
            return applied(cache["params"], users, method="last")

        # A recurrent model's steps are as many for few users as for many.
        state = of(query) if module.recurrent else in_groups(of, query)
        return unit(state) if normalised else state

    def scores(cache: Any, query: Query) -> Float[Array, "b n"]:
        return last(cache, query) @ cache["items"].T

    def score_candidates(cache: Any, query: Query, ids: Int[Array, "b k"]) -> Float[Array, "b k"]:
        return jnp.einsum("bd,bkd->bk", last(cache, query), cache["items"][ids])

    def begin(cache: Any, b: int) -> Any:
        return applied(cache["params"], b, method="begin")

    def observe(cache: Any, memory: Any, query: Query, place: Int[Array, ""]) -> tuple[Any, Float[Array, "b n"]]:
        memory, state = applied(cache["params"], memory, query, place, method="observe")
        return memory, (unit(state) if normalised else state) @ cache["items"].T

    # Positions that are counted from the last event change with every event, for all events.
    followed = hasattr(module, "observe") and getattr(module.config, "positions", "first") != "last"
    stream = Stream(begin, observe, None if module.recurrent else module.reads) if followed else None
    events = np.diff(np.asarray(data.start))
    examples = int(np.minimum(events - 1, module.reads).clip(min=0).sum()) * pairs
    return Recommender(
        init,
        batch,
        loss,
        prepare,
        scores,
        score_candidates,
        data.n_items,
        steps,
        examples,
        module.reads,
        stream=stream,
    )


def at_targets(
    states: Float[Array, "b t d"], batch: SequenceBatch, count: int
) -> tuple[Float[Array, "b m d"], SequenceBatch]:
    """The states and the batch at the `count` positions of each user that hold all that is to be found."""
    place = jnp.argsort(batch.target < 0, axis=1, stable=True)[:, :count]
    target = jnp.take_along_axis(batch.target, place, axis=1)
    chosen = batch.replace(target=target, negatives=batch.draws_for(count))  # type: ignore[attr-defined]
    return jnp.take_along_axis(states, place[..., None], axis=1), chosen


def read(data: TrainData, user: Int[Array, "b"], length: int, end: Int[Array, "b"] | None = None) -> Query:
    """The users with their last `length` train events, or those up to the one of number `end`, counted from 1."""
    place, inside = last_places(jnp, data.start, user, length, end)
    return Query(user, None, jnp.where(inside, data.item[place], -1), jnp.where(inside, data.time[place], 0))


def window(data: TrainData, key: Key[Array, ""], user: Int[Array, "b"], length: int) -> Int[Array, "b"]:
    """Where a window of `length` ends among a user's n events, counted from 1: at any place of those where it would
    hold an event, and what would stand out is moved in. So no event, the last ones neither, is in it with a chance
    below length / (n + length - 1)."""
    n = data.start[user + 1] - data.start[user]
    drawn = 1 + below(key, user.shape, jnp.maximum(n, 1) + length - 1)
    return jnp.clip(drawn, jnp.minimum(length, n), n)


def ratings(data: TrainData, user: Int[Array, "b"], length: int) -> Float[Array, "b t"]:
    """What the users gave in their last `length` train events; 0 past the end."""
    place, inside = last_places(jnp, data.start, user, length)
    return jnp.where(inside, data.rating[place], 0.0)


def events_of(batch: SequenceBatch) -> Int[Array, "b"]:
    """How many events of each user are read."""
    return (batch.history >= 0).sum(axis=1)


def shortest_first(batch: SequenceBatch) -> SequenceBatch:
    """The same users in the order of their events."""
    order = jnp.argsort(events_of(batch))
    ordered: SequenceBatch = jax.tree.map(lambda x: x[order], batch)
    return ordered


def by_length(
    function: Callable[[Params, Extra, SequenceBatch, Key[Array, ""]], Float[Array, ""]],
    params: Params,
    extra: Extra,
    batch: SequenceBatch,
    key: Key[Array, ""],
) -> Float[Array, ""]:
    """sum of function(params, extra, group, its key) over groups of users of like length, each cut to its longest;
    the batch is one of `shortest_first`.

    Differentiable with respect to `params`; the gradient is made with the value, a group at a time, so that what is
    kept for it is one group's. Elsewhere than on a CPU the whole batch is one group.
    """
    count, longest = batch.history.shape
    size = GROUP if jax.default_backend() == "cpu" and count % GROUP == 0 else count
    lengths = sorted({max(min(SHORTEST, longest), math.ceil(longest * share)) for share in SHARES})

    def over_groups(of_one: Callable[..., Any], zero: Any, params: Params, extra: Extra, batch: Any, key: Any) -> Any:
        groups = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), (batch, events_of(batch)))
        branches = [lambda p, e, g, k, n=n: of_one(p, e, g.cut(n), k) for n in lengths]

        def one(total: Any, group: Any) -> tuple[Any, None]:
            (rows, events), number = group
            which = jnp.searchsorted(jnp.asarray(lengths), events.max())
            found = jax.lax.switch(which, branches, params, extra, rows, jax.random.fold_in(key, number))
            return jax.tree.map(jnp.add, total, found), None

        return jax.lax.scan(one, zero, (groups, jnp.arange(count // size)))[0]

    @jax.custom_vjp
    def total(params: Params, extra: Extra, batch: Any, key: Any) -> Array:
        found: Array = over_groups(function, jnp.float32(0), params, extra, batch, key)
        return found

    def forward(params: Params, extra: Extra, batch: Any, key: Any) -> tuple[Array, Any]:
        zero = (jnp.float32(0), jax.tree.map(jnp.zeros_like, params))
        value, gradient = over_groups(jax.value_and_grad(function), zero, params, extra, batch, key)
        return value, gradient

    def backward(gradient: Any, value: Array) -> tuple[Any, None, None, None]:
        return jax.tree.map(lambda g: value * g, gradient), None, None, None

    total.defvjp(forward, backward)
    return total(params, extra, batch, key)
