"""The cells of Rendle et al., "Neural Collaborative Filtering vs. Matrix Factorization Revisited", RecSys 2020.

    python -m papers_repro run mf_revisited --cells 'mf-192'              (about 10 minutes a seed on one core)

Matrix factorisation with the authors' settings: 256 epochs of gradient descent, one example after the other, at .002
with 8 negatives and regularisation .005. Here 256 positives and their negatives make a step, whose gradients are added
up: rows that a step touches once move as they would have alone.
"""

from dataclasses import replace

from papers_repro.ncf.cells import PROTOCOL, STOPPING, trained
from papers_repro.paper import Cell
from rec_jax import registry
from rec_jax.config import Experiment, Optimization
from rec_jax.objectives.pointwise import Pointwise

DIMENSIONS = (16, 32, 64, 96, 128, 192)
NEGATIVES, BATCH = 8, 256
RATE, REGULARISATION = 0.002, 0.005
PLAIN = replace(PROTOCOL, choice_seed=0, trace_test=False)


def matrix_factorisation(dimension: int) -> Experiment:
    """Dot product and biases, a dimension of `dimension` spent on the biases, as in the authors' code."""
    experiment = registry.experiment(
        "mf",
        data="ml-1m-ncf",
        # The loss is a mean over the pairs of a step, and the penalty (l2 |v|^2) twice as steep as (reg / 2) |v|^2.
        loss=Pointwise(negatives=NEGATIVES, l2=REGULARISATION / 2),
        optimization=Optimization(
            "sgd", learning_rate=RATE * BATCH * (1 + NEGATIVES), batch_size=BATCH, sparse_rows=True
        ),
        epochs=256,
        protocol=PROTOCOL,
        stopping=replace(STOPPING, every=16, patience=0),
    )
    return replace(experiment, architecture=replace(experiment.architecture, factors=dimension - 1, init_sd=0.1))


def ials(dimension: int) -> Experiment:
    """iALS as in the same authors' "iALS++" and "Revisiting the Performance of iALS", 2021."""
    experiment = registry.experiment("ials", data="ml-1m-ncf", protocol=PLAIN, stopping=STOPPING)
    settings = {"factors": dimension, "iterations": 12, "unobserved_weight": 0.3, "reg": 0.007}
    return replace(experiment, architecture=replace(experiment.architecture, **settings))


def cells() -> list[Cell]:
    """The dot product, learned by gradient descent and by least squares, and the MLP, by embedding dimension."""
    found = []
    for dimension in DIMENSIONS:
        headline, seeds = dimension == 192, 5 if dimension == 192 else 3
        found += [
            Cell(f"mf-{dimension}", matrix_factorisation(dimension), seeds, headline, minutes=4 + dimension / 16),
            Cell(f"ials-{dimension}", ials(dimension), seeds, headline, minutes=0.5),
            # Three hidden layers, the first as wide as the embedding.
            Cell(f"mlp-{dimension}", trained("mlp", factors=dimension // 4), minutes=1 + (dimension / 32) ** 2),
        ]
    return found
