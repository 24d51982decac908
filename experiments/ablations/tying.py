"""Ablation: whether the items' vectors in the scores are those of the input.

python -m experiments.ablations.tying --seeds 3                   (about 13 minutes a seed on one core)

SASRec and GRU4Rec, by width, trained by cross-entropy over the whole catalogue.
"""

from experiments.ablations.switches import WHOLE, Ablation, ablate
from experiments.cli import main

WIDTHS = (16, 64)
LINES = (("SASRec", True), ("SASRec", False), ("GRU4Rec", False), ("GRU4Rec", True))
"""Model, tied: from each to the next one switch is turned."""

ABLATION = Ablation(
    "tying",
    "tied and own vectors of items",
    "width",
    {
        f"{model}, {'tied' if tied else 'own'}": {
            str(w): f"{model.lower()}:width={w},tied={str(tied).lower()}" for w in WIDTHS
        }
        for model, tied in LINES
    },
    common=WHOLE,
)

if __name__ == "__main__":
    main(lambda argv: ablate(ABLATION, argv, __doc__))
