"""Ablation: how deep and how wide SASRec has to be.

python -m experiments.ablations.size --seeds 3                    (about 20 minutes a seed on one core)

1 to 4 blocks of widths 16 to 128, trained by cross-entropy over the whole catalogue. All learn at the same rate: what
the largest falls behind by may be owed to that, and not to its size.
"""

from experiments.ablations.switches import WHOLE, Ablation, ablate
from experiments.cli import main

BLOCKS, WIDTHS = (1, 2, 4), (16, 32, 64, 128)


def system(blocks: int, width: int) -> str:
    """A SASRec of that size."""
    return f"sasrec:blocks={blocks},width={width}"


ABLATION = Ablation(
    "size",
    "SASRec by depth and width",
    "width",
    {
        f"{blocks} block{'s' * (blocks > 1)}": {str(width): system(blocks, width) for width in WIDTHS}
        for blocks in BLOCKS
    },
    common=WHOLE,
)

if __name__ == "__main__":
    main(lambda argv: ablate(ABLATION, argv, __doc__))
