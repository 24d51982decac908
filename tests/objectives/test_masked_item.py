"""Masked items: how many, which, what is left of the history, and the loss against its formula."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.errors import InputError
from rec_jax.models.base import Query
from rec_jax.models.bert4rec import BERT4Rec, BERT4RecConfig
from rec_jax.objectives.base import Recommender
from rec_jax.objectives.masked_item import MaskedItem, count_of, masked_item, masks
from tests.objectives.test_sequences import DATA, N_ITEMS, N_USERS, T, log

MODULE = BERT4Rec(BERT4RecConfig(width=8, blocks=1, dropout=0.0, max_length=T), N_USERS, N_ITEMS)


def built(**options: Any) -> Recommender:
    return masked_item(MODULE, MaskedItem(**options), DATA, 16)


def first(recommender: Recommender, epoch: int = 0) -> Any:
    return jax.jit(recommender.batch)(DATA, jax.random.key(3), jnp.int32(epoch), jnp.int32(0))


def test_a_share_of_every_history_is_masked_or_its_last_item_alone() -> None:
    lengths = np.array([1, 2, 3, 7, 12, 12, 12, 12])
    real = jnp.arange(12) < jnp.asarray(lengths)[:, None]
    keys = jax.vmap(jax.random.key)(jnp.arange(400))
    both = np.asarray(jax.jit(jax.vmap(lambda key: masks(key, real, 0.25, 0.5)))(keys))
    assert not (both & ~np.asarray(real)).any()
    for row, length in enumerate(lengths.tolist()):
        count = both[:, row].sum(axis=1)
        alone = (count == 1) & both[:, row, length - 1]
        wanted = max(1, math.floor(0.25 * length + 0.5))
        assert set(count.tolist()) <= {1, wanted}
        if length == 12:
            assert abs(alone.mean() - 0.5) < 5 * math.sqrt(0.25 / 400)
            several = both[count == wanted, row]
            assert np.abs(several.mean(axis=0) - 0.25).max() < 5 * math.sqrt(0.19 / len(several))
    assert (
        len({mask[4:].tobytes() for mask in both}) > 340
    )  # in a sixteenth of the draws all four have their last item alone


def test_a_masked_item_is_hidden_and_is_to_be_found_at_its_place() -> None:
    batch, events = first(built(masked=0.3)), log()
    other = first(built(masked=0.3), epoch=1)
    assert not np.array_equal(batch.target, other.target)
    for user, history, target in zip(*map(np.asarray, (batch.user, batch.history, batch.target))):
        items = events.item[events.user == user][-T:]
        assert np.where(target >= 0, target, history)[: len(items)].tolist() == items.tolist()
        assert ((history == N_ITEMS) == (target >= 0)).all()
        assert 1 <= (target >= 0).sum() <= count_of(0.3, len(items))


def test_a_drawn_window_is_as_long_as_what_is_read() -> None:
    """So that a history's first event is read as often as the window's chance says (1 of n + T - 1 ends)."""
    recommender, epochs = built(window="drawn", masked=0.3), 400
    drawn = jax.jit(jax.vmap(lambda epoch: recommender.batch(DATA, jax.random.key(3), epoch, jnp.int32(0))))(
        jnp.arange(epochs)
    )
    rows, times, events = drawn.user.reshape(-1), np.asarray(drawn.times.reshape(-1, T)), log()
    for user in (T + 1, N_USERS - 1):
        begins = times[np.asarray(rows) == user, 0] - events.time[events.user == user][0]
        assert begins.min() == 0
        chance = T / (user + T - 1)  # of the ends 1 to n + T - 1, so many are moved in to the first window
        assert abs((begins == 0).mean() - chance) < 4.5 * math.sqrt(chance * (1 - chance) / len(begins))
        assert begins.max() == user - T


@pytest.mark.parametrize("options", [{}, {"loss": "bce", "negatives": 3, "exclude_positives": True}])
def test_the_loss_is_its_formula(options: dict[str, Any]) -> None:
    recommender = built(masked=0.4, **options)
    params, extra = jax.jit(recommender.init)(jax.random.key(0), DATA)
    params = jax.tree.map(lambda x: x * 3, params)
    batch = first(recommender)
    states = MODULE.apply({"params": params}, Query(batch.user, None, batch.history, batch.times), method="states")
    vectors = np.asarray(MODULE.apply({"params": params}, method="item_vectors"), np.float64)
    scores, total, count = np.asarray(states, np.float64) @ vectors.T, 0.0, 0
    for b, row in enumerate(np.asarray(batch.target).tolist()):
        masked = [(t, target) for t, target in enumerate(row) if target >= 0]
        for place, (t, target) in enumerate(masked):  # its draws are those of its number among a user's masked items
            s, count = scores[b, t].tolist(), count + 1
            if batch.negatives is None:
                total += math.log(sum(map(math.exp, s))) - s[target]
            else:
                others = np.asarray(batch.negatives)[b, place].tolist()
                parts = [math.log1p(math.exp(-s[target])), *(math.log1p(math.exp(s[i])) for i in others)]
                total += sum(parts) / len(parts)
    found = recommender.loss(params, extra, batch, jax.random.key(0), jnp.int32(0))[0]
    assert float(found) == pytest.approx(total / count, rel=1e-4)


@pytest.mark.parametrize(("name", "value"), [("masked", 0.0), ("masked", 1.5), ("only_last", -0.1)])
def test_shares_out_of_range(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} {value}: expected a number from 0 to 1"):
        masked_item(MODULE, dataclasses.replace(MaskedItem(), **{name: value}), DATA, 16)
