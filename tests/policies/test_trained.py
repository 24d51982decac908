"""A trained recommender as a policy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rec_jax.models.base import Query, Scorer
from rec_jax.policies.trained import shown_by
from rec_jax.simulate.base import Observation


def test_the_best_candidates_are_shown_as_places() -> None:
    """A user's last item is what counts: the table's row of it, at the candidates."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(9, 9)).astype(np.float32)
    last, items = rng.integers(0, 9, 6), np.stack([rng.permutation(9)[:5] for _ in range(6)])

    def score(cache: Any, query: Query, ids: Any) -> Any:
        return jnp.take_along_axis(cache[query.history[:, 0]], ids, axis=1)

    def read(observation: Observation) -> tuple[Query, Any]:
        history = observation.user.astype(jnp.int32)
        return Query(jnp.arange(len(history)), None, history), observation.documents[:, :, 0].astype(jnp.int32)

    scorer = Scorer("table", jnp.asarray(table), lambda cache, query: cache[query.history[:, 0]], score)
    seen = Observation(jnp.asarray(last[:, None], jnp.float32), jnp.asarray(items[:, :, None], jnp.float32))
    slates = jax.jit(shown_by(scorer, read, 2))(scorer.cache, jax.random.key(0), seen)
    for user, slate in enumerate(slates.tolist()):
        scores = [table[last[user], item].item() for item in items[user]]
        assert slate == sorted(range(5), key=lambda place: -scores[place])[:2]
