"""The next item of a sequence, at every position: what SASRec, GRU4Rec, HSTU and their kin are trained on."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import tyro
from jaxtyping import Array, Bool, Float, Int, Key

from rec_jax.errors import InputError
from rec_jax.fields import added
from rec_jax.models.base import Query
from rec_jax.models.layers import unit
from rec_jax.models.sequence import SequenceModel
from rec_jax.objectives.base import Extra, Recommender, TrainData
from rec_jax.objectives.losses import bpr_max, calibrated_beta, generalised_bce, sampled_softmax
from rec_jax.objectives.negatives import check_negatives_exist
from rec_jax.objectives.sampling import below, true_negatives
from rec_jax.objectives.sequences import Draw, RowLoss, SequenceBatch, build_sequences
from rec_jax.objectives.softmax import softmax_cross_entropy

SHARING = 16
"""Users whose same places share negatives: as many as a CPU makes a gradient of together, or a whole part of them."""

LossName = Literal["bce", "gbce", "softmax", "sampled-softmax", "bpr-max"]


@dataclass(frozen=True)
class NextItem:
    """Every event but the first is to be found from those before it, against other items."""

    loss: LossName = "bce"
    """Binary cross-entropy; the same with the positive's calibrated (gBCE); cross-entropy over the whole catalogue, or
    over the item and its negatives; BPR-max."""
    negatives: int = 1
    """Negatives an item (not for softmax)."""
    negatives_from: Literal["uniform", "popularity", "in-batch"] = "uniform"
    """How they are drawn: evenly; as often as items occur in train; from the items that the batch has to find (not for
    softmax)."""
    negatives_for: Literal["event", "place", "user", "step"] = "event"
    """Whom a draw of negatives serves: one item to be found, those at the same place of 16 users' histories, all of a
    user's, or all of a step's (not for softmax). Where they are many, a place's are nearly as cheap as a user's, and
    say more: a user's meet states that are much alike. The 16 are of like length; where a device's users of a step are
    no multiple of 16, all of them share a place's."""
    exclude_positives: bool = False
    """Never draw an item that the user has in train (uniform negatives of an event or a user)."""
    logq: bool = False
    """Take the log of the chance to be drawn off the scores of sampled softmax (popularity, in-batch)."""
    calibration: float = 0.75
    """gBCE's t, from 0 (binary cross-entropy) to 1 (calibrated)."""
    penalty: float = 0.0
    """BPR-max's penalty on the negatives' squared scores."""
    normalised: bool = False
    """States and items have length 1, so that scores are cosines."""
    temperature: float = 1.0
    """Scores are divided by this."""
    window: Annotated[Literal["last", "drawn"], tyro.conf.arg(name="history-window")] = added("last")
    """What is read of a history longer than the model reads: its last events; or, anew each epoch, those of a window
    that ends anywhere, so that events are trained on which the last ones leave out. (Its flag is --history-window:
    Caser has a window of its own.)"""
    bfloat16: bool = False
    """The products of softmax, over the whole catalogue, are of numbers rounded to bfloat16, added up in float32."""


def next_item(module: SequenceModel, config: NextItem, data: TrainData, batch_size: int) -> Recommender:
    """The average loss over all positions. Errors: as `drawer` and `build_sequences`."""
    return trained_by(config, module, data, batch_size, next_events(config, data))


def next_events(config: NextItem, data: TrainData) -> Draw:
    """Each event of a history is to be found after those before it. Errors: as `drawer`."""
    negatives = drawer(config, data)

    def draw(data: TrainData, key: Key[Array, ""], past: Query, real: Bool[Array, "b"]) -> SequenceBatch:
        target = past.history[:, 1:]
        history = jnp.where(target >= 0, past.history[:, :-1], -1)
        batch = SequenceBatch(past.user, history, past.times[:, :-1], target, real.astype(jnp.float32))
        return batch.replace(negatives=negatives(data, key, batch))  # type: ignore[attr-defined]

    return draw


