"""The factorization machine against its formula over explicit features, and each kind of feature where it matters."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.baselines.fm import FMConfig, Params, features_of, fit_fm, fm_scorer
from rec_jax.baselines.popularity import fit_popularity
from rec_jax.data.interactions import Dataset, build_dataset
from rec_jax.data.splits import leave_one_out
from rec_jax.errors import InputError
from rec_jax.evaluate.metrics import per_user
from rec_jax.evaluate.protocol import ask
from rec_jax.evaluate.ranking import rank
from rec_jax.models.base import Query, Scorer

# Fits run for long, and their programs are made once for all tests of a file.
pytestmark = pytest.mark.many_steps

QUICK = FMConfig(factors=4, rounds=2, events_per_step=64)
ITEMS = {str(i): (f"item {i}", 0, (("a",), ("a", "b"), (), ("c", "b", "a"))[i % 4]) for i in range(8)}
USERS = {
    str(u): {"age": ("17", "30", "", "60", "34")[u], "gender": ("F", "M", "M", "", "F")[u], "zip": f"0{u}"}
    for u in range(5)
}


@pytest.fixture
def described() -> Dataset:
    user, place = np.repeat(np.arange(5), 5), np.tile(np.arange(5), 5)
    time = 86400 * (1 + user) + 3600 * (3 * place + 1)
    columns = {"user": user, "item": (user + place) % 8, "rating": np.ones(25), "time": time}
    return build_dataset("described", columns, items=ITEMS, users=USERS)


def explicit(dataset: Dataset, config: FMConfig, user: int, item: int, moment: tuple[int, int]) -> dict[int, float]:
    """x by feature id: users, items, ages, genders, categories, hours, weekdays in this order."""
    x = {user: 1.0, dataset.n_users + item: 1.0}
    start = dataset.n_users + dataset.n_items
    if config.attributes:
        bracket = {"17": "0", "30": "25", "34": "25", "60": "56", "": ""}[USERS[str(user)]["age"]]
        for value, known in ((bracket, ["0", "25", "56"]), (USERS[str(user)]["gender"], ["F", "M"])):
            if value:
                x[start + known.index(value)] = 1.0
            start += len(known)
    if config.categories:
        mine = ITEMS[str(item)][2]
        x |= {start + "abc".index(c): 1 / len(mine) for c in mine}
        start += 3
    if config.context:
        hour, day = moment
        x |= {start + hour: 1.0} if hour >= 0 else {}
        x |= {start + 24 + day: 1.0} if day >= 0 else {}
    return x


def formula(params: Params, x: dict[int, float]) -> float:
    """w0 + sum of w x + sum over pairs of <v, v'> x x'."""
    v, w = np.asarray(params["vectors"], float).tolist(), np.asarray(params["weights"], float).tolist()
    score = float(params["bias"]) + sum(w[i] * value for i, value in x.items())
    for i in x:
        for j in x:
            if i < j:
                score += sum(a * b for a, b in zip(v[i], v[j])) * x[i] * x[j]
    return score


@pytest.mark.parametrize("off", ["", "context", "attributes", "categories"])
def test_scores_equal_the_formula(described: Dataset, off: str) -> None:
    config = dataclasses.replace(QUICK, **({off: False} if off else {}))
    features = features_of(described, config)
    rng = np.random.default_rng(0)
    params = {
        "vectors": jnp.asarray(rng.normal(size=(features.count, 4)), jnp.float32),
        "weights": jnp.asarray(rng.normal(size=features.count), jnp.float32),
        "bias": jnp.float32(0.7),
    }
    scorer = fm_scorer(params, features)
    moments = [(-1, -1), (0, 6), (23, 0), (13, -1), (5, 3)]
    query = Query(jnp.arange(5), jnp.array(moments, jnp.int32))
    found = scorer.scores(scorer.cache, query)
    ids = jnp.array([[7, 0], [1, 2], [3, 3], [6, 5], [4, 0]])
    given = scorer.score_candidates(scorer.cache, query, ids)
    for user, moment in enumerate(moments):
        expected = [formula(params, explicit(described, config, user, item, moment)) for item in range(8)]
        np.testing.assert_allclose(found[user], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(given[user], np.array(expected)[np.asarray(ids[user])], rtol=1e-4, atol=1e-4)
    unknown = scorer.scores(scorer.cache, Query(jnp.arange(5)))
    expected = [formula(params, explicit(described, config, 4, item, (-1, -1))) for item in range(8)]
    np.testing.assert_allclose(unknown[4], expected, rtol=1e-4, atol=1e-4)


def hit_rate(scorer: Scorer, dataset: Dataset) -> float:
    return float(per_user(rank(scorer, ask(leave_one_out(dataset), "test", "full", seed=0)), ["hr@10"])["hr@10"].mean())


def scene(kind: str) -> Dataset:
    """60 users, 40 items: who takes which half is decided by the hour, by the gender, or by what was taken before."""
    rng = np.random.default_rng(0)
    user, item, time = [], [], []
    for u in range(60):
        late = rng.integers(0, 2, 8) if kind == "context" else np.full(8, u % 2)
        if kind == "attributes":
            late = np.array([*late[:1], *late[-2:]])  # three events: one trains
        taken: set[int] = set()
        for place, half in enumerate(late.tolist()):
            one = int(rng.choice([i for i in range(20 * half, 20 * half + 20) if i not in taken]))
            taken.add(one)
            user.append(u)
            item.append(one)
            time.append(86400 * (10 + place) + 3600 * (20 if half and kind == "context" else 8))
    columns = {"user": np.array(user), "item": np.array(item), "rating": np.ones(len(user)), "time": np.array(time)}
    users = {str(u): {"gender": "FM"[u % 2]} for u in range(60)}
    return build_dataset(kind, columns, users=users)


@pytest.mark.parametrize("kind", ["context", "attributes"])
@pytest.mark.parametrize("loss", ["bpr", "logistic"])
def test_a_feature_helps_where_it_decides(kind: str, loss: str) -> None:
    """10 of the right half's 20 items are at best about 10 in 18; without the feature about half of that."""
    data = scene(kind)
    config = dataclasses.replace(QUICK, factors=8, rounds=60, loss=loss, step_size=0.02, l2=0.02)  # type: ignore[arg-type]
    with_it = hit_rate(fit_fm(leave_one_out(data), config), data)
    without = hit_rate(fit_fm(leave_one_out(data), dataclasses.replace(config, **{kind: False})), data)
    assert with_it > without + 0.1


