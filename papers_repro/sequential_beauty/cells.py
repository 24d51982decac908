"""The cells of sequential recommendation on Amazon Beauty.

    python -m papers_repro run sequential_beauty --cells 'sasrec-*'      (about 15 minutes a cell on one core)

Rows of eSASRec's paper have its settings, the others near those of S3-Rec's (paper.toml says where they differ): width
64, the last 50 events, 128 users a step, Adam at .001, at most 200 epochs, dropout .2 (.5 in SASRec with one negative,
Caser and gSASRec); HSTU, eSASRec and SASRec with sampled softmax have one block and 256 negatives. Validation in full
chooses among every second epoch. esasrec-ce is a row of our own.
"""

from dataclasses import replace
from typing import Any

from papers_repro.baselines import baseline_cells
from papers_repro.paper import Cell
from papers_repro.sequential_ml1m.cells import BASELINES, CROSS_ENTROPY, PROTOCOL, STOPPING, falling, trained
from rec_jax import registry
from rec_jax.config import Experiment
from rec_jax.objectives.next_item import NextItem

RULES = ("full",)
ONE_NEGATIVE = NextItem(exclude_positives=True)


def beauty(model: str, **changes: Any) -> Experiment:
    """A model of the table."""
    return trained(model, "beauty", RULES, **{"max_length": 50, "width": 64, "epochs": 200, "patience": 20, **changes})


def cells() -> list[Cell]:
    """SASRec under three losses, its relatives, a row of our own, and tuned baselines that know no order."""
    # One block, twice as wide, and a learning rate that falls to 0 in 20 epochs: chosen on validation.
    ours: dict[str, Any] = {"width": 128, "heads": 1, "blocks": 1, "dropout": 0.4, "epochs": 20}
    # A user's positions share negatives, but in the rows named -place, where those at the same place of 16 users do.
    cosines = replace(registry.COSINES, negatives=256, negatives_for="user")
    products, of_place = (NextItem("sampled-softmax", 256, negatives_for=whom) for whom in ("user", "place"))
    of_user = NextItem("gbce", 256, negatives_for="user")
    found = [
        Cell("sasrec-bce", beauty("sasrec", loss=ONE_NEGATIVE, dropout=0.5), minutes=15),
        Cell("gru4rec-bce", beauty("gru4rec", loss=ONE_NEGATIVE), minutes=10),
        Cell("caser-bce", beauty("caser", loss=ONE_NEGATIVE), minutes=10),
        Cell("sasrec-ce", beauty("sasrec", loss=CROSS_ENTROPY), minutes=40),
        Cell("sasrec-sampled", beauty("sasrec", loss=products, blocks=1), 3, True, minutes=15),
        Cell("sasrec-sampled-place", beauty("sasrec", loss=of_place, blocks=1), minutes=15),
        Cell("gsasrec", beauty("gsasrec", loss=of_user), minutes=15),
        Cell("hstu", beauty("hstu", loss=cosines, blocks=1), minutes=15),
        Cell("hstu-time", beauty("hstu", loss=cosines, blocks=1, time_bias=True), minutes=25),
        Cell("esasrec", beauty("esasrec", loss=products, blocks=1, heads=1), minutes=20),
        Cell("esasrec-place", beauty("esasrec", loss=of_place, blocks=1, heads=1), minutes=20),
        Cell("bert4rec", beauty("bert4rec", patience=40), minutes=30),
        # What is known to help SASRec, together: gated blocks, and the whole catalogue in the loss.
        Cell("esasrec-ce", falling(beauty("esasrec", loss=CROSS_ENTROPY, **ours)), 3, minutes=12),
    ]
    baselines = baseline_cells(BASELINES, "beauty", replace(PROTOCOL, candidates=RULES), STOPPING)
    # Of 12,101 items one fit of a neighbourhood or of EASE takes half a minute.
    return [*found, *(replace(cell, trials=min(cell.trials, 12)) for cell in baselines)]
