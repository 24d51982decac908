"""Ablation: what tells HSTU the order of events: embedded positions, a bias by distance, a bias by time.

python -m experiments.ablations.bias --seeds 3 --data-dir FOLDER

On Amazon Beauty, whose times are known to the day; another log with times is given by --data.
"""

from experiments.ablations.switches import Ablation, ablate
from experiments.cli import main

BIASES = ((False, False), (True, False), (True, True), (False, True))
"""By distance, by time: from each to the next one switch is turned."""


def system(positions: str, distance: bool, time: bool) -> str:
    """An HSTU with those biases."""
    biases = f"position_bias={str(distance).lower()},time_bias={str(time).lower()}"
    return f"hstu:positions={positions},{biases}"


ABLATION = Ablation(
    "bias",
    "HSTU by what tells it the order",
    "biases",
    {
        f"positions {'embedded' if positions == 'first' else 'not embedded'}": {
            " and ".join(name for name, on in (("distance", distance), ("time", time)) if on) or "none": system(
                positions, distance, time
            )
            for distance, time in BIASES
        }
        for positions in ("none", "first")
    },
    data="beauty",
    common="max_length=50,width=64,blocks=1,stopping.patience=5",
)

if __name__ == "__main__":
    main(lambda argv: ablate(ABLATION, argv, __doc__))
