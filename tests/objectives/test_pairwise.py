"""How pairs are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.models.mf import MF, MFConfig
from rec_jax.objectives.base import TrainData
from rec_jax.objectives.pairwise import Pairwise, pairwise
from tests.helpers import N_ITEMS, N_USERS, small_dataset


@pytest.mark.parametrize("even", [False, True])
def test_users_count_by_their_events_or_alike(even: bool) -> None:
    """User 0 has half of the events, user 1 none: 2 % of the pairs' users differ by chance from what is expected."""
    log = small_dataset().interactions
    kept = np.flatnonzero(log.user != 1)
    twice = np.concatenate([np.repeat(np.flatnonzero(log.user == 0), 30), kept[log.user[kept] != 0]])
    data = TrainData.of(log.take(twice), N_USERS, N_ITEMS)
    recommender = pairwise(MF(MFConfig(2), N_USERS, N_ITEMS), Pairwise(even_users=even), data, 64)
    assert recommender.steps_per_epoch == -(-len(data.user) // 64)
    draw = jax.jit(lambda epoch, step: recommender.batch(data, jax.random.key(0), epoch, step))
    seen, pairs = np.zeros(N_USERS), set(zip(np.asarray(data.user).tolist(), np.asarray(data.item).tolist()))
    steps = recommender.steps_per_epoch
    for epoch in range(40):
        for step in range(steps):
            batch = draw(jnp.int32(epoch), jnp.int32(step))
            real = np.asarray(batch.weight) > 0
            users = np.asarray(batch.user)[real]
            seen += np.bincount(users, minlength=N_USERS)
            assert set(zip(users.tolist(), np.asarray(batch.items)[real, 0].tolist())) <= pairs
    events = np.bincount(np.asarray(data.user), minlength=N_USERS)
    expected = (events > 0) / (events > 0).sum() if even else events / events.sum()
    np.testing.assert_allclose(seen / seen.sum(), expected, atol=5 * np.sqrt(0.25 / seen.sum()) if even else 1e-12)
    assert seen.sum() == (40 * steps * 64 if even else 40 * len(data.user))
