"""The committed papers: their pages are what their records say, and their cells what the papers describe."""

import dataclasses
import functools

import jax
import pytest

from experiments import off_policy, policy
from papers_repro.check import check
from papers_repro.kinds import KINDS, kind_of
from papers_repro.mf_revisited.cells import DIMENSIONS
from papers_repro.paper import FOLDER, cells, names, read
from papers_repro.records import counted
from papers_repro.render import index
from papers_repro.standing import Standing, standing
from papers_repro.verdicts import traces_of
from rec_jax import run
from rec_jax.config import Runtime
from rec_jax.data.registry import DATASETS
from rec_jax.objectives.base import TrainData
from rec_jax.registry import MODELS, OWN
from tests.helpers import small_dataset

RULES = {"policy": policy.RULE, "estimator": off_policy.RULE}


def test_a_record_s_kind_is_told_by_one_field() -> None:
    for kind in KINDS:
        fields = {field.name for field in dataclasses.fields(kind.of)}
        assert [other.field for other in KINDS if other.field in fields] == [kind.field]


@pytest.mark.parametrize("paper", names())
def test_a_paper_s_cells_are_of_one_kind(paper: str) -> None:
    assert len({kind_of(cell.experiment).field for cell in cells(paper).values()}) == 1


@functools.cache
def stands(paper: str) -> Standing:
    """Read once for all tests."""
    return standing(paper)


@pytest.mark.parametrize("paper", names())
def test_every_table_equals_its_records_and_every_record_a_cell(paper: str) -> None:
    assert check(stands(paper), [stands(name) for name in names()]) == []


def test_the_index_is_what_the_records_say() -> None:
    assert (FOLDER / "README.md").read_text() == index([stands(name) for name in names()])


@pytest.mark.parametrize("paper", names())
def test_every_cell_is_an_experiment_that_can_run(paper: str) -> None:
    """Options that go together, data that are known, and what cannot be run says so."""
    about = read(paper)
    for cell in cells(paper).values():
        field = kind_of(cell.experiment).field
        if field == "policy":
            assert cell.experiment.world.slate == cell.experiment.slate
        if field != "model":
            assert about.rule == RULES[field]
            continue
        run.check(cell.experiment, Runtime())
        assert cell.experiment.data in DATASETS
        assert about.rule in cell.experiment.protocol.candidates
        assert cell.experiment.protocol.refit == (not paper.startswith("sequential") or cell.name.endswith("-refit"))
        assert (cell.experiment.data == "pinterest-ncf") == (cell.not_run == "data")


@pytest.mark.parametrize("paper", names())
def test_cells_that_are_drawn_by_epoch_are_trained_so(paper: str) -> None:
    about, of_paper = read(paper), cells(paper)
    for name in about.traced:
        experiment = of_paper[name].experiment
        assert experiment.protocol.trace_test
        for seed, record in counted(paper, name).items():
            (trace,) = traces_of({seed: record}, about.shown[0])
            assert len(trace) == record["training"]["epochs"] // experiment.stopping.every


@pytest.mark.parametrize("paper", names())
def test_the_test_split_was_scored_once_but_for_traces(paper: str) -> None:
    for name, cell in cells(paper).items():
        for record in counted(paper, name).values():
            traced = record["training"].get("trace", {}).get("by_epoch", [])
            assert record["test_scored"] == 1 + len(traced)
            if kind_of(cell.experiment).field != "model":
                continue
            assert bool(traced) == cell.experiment.protocol.trace_test
            again = cell.experiment.protocol.refit
            assert record["protocol"]["trained_on"] == ("train and validation" if again else "train")


def test_slateq_s_table_is_near_what_comes_of_the_proportional_choice() -> None:
    of = stands("slateq")
    returns = {name: line.chosen["return"].mean for name, line in of.lines.items()}
    published = {name: cell.values["return"] for name, cell in of.published.items()}
    away = {name: abs(returns[f"{name}-proportional"] / value - 1) for name, value in published.items()}
    assert max(away.values()) < 0.01
    assert max(away[f"QL-{name}"] for name in ("GT-GS", "OT-GS", "OT-OS")) < 0.0025
    assert all(abs(returns[n] / published[n] - 1) < away[n] for n in ("random", "MYOP-TS", "MYOP-GS"))


def test_slateq_s_policies_gain_little_after_a_tenth_of_the_steps() -> None:
    """Those that fall short of the table: in the mean over seeds, on validation users."""
    for name, most in {"SARSA-GS": 1.2, "QL-GT-GS": 0.4, "QL-OT-GS": 0.4, "QL-OT-OS": 0.4}.items():
        curves = [record["training"]["curve"] for record in counted("slateq", name).values()]
        # Whole steps of 32 users.
        assert {(curve[0]["steps"], curve[-1]["steps"]) for curve in curves} == {(30_016, 300_000)}
        gained = [curve[-1]["return"] - curve[0]["return"] for curve in curves]
        assert sum(gained) / len(gained) < most + 0.005


@pytest.mark.parametrize("factors", [8, 16, 32, 64])
def test_ncf_s_widths_are_those_of_the_authors_code(factors: int) -> None:
    """'--layers [64,32,16,8]' at 8 factors: an embedding of 32 a side, hidden layers 32, 16, 8."""
    log = small_dataset()
    data = TrainData.of(log.interactions, log.n_users, log.n_items)
    chosen = cells("ncf")[f"mlp-{factors}"].experiment
    module = MODELS["mlp"].module(chosen.architecture, data.n_users, data.n_items)
    from rec_jax.models.base import Query

    shapes = jax.eval_shape(
        lambda key: module.init(key, Query(jax.numpy.zeros(1, int)), jax.numpy.zeros((1, 1), int)), jax.random.key(0)
    )["params"]["tower"]
    assert shapes["user"]["embedding"].shape == (log.n_users, 4 * factors)
    kernels = [shapes["kernel"].shape, *(shapes[f"hidden_{i}"]["kernel"].shape for i in range(2))]
    assert kernels == [(8 * factors, 4 * factors), (4 * factors, 2 * factors), (2 * factors, factors)]


def test_ncf_s_settings_are_those_of_the_authors_commands() -> None:
    for cell in cells("ncf").values():
        experiment = cell.experiment
        if experiment.objective == OWN:
            assert cell.trials > 0 or cell.name == "popularity"
            continue
        if cell.name != "neumf-8-shuffled":
            examples = experiment.optimization.batch_size * (1 + experiment.loss.negatives)
            assert abs(examples - 256) <= (1 + experiment.loss.negatives) / 2
        assert (experiment.epochs, experiment.optimization.learning_rate) == (20, 0.001)
        assert experiment.loss.l2 == 0
        assert experiment.optimization.optimizer == ("sgd" if cell.name.endswith("pretrained") else "adam")


def test_both_papers_share_the_learned_similarity() -> None:
    mf, ncf = cells("mf_revisited"), cells("ncf")
    for dimension in DIMENSIONS:
        assert mf[f"mf-{dimension}"].experiment.architecture.factors + 1 == dimension
        assert mf[f"mlp-{dimension}"].experiment.architecture.factors * 4 == dimension
    assert mf["mlp-32"].experiment == ncf["mlp-8"].experiment
    half = dataclasses.replace(mf["mf-192"].experiment.loss)
    assert 2 * half.l2 == 0.005
