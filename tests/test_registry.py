"""Every row of the registry: a new row brings all of these tests."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rec_jax.errors import InputError
from rec_jax.objectives.base import Batch, Recommender
from rec_jax.objectives.multinomial import RowBatch
from rec_jax.problem import Problem, pose
from rec_jax.recommend import load
from rec_jax.registry import MODELS, OBJECTIVES, experiment, folds_in
from rec_jax.run import run
from rec_jax.training import build, scorer_of
from tests.helpers import N_ITEMS, N_USERS, quick, small_experiment, write_small_csv

# Objectives that are for every causal model alike, with the models that stand for all.
EVERYWHERE = {objective: ("sasrec", "gru4rec") for objective in ("sqn", "sac", "cql")}
ROWS = [
    (model, objective)
    for model, row in MODELS.items()
    for objective in row.objectives
    if model in EVERYWHERE.get(objective, (model,))
]


def made(folder: Path, model: str, objective: str) -> tuple[Any, Problem, Recommender]:
    what = small_experiment(write_small_csv(folder / "log.csv"), model, objective)
    problem = pose(what, folder)
    return what, problem, build(what, problem)


@pytest.mark.parametrize(("model", "objective"), ROWS)
def test_shapes_and_the_two_ways_to_score(tmp_path: Path, model: str, objective: str) -> None:
    what, problem, recommender = made(tmp_path, model, objective)
    params, extra = recommender.init(jax.random.key(0), problem.train)
    scorer = scorer_of(what, recommender, params, extra)
    query = problem.valid.query(np.arange(5), recommender.reads)
    full = scorer.scores(scorer.cache, query)
    ids = jnp.tile(jnp.arange(N_ITEMS), (5, 1))
    assert full.shape == (5, N_ITEMS)
    np.testing.assert_allclose(full, scorer.score_candidates(scorer.cache, query, ids), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("model", "objective"), ROWS)
def test_overfits_one_batch(tmp_path: Path, model: str, objective: str) -> None:
    """200 steps of Adam on one batch bring the loss to less than a third."""
    what, problem, recommender = made(tmp_path, model, objective)
    params, extra = recommender.init(jax.random.key(0), problem.train)
    if hasattr(what.loss, "l2"):
        what = dataclasses.replace(what, loss=dataclasses.replace(what.loss, l2=0.0))
    recommender = build(what, problem)
    batch = drawn = recommender.batch(problem.train, jax.random.key(1), jnp.int32(0), jnp.int32(0))
    if isinstance(drawn, RowBatch):  # of one item a row, or the likelihood cannot reach 1
        batch = dataclasses.replace(drawn, items=drawn.items.at[:, 1:].set(-1))
    elif not OBJECTIVES[objective].sequences:
        batch = without_contradictions(drawn)
    # Attention with normalisations at its ends does not stand the larger steps.
    tx = optax.adam(0.01 if OBJECTIVES[objective].sequences else 0.05)

    @jax.jit
    def fit(params: Any) -> tuple[Any, Any]:
        def body(_: Any, carry: Any) -> Any:
            params, state = carry
            gradient = jax.grad(lambda p: recommender.loss(p, extra, batch, jax.random.key(0), jnp.int32(0))[0])(params)
            updates, state = tx.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, 200, body, (params, tx.init(params)))[0]

    def loss(params: Any) -> float:
        return float(recommender.loss(params, extra, batch, jax.random.key(0), jnp.int32(0))[0])

    assert loss(fit(params)) < loss(params) / 3


def without_contradictions(drawn: Batch) -> Batch:
    """One event a user, and negatives that are nobody's event."""
    batch = jax.tree.map(lambda x: np.asarray(x)[:12], drawn)
    k = batch.items.shape[1]
    items = np.stack([[i, *((i + 1 + np.arange(k - 1)) % N_ITEMS)] for i in batch.items[:, 0]])
    _, first = np.unique(batch.user, return_index=True)  # one event a user, so that no label contradicts another
    batch = jax.tree.map(lambda x: jnp.asarray(x[first]), dataclasses.replace(batch, items=items))
    return dataclasses.replace(batch, weight=jnp.ones(len(first)))


