"""Every row of the registry: a new row brings all of these tests."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rec_jax.building import build, scorer_of
from rec_jax.config import Experiment
from rec_jax.errors import InputError
from rec_jax.objectives.base import Batch, Recommender
from rec_jax.objectives.multinomial import RowBatch
from rec_jax.problem import Problem, pose
from rec_jax.recommend import load
from rec_jax.registry import MODELS, OBJECTIVES, experiment, folds_in
from rec_jax.run import run
from tests.helpers import N_ITEMS, N_USERS, quick, small_experiment, write_small_csv

# Objectives that are for every causal model alike, with the models that stand for all.
EVERYWHERE = {objective: ("sasrec", "gru4rec") for objective in ("sqn", "sac", "cql")}
# bprmf is mf under another objective, which mf's own rows have.
ROWS = [
    (model, objective)
    for model, row in MODELS.items()
    for objective in row.objectives
    if model in EVERYWHERE.get(objective, (model,)) and model != "bprmf"
]


class Made(NamedTuple):
    what: Experiment
    problem: Problem
    recommender: Recommender
    params: Any
    extra: Any


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_csv(tmp_path_factory.mktemp("registry") / "log.csv")


@functools.cache
def made(log: Path, model: str, objective: str) -> Made:
    """Made once for all tests of a row; compiled, for done one by one the operations of a draw take seconds."""
    what = small_experiment(log, model, objective)
    problem = pose(what, log.parent)
    recommender = build(what, problem)
    return Made(what, problem, recommender, *jax.jit(recommender.init)(jax.random.key(0), problem.train))


@pytest.mark.parametrize(("model", "objective"), ROWS)
def test_shapes_and_the_two_ways_to_score(log: Path, model: str, objective: str) -> None:
    what, problem, recommender, params, extra = made(log, model, objective)
    scorer = scorer_of(what, recommender, params, extra)
    query = problem.valid.query(np.arange(5), recommender.reads)
    full = jax.jit(scorer.scores)(scorer.cache, query)
    ids = jnp.tile(jnp.arange(N_ITEMS), (5, 1))
    assert full.shape == (5, N_ITEMS)
    asked = jax.jit(scorer.score_candidates)(scorer.cache, query, ids)
    np.testing.assert_allclose(full, asked, rtol=1e-5, atol=1e-6)


def test_bprmf_is_mf_under_another_objective() -> None:
    one, other = MODELS["bprmf"], MODELS["mf"]
    assert (one.module, one.config, set(one.objectives)) == (other.module, other.config, set(other.objectives))


@pytest.mark.parametrize(("model", "objective"), ROWS)
def test_overfits_one_batch(log: Path, model: str, objective: str) -> None:
    """200 steps of Adam on one batch bring the loss to less than a third."""
    what, problem, recommender, params, extra = made(log, model, objective)
    if hasattr(what.loss, "l2"):
        what = dataclasses.replace(what, loss=dataclasses.replace(what.loss, l2=0.0))
    recommender = build(what, problem)
    batch = drawn = jax.jit(recommender.batch)(problem.train, jax.random.key(1), jnp.int32(0), jnp.int32(0))
    if isinstance(drawn, RowBatch):  # of one item a row, or the likelihood cannot reach 1
        batch = dataclasses.replace(drawn, items=drawn.items.at[:, 1:].set(-1))
    elif not OBJECTIVES[objective].sequences:
        batch = without_contradictions(drawn)
    # Attention with normalisations at its ends does not stand the larger steps.
    tx = optax.adam(0.01 if OBJECTIVES[objective].sequences else 0.05)

    def loss(params: Any) -> Any:
        return recommender.loss(params, extra, batch, jax.random.key(0), jnp.int32(0))[0]

    @jax.jit
    def losses(params: Any) -> Any:
        def step(carry: Any, _: None) -> Any:
            params, state = carry
            value, gradient = jax.value_and_grad(loss)(params)
            updates, state = tx.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, (params, tx.init(params)), length=200)[1]

    found = losses(params)
    assert found[-1] < found[0] / 3


def without_contradictions(drawn: Batch) -> Batch:
    """One event a user, and negatives that are nobody's event."""
    batch = jax.tree.map(lambda x: np.asarray(x)[:12], drawn)
    k = batch.items.shape[1]
    items = np.stack([[i, *((i + 1 + np.arange(k - 1)) % N_ITEMS)] for i in batch.items[:, 0]])
    _, first = np.unique(batch.user, return_index=True)  # one event a user, so that no label contradicts another
    batch = jax.tree.map(lambda x: jnp.asarray(x[first]), dataclasses.replace(batch, items=items))
    return dataclasses.replace(batch, weight=jnp.ones(len(first)))


