"""The cells of Xue et al., "Deep Matrix Factorization Models for Recommender Systems", IJCAI 2017.

    python -m papers_repro run dmf --cells '*-100k'              (about 15 minutes a seed on one core)

The paper's settings: towers [512, 64] and [1024, 64], 7 negatives, Adam at 1e-4, 256 examples a step: here 32 positives
beside their negatives, so that the user tower reads 32 rows and not 256. On MovieLens-1M a step takes 30,000 positives
with their negatives, so that each tower runs once for all of them.
"""

from papers_repro.baselines import baseline_cells
from papers_repro.paper import Cell
from rec_jax import registry
from rec_jax.config import Experiment, Optimization, Protocol, Stopping
from rec_jax.objectives.pointwise import Pointwise

RULE = "uniform-100"
STOPPING = Stopping(metric="ndcg@10", rule=RULE, patience=5)
SPLITS = {"100k": ("ml-100k", "leave-one-out"), "1m": ("ml-1m-ncf", "authors")}
NEGATIVES = 7
TRAINED = {
    "100k": (Optimization(learning_rate=1e-4, batch_size=256 // (1 + NEGATIVES)), 30),
    # 33 steps an epoch, not 31,000: the learning rate is ten times the paper's.
    "1m": (Optimization(learning_rate=1e-3, batch_size=30_000), 40),
}
BASELINES = {
    "100k": ("popularity", "userknn", "itemknn", "p3alpha", "rp3beta", "puresvd", "ease", "slim", "ials"),
    "1m": ("popularity", "itemknn", "puresvd", "ease", "slim", "ials"),
}


def protocol(size: str, seed: int = 1) -> Protocol:
    """The last event of a user held out, ranked among 100 fixed unseen items; `seed` chooses the epochs of all."""
    return Protocol(SPLITS[size][1], candidates=(RULE,), refit=True, choice_seed=seed)  # type: ignore[arg-type]


def dmf(size: str, graded: bool) -> Experiment:
    """The model under the normalised cross-entropy ('nce': labels are ratings) or the plain one ('bce')."""
    optimization, epochs = TRAINED[size]
    return registry.experiment(
        "dmf",
        data=SPLITS[size][0],
        loss=Pointwise(negatives=NEGATIVES, exclude_positives=True, graded=graded),
        optimization=optimization,
        protocol=protocol(size),
        stopping=STOPPING,
        epochs=epochs,
    )


def squared(size: str, frequency: float) -> Experiment:
    """Matrix factorisation on squared error, a row's penalty growing with its frequency to this power."""
    return registry.experiment(
        "mf",
        data=SPLITS[size][0],
        loss=Pointwise(
            negatives=NEGATIVES, exclude_positives=True, graded=True, error="squared", l2=1e-3, frequency=frequency
        ),
        optimization=Optimization(learning_rate=0.003, batch_size=256, sparse_rows=True),
        protocol=protocol(size),
        stopping=STOPPING,
        epochs=40,
    )


def cells() -> list[Cell]:
    """Both losses, the regularisation of a plain relative, and tuned baselines, on both logs."""
    found = []
    for size, seeds, minutes in (("100k", 3, 40.0), ("1m", 2, 60.0)):
        for loss, graded in (("nce", True), ("bce", False)):
            found.append(Cell(f"dmf-{loss}-{size}", dmf(size, graded), seeds, True, minutes=minutes))
    for name, power in (("adaptive", 1.0), ("half-adaptive", 0.5), ("uniform", 0.0)):
        found.append(Cell(f"mf-{name}-100k", squared("100k", power), 3, trials=8, minutes=5))
    for size, names in BASELINES.items():
        minutes = 1 if size == "100k" else 5
        found += baseline_cells(names, SPLITS[size][0], protocol(size, seed=0), STOPPING, f"-{size}", minutes)
    return found
