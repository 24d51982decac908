"""What tests of Q heads on sequences share: a small log, a GRU4Rec on it, its products in float64, configurations."""

import functools
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rec_jax.data.interactions import Interactions
from rec_jax.models.base import Query
from rec_jax.models.gru4rec import GRU4Rec, GRU4RecConfig
from rec_jax.models.sequence import SequenceModel
from rec_jax.objectives.base import Recommender, TrainData
from rec_jax.objectives.q_learning import CQL, HEAD, SAC, SQN, sqn

N_USERS, N_ITEMS, T, GAMMA = 20, 9, 8, 0.7


def log(ratings: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 5.0)) -> Interactions:
    """Users of 0 to 19 events."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(N_USERS), np.arange(N_USERS)).astype(np.int32)
    m = len(user)
    rating = rng.choice(ratings, m).astype(np.float32)
    return Interactions(user, rng.integers(0, N_ITEMS, m).astype(np.int32), rating, np.arange(m, dtype=np.int64))


DATA = TrainData.of(log(), N_USERS, N_ITEMS)
MODULE = GRU4Rec(GRU4RecConfig(width=6, dropout=0.0, max_length=T), N_USERS, N_ITEMS)


def built(config: SQN, data: TrainData | None = None) -> Recommender:
    return of_data(config) if data is None else sqn(MODULE, config, data, 8)


@functools.cache
def of_data(config: SQN) -> Recommender:
    """One for all tests, so that its functions are traced once."""
    return sqn(MODULE, config, DATA, 8)


states = jax.jit(partial(MODULE.apply, method="states"))


def started(recommender: Recommender, data: TrainData = DATA) -> tuple[Any, Any, Any]:
    """Parameters and a target network with noise on all of them, and a batch."""
    params, extra = jax.jit(recommender.init)(jax.random.key(0), data)
    rng = np.random.default_rng(1)

    def noisy(tree: Any) -> Any:
        return jax.tree.map(lambda x: x + rng.normal(size=x.shape).astype(np.float32) / 2, tree)

    batch = jax.jit(recommender.batch)(data, jax.random.key(3), jnp.int32(0), jnp.int32(0))
    return noisy(params), {**extra, "target": noisy(extra["target"])}, batch


def read(params: Any, batch: Any, config: SQN) -> np.ndarray:
    """The states [b t d] in float64, of length 1 where they are to be."""
    query = Query(batch.user, None, batch.history, batch.times)
    found = np.asarray(states({"params": params}, query), np.float64)
    return found / np.linalg.norm(found, axis=-1, keepdims=True) if config.normalised else found


def products(params: Any, batch: Any, config: SQN | None = None) -> tuple[list[Any], list[Any]]:
    """(scores [b t n], Q [b t n]) as nested lists of floats, made from states in float64. Q has no temperature."""
    config = config or SQN()
    of_states = read(params, batch, config)
    head = np.asarray(params[HEAD], np.float64)
    items = np.asarray(params["item"]["embedding"], np.float64)
    if config.normalised:
        items /= np.linalg.norm(items, axis=-1, keepdims=True)
    q = of_states @ head[:, :-1].T + head[:, -1]
    return (of_states @ items.T / config.temperature).tolist(), q.tolist()


CONFIGS = {
    "sqn": SQN(gamma=GAMMA, q_weight=0.4),
    "sqn, ratings as they are": SQN(gamma=GAMMA, reward="rating"),
    "sqn, 1 for every event": SQN(gamma=GAMMA, reward="one"),
    "sac, before": SAC(gamma=GAMMA, q_weight=0.4, warm_up=2),
    "sac, after": SAC(gamma=GAMMA, q_weight=0.4, warm_up=1),
    "cql": CQL(gamma=GAMMA, alpha=0.3, q_weight=2.0),
    "sqn, cosines": SQN(gamma=GAMMA, normalised=True, temperature=0.3),
    "sac, binary cross-entropy": SAC(gamma=GAMMA, warm_up=1, loss="bce", negatives=3),
}


class LastItem(SequenceModel):
    """The state is which item came last: Q is a table."""

    def setup(self) -> None:
        self.item = nn.Embed(self.n_items, self.n_items)

    def states(self, query: Query) -> Any:
        return jax.nn.one_hot(query.history, self.n_items)

    def item_vectors(self) -> Any:
        return self.item.embedding
