"""Ablation: whether the items' vectors in the scores are those of the input.

python -m experiments.ablations.tying --seeds 3                   (about 25 minutes a seed on 2 cores)

SASRec and GRU4Rec, by width, trained by cross-entropy over the whole catalogue.
"""

from experiments.ablations.switches import WHOLE, Ablation, ablate
from experiments.cli import main

WIDTHS = (16, 64)
MODELS = {"SASRec": "sasrec", "GRU4Rec": "gru4rec"}

ABLATION = Ablation(
    "tying",
    "tied and own vectors of items",
    "width",
    {
        f"{label}, {'tied' if tied else 'own'}": {str(w): f"{name}:width={w},tied={str(tied).lower()}" for w in WIDTHS}
        for label, name in MODELS.items()
        for tied in (True, False)
    },
    common=WHOLE,
)

if __name__ == "__main__":
    main(lambda argv: ablate(ABLATION, argv, __doc__))
