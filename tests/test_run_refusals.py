"""What a run refuses, before anything is written."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from rec_jax.errors import InputError
from rec_jax.registry import experiment
from rec_jax.run import run
from tests.helpers import quick, small_experiment, write_small_csv


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return write_small_csv(tmp_path / "log.csv")


def test_resuming_what_may_not_be_resumed(csv: Path, tmp_path: Path) -> None:
    what = small_experiment(csv, "mf")
    run(what, quick(tmp_path / "a"))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*")}
    other = dataclasses.replace(what, loss=dataclasses.replace(what.loss, negatives=3))
    with pytest.raises(InputError, match="holds a run already; continue it with --resume"):
        run(what, quick(tmp_path / "a"))
    with pytest.raises(InputError, match=r"made by another experiment \(loss.negatives: there 4, now 3\)"):
        run(other, quick(tmp_path / "a", resume=True))
    with pytest.raises(InputError, match="can only be raised"):
        run(dataclasses.replace(what, epochs=1), quick(tmp_path / "a", resume=True))
    write_small_csv(csv, seed=5)
    with pytest.raises(InputError, match="begun on data with fingerprint"):
        run(what, quick(tmp_path / "a", resume=True))
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*")} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "--epochs 0"),
        ({"stopping": {"metric": "ndcq@10"}}, "unknown metric 'ndcq@10'"),
        ({"stopping": {"metric": "rmse"}}, "--metric rmse is for --objective rating"),
        ({"stopping": {"every": 9}}, "no validation would take place"),
        ({"stopping": {"rule": "sampled"}}, "unknown candidate rule 'sampled'"),
        ({"protocol": {"candidates": ("ful",)}}, "unknown candidate rule 'ful'"),
        ({"optimization": {"batch_size": 5000}}, "--batch-size 5,000 is larger than"),
        ({"optimization": {"batch_size": 0}}, "--batch-size 0: expected"),
        ({"optimization": {"weight_decay": 0.1}}, "--weight-decay needs --optimizer adamw"),
        ({"loss": {"negatives": 0}}, "--negatives 0"),
        ({"loss": {"l2": -1.0}}, "--l2 -1.0"),
        ({"architecture": {"factors": 0}}, "--factors 0"),
        ({"stopping": {"patience": -1}}, "--patience -1"),
        ({"optimization": {"learning_rate": float("nan")}}, "--learning-rate nan"),
        ({"protocol": {"split_seed": -1}}, "--split-seed -1"),
        ({"protocol": {"candidates": ()}}, "--candidates: at least one"),
        ({"preparation": {"k_core": -3}}, "--k-core -3"),
        ({"seed": 2**32}, "--seed 4294967296"),
        ({"data": "ml-100"}, "unknown data set 'ml-100': did you mean"),
    ],
)
def test_bad_options_end_before_anything_is_written(
    csv: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    what = small_experiment(csv, "mf")
    for name, value in changes.items():
        value = dataclasses.replace(getattr(what, name), **value) if isinstance(value, dict) else value
        what = dataclasses.replace(what, **{name: value})
    with pytest.raises(InputError, match=message):
        run(what, quick(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_ratings_that_are_all_the_same_are_nothing_to_predict(csv: Path, tmp_path: Path) -> None:
    what = small_experiment(csv, "mf", "rating")
    what = dataclasses.replace(what, columns=dataclasses.replace(what.columns, rating_column=None))
    with pytest.raises(InputError, match="--objective rating: every rating of log is 1; name the log's column"):
        run(what, quick(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("changes", [{"k": ()}, {"k": (0,)}, {"bootstrap": 0}, {"checkpoint_seconds": -1.0}])
def test_bad_runtime_options_too(csv: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="--"):
        run(small_experiment(csv, "mf"), quick(tmp_path / "a", **changes))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("changes", [{"pretrain_epochs": -1}, {"pretrain_epochs": 1}, {"alpha": 7.0}, {"depth": -1}])
def test_pretraining_that_would_glue_nothing_trained(csv: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    what = small_experiment(csv, "neumf")
    what = dataclasses.replace(
        what,
        architecture=dataclasses.replace(what.architecture, **changes),
        stopping=dataclasses.replace(what.stopping, every=2),
    )
    with pytest.raises(InputError, match=r"--(every|pretrain-epochs|alpha|depth)"):
        run(what, quick(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_excluding_positives_of_a_user_who_has_everything(tmp_path: Path) -> None:
    rows = [f"0,{i},3,{i}\n" for i in range(6)] + ["0,4,3,9\n", "0,5,3,10\n"] + [f"1,{i},3,{i}\n" for i in range(4)]
    (tmp_path / "log.csv").write_text("user,item,rating,time\n" + "".join(rows))
    what = small_experiment(tmp_path / "log.csv", "mf", optimization=experiment("mf").optimization)
    what = dataclasses.replace(what, loss=dataclasses.replace(what.loss, exclude_positives=True))
    what = dataclasses.replace(what, optimization=dataclasses.replace(what.optimization, batch_size=2))
    with pytest.raises(InputError, match="1 users have every item in train"):
        run(what, quick(tmp_path / "a"))


def test_an_unwritable_run_directory(csv: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        run(small_experiment(csv, "mf"), quick(tmp_path / "file" / "run"))
