"""The training script: flags, output, several real processes, every configuration field."""

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import before_after, compare, off_policy_truth, offline_rl, policy
from experiments.ablations import switches, tying
from experiments.cli import parse_job
from experiments.train import train
from rec_jax import config
from rec_jax.building import build
from rec_jax.data.own import Columns
from rec_jax.data.prepare import Preparation
from rec_jax.errors import InputError
from rec_jax.problem import pose
from rec_jax.registry import BASELINES, MODELS, OBJECTIVES, experiment
from tests.helpers import small_experiment, write_small_csv

tying_script = partial(switches.ablate, tying.ABLATION, doc="")

ROOT = Path(__file__).parents[2]


def flags(folder: Path, model: str = "mf", **changes: str) -> list[str]:
    """Flags of a run of a second."""
    values = {
        "data": str(write_small_csv(folder / "log.csv")),
        "rating-column": "rating",
        "time-column": "time",
        "batch-size": "64",
        "epochs": "3",
        "candidates": "full",
        "wandb": "off",
        "devices": "1",
        "bootstrap": "50",
        "run-dir": str(folder / "run"),
        **changes,
    }
    return [model, *(word for name, value in values.items() for word in (f"--{name}", *value.split()))]


def script(*arguments: str, devices: int = 1, wait: bool = True, **popen: Any) -> Any:
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    command = [sys.executable, "-m", *arguments]
    if wait:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment
    )


