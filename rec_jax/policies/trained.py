"""A trained recommender as a policy: what a recommender learnt from a log, shown to users who answer.

Checked on a scorer whose best candidates are known (tests/policies/test_trained.py).
"""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Int, Key

from rec_jax.models.base import Query, Scorer
from rec_jax.policies.fixed import best
from rec_jax.simulate.base import Observation
from rec_jax.simulate.episodes import Act

Read = Callable[[Observation], tuple[Query, Int[Array, "n c"]]]
"""What the recommender is asked, and which items the candidates are: how a simulator's observations speak of both."""


def shown_by(scorer: Scorer, read: Read, k: int) -> Act:
    """The policy that shows the k candidates that the recommender scores highest, as places among them.

    Its parameters are the scorer's cache: other parameters of the same recommender compile nothing anew.
    """

    def act(params: Any, key: Key[Array, ""], observation: Observation) -> Int[Array, "n k"]:
        del key
        query, items = read(observation)
        return best(scorer.score_candidates(params, query, items), k)

    return act
