"""Ablation: how deep and how wide SASRec has to be.

python -m experiments.ablations.size --seeds 3                    (about half an hour a seed on one core)

1 to 4 blocks of widths 16 to 128, trained by cross-entropy over the whole catalogue. All learn at the same rate; the
widest at a third of it too, for what a large model falls behind by may be owed to the rate, and not to its size.
"""

from experiments.ablations.switches import WHOLE, Ablation, ablate
from experiments.cli import main

BLOCKS, WIDTHS = (1, 2, 4), (16, 32, 64, 128)
SLOWER = 0.001
"""The widest's other rate."""


def system(blocks: int, width: int, rate: float | None = None) -> str:
    """A SASRec of that size, and at that rate where it is not the rate of all."""
    return f"sasrec:blocks={blocks},width={width}" + (f",optimization.learning_rate={rate}" if rate else "")


ABLATION = Ablation(
    "size",
    "SASRec by depth and width",
    "width",
    {
        f"{blocks} block{'s' * (blocks > 1)}": {
            **{str(width): system(blocks, width) for width in WIDTHS},
            f"{WIDTHS[-1]} of rate {SLOWER}": system(blocks, WIDTHS[-1], SLOWER),
        }
        for blocks in BLOCKS
    },
    common=WHOLE,
)

if __name__ == "__main__":
    main(lambda argv: ablate(ABLATION, argv, __doc__))
