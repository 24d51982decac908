"""A Q head beside the next item's scores, learnt from the log's rewards: SQN, SAC, and the same with CQL's penalty.

SQN and SAC: Xin et al., "Self-Supervised Reinforcement Learning for Recommender Systems", SIGIR 2020. A model's state
after an event is s, the next event's item a, its rating the reward r, the state after that s'; an event is the last
one of its episode where it is the user's last in train. With [s, 1] . w_a the head's Q(s, a),

    L_q = (r + gamma Q'(s', argmax_a Q(s', a)) - Q(s, a))^2 / 2            (Eq. 3; gamma counts 0 after the last event)
    SQN: L_s + L_q                                                                                           (Eq. 4)
    SAC: max(Q(s, a), 0) L_s + L_q, after some epochs of SQN                                                 (Eq. 6)
    CQL: L_s + L_q + alpha (log sum_i exp Q(s, i) - Q(s, a))        (Kumar et al., NeurIPS 2020, Eq. 4, beside L_s)

each the average over all positions, L_s the loss of the next item: any of `NextItem`'s, and by default the paper's,
cross-entropy over the whole catalogue. What serves are the scores of L_s, as in the paper, or Q itself.

Where this differs from the paper and its authors' code:
1. One network learns, and Q' is that of a copy which follows it (the whole network: state and head). The authors train
   two, drawn by lot at each step, each the other's Q', and serve the first.
2. Q' reads without dropout.
3. A step is of users, and every position of their histories is a transition; the authors draw transitions, of states
   of the last 10 items.
4. Rewards are ratings, brought to [0, 1] by the least and the greatest of train, or as they are. The paper's, .2 for a
   click and 1 for a purchase, are those of a log read by `--signals click=.2 purchase=1` (one of both an event, each
   over the weights' sum: .17 and .83), and so are watch time and any others that were measured.
5. A negative Q(s, a) counts 0 in SAC's weights: with the sign that the authors leave it, cross-entropy could fall
   without end.
6. SAC's first phase is counted in epochs (the authors: 15,000 steps), and the learning rate stays after it.
7. L_q has a weight of its own; the paper's is 1.

The max and the sum over all items are made in blocks, so that no value of every item at every position is held; they
run over the whole catalogue, what the user has seen included.
Checked against the formulas in plain Python, and in a small deterministic world against value iteration
(tests/objectives/test_q_learning.py, test_q_learning_gradients.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from rec_jax.errors import InputError
from rec_jax.models.base import Query, Stream
from rec_jax.models.layers import unit
from rec_jax.models.sequence import NORMAL, SequenceModel
from rec_jax.objectives import learning
from rec_jax.objectives.base import Extra, Loss, Params, Recommender, TrainData
from rec_jax.objectives.next_item import LossName, NextItem, next_events, row_loss, scored, trained_by
from rec_jax.objectives.sequences import SequenceBatch, by_length, ratings
from rec_jax.objectives.softmax import best_items, softmax_cross_entropy

HEAD = "q_head"
"""The Q head among the parameters, [n, d + 1]: an item's vector and, last, its bias."""


@dataclass(frozen=True)
class SQN(NextItem):
    """The next item is found, and its value learnt, from the same states."""

    loss: LossName = "softmax"
    """Cross-entropy over the whole catalogue, or any other of the next item's losses."""
    reward: Literal["scaled", "rating", "one"] = "scaled"
    """Of an event: its rating, brought to [0, 1] by the least and the greatest of train; its rating as it is; or 1."""
    gamma: float = 0.5
    """What a reward counts one event later."""
    q_weight: float = 1.0
    """Weight of the Q head's loss."""
    target_rate: float = 0.05
    """How far the target network goes towards the one that learns, each time."""
    target_every: int = 1
    """Steps between these times: with a rate of 1, those after which it is copied."""
    serve: Literal["supervised", "q"] = "supervised"
    """What ranks the items: the scores of the supervised loss, or Q."""