def test_a_real_log(ml_100k: Dataset) -> None:
    split = leave_one_out(ml_100k)
    asked = ask(split, "valid", "full", seed=0)
    found, popular = (
        float(per_user(rank(scorer, asked), ["ndcg@10"])["ndcg@10"].mean())
        for scorer in (fit_fm(split, FMConfig(rounds=8)), fit_popularity(split))
    )
    assert found > 1.2 * popular


def test_the_seed_decides(described: Dataset) -> None:
    split = leave_one_out(described)
    a, b, c = (fit_fm(split, QUICK, seed).cache["params"]["vectors"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)


def test_numbers_out_of_range(small: Dataset, described: Dataset) -> None:
    with pytest.raises(InputError, match="of at least 1"):
        fit_fm(leave_one_out(small), dataclasses.replace(QUICK, negatives=0))
    with pytest.raises(InputError, match="a positive step_size"):
        fit_fm(leave_one_out(small), dataclasses.replace(QUICK, step_size=0.0))
    columns = {"user": np.array([0, 0, 0, 0]), "item": np.array([0, 1, 0, 1])}
    columns |= {"rating": np.ones(4), "time": np.arange(1, 5)}
    with pytest.raises(InputError, match="every item in train"):
        fit_fm(leave_one_out(build_dataset("full", columns)), QUICK)
