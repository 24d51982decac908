"""Ablation: how many of a user's last events are worth reading.

python -m experiments.ablations.length --seeds 3                  (about 25 minutes a seed on one core)

SASRec with positions from the first event read and from the last, and GRU4Rec, over 10 to 200 events. What is not read
is not learnt from either: of MovieLens-100K an epoch has 9,430 targets with 10 events, 83,290 with 200.
"""

from experiments.ablations.switches import WHOLE, Ablation, ablate
from experiments.cli import main

LENGTHS = (10, 25, 50, 100, 200)

ABLATION = Ablation(
    "length",
    "models of sequences by the events they read",
    "events read",
    {
        f"SASRec, positions from the {positions}": {
            str(n): f"sasrec:max_length={n},positions={positions}" for n in LENGTHS
        }
        for positions in ("first", "last")
    }
    | {"GRU4Rec": {str(n): f"gru4rec:max_length={n}" for n in LENGTHS}},
    common=WHOLE,
)

if __name__ == "__main__":
    main(lambda argv: ablate(ABLATION, argv, __doc__))
