"""The multinomial likelihood of rows against plain Python; its batches, annealing, devices and training."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rec_jax.config import Optimization
from rec_jax.data.interactions import Interactions
from rec_jax.errors import InputError
from rec_jax.models.base import Query
from rec_jax.models.multvae import MultVAE, MultVAEConfig
from rec_jax.objectives.base import Recommender, TrainData
from rec_jax.objectives.multinomial import Multinomial, annealed, divergence, multinomial, multinomial_loss
from rec_jax.train.devices import select
from rec_jax.train.step import create, make_chunk
from rec_jax.train.update import make_update

N_USERS, N_ITEMS = 30, 12
CONFIG = MultVAEConfig(hidden=(8,), latent=3, dropout=0.0)


def log() -> Interactions:
    """Even users have even items, odd ones odd; events repeat; every sixth user has none."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(N_USERS), np.where(np.arange(N_USERS) % 6 == 2, 0, 1 + np.arange(N_USERS) % 5 * 2))
    item = rng.integers(0, N_ITEMS // 2, len(user)) * 2 + user % 2
    ones = np.ones(len(user), np.float32)
    return Interactions(user.astype(np.int32), item.astype(np.int32), ones, np.arange(len(user), dtype=np.int64))


DATA = TrainData.of(log(), N_USERS, N_ITEMS)


def built(batch_size: int = 8, dropout: float = 0.0, **options: Any) -> Recommender:
    module = MultVAE(dataclasses.replace(CONFIG, dropout=dropout), N_USERS, N_ITEMS)
    return multinomial(module, Multinomial(**options), DATA, batch_size)


def begun(recommender: Recommender, step: int) -> tuple[Any, Any, Any]:
    """(params, extra, the batch of a step)."""
    batch = jax.jit(recommender.batch)(DATA, jax.random.key(1), jnp.int32(0), jnp.int32(step))
    return *jax.jit(recommender.init)(jax.random.key(0), DATA), batch


def test_an_epoch_visits_every_user_of_an_event_once_with_all_of_its_items() -> None:
    recommender, events, orders = built(), log(), []
    draw = jax.jit(recommender.batch)
    for epoch in range(2):
        seen = []
        for step in range(recommender.steps_per_epoch):
            batch = draw(DATA, jax.random.key(3), jnp.int32(epoch), jnp.int32(step))
            for user, items, weight in zip(*map(np.asarray, (batch.user, batch.items, batch.weight))):
                assert items[items >= 0].tolist() == np.unique(events.item[events.user == user]).tolist()
                seen += [int(user)] if weight > 0 else []
            assert float(batch.weight.mean()) == pytest.approx(1.0)
        assert sorted(seen) == np.unique(events.user).tolist()
        orders.append(seen)
    assert recommender.steps_per_epoch == 4  # of 25 users, the last batch of one
    assert orders[0] != orders[1]


def test_the_parts_of_the_loss_are_the_formulas() -> None:
    logits, row = [0.3, -2.0, 1.5, 0.0], [1, 0, 1, 1]
    total = sum(math.exp(x) for x in logits)
    expected = -sum(math.log(math.exp(x) / total) for x, y in zip(logits, row) if y)
    assert float(multinomial_loss(jnp.array(logits), jnp.array(row, jnp.float32))) == pytest.approx(expected, rel=1e-5)
    mu, log_variance = [0.5, -1.0], [0.2, -0.7]
    expected = -0.5 * sum(1 + v - m * m - math.exp(v) for m, v in zip(mu, log_variance))
    assert float(divergence(jnp.array(mu), jnp.array(log_variance))) == pytest.approx(expected, rel=1e-5)
    assert float(divergence(jnp.zeros(3), jnp.zeros(3))) == 0


def test_the_loss_is_the_formula_with_the_batch_s_noise_and_weights() -> None:
    recommender = built(beta=0.6, anneal_steps=10)
    params, extra, batch = begun(recommender, 2)
    batch = dataclasses.replace(batch, weight=jnp.arange(8) / 3.5)
    found = jax.jit(recommender.loss)(params, extra, batch, jax.random.key(0), jnp.int32(5))[0]
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def layers(x: np.ndarray, name: str) -> np.ndarray:
        first, second = p[f"{name}_0"], p[f"{name}_1"]
        return np.tanh(x @ first["kernel"] + first["bias"]) @ second["kernel"] + second["bias"]

    total = 0.0
    for items, noise, weight in zip(batch.items.tolist(), np.asarray(batch.noise), batch.weight.tolist()):
        own = [i for i in items if i >= 0]
        row = np.array([1 / math.sqrt(len(own)) if i in own else 0.0 for i in range(N_ITEMS)])
        mu, log_variance = np.split(layers(row, "encoder"), 2)
        logits = layers(mu + np.exp(log_variance / 2) * noise, "decoder").tolist()
        norm = math.log(sum(math.exp(x) for x in logits))
        code = sum((m * m + math.exp(v) - v - 1) / 2 for m, v in zip(mu.tolist(), log_variance.tolist()))
        total += weight * (sum(norm - logits[i] for i in own) + 0.6 * 5 / 10 * code)
    assert float(found) == pytest.approx(total / 8, rel=1e-5)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (1, 0.05), (3, 0.15), (4, 0.2), (4000, 0.2)])
