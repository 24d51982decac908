"""A saved run recommends: to users of the log, and to histories by folding in."""

from pathlib import Path

import numpy as np
import pytest

from rec_jax.building import fold_in_users, scorer_of
from rec_jax.errors import InputError
from rec_jax.recommend import Saved, history_of, load, recommend, recommend_to_history
from rec_jax.run import run
from tests.helpers import N_ITEMS, N_USERS, quick, small_experiment, write_small_csv


@pytest.fixture(scope="module", params=["neumf", "mf"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    folder = tmp_path_factory.mktemp("saved")
    what = small_experiment(write_small_csv(folder / "log.csv"), request.param, epochs=30)
    run(what, quick(folder / "run"))
    return load(folder / "run")


def test_recommendations_are_new_to_the_user_and_in_order(saved: Saved) -> None:
    log = saved.problem.dataset.interactions
    for user in (0, 13):
        found = recommend(saved, str(user), 5)
        assert len(found) == 5
        assert not {r.item for r in found} & set(log.item[log.user == user].astype(str).tolist())
        assert [r.score for r in found] == sorted((r.score for r in found), reverse=True)


def test_asking_for_more_than_there_is(saved: Saved) -> None:
    log = saved.problem.dataset.interactions
    assert len(recommend(saved, "0", 1000)) == N_ITEMS - (log.user == 0).sum()


def test_history_is_newest_first(saved: Saved) -> None:
    log = saved.problem.dataset.interactions
    newest = log.item[log.user == 4][::-1][:3]
    assert history_of(saved.problem, "4", 3) == [f"item {i}" for i in newest]


def test_a_folded_in_history_finds_the_taste(saved: Saved) -> None:
    """Even users of the log prefer even items: a history of even items is to be shown even ones."""
    for parity in (0, 1):
        items = [str(i) for i in range(parity, 10, 2)]
        found = recommend_to_history(saved, items, 4)
        assert not {r.item for r in found} & set(items)
        assert np.mean([int(r.item) % 2 == parity for r in found]) >= 0.75


def test_folding_known_users_in_anew_agrees_with_training(saved: Saved) -> None:
    """The rows learnt for all users anew, from the same events, order items much as the trained rows do."""
    problem = saved.problem
    recommender, params = fold_in_users(
        saved.experiment, saved.params, saved.extra, problem.split.train, N_USERS, N_ITEMS
    )
    folded = scorer_of(saved.experiment, recommender, params, saved.extra)
    import jax.numpy as jnp

    from rec_jax.models.base import Query

    query = Query(jnp.arange(N_USERS))
    a, b = (np.asarray(s.scores(s.cache, query)) for s in (saved.scorer, folded))
    correlations = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b)]
    assert np.median(correlations) > 0.8


def test_what_cannot_be_recommended(saved: Saved, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no user '99'"):
        recommend(saved, "99")
    with pytest.raises(InputError, match="has no item 'x'"):
        recommend_to_history(saved, ["x"])
    with pytest.raises(InputError, match="at least one item"):
        recommend_to_history(saved, [])
    with pytest.raises(InputError, match="at least 1"):
        recommend(saved, "1", 0)
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "nowhere")


def test_rating_models_do_not_fold_in(tmp_path: Path) -> None:
    what = small_experiment(write_small_csv(tmp_path / "log.csv"), "mf", "rating")
    run(what, quick(tmp_path / "run"))
    with pytest.raises(InputError, match="need ratings"):
        recommend_to_history(load(tmp_path / "run"), ["1"])
