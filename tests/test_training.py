"""What a run is fitted on: train alone, train and validation after all choices, or some users for the others."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_jax.building import build_for
from rec_jax.choice import Choice
from rec_jax.config import Experiment, Optimization, Protocol
from rec_jax.data.interactions import Dataset
from rec_jax.errors import InputError
from rec_jax.evaluate.metrics import per_user
from rec_jax.evaluate.ranking import rank
from rec_jax.models.base import Query
from rec_jax.problem import pose
from rec_jax.recommend import load
from rec_jax.registry import BASELINES, MODELS, experiment
from rec_jax.run import run
from rec_jax.tracking.rundir import RunDir
from tests.helpers import quick, small_experiment, write_small_csv


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return write_small_csv(tmp_path / "log.csv")


def baseline(csv: Path, name: str, **protocol: object) -> Experiment:
    base = small_experiment(csv, "mf")
    changed = dataclasses.replace(base.protocol, **protocol)  # type: ignore[arg-type]
    return experiment(name, data=base.data, columns=base.columns, protocol=changed, stopping=base.stopping)


@pytest.mark.parametrize("refit", [False, True])
def test_a_baseline_is_a_run_like_any_other(csv: Path, tmp_path: Path, refit: bool) -> None:
    outcome = run(baseline(csv, "ease", refit=refit), quick(tmp_path / "a"))
    split = outcome.problem.split
    scorer = BASELINES["ease"].fit(split.whole if refit else split, BASELINES["ease"].config(), 1)
    values = per_user(rank(scorer, outcome.problem.test["full"]), ["ndcg@3"])["ndcg@3"]
    assert outcome.result["metrics"]["full"]["ndcg@3"]["mean"] == pytest.approx(float(values.mean()), rel=1e-6)
    with np.load(tmp_path / "a" / "per_user.npz") as stored:
        np.testing.assert_allclose(stored["full/ndcg@3"], values, rtol=1e-6)
    assert outcome.result["protocol"]["trained_on"] == ("train and validation" if refit else "train")
    assert outcome.result["beyond"]["lists"].keys() >= {"coverage@3", "gini@3"}
    saved = load(tmp_path / "a", tmp_path)
    query = Query(jnp.arange(5))
    np.testing.assert_array_equal(
        saved.scorer.scores(saved.scorer.cache, query), outcome.scorer.scores(outcome.scorer.cache, query)
    )
    again = run(baseline(csv, "ease", refit=refit), quick(tmp_path / "a", resume=True))
    assert again.result == json.loads(json.dumps(outcome.result))


def test_a_refit_trains_for_as_many_epochs_as_validation_chose(csv: Path, tmp_path: Path) -> None:
    """The same parameters as a training on both parts for that many epochs, from the same seed."""
    base = small_experiment(csv, "mf")
    refit = dataclasses.replace(base, protocol=dataclasses.replace(base.protocol, refit=True), epochs=6)
    outcome = run(refit, quick(tmp_path / "a"))
    chosen = run(dataclasses.replace(base, epochs=6), quick(tmp_path / "b"))
    assert outcome.result["training"] == chosen.result["training"]
    directory = RunDir(tmp_path / "a" / "refit")
    assert directory.experiment().epochs == outcome.result["training"]["best_epoch"]
    rows = directory.rows(directory.metrics)
    assert [row["epoch"] for row in rows] == list(range(1, directory.experiment().epochs + 1))
    assert not any("valid/ndcg@3" in row for row in rows)
    n_train, n_valid = len(outcome.problem.split.train), len(outcome.problem.split.valid)
    assert len(outcome.problem.whole.train.user) == n_train + n_valid
    saved = load(tmp_path / "a", tmp_path)
    for x, y in zip(jax.tree.leaves(saved.params), jax.tree.leaves(outcome.scorer.cache["params"]), strict=True):
        np.testing.assert_array_equal(x, y)
    assert any(
        not np.array_equal(x, y)
        for x, y in zip(jax.tree.leaves(saved.params), jax.tree.leaves(chosen.scorer.cache["params"]), strict=True)
    )


def test_a_refit_trains_the_pretrained_stages_again_too(csv: Path, tmp_path: Path) -> None:
    base = small_experiment(csv, "neumf")
    architecture = dataclasses.replace(base.architecture, pretrain_epochs=2)
    protocol = dataclasses.replace(base.protocol, refit=True)
    run(dataclasses.replace(base, architecture=architecture, protocol=protocol, epochs=2), quick(tmp_path / "a"))
    for stage in ("pretrain-gmf", "pretrain-mlp"):
        chosen, again = (RunDir(tmp_path / "a" / where / stage) for where in ("", "refit"))
        values = [row["valid/ndcg@3"] for row in chosen.rows(chosen.metrics)]
        assert len(again.rows(again.metrics)) == 1 + int(np.argmax(values))


def chosen_by_one_seed(csv: Path, seed: int, **changes: Any) -> Experiment:
    base = small_experiment(csv, "neumf", epochs=4, seed=seed, **changes)
    protocol = dataclasses.replace(base.protocol, refit=True, choice_seed=1)
    return dataclasses.replace(base, protocol=protocol)


def test_one_seed_chooses_the_epochs_of_all(csv: Path, tmp_path: Path) -> None:
    """Seed 2 trains for as many epochs as seed 1's validation chose, which is done once, pre-training included."""
    base = small_experiment(csv, "neumf")
    architecture = dataclasses.replace(base.architecture, pretrain_epochs=3)
    results = [
        run(
            chosen_by_one_seed(csv, seed, architecture=architecture),
            quick(tmp_path / f"seed-{seed}", runs=tmp_path),
        ).result
        for seed in (1, 2)
    ]
    first, second = (result["training"] for result in results)
    assert second == first | {"chosen_with_seed": 1}
    (choosing,) = (tmp_path / "choices").glob("neumf-*-s1")
    for result, others in zip(results, ([choosing], [])):
        took = [
            RunDir(of).seconds()["train_seconds"] for of in (*others, tmp_path / f"seed-{result['seed']}" / "refit")
        ]
        assert min(took) > 0
        assert result["times"]["train_seconds"] == pytest.approx(sum(took))
    alone = small_experiment(csv, "neumf", epochs=4, architecture=architecture)
    chosen = run(alone, quick(tmp_path / "alone")).result["training"]
    assert chosen["best_epoch"] == first["best_epoch"]
    assert chosen["pretrain_epochs"] == first["pretrain_epochs"]
    assert sorted(path.name.split("-")[0] for path in (tmp_path / "choices").iterdir() if path.is_dir()) == [
        "gmf",
        "mlp",
        "neumf",
    ]
    for seed in (1, 2):
        refit = RunDir(tmp_path / f"seed-{seed}" / "refit")
        assert [row["epoch"] for row in refit.rows(refit.metrics)] == list(range(1, first["best_epoch"] + 1))