def test_prints_a_table_and_says_where_everything_lies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(flags(tmp_path, k="3 10"))
    out = capsys.readouterr().out
    for text in ("NDCG@10", "full", "best epoch", "test scored 1 time(s)", str(tmp_path / "run" / "result.json")):
        assert text in out
    assert (tmp_path / "run" / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_too_few_candidates_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(flags(tmp_path, candidates="full ncf-99"))
    out = capsys.readouterr().out
    assert re.search(r"ncf-99: (\d+) of \1 users have fewer than 99 candidates", out)


def test_rating_objective_prints_rmse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(flags(tmp_path, objective="rating"))
    out = capsys.readouterr().out
    assert "RMSE" in out
    assert "MAE" in out


@pytest.mark.parametrize(("model", "objective"), [(name, o) for name, row in MODELS.items() for o in row.objectives])
def test_every_model_takes_its_objectives_and_their_flags(model: str, objective: str) -> None:
    fields = {field.name for field in dataclasses.fields(OBJECTIVES[objective].config)}
    name = next(name for name in ("temperature", "l2", "beta") if name in fields)
    job = parse_job([model, "--objective", objective, f"--{name}", "0.5", "--seed", "7"], "p", "d")
    assert job.experiment.objective == objective
    assert isinstance(job.experiment.loss, OBJECTIVES[objective].config)
    assert getattr(job.experiment.loss, name) == 0.5
    assert job.experiment.seed == 7
    default = experiment(model, objective)
    assert job.experiment == dataclasses.replace(default, seed=7, loss=dataclasses.replace(default.loss, **{name: 0.5}))


def test_an_objective_of_other_models_is_refused() -> None:
    with pytest.raises(InputError, match="--objective bpr is not for sasrec; take next-item"):
        parse_job(["sasrec", "--objective", "bpr"], "p", "d")
    with pytest.raises(InputError, match="--objective next-item is not for mf; take pointwise or bpr or rating"):
        parse_job(["mf", "--objective=next-item"], "p", "d")


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_is_read_from_its_flags(name: str) -> None:
    job = parse_job([name, "--seed", "7", "--rule", "ncf-99", "--refit", "--split", "ratio"], "p", "d")
    protocol = dataclasses.replace(config.Protocol(), refit=True, split="ratio")
    stopping = dataclasses.replace(config.Stopping(), rule="ncf-99")
    assert job.experiment == experiment(name, seed=7, protocol=protocol, stopping=stopping)


@pytest.mark.parametrize("flag", [("--learning-rate", "1"), ("--epochs", "1"), ("--objective", "bpr")])
def test_a_baseline_has_no_objective_no_optimiser_and_no_epochs(flag: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        parse_job(["ials", *flag], "p", "d")


def test_a_baseline_is_fitted_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = flags(tmp_path)
    shared = [
        word
        for name in ("data", "rating-column", "time-column", "candidates", "wandb", "run-dir", "bootstrap")
        for word in given[given.index(f"--{name}") :][:2]
    ]
    train(["ease", *shared, "--l2", "20", "--k", "3"])
    out = capsys.readouterr().out
    for text in ("ease", "NDCG@3", "fitted in", "test scored 1 time(s)", "result.json"):
        assert text in out
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["experiment"]["architecture"] == {"l2": 20.0}


def test_help_names_every_hyper_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_job(["neumf", "--help"], "p", "d")
    out = capsys.readouterr().out
    for flag in (
        "--factors",
        "--negatives",
        "--learning-rate",
        "--seed",
        "--epochs",
        "--run-dir",
        "--resume",
        "--devices",
    ):
        assert flag in out


def test_typos_are_answered_with_the_right_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_job(["neumf", "--learning-rat", "1"], "p", "d")
    assert "--learning-rate" in capsys.readouterr().err


def test_a_model_s_name_is_looked_up_first() -> None:
    with pytest.raises(InputError, match="no model 'neumff': did you mean neumf"):
        parse_job(["neumff", "--epochs", "3"], "p", "d")


def test_a_switch_that_is_on_can_be_turned_off_by_its_other_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert not parse_job(["sasrec", "--no-tied"], "p", "d").experiment.architecture.tied
    with pytest.raises(SystemExit):
        parse_job(["sasrec", "--help"], "p", "d")
    assert "--tied, --no-tied" in capsys.readouterr().out


@pytest.mark.parametrize("script", [off_policy_truth, policy, before_after])
def test_a_seed_is_not_negative(script: Any) -> None:
    first = ["random"] if script is policy else []
    with pytest.raises(InputError, match="--seed -1: expected a number from 0 to"):
        script.script([*first, "--seed", "-1"])


@pytest.mark.parametrize("script", [compare.script, offline_rl.script, tying_script])
def test_flags_of_one_run_are_refused_where_many_are_made(script: Any) -> None:
    with pytest.raises(InputError, match="--run-dir, --resume: are of a single run"):
        script(["--run-dir", "x"])


def test_bad_input_is_one_message_and_exit_code_2(tmp_path: Path) -> None:
    done = script("experiments.train", "mf", "--data", "ml-100", "--run-dir", str(tmp_path / "x"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown data set 'ml-100': did you mean ml-100k")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_processes_train_as_one_and_process_0_alone_writes(tmp_path: Path) -> None:
    """Real processes on localhost, two devices each, against one process with four; then both resume."""

    def together(epochs: str, *more: str, expected: int = 0) -> list[str]:
        address = f"127.0.0.1:{free_port()}"
        workers = []
        for i in range(2):
            arguments = flags(tmp_path, epochs=epochs, **{"run-dir": str(tmp_path / f"p{i}"), "batch-size": "8"})
            arguments = [a for j, a in enumerate(arguments) if "--devices" not in arguments[max(0, j - 1) : j + 1]]
            where = ["--coordinator", address, "--processes", "2", "--process-id", str(i), *more]
            workers.append(script("experiments.train", *arguments, *where, devices=2, wait=False))
        outs = [worker.communicate(timeout=240)[0] for worker in workers]
        assert [worker.returncode for worker in workers] == [expected] * 2, outs
        return outs

    together("2")
    together("3", "--resume")
    refused = together("3", expected=2)  # process 0 finds a run there; the other must not wait for it
    assert "holds a run already" in refused[0]
    assert "process 0 could not open the run" in refused[1]
    assert not (tmp_path / "p1").exists()
    train(flags(tmp_path, devices="4", **{"batch-size": "8"}))  # the tests' own process has four devices
    rows = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("p0", "run")
    ]
    assert len(rows[0]) == len(rows[1]) == 3
    for ours, theirs in zip(*rows):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("p0", "run")]
    assert results[0]["machine"]["processes"] == 2
    assert results[0]["machine"]["devices"] == results[1]["machine"]["devices"] == 4
    assert results[0]["metrics"]["full"]["auc"]["mean"] == pytest.approx(
        results[1]["metrics"]["full"]["auc"]["mean"], abs=1e-3
    )


CONFIGURED = [
    *(row.config for row in MODELS.values()),
    *(row.config for row in OBJECTIVES.values()),
    config.Experiment,
    config.Runtime,
    config.Protocol,
    config.Optimization,
    config.Stopping,
    Preparation,
    Columns,
]


def trace(what: config.Experiment, folder: Path) -> None:
    """Everything that training and scoring compute, without computing it."""
    problem = pose(what, folder)
    recommender, key, zero = build(what, problem), jax.random.key(0), jnp.int32(0)
    params, extra = jax.eval_shape(recommender.init, key, problem.train)
    batch = jax.eval_shape(recommender.batch, problem.train, key, zero, zero)
    jax.eval_shape(recommender.loss, params, extra, batch, key, zero)
    cache = jax.eval_shape(recommender.prepare, params, extra)
    query = problem.valid.query(np.arange(2), recommender.reads)
    jax.eval_shape(recommender.scores, cache, query)


def test_every_configuration_field_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that touch everything, watched: a field that only gets copied or stored would not be noticed."""
    read: dict[type, set[str]] = defaultdict(set)
    storing = {"to_json", "from_json", "canonical", "check_numbers", "first_difference"}

    def watch(cls: type) -> Any:
        plain = cls.__getattribute__

        def noticed(self: Any, name: str) -> Any:
            caller = sys._getframe(1).f_code
            ours = caller.co_filename.startswith((f"{ROOT}/rec_jax/", f"{ROOT}/experiments/"))
            if ours and not storing & set(
                caller.co_qualname.split(".")
            ):  # a comprehension's name begins with its place
                for base in type(self).__mro__:
                    read[base].add(name)
            return plain(self, name)

        return noticed

    def missing(cls: type) -> set[str]:
        return {field.name for field in dataclasses.fields(cls)} - read[cls]

    for cls in CONFIGURED:
        monkeypatch.setattr(cls, "__getattribute__", watch(cls))
    decay = {"optimizer": "adamw", "weight-decay": "0.1", "decay": "cosine", "decay-epochs": "3", "warmup-steps": "2"}
    runs = [
        flags(tmp_path, **decay, k="3", **{"run-dir": str(tmp_path / "a"), "coordinator": "none"}),
        flags(tmp_path, "neumf", **{"run-dir": str(tmp_path / "b"), "pretrain-epochs": "1", "clip-norm": "1"}),
        flags(tmp_path, "mlp", objective="bpr", **{"run-dir": str(tmp_path / "c"), "duplicates": "last"}),
        flags(tmp_path, "gmf", objective="rating", split="ratio", **{"run-dir": str(tmp_path / "d")}),
        [*flags(tmp_path, "mf", **{"run-dir": str(tmp_path / "e")}), "--refit"],
        flags(tmp_path, "mf", split="users", **{"fold-in": "0.5", "run-dir": str(tmp_path / "f")}),
        flags(
            tmp_path,
            "gru4rec",
            loss="bpr-max",
            **{"run-dir": str(tmp_path / "i"), "batch-size": "16", "max-length": "8"},
        ),
    ]
    named = runs[0].index("--run-dir")
    runs.append([*runs[0][:named], *runs[0][named + 2 :], "--runs", str(tmp_path / "runs")])
    for arguments in runs:
        train([*arguments, "--no-progress"])
    for model, row in MODELS.items():
        for objective in row.objectives:
            what = small_experiment(tmp_path / "log.csv", model, objective)
            alike = [what]
            if hasattr(what.loss, "penalty"):  # which is of one loss alone
                alike.append(dataclasses.replace(what, loss=dataclasses.replace(what.loss, loss="bpr-max")))
            for each in alike:
                if missing(row.config) or missing(OBJECTIVES[objective].config):
                    trace(each, tmp_path)
    for cls in CONFIGURED:
        assert not missing(cls), f"{cls.__name__}: nothing reads {missing(cls)}"