def trained_by(
    config: NextItem,
    module: SequenceModel,
    data: TrainData,
    batch_size: int,
    draw: Draw,
    picked: Callable[[int], int] | None = None,
    *,
    first: int = 1,
) -> Recommender:
    """The bundle under the loss of `config`, for what `draw` asks to be found: events from number `first` on, counted
    from 0; `picked` as in `build_sequences`."""
    return build_sequences(
        module,
        data,
        batch_size,
        draw,
        row_loss(config, data.n_items),
        pairs=data.n_items if config.loss == "softmax" else 1 + config.negatives,
        vectors=lambda of_module: scored(config, of_module),
        normalised=config.normalised,
        kept={"log_share": partial(log_share, config, reads=module.reads, first=first)} if config.logq else {},
        picked=picked,
        first=first,
        windows=config.window == "drawn",
    )


def scored(config: NextItem, vectors: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """The vectors that scores use, of a module's."""
    return (unit(vectors) if config.normalised else vectors) / config.temperature


def check_loss(config: NextItem) -> None:
    """InputError: options that do not go together, or a number out of range."""
    if config.negatives < 1:
        raise InputError(f"--negatives {config.negatives}: at least 1 is needed")
    if config.temperature <= 0:
        raise InputError(f"--temperature {config.temperature}: expected a number above 0")
    if not 0 <= config.calibration <= 1:
        raise InputError(f"--calibration {config.calibration}: expected a number from 0 to 1")
    if config.loss != "softmax":  # which draws none
        _check_negatives(config)
    if config.logq and (config.loss != "sampled-softmax" or config.negatives_from == "uniform"):
        raise InputError(
            "--logq is for --loss sampled-softmax with --negatives-from popularity or in-batch: "
            "evenly drawn negatives need no correction"
        )
    if config.logq and config.negatives_from == "in-batch" and config.window == "drawn":
        raise InputError(
            "--history-window drawn: how often an item is asked for, --logq with in-batch negatives knows of the last "
            "events alone; add --history-window last"
        )
    if config.bfloat16 and config.loss != "softmax":
        raise InputError(f"--bfloat16 is for --loss softmax, not {config.loss}: elsewhere products are few")
    if config.normalised and config.loss in ("bce", "gbce") and config.temperature == 1:
        raise InputError("--normalised: cosines alone cannot tell positives from negatives; add --temperature 0.05")


def _check_negatives(config: NextItem) -> None:
    if config.negatives_from == "in-batch" and config.negatives_for != "step":
        raise InputError("--negatives-from in-batch: the whole step has the same ones; add --negatives-for step")
    if config.exclude_positives and (
        config.negatives_from != "uniform" or config.negatives_for not in ("event", "user")
    ):
        raise InputError(
            f"--negatives-from {config.negatives_from} --negatives-for {config.negatives_for}: known positives are "
            "left out where negatives are uniform and drawn for an event or a user; add --no-exclude-positives"
        )


def drawer(config: NextItem, data: TrainData) -> Callable[[TrainData, Key[Array, ""], SequenceBatch], Any]:
    """negatives(data, key, batch): [b m k], [b k] where a user's items or all of a step share them, or None where the
    loss needs none.

    InputError: as `check_loss`, or a user has every item.
    """
    check_loss(config)
    k = config.negatives
    if config.loss == "softmax":
        return lambda data, key, batch: None
    if config.exclude_positives:
        check_negatives_exist(data)

    def drawn(data: TrainData, key: Key[Array, ""], shape: tuple[int, ...]) -> Int[Array, "..."]:
        if config.negatives_from == "popularity":
            return data.item[below(key, shape, len(data.item))]
        return below(key, shape, data.n_items)

    def negatives(data: TrainData, key: Key[Array, ""], batch: SequenceBatch) -> Int[Array, "..."]:
        b, m = batch.target.shape
        if config.negatives_from == "in-batch":
            flat = jnp.where(batch.weight[:, None] > 0, batch.target, -1).reshape(-1)
            real = jnp.flatnonzero(flat >= 0, size=b * m)  # the real ones first
            found = flat[real[below(key, (k,), jnp.maximum((flat >= 0).sum(), 1))]]
            return jnp.broadcast_to(found, (b, k))
        if config.negatives_for == "step":
            return jnp.broadcast_to(drawn(data, key, (k,)), (b, k))
        if config.negatives_for == "place":
            return drawn(data, key, (b, -(-m // SHARING), k))
        shape = (b, k) if config.negatives_for == "user" else (b, m, k)
        if config.exclude_positives:
            each = math.prod(shape[1:])
            return true_negatives(key, batch.user, each, data.n_items, data.positives, data.positives_start).reshape(
                shape
            )
        return drawn(data, key, shape)

    return negatives


def log_share(config: NextItem, data: TrainData, reads: int, first: int) -> Float[Array, "n"]:
    """log of each item's chance to be drawn: its share of the train events, or, in a batch, of those that can be asked
    for, which are a user's last `reads`, from number `first` on. Of an item without any, that of one event."""
    counted = jnp.ones(len(data.item), bool)
    if config.negatives_from == "in-batch":
        owner = jnp.repeat(jnp.arange(len(data.start) - 1), jnp.diff(data.start), total_repeat_length=len(data.item))
        left = data.start[owner + 1] - jnp.arange(len(data.item))  # 1 for a user's last event
        events = data.start[owner + 1] - data.start[owner]
        counted = (left <= reads) & (left <= events - first) & (events > 1)
    count = jnp.bincount(data.item, counted.astype(jnp.int32), length=data.n_items)
    return jnp.log(jnp.maximum(count, 1) / counted.sum())


def pooled(batch: SequenceBatch) -> Int[Array, "g m k"]:
    """The negatives of each place, for every `SHARING` users (where they are no multiple of that: for all): their
    draws, one after the other."""
    b, m = batch.target.shape
    users = SHARING if b % SHARING == 0 else b
    draws = batch.negatives.reshape(b // users, -1, batch.negatives.shape[-1])
    return draws[:, jnp.arange(m) % draws.shape[1]]


def row_loss(config: NextItem, n_items: int) -> RowLoss:
    """The sum over targets of weight times loss, from states and vectors."""
    beta = calibrated_beta(config.calibration, config.negatives, n_items) if config.loss == "gbce" else 1.0

    def of_rows(states: Array, vectors: Array, batch: SequenceBatch, extra: Extra) -> Float[Array, ""]:
        target = batch.target.reshape(-1)
        weight = jnp.where(batch.target >= 0, batch.weight.reshape(len(batch.weight), -1), 0.0).reshape(-1)
        target = jnp.maximum(target, 0)
        if config.loss == "softmax":
            return softmax_cross_entropy(states, vectors, target, weight, config.bfloat16)
        positive = (states * vectors[target]).sum(-1)
        if config.negatives_for == "user":
            of_user = states.reshape(*batch.target.shape, -1)
            negative = jnp.einsum("bmd,bkd->bmk", of_user, vectors[batch.negatives]).reshape(len(target), -1)
            ids = jnp.repeat(batch.negatives, batch.target.shape[1], axis=0)
        elif config.negatives_for == "place":
            ids = pooled(batch)  # [g m k]
            of_place = states.reshape(len(ids), -1, ids.shape[1], states.shape[-1])
            negative = jnp.einsum("gumd,gmkd->gumk", of_place, vectors[ids]).reshape(len(target), -1)
            ids = jnp.broadcast_to(ids[:, None], (*of_place.shape[:3], ids.shape[2])).reshape(negative.shape)
        elif config.negatives_for == "step":
            ids = batch.negatives[0]
            negative = states @ vectors[ids].T
            ids = jnp.broadcast_to(ids, negative.shape)
        else:
            ids = batch.negatives.reshape(len(target), -1)
            negative = jnp.einsum("md,mkd->mk", states, vectors[ids])
        hit = ids == target[:, None]
        if config.loss in ("bce", "gbce"):
            value = generalised_bce(positive, negative, beta)
        elif config.loss == "bpr-max":
            value = bpr_max(positive, negative, hit, config.penalty)
        else:
            if config.logq:
                positive, negative = positive - extra["log_share"][target], negative - extra["log_share"][ids]
            value = sampled_softmax(positive, negative, hit)
        return (weight * value).sum()

    return of_rows
