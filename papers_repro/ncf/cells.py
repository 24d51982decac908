"""The cells of He et al., "Neural Collaborative Filtering", WWW 2017.

    python -m papers_repro run ncf --cells 'neumf-8'              (about 4 minutes a seed on one core)

The settings are those of the authors' commands: 20 epochs, Adam at .001, 4 negatives, 256 examples a step, no L2. What
was pre-trained goes on by plain gradient descent, as in the paper; their command for it names Adam.
"""

from dataclasses import replace
from typing import Any, Literal

from papers_repro.baselines import baseline_cells
from papers_repro.paper import Cell
from rec_jax import registry
from rec_jax.config import Experiment, Optimization, Protocol, Stopping
from rec_jax.objectives.pointwise import Pointwise

FACTORS = (8, 16, 32, 64)
EXAMPLES = 256
EPOCHS = 20
# An epoch is chosen on validation with seed 1; the published numbers' choice on test is only traced.
PROTOCOL = Protocol("authors", candidates=("ncf-99",), refit=True, choice_seed=1, trace_test=True)
STOPPING = Stopping(metric="ndcg@10", rule="ncf-99", patience=5)
MINUTES = {"gmf": (0.7, 1, 1.5, 2.5), "mlp": (2, 4, 6, 25), "neumf": (3, 6, 12, 25)}
LONG = {(3, 64), (4, 32), (4, 64)}
"""Depths and factors of the MLPs that take longer than a quarter of an hour a seed: one seed each."""
BASELINES = ("popularity", "userknn", "itemknn", "p3alpha", "rp3beta", "puresvd", "ease", "slim", "nmf", "ials")


def trained(model: str, negatives: int = 4, data: str = "ml-1m-ncf", **architecture: Any) -> Experiment:
    """A model of the paper with the authors' settings: as many positives a step as make 256 examples."""
    experiment = registry.experiment(
        model,
        data=data,
        protocol=PROTOCOL,
        stopping=STOPPING,
        epochs=EPOCHS,
        loss=Pointwise(negatives=negatives, exclude_positives=True),
        optimization=Optimization(learning_rate=0.001, batch_size=round(EXAMPLES / (1 + negatives)), sparse_rows=True),
    )
    return replace(experiment, architecture=replace(experiment.architecture, **architecture))


def pretrained(factors: int, data: str = "ml-1m-ncf", optimizer: Literal["sgd", "adam"] = "sgd") -> Experiment:
    """NeuMF from GMF and MLP, trained on by plain gradient descent (Sec. 3.4.1) unless said."""
    experiment = trained("neumf", data=data, factors=factors, pretrain_epochs=EPOCHS)
    return replace(experiment, optimization=replace(experiment.optimization, optimizer=optimizer))


def _seeds(depth: int, factors: int) -> int:
    return 1 if (depth, factors) in LONG else 3


def cells() -> list[Cell]:
    """GMF, MLP and NeuMF; the MLP's depth; the number of negatives; ways of training; tuned baselines; Pinterest."""
    found = []
    for place, factors in enumerate(FACTORS):
        minutes = {model: of[place] for model, of in MINUTES.items()}
        found += [
            Cell(f"gmf-{factors}", trained("gmf", factors=factors), 3, True, minutes=minutes["gmf"]),
            Cell(f"mlp-{factors}", trained("mlp", factors=factors), _seeds(3, factors), minutes=minutes["mlp"]),
            Cell(
                f"neumf-{factors}",
                trained("neumf", factors=factors),
                5 if factors == 8 else 3,
                True,
                minutes=minutes["neumf"],
            ),
            Cell(f"neumf-{factors}-pretrained", pretrained(factors), 3, True, minutes=2 * minutes["neumf"]),
        ]
    for depth in (0, 1, 2, 4):
        for place, factors in enumerate(FACTORS):
            minutes_ = MINUTES["mlp"][place] * 4.0 ** (depth - 3) + 0.5
            deep = trained("mlp", factors=factors, depth=depth)
            found.append(Cell(f"mlp{depth}-{factors}", deep, _seeds(depth, factors), minutes=minutes_))
    for model in ("gmf", "mlp", "neumf"):
        for negatives in (1, 2, 3, 5, 6, 7, 8, 9, 10):
            minutes_ = MINUTES[model][0] * (1 + negatives) / 5
            found.append(
                Cell(f"{model}-8-negatives-{negatives}", trained(model, negatives, factors=8), minutes=minutes_)
            )
    eight = trained("neumf", factors=8)
    shuffled = replace(
        eight, loss=replace(eight.loss, shuffled=True), optimization=replace(eight.optimization, batch_size=EXAMPLES)
    )
    dense = replace(eight, optimization=replace(eight.optimization, sparse_rows=False))
    found.append(Cell("neumf-8-shuffled", shuffled, minutes=6))
    found.append(Cell("neumf-8-dense", dense, minutes=12))
    anything = replace(eight, loss=replace(eight.loss, exclude_positives=False))
    found.append(Cell("neumf-8-negatives-from-all", anything, minutes=3))
    for factors, minutes_ in ((8, 8), (16, 15)):
        adam = pretrained(factors, optimizer="adam")
        found.append(Cell(f"neumf-{factors}-pretrained-adam", adam, minutes=minutes_))
    plain = replace(PROTOCOL, choice_seed=0, trace_test=False)
    found += baseline_cells(BASELINES, "ml-1m-ncf", plain, STOPPING)
    for factors in FACTORS:
        for start, experiment in (
            ("", trained("neumf", data="pinterest-ncf", factors=factors)),
            ("-pretrained", pretrained(factors, "pinterest-ncf")),
        ):
            found.append(Cell(f"pinterest-neumf-{factors}{start}", experiment, not_run="data"))
    return found
