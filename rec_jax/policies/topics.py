"""Cluster bandits over topics: a bandit chooses a topic, and that topic's best documents are shown first.

A bandit belongs to one user, or to all users of a cluster, who then learn from one another's clicks (RecSim's cluster
bandit: Ie et al., 2019, Sec. 3.3.2). Its arms are the topics.

Where this differs from RecSim's: the arm is credited with a click on any document of the slate, whatever its topic, as
what choosing the arm led to; RecSim counts impressions and clicks by each document's own. Where the topic has too few
documents, the best of all others fill the slate; RecSim's come from the arm ranked next.

Checked against a loop in plain Python, counted draws, and what sharing must bring (tests/policies/test_topics.py).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from rec_jax.errors import InputError
from rec_jax.policies.bandits import Bandit, Pulls
from rec_jax.policies.fixed import best


class NoState(NamedTuple):
    """What a rule knows that learns nothing."""


class TopicAgent(NamedTuple):
    """Pure functions over n users: slates from documents, and learning from what was clicked."""

    init: Callable[[], Any]
    """The bandits before the first slate."""
    act: Callable[
        [Any, Key[Array, ""], Int[Array, "n k"], Float[Array, "n k"]], tuple[Int[Array, "n"], Int[Array, "n s"]]
    ]
    """(topic chosen, slate) from each user's documents' topics and scores."""
    learn: Callable[[Any, Int[Array, "n"], Float[Array, "n"]], Any]
    """The bandits after each user's reward of the topic chosen."""


def topic_agent(bandit: Bandit, topics: int, slate: int, cluster: Int[np.ndarray, "n"]) -> TopicAgent:
    """User i acts by the bandit of `cluster[i]`, from 0; `np.arange(n)` gives each user one of their own.

    Users of a cluster choose by the same knowledge, each by draws of their own, and then all rewards are counted: so
    the bandit's state has to be sums (`bandits.Pulls`), without features. InputError: it is something else, or has
    other arms than `topics`, no user, or a cluster below 0.
    """
    n = len(cluster)
    if not n or cluster.min() < 0:
        raise InputError(f"clusters of {n} users: expected one from 0 for each of at least one user")
    start = bandit.init(1)
    if not isinstance(start, Pulls | NoState):
        raise InputError("topic_agent: expected a bandit whose state is sums: epsilon-greedy, UCB1, KL-UCB or Thompson")
    if isinstance(start, Pulls) and start.pulls.shape[1] != topics:
        raise InputError(
            f"topic_agent: a bandit of {start.pulls.shape[1]} arms for {topics} topics; give it an arm each"
        )
    clusters = int(cluster.max()) + 1
    context = jnp.zeros((n, topics, 0))

    def of_users(state: Any) -> Any:
        return jax.tree.map(lambda x: x[cluster], state)

    def act(
        state: Any, key: Key[Array, ""], of: Int[Array, "n k"], scores: Float[Array, "n k"]
    ) -> tuple[Int[Array, "n"], Int[Array, "n s"]]:
        topic = bandit.choose(of_users(state), key, context)
        # By rank, to which what puts a topic first can be added without a loss.
        rank = (scores[:, None, :] < scores[:, :, None]).sum(axis=2)
        first = jnp.where(of == topic[:, None], scores.shape[1], 0)
        return topic, best((rank + first).astype(jnp.float32), slate)

    def learn(state: Any, topic: Int[Array, "n"], reward: Float[Array, "n"]) -> Any:
        before = of_users(state)
        after = bandit.update(before, topic, reward, context)
        return jax.tree.map(lambda x, a, b: x.at[cluster].add(a - b), state, after, before)

    return TopicAgent(lambda: bandit.init(clusters), act, learn)


def no_topic(n: int) -> Bandit:
    """The rule that chooses none for its n users."""
    nothing = jnp.full(n, -1, jnp.int32)
    return Bandit(lambda n: NoState(), lambda state, key, context: nothing, lambda state, arm, reward, context: state)