@dataclass(frozen=True)
class SAC(SQN):
    """The supervised loss of each event is weighted by its Q."""

    warm_up: int = 10
    """Epochs before it is."""


@dataclass(frozen=True)
class CQL(SQN):
    """Q is held down for items that are not the log's."""

    alpha: float = 0.1
    """Weight of the conservative term, within the Q head's loss."""


def sqn(module: SequenceModel, config: SQN, data: TrainData, batch_size: int) -> Recommender:
    """The bundle of SQN, SAC or CQL, by the class of `config`. `extra` holds the target network.

    Errors: as `next_item`, and a number out of range.
    """
    check(config)
    events = next_events(config, data)

    def draw(data: TrainData, key: Key[Array, ""], past: Query, real: Bool[Array, "b"]) -> SequenceBatch:
        given = ratings(data, past.user, module.reads + 1)[:, 1:]
        return events(data, key, past, real).replace(rating=given)  # type: ignore[attr-defined]

    base = trained_by(config, module, data, batch_size, draw)
    supervised = row_loss(config, data.n_items)
    warm_up = config.warm_up * base.steps_per_epoch if isinstance(config, SAC) else None

    def init(key: Key[Array, ""], data: TrainData) -> tuple[Params, Extra]:
        params, extra = base.init(key, data)
        vectors = jax.eval_shape(lambda params: module.apply({"params": params}, method="item_vectors"), params)
        drawn = NORMAL(jax.random.fold_in(key, 1), vectors.shape)
        params = {**params, HEAD: jnp.pad(drawn, ((0, 0), (0, 1)))}
        scale = {"least": data.rating.min(), "greatest": data.rating.max()}
        return params, {**extra, "target": jax.tree.map(jnp.copy, params), "scale": scale}

    def states(params: Params, batch: SequenceBatch, **how: Any) -> tuple[Float[Array, "b t d"], Float[Array, "n d"]]:
        query = Query(batch.user, None, batch.history, batch.times)

        def both(module: SequenceModel) -> Any:
            return module.states(query), scored(config, module.item_vectors())

        found: Any
        vectors: Any
        found, vectors = module.apply({"params": params}, method=both, **how)
        return (unit(found) if config.normalised else found), vectors

    def of_group(params: Params, extra: Extra, group: SequenceBatch, key: Key[Array, ""]) -> Float[Array, ""]:
        target = extra["target"]
        of_state, vectors = states(params, group, rngs={"dropout": key})
        now, later = with_one(of_state), with_one(states(target, group)[0])
        goal = targets(
            now, later, params[HEAD], target[HEAD], rewards(config, group, extra), group.target, config.gamma
        )
        q = taken(now, params[HEAD], group.target)
        weight = jnp.where(group.target >= 0, group.weight[:, None], 0.0)
        of_q = (weight * (jax.lax.stop_gradient(goal) - q) ** 2 / 2).sum()
        if isinstance(config, CQL):
            rows = now.reshape(-1, now.shape[-1]), jnp.maximum(group.target, 0).reshape(-1)
            of_q += config.alpha * softmax_cross_entropy(rows[0], params[HEAD], rows[1], weight.reshape(-1))
        if warm_up is not None:
            share = jnp.where(extra["step"] < warm_up, 1.0, jnp.maximum(jax.lax.stop_gradient(q), 0.0))
            group = group.replace(weight=weight * share)  # type: ignore[attr-defined]
        of_items = supervised(of_state.reshape(-1, of_state.shape[-1]), vectors, group, extra)
        return of_items + config.q_weight * of_q

    def loss(params: Params, extra: Extra, batch: SequenceBatch, key: Key[Array, ""], step: Int[Array, ""]) -> Loss:
        value = by_length(of_group, params, {**extra, "step": step}, batch, key) / len(batch.user)
        # Parameters are the same on all devices, and so is what follows them.
        now = jax.lax.stop_gradient(params)
        followed = learning.followed(extra["target"], now, step, config.target_every, config.target_rate)
        return value, ({**extra, "target": followed}, {})

    found = replace(base, init=init, loss=loss)
    return _served_by_q(found) if config.serve == "q" else found