def test_beta_rises_in_a_straight_line_and_stays(step: int, expected: float) -> None:
    assert float(annealed(Multinomial(beta=0.2, anneal_steps=4), jnp.int32(step))) == pytest.approx(expected)
    assert float(annealed(Multinomial(beta=0.2, anneal_steps=0), jnp.int32(step))) == pytest.approx(0.2)


def test_both_ways_to_score_agree_and_the_order_of_a_history_does_not_matter() -> None:
    recommender = built(dropout=0.5)
    cache = recommender.prepare(*begun(recommender, 0)[:2])
    history = jnp.array([[3, 1, 8, -1], [8, 3, 1, -1], [5, -1, -1, -1]])
    query = Query(jnp.array([99, 0, 1]), None, history)  # who asks does not matter: user 99 is unseen
    scores = recommender.scores(cache, query)
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5, atol=1e-6)
    ids = jnp.array([[0, 11, 3], [4, 4, 2], [7, 6, 5]])
    found = recommender.score_candidates(cache, query, ids)
    np.testing.assert_array_equal(found, np.take_along_axis(np.asarray(scores), np.asarray(ids), axis=1))
    assert recommender.reads == 10_000


def test_padding_has_no_say() -> None:
    recommender = built()
    params, extra, batch = begun(recommender, 3)
    padded = np.asarray(batch.weight == 0)
    assert padded.sum() == 7
    other = dataclasses.replace(
        batch,
        items=jnp.where(padded[:, None], 3, batch.items),
        noise=jnp.where(padded[:, None], 9.0, batch.noise),
    )

    @jax.jit
    def graded(batch: Any) -> Any:
        return jax.value_and_grad(lambda p: recommender.loss(p, extra, batch, jax.random.key(0), jnp.int32(3))[0])(
            params
        )

    for x, y in zip(jax.tree.leaves(graded(batch)), jax.tree.leaves(graded(other)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-8)


def test_four_devices_train_as_one_and_training_lowers_the_loss() -> None:
    """Without dropout, whose masks alone may differ."""
    recommender = built(beta=0.1, anneal_steps=20)
    optimization = Optimization(batch_size=8, learning_rate=0.02)
    update = make_update(optimization, recommender.steps_per_epoch)
    params, extra = jax.jit(recommender.init)(jax.random.key(0), DATA)

    def trained(n_devices: int, *steps: int) -> list[Any]:
        """The state after each of so many steps."""
        devices = select(n_devices, 8)
        chunk = devices.launch(make_chunk(recommender, update, n_devices), replicated=(True, True, False, False))
        state, data = devices.replicate(create(params, extra, update)), devices.replicate(DATA)
        states = [chunk(state, data, jax.random.key(2), jnp.int32(n)) for n in steps]
        return [jax.device_get(devices.one(state)) for state in states]

    (one, early, late), (four,) = trained(1, 10, 4, 4 * 60), trained(4, 10)
    for x, y in zip(jax.tree.leaves(one.params), jax.tree.leaves(four.params), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    assert late.loss_sum < 0.9 * early.loss_sum  # of the sixtieth epoch and of the first
    cache = recommender.prepare(late.params, late.extra)
    scores = np.asarray(recommender.scores(cache, Query(jnp.array([0, 1]), None, jnp.array([[0, 4], [1, 5]]))))
    assert scores[0, 0::2].min() > scores[0, 1::2].max()  # even items for whom had even ones
    assert scores[1, 1::2].min() > scores[1, 0::2].max()


def test_it_overfits_one_event_a_user() -> None:
    """Where a row has one item its likelihood can reach 1; of more, the loss has a floor."""
    recommender = built(anneal_steps=10)
    params, extra, drawn = begun(recommender, 0)
    batch = dataclasses.replace(drawn, items=drawn.items.at[:, 1:].set(-1))
    tx = optax.adam(0.05)

    def loss(params: Any) -> Any:
        return recommender.loss(params, extra, batch, jax.random.key(0), jnp.int32(0))[0]

    @jax.jit
    def fit(params: Any) -> Any:
        def body(_: Any, carry: Any) -> Any:
            updates, state = tx.update(jax.grad(loss)(carry[0]), carry[1], carry[0])
            return optax.apply_updates(carry[0], updates), state

        return jax.lax.fori_loop(0, 200, body, (params, tx.init(params)))[0]

    assert float(loss(fit(params))) < float(loss(params)) / 3


def test_options_out_of_range() -> None:
    with pytest.raises(InputError, match="--batch-size 26 is larger than the 25 users of at least one train event"):
        built(26)
    with pytest.raises(InputError, match=r"--beta -0\.1"):
        built(beta=-0.1)
    with pytest.raises(InputError, match="--anneal-steps -1"):
        built(anneal_steps=-1)