@pytest.mark.parametrize(("model", "objective"), ROWS)
def test_padding_has_no_say_and_steps_share_a_program(log: Path, model: str, objective: str) -> None:
    """What stands in rows of weight 0 changes neither the loss nor its gradient; one compilation does for all steps."""
    _, problem, recommender, params, extra = made(log, model, objective)
    traced = []

    @jax.jit
    def graded(params: Any, epoch: Any, step: Any, change: Any) -> tuple[Any, Any]:
        traced.append(1)
        batch = recommender.batch(problem.train, jax.random.key(1), epoch, step)
        other = changed(batch, change, OBJECTIVES[objective].sequences)
        return (batch.weight == 0).mean(), jax.value_and_grad(
            lambda p: recommender.loss(p, extra, other, jax.random.key(0), step)[0]
        )(params)

    every = [graded(params, jnp.int32(e), jnp.int32(s), jnp.int32(0))[1][0] for e in range(2) for s in range(3)]
    assert len(set(map(float, every))) >= 5  # two may round to the same
    last = jnp.int32(recommender.steps_per_epoch - 1)
    (padded, found), (_, without) = (graded(params, jnp.int32(0), last, jnp.int32(c)) for c in (0, 1))
    assert 0 < padded < 1
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(without), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-8)
    assert len(traced) == 1


def changed(batch: Any, change: Any, sequences: bool) -> Any:
    """The batch with something else in its rows of weight 0, where `change` is 1; as it is where that is 0."""
    padded = (batch.weight == 0) & (change == 1)

    def moved(ids: Any, by: int, n: int) -> Any:
        return jnp.where(padded.reshape(-1, *(1,) * (ids.ndim - 1)) & (ids >= 0), (ids + by) % n, ids)

    if sequences:
        history, target = moved(batch.history, 3, N_ITEMS), moved(batch.target, 5, N_ITEMS)
        return dataclasses.replace(batch, history=history, target=target)
    items = moved(batch.items, 5, N_ITEMS)
    if isinstance(batch, RowBatch):
        return dataclasses.replace(batch, items=items, noise=jnp.where(padded[:, None], 9.0, batch.noise))
    rating = jnp.where(padded, 99.0, batch.rating)
    return dataclasses.replace(batch, user=moved(batch.user, 3, N_USERS), items=items, rating=rating)


@pytest.mark.parametrize("model", MODELS)
def test_trains_saves_and_restores(tmp_path: Path, model: str) -> None:
    what = small_experiment(write_small_csv(tmp_path / "log.csv"), model)
    outcome = run(what, quick(tmp_path / "run"))
    saved = load(tmp_path / "run")
    query = outcome.problem.valid.query(np.arange(len(outcome.problem.valid.user)), outcome.scorer.reads)
    before, after = (jax.jit(of.scores)(of.cache, query) for of in (outcome.scorer, saved.scorer))
    np.testing.assert_array_equal(before, after)
    assert saved.experiment == what


@pytest.mark.parametrize("model", [name for name in MODELS if folds_in(name)])
def test_user_tables_name_the_parameters_with_a_row_a_user(log: Path, model: str) -> None:
    what, _, _, params, _ = made(log, model, MODELS[model].objective)
    tables = MODELS[model].module(what.architecture, N_USERS, N_ITEMS).user_tables  # type: ignore[attr-defined]
    named = {
        "/".join(part.key for part in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    with_users = {name for name, shape in named.items() if shape and shape[0] == N_USERS}
    assert with_users == {f"{table}/embedding" for table in tables}


def test_near_names_are_proposed() -> None:
    with pytest.raises(InputError, match="unknown model 'neurmf': did you mean neumf"):
        experiment("neurmf")
    with pytest.raises(InputError, match="unknown objective 'pointwize': did you mean pointwise"):
        experiment("mf", "pointwize")