def check(config: SQN) -> None:
    """InputError: a number out of range, or windows, whose last events would pass for the ends of episodes."""
    if config.window != "last":
        raise InputError(
            "--history-window drawn: a value needs the events that follow a window; add --history-window last"
        )
    if not 0 <= config.gamma <= 1:
        raise InputError(f"--gamma {config.gamma}: expected a number from 0 to 1")
    if not 0 < config.target_rate <= 1:
        raise InputError(f"--target-rate {config.target_rate}: expected a number above 0, at most 1")
    if config.target_every < 1:
        raise InputError(f"--target-every {config.target_every}: expected a number of at least 1")


def rewards(config: SQN, batch: SequenceBatch, extra: Extra) -> Float[Array, "b t"]:
    """The reward of each event that is to be found; where all ratings of train are the same, 1 for 'scaled' too."""
    if config.reward == "rating":
        return batch.rating
    least, greatest = extra["scale"]["least"], extra["scale"]["greatest"]
    width = greatest - least
    if config.reward == "one":
        return jnp.ones_like(batch.rating)
    return jnp.where(width > 0, (batch.rating - least) / jnp.where(width > 0, width, 1.0), 1.0)


def with_one(states: Float[Array, "b t d"]) -> Float[Array, "b t e"]:
    """[s, 1], which meets an item's vector and bias."""
    return jnp.concatenate([states, jnp.ones_like(states[..., :1])], axis=-1)


def taken(states: Float[Array, "b t e"], head: Float[Array, "n e"], item: Int[Array, "b t"]) -> Float[Array, "b t"]:
    """Q(s, a) of each state and its item; where that is -1, of some item."""
    return (states * head[jnp.maximum(item, 0)]).sum(-1)


def targets(
    states: Float[Array, "b t e"],
    of_target: Float[Array, "b t e"],
    head: Float[Array, "n e"],
    target_head: Float[Array, "n e"],
    reward: Float[Array, "b t"],
    target: Int[Array, "b t"],
    gamma: float,
) -> Float[Array, "b t"]:
    """r + gamma Q'(s', argmax_a Q(s', a)), s' the state at the next position; r where no event follows.

    `states` are those of the network that learns, which chooses; `of_target` of the other, which judges (double
    Q-learning: van Hasselt et al., AAAI 2016, Eq. 4). Where `target` is -1, anything.
    """
    follows: Bool[Array, "b t"] = jnp.pad(target[:, 1:] >= 0, ((0, 0), (0, 1)))
    chosen = best_items(states.reshape(-1, states.shape[-1]), head).reshape(target.shape)
    value = jnp.roll(taken(of_target, target_head, chosen), -1, axis=1)
    return learning.one_step(reward, gamma * follows, value)


def _served_by_q(found: Recommender) -> Recommender:
    """The same, but Q ranks: the head's vectors stand where the items' did, and its biases are added."""

    def prepare(params: Params, extra: Extra) -> Any:
        cache = found.prepare(params, extra)
        return {**cache, "items": params[HEAD][:, :-1], "bias": params[HEAD][:, -1]}

    def scores(cache: Any, query: Query) -> Float[Array, "b n"]:
        return found.scores(cache, query) + cache["bias"]

    def score_candidates(cache: Any, query: Query, ids: Int[Array, "b k"]) -> Float[Array, "b k"]:
        return found.score_candidates(cache, query, ids) + cache["bias"][ids]

    def observe(cache: Any, memory: Any, query: Query, place: Int[Array, ""]) -> tuple[Any, Float[Array, "b n"]]:
        assert found.stream is not None
        memory, of_items = found.stream.observe(cache, memory, query, place)
        return memory, of_items + cache["bias"]

    stream: Stream | None = replace(found.stream, observe=observe) if found.stream else None
    served: dict[str, Callable[..., Any]] = {"prepare": prepare, "scores": scores, "score_candidates": score_candidates}
    return replace(found, **served, stream=stream)  # type: ignore[arg-type]