@pytest.mark.parametrize(("model", "objective"), ROWS)
def test_padding_has_no_say(tmp_path: Path, model: str, objective: str) -> None:
    """What stands in rows of weight 0 changes neither the loss nor its gradient."""
    _, problem, recommender = made(tmp_path, model, objective)
    params, extra = recommender.init(jax.random.key(0), problem.train)
    last = jnp.int32(recommender.steps_per_epoch - 1)
    batch = recommender.batch(problem.train, jax.random.key(1), jnp.int32(0), last)
    padded = batch.weight == 0
    assert 0 < int(padded.sum()) < len(padded)
    if OBJECTIVES[objective].sequences:
        other = dataclasses.replace(
            batch,
            history=jnp.where(padded[:, None] & (batch.history >= 0), (batch.history + 3) % N_ITEMS, batch.history),
            target=jnp.where(padded[:, None] & (batch.target >= 0), (batch.target + 5) % N_ITEMS, batch.target),
        )
    elif isinstance(batch, RowBatch):
        other = dataclasses.replace(
            batch,
            items=jnp.where(padded[:, None] & (batch.items >= 0), (batch.items + 5) % N_ITEMS, batch.items),
            noise=jnp.where(padded[:, None], 9.0, batch.noise),
        )
    else:
        other = dataclasses.replace(
            batch,
            user=jnp.where(padded, (batch.user + 3) % N_USERS, batch.user),
            items=jnp.where(padded[:, None], (batch.items + 5) % N_ITEMS, batch.items),
            rating=jnp.where(padded, 99.0, batch.rating),
        )
    graded = jax.jit(jax.value_and_grad(lambda p, b: recommender.loss(p, extra, b, jax.random.key(0), last)[0]))
    found = [graded(params, b) for b in (batch, other)]
    for x, y in zip(jax.tree.leaves(found[0]), jax.tree.leaves(found[1]), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("model", "objective"), ROWS)
def test_compiles_once(tmp_path: Path, model: str, objective: str) -> None:
    _, problem, recommender = made(tmp_path, model, objective)
    params, extra = recommender.init(jax.random.key(0), problem.train)
    traced = []

    @jax.jit
    def loss(params: Any, epoch: Any, step: Any) -> Any:
        traced.append(1)
        batch = recommender.batch(problem.train, jax.random.key(1), epoch, step)
        return recommender.loss(params, extra, batch, jax.random.key(0), step)[0]

    values = [float(loss(params, jnp.int32(e), jnp.int32(s))) for e in range(2) for s in range(3)]
    assert len(traced) == 1
    assert len(set(values)) >= 5  # two may round to the same


@pytest.mark.parametrize("model", MODELS)
def test_trains_saves_and_restores(tmp_path: Path, model: str) -> None:
    what = small_experiment(write_small_csv(tmp_path / "log.csv"), model)
    outcome = run(what, quick(tmp_path / "run"))
    saved = load(tmp_path / "run")
    query = outcome.problem.valid.query(np.arange(len(outcome.problem.valid.user)), outcome.scorer.reads)
    np.testing.assert_array_equal(
        outcome.scorer.scores(outcome.scorer.cache, query), saved.scorer.scores(saved.scorer.cache, query)
    )
    assert saved.experiment == what


@pytest.mark.parametrize("model", [name for name in MODELS if folds_in(name)])
def test_user_tables_name_the_parameters_with_a_row_a_user(tmp_path: Path, model: str) -> None:
    what, problem, recommender = made(tmp_path, model, MODELS[model].objective)
    params, _ = recommender.init(jax.random.key(0), problem.train)
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
