"""The cells of sequential recommendation on MovieLens-1M.

    python -m papers_repro run sequential_ml1m --cells 'sasrec-*'      (about 20 minutes a cell on one core)

The settings are those of the published rows: 200 events, 128 users a step, Adam at .001 with beta2 .98, at most 100
epochs unless a row is known to need more; validation in full chooses among every second epoch. Nothing is trained
again, but for the rows named -refit.
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
STOPPING = Stopping(metric="ndcg@10", rule="full", every=2, patience=5)
"""Patience is in validations; the cells below give it in epochs."""
BASELINES = ("popularity", "itemknn", "ease", "ials")
CROSS_ENTROPY = NextItem(loss="softmax")
WINDOWS = replace(CROSS_ENTROPY, window="drawn")


def trained(model: str, data: str = "ml-1m-sasrec", rules: tuple[str, ...] = RULES, **changes: Any) -> Experiment:
    """A model with its own defaults, and `changes` to the architecture's fields, or to loss, epochs and patience (in
    epochs)."""
    protocol = replace(PROTOCOL, candidates=rules)
    experiment = registry.experiment(model, data=data, protocol=protocol, stopping=STOPPING, epochs=100)
    own = {name: changes.pop(name) for name in ("loss", "epochs") if name in changes}
    stopping = replace(STOPPING, patience=changes.pop("patience", 10) // STOPPING.every)
    architecture = replace(experiment.architecture, **changes)
    return replace(experiment, architecture=architecture, stopping=stopping, **own)


def falling(experiment: Experiment) -> Experiment:
    """The same under a learning rate that rises for 200 steps, and then falls along a cosine, which would reach 0 as
    many steps after the last epoch."""
    rate = replace(experiment.optimization, warmup_steps=200, decay="cosine", decay_epochs=experiment.epochs)
    return replace(experiment, optimization=rate)


def cells() -> list[Cell]:
    """SASRec under four losses, its relatives, two rows of our own, and tuned baselines that know no order."""
    small: dict[str, Any] = {"width": 64, "dropout": 0.1}
    ours: dict[str, Any] = {"width": 64, "heads": 2, "epochs": 60, "patience": 30}
    # As the published rows of HSTU: the validation item trains too, at the end.
    with_valid = replace(PROTOCOL, refit=True)
    # The first rows: a user's positions share negatives; a patience of 10 epochs cut some off while validation rose.
    of_user = replace(registry.COSINES, negatives_for="user")
    hstu, sampled = trained("hstu", loss=of_user, epochs=101), trained("sasrec", loss=of_user)
    # As published: all 101 epochs, and negatives of each position's own; those of a place are far cheaper.
    all_epochs: dict[str, Any] = {"epochs": 101, "patience": 0}
    longer: dict[str, Any] = {"epochs": 150, "patience": 0}
    longest = {**longer, "epochs": 200}
    gated, masked, general = (
        replace(registry.experiment(model).loss, window="drawn") for model in ("esasrec", "bert4rec", "gsasrec")
    )
    own, of_place = (replace(registry.COSINES, negatives_for=whom) for whom in ("event", "place"))
    found = [
        Cell("sasrec-bce", trained("sasrec", epochs=300, patience=30), 3, True, minutes=25),
        Cell("sasrec-ce", trained("sasrec", loss=CROSS_ENTROPY, patience=20, **small), 3, True, minutes=20),
        Cell("hstu", hstu, 3, True, minutes=15),
        Cell("hstu-101", trained("hstu", loss=of_user, **all_epochs), minutes=20),
        Cell("hstu-own", trained("hstu", loss=own, **all_epochs), minutes=45),
        Cell("hstu-place", trained("hstu", loss=of_place, **all_epochs), 3, True, minutes=20),
        Cell("hstu-refit", replace(hstu, protocol=with_valid), minutes=20),
        Cell("sasrec-bce-64", trained("sasrec", patience=20, **small), minutes=15),
        Cell(
            "sasrec-gbce", trained("sasrec", loss=registry.experiment("gsasrec").loss, patience=20, **small), minutes=30
        ),
        Cell("sasrec-sampled", sampled, minutes=12),
        Cell("sasrec-sampled-place", trained("sasrec", loss=of_place, **all_epochs), minutes=20),
        Cell("gsasrec", trained("gsasrec", tied=False, epochs=200, patience=40), minutes=150),
        Cell("bert4rec", trained("bert4rec", heads=1, dropout=0.1, epochs=200, patience=30), minutes=75),
        # One recurrent layer has no dropout in the published code.
        Cell("gru4rec-ce", trained("gru4rec", loss=CROSS_ENTROPY, dropout=0.0), minutes=20),
        Cell("esasrec", trained("esasrec", heads=1, dropout=0.1, patience=20), minutes=30),
        # What is known to help SASRec, together: gated blocks, and the whole catalogue in the loss.
        Cell("esasrec-ce", falling(trained("esasrec", loss=CROSS_ENTROPY, **ours)), minutes=30),
        # Of cross-entropy's rows SASRec's own was the best on validation: the same under a falling rate, trained on all
        # events, a third of which stand before a user's last 200.
        Cell("sasrec-ce-window", falling(trained("sasrec", loss=WINDOWS, **longer, **small)), minutes=60),
        # The row with the most hits, whose validation still rose in its last epochs, under what helped the one above.
        Cell("esasrec-window", falling(trained("esasrec", loss=gated, heads=1, dropout=0.1, **longer)), minutes=100),
        # The two rows that stay short of what was published, under the same.
        Cell("bert4rec-window", falling(trained("bert4rec", loss=masked, heads=1, dropout=0.1, **longest)), minutes=75),
        Cell("gsasrec-window", falling(trained("gsasrec", loss=general, tied=False, **longer)), minutes=130),
    ]
    return [*found, *baseline_cells(BASELINES, "ml-1m-sasrec", PROTOCOL, STOPPING)]
