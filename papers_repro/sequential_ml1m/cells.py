"""The cells of sequential recommendation on MovieLens-1M.

    python -m papers_repro run sequential_ml1m --cells 'sasrec-*'      (about 20 minutes a cell on one core)

The settings are those of the published rows: 200 events, 128 users a step, Adam at .001 with beta2 .98, at most 100
epochs unless a row is known to need more, validation in full chooses the epoch. Nothing is trained again.
"""

from dataclasses import replace
from typing import Any

from papers_repro.baselines import baseline_cells
from papers_repro.paper import Cell
from rec_jax import registry
from rec_jax.config import Experiment, Protocol, Stopping
from rec_jax.objectives.next_item import NextItem

RULES = ("full", "uniform-100", "pop-100")
PROTOCOL = Protocol("leave-one-out", candidates=RULES)
STOPPING = Stopping(metric="ndcg@10", rule="full", patience=10)
BASELINES = ("popularity", "itemknn", "ease", "ials")
CROSS_ENTROPY = NextItem(loss="softmax")


def trained(model: str, data: str = "ml-1m-sasrec", rules: tuple[str, ...] = RULES, **changes: Any) -> Experiment:
    """A model with its own defaults, and `changes` to the architecture's fields, or to loss, epochs and patience."""
    protocol = replace(PROTOCOL, candidates=rules)
    experiment = registry.experiment(model, data=data, protocol=protocol, stopping=STOPPING, epochs=100)
    own = {name: changes.pop(name) for name in ("loss", "epochs") if name in changes}
    patience = changes.pop("patience", STOPPING.patience)
    architecture = replace(experiment.architecture, **changes)
    return replace(experiment, architecture=architecture, stopping=replace(STOPPING, patience=patience), **own)


def cells() -> list[Cell]:
    """SASRec under four losses, its relatives, and tuned baselines that know no order."""
    small: dict[str, Any] = {"width": 64, "dropout": 0.1}
    cosines = registry.COSINES
    found = [
        Cell("sasrec-bce", trained("sasrec", epochs=200, patience=20), 3, True, minutes=15),
        Cell("sasrec-ce", trained("sasrec", loss=CROSS_ENTROPY, **small), 3, True, minutes=20),
        Cell("hstu", trained("hstu", epochs=101), 3, True, minutes=15),
        Cell("sasrec-bce-64", trained("sasrec", **small), minutes=8),
        Cell("sasrec-sampled", trained("sasrec", loss=cosines), minutes=12),
        Cell("gsasrec", trained("gsasrec", epochs=200), minutes=40),
        Cell("bert4rec", trained("bert4rec", epochs=400, patience=40), minutes=40),
        Cell("gru4rec-ce", trained("gru4rec", loss=CROSS_ENTROPY), minutes=20),
        Cell("esasrec", trained("esasrec"), minutes=30),
    ]
    return [*found, *baseline_cells(BASELINES, "ml-1m-sasrec", PROTOCOL, STOPPING)]
