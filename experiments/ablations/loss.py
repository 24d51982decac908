"""Ablation: SASRec's loss, and how many negatives it takes.

python -m experiments.ablations.loss --seeds 3                    (about 40 minutes a seed on 2 cores)

Binary cross-entropy, gBCE, BPR-max and sampled softmax over 1 and 16 negatives of each position's own, and 256 that a
user's positions share; cross-entropy over the whole catalogue at the end.
"""

from experiments.ablations.switches import Ablation, ablate
from experiments.cli import main

LOSSES = {"BCE": "bce", "gBCE": "gbce", "BPR-max": "bpr-max", "sampled softmax": "sampled-softmax"}
NEGATIVES = (1, 16, 256)


def system(loss: str, negatives: int) -> str:
    """A SASRec under that loss."""
    serves = "user" if negatives > 16 else "event"
    drawn = f"loss.negatives={negatives},loss.negatives_for={serves},loss.exclude_positives=false"
    return f"sasrec:loss.loss={loss},{drawn}"


ABLATION = Ablation(
    "loss",
    "SASRec by loss and negatives",
    "negatives",
    {label: {str(n): system(loss, n) for n in NEGATIVES} for label, loss in LOSSES.items()}
    | {"cross-entropy": {"all": "sasrec:loss.loss=softmax,loss.exclude_positives=false"}},
)

if __name__ == "__main__":
    main(lambda argv: ablate(ABLATION, argv, __doc__))
