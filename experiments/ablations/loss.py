"""Ablation: SASRec's loss, and how many negatives it takes.

python -m experiments.ablations.loss --seeds 3                    (about 20 minutes a seed on one core)

Binary cross-entropy, gBCE, BPR-max and sampled softmax over 1 and 16 negatives of each position's own, over 16 that a
user's positions share, and over 256 that 16 users share at the same place; cross-entropy over the whole catalogue at
the end.
"""

from experiments.ablations.switches import COMMON, Ablation, ablate
from experiments.cli import main

LOSSES = {"BCE": "bce", "gBCE": "gbce", "BPR-max": "bpr-max", "sampled softmax": "sampled-softmax"}
NEGATIVES = {"1": (1, "event"), "16": (16, "event"), "16 of a user": (16, "user"), "256 of a place": (256, "place")}


def system(loss: str, negatives: int, serves: str) -> str:
    """A SASRec under that loss, with so many negatives of an event's, a user's or a place's."""
    return f"sasrec:loss.loss={loss},loss.negatives={negatives},loss.negatives_for={serves}"


ABLATION = Ablation(
    "loss",
    "SASRec by loss and negatives",
    "negatives",
    {label: {place: system(loss, *of) for place, of in NEGATIVES.items()} for label, loss in LOSSES.items()}
    | {"cross-entropy": {"all": "sasrec:loss.loss=softmax"}},
    # Binary losses over many negatives first learn what is popular, and then for some 20 epochs nothing that shows.
    common=COMMON.replace("patience=10", "patience=30") + ",loss.exclude_positives=false",
)

if __name__ == "__main__":
    main(lambda argv: ablate(ABLATION, argv, __doc__))