def test_a_choice_on_record_is_not_made_again(csv: Path, tmp_path: Path) -> None:
    architecture = dataclasses.replace(small_experiment(csv, "neumf").architecture, pretrain_epochs=3)
    first, second = (chosen_by_one_seed(csv, seed, architecture=architecture) for seed in (1, 2))
    made = run(first, quick(tmp_path / "first", runs=tmp_path / "a")).result["training"]
    choice = Choice.of_record(made, first)
    again = run(second, quick(tmp_path / "again", runs=tmp_path / "b"))
    taken = run(second, quick(tmp_path / "taken", runs=tmp_path / "c"), choice=choice)
    assert (tmp_path / "b" / "choices").exists()
    assert not (tmp_path / "c" / "choices").exists()
    assert taken.result["training"] == again.result["training"] == made | {"chosen_with_seed": 1}
    assert taken.result["metrics"] == again.result["metrics"]


def test_a_trace_shows_the_test_split_and_chooses_nothing(csv: Path, tmp_path: Path) -> None:
    plain = chosen_by_one_seed(csv, 2)
    traced = dataclasses.replace(plain, protocol=dataclasses.replace(plain.protocol, trace_test=True))
    one, two = run(plain, quick(tmp_path / "a", runs=tmp_path)), run(traced, quick(tmp_path / "b", runs=tmp_path / "r"))
    assert one.result["metrics"] == two.result["metrics"]
    trace = two.result["training"]["trace"]
    assert (trace["rule"], trace["part"]) == ("full", "test")
    assert [row["epoch"] for row in trace["by_epoch"]] == [1, 2, 3, 4]
    chosen = trace["by_epoch"][two.result["training"]["best_epoch"] - 1]
    for name in ("hr@3", "ndcg@3", "recall@3"):
        assert chosen[name] == pytest.approx(two.result["metrics"]["full"][name]["mean"], abs=1e-6)
    assert (one.result["test_scored"], two.result["test_scored"]) == (1, 5)
    saved = load(tmp_path / "b", tmp_path)
    for x, y in zip(jax.tree.leaves(saved.params), jax.tree.leaves(two.scorer.cache["params"]), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_pretrained_model_takes_what_finished_runs_left(csv: Path, tmp_path: Path) -> None:
    """GMF and MLP, run before with the same seed, are not trained again for NeuMF."""
    base = small_experiment(csv, "neumf")
    plain = dataclasses.replace(base.optimization, learning_rate=base.architecture.pretrain_learning_rate)
    neumf = chosen_by_one_seed(csv, 1, architecture=dataclasses.replace(base.architecture, pretrain_epochs=4))
    for seed in (1, 2):
        for model in ("gmf", "mlp"):
            part = dataclasses.replace(neumf, model=model, optimization=plain, seed=seed)
            config = MODELS[model].config
            shared = {f.name: getattr(base.architecture, f.name) for f in dataclasses.fields(config)}
            run(
                dataclasses.replace(part, architecture=config(**shared)),
                quick(tmp_path / dataclasses.replace(part, architecture=config(**shared)).name, runs=tmp_path),
            )
    found = []
    for folder, stages in ((tmp_path, 0), (tmp_path / "elsewhere", 2)):
        made = run(dataclasses.replace(neumf, seed=2), quick(folder / "neumf", runs=folder))
        assert len(list((folder / "neumf" / "refit").glob("pretrain-*"))) == stages
        found.append(made.scorer.cache["params"])
    for x, y in zip(jax.tree.leaves(found[0]), jax.tree.leaves(found[1]), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_run_compiles_few_programs_and_one_that_differs_in_seed_alone_none(csv: Path, tmp_path: Path) -> None:
    """Each costs some hundredths of a second, whatever it does: a program a parameter would be most of a short run."""
    compiled: list[str] = []

    def hear(event: str, seconds: float, **about: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    jax.clear_caches()  # other tests have run the same
    jax.monitoring.register_event_duration_secs_listener(hear)
    try:
        run(small_experiment(csv, "neumf", seed=1), quick(tmp_path / "1"))
        assert 5 < len(compiled) < 20
        compiled.clear()
        run(small_experiment(csv, "neumf", seed=2), quick(tmp_path / "2"))
        assert not compiled
        faster = Optimization(batch_size=64, learning_rate=0.5)
        run(small_experiment(csv, "neumf", seed=2, optimization=faster), quick(tmp_path / "3"))
        assert compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(hear)


def test_what_decides_a_recommender_tells_it_from_others(csv: Path, tmp_path: Path) -> None:
    """Another loss, other widths, another objective, or one other event: nothing is shared."""
    first = small_experiment(csv, "mf")
    data, losses = pose(first, tmp_path).train, dataclasses.replace(first.loss, negatives=2)
    wider = dataclasses.replace(first.architecture, factors=5)
    changed = data.replace(item=data.item.at[-1].set((data.item[-1] + 1) % data.n_items))
    asked = [
        (first, data, 64),
        (dataclasses.replace(first, loss=losses), data, 64),
        (dataclasses.replace(first, architecture=wider), data, 64),
        (small_experiment(csv, "mf", "bpr"), data, 64),
        (first, changed, 64),
        (first, data.replace(n_items=data.n_items + 1), 64),
        (first, data, 32),
    ]
    for batch_size in (64, 8, 16):  # what was built long ago, and is asked for again, stays
        build_for(first, data, batch_size)
    built = [build_for(*each) for each in asked]
    assert len({id(each) for each in built}) == len(asked)
    again = small_experiment(csv, "mf", seed=9, epochs=1)
    assert build_for(again, pose(again, tmp_path).train, 64) is built[0]


@pytest.mark.parametrize("flag", ["choice_seed", "trace_test"])
def test_what_belongs_to_a_refit_is_refused_without_one(csv: Path, tmp_path: Path, flag: str) -> None:
    base = small_experiment(csv)
    protocol = dataclasses.replace(base.protocol, **{flag: 1 if flag == "choice_seed" else True})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is for a model that is trained, with --refit"):
        run(dataclasses.replace(base, protocol=protocol), quick(tmp_path / "a"))


@pytest.mark.parametrize("name", ["ease", "mf"])
def test_users_held_out_are_folded_in(csv: Path, tmp_path: Path, name: str) -> None:
    """The taste of users that training never saw shows: far above chance, which is 3 in 13."""
    if name == "ease":
        what = baseline(csv, name, split="users", fold_in=0.6)
    else:
        base = small_experiment(csv, name, epochs=20)
        what = dataclasses.replace(base, protocol=dataclasses.replace(base.protocol, split="users", fold_in=0.6))
    outcome = run(what, quick(tmp_path / "a"))
    assert outcome.result["metrics"]["full"]["recall@3"]["mean"] > 0.35
    tested = set(outcome.problem.test["full"].user.tolist())
    assert not tested & set(outcome.problem.split.train.user.tolist())


def test_what_cannot_fold_in_is_refused_before_any_work(csv: Path, tmp_path: Path) -> None:
    for what, message in [
        (baseline(csv, "fm", split="users"), "fm cannot fold in unseen users"),
        (baseline(csv, "ease", split="users", refit=True), "--refit is not for --split users"),
    ]:
        with pytest.raises(InputError, match=message):
            run(what, quick(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_a_bias_by_time_wants_times(tmp_path: Path) -> None:
    timeless = write_small_csv(tmp_path / "log.csv").read_text().splitlines()
    path = tmp_path / "timeless.csv"
    rows = [row.rpartition(",")[0] + "," + ("time" if place == 0 else "0") for place, row in enumerate(timeless)]
    path.write_text("\n".join(rows) + "\n")
    asked = small_experiment(path, "hstu")
    biased = dataclasses.replace(asked, architecture=dataclasses.replace(asked.architecture, time_bias=True))
    with pytest.raises(InputError, match=r"--time-bias: .* tells no event's time"):
        run(biased, quick(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_cut_off_beyond_the_catalogue_is_refused_before_any_work(csv: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--k 21 is larger than the catalogue of 20 items"):
        run(small_experiment(csv), quick(tmp_path / "a", k=(3, 21)))
    assert not (tmp_path / "a").exists()


def test_a_bad_baseline_leaves_nothing_behind(csv: Path, tmp_path: Path) -> None:
    what = baseline(csv, "puresvd")
    what = dataclasses.replace(what, architecture=BASELINES["puresvd"].config(factors=50))
    with pytest.raises(InputError, match="expected 1 to 19"):
        run(what, quick(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_lists_longer_than_what_is_left_are_left_out_with_a_line(csv: Path, tmp_path: Path) -> None:
    outcome = run(baseline(csv, "popularity"), quick(tmp_path / "a", k=(15,)))
    assert outcome.result["beyond"]["lists"] == {}
    assert "has only" in outcome.result["beyond"]["left_out"]["all"]


def test_all_rules_in_one_call(ml_100k: Dataset, tmp_path: Path) -> None:
    """One fit, scored under four candidate rules: fewer and less popular candidates make it look better."""
    rules = ("full", "ncf-99", "uniform-100", "pop-100")
    what = experiment("ease", protocol=Protocol(candidates=rules))
    metrics = run(what, quick(tmp_path / "a", k=(10,))).result["metrics"]
    ndcg = {rule: metrics[rule]["ndcg@10"]["mean"] for rule in rules}
    assert ndcg["full"] < ndcg["pop-100"] < ndcg["uniform-100"]
    assert abs(ndcg["ncf-99"] - ndcg["uniform-100"]) < 0.03
    assert sorted(p.name for p in (tmp_path / "a").glob("candidates-test-*")) == [
        f"candidates-test-{rule}.npz" for rule in sorted(rules[1:])
    ]
