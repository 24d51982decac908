"""Ablation: how much the Q head's loss weighs beside the next item's.

python -m experiments.ablations.q_weight --seeds 3                (about half an hour a seed on one core)

SASRec with SQN on MovieLens-1M, trained as in `experiments.offline_rl`: from the model alone, whose head would weigh
nothing, to the paper's 1.
"""

from experiments.ablations.switches import Ablation, ablate
from experiments.cli import main

WEIGHTS = (0.03, 0.1, 0.3, 1.0)

ABLATION = Ablation(
    "q_weight",
    "SASRec with SQN by the weight of Q's loss",
    "weight",
    {
        "SASRec with SQN": {
            "0 (alone)": "sasrec:objective=next-item",
            **{f"{weight:g}": f"sasrec:objective=sqn,loss.q_weight={weight:g}" for weight in WEIGHTS},
        }
    },
    data="ml-1m-sasrec-rated",
    common=(
        "max_length=50,loss.loss=softmax,loss.exclude_positives=false,optimization.batch_size=128,"
        "optimization.learning_rate=0.003,optimization.beta2=0.999,stopping.patience=5"
    ),
)

if __name__ == "__main__":
    main(lambda argv: ablate(ABLATION, argv, __doc__))
