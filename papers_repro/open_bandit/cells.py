"""The cells of the Open Bandit Pipeline's example on the small data set (examples/obd of st-tech/zr-obp).

    python -m papers_repro run open_bandit                            (3 to 5 minutes a campaign on one core)

The estimators of a campaign share the bootstraps and the model's fits.
"""

from typing import get_args

from experiments.off_policy import OffPolicyExperiment
from papers_repro.paper import Cell
from rec_jax.data.open_bandit import Campaign
from rec_jax.evaluate.off_policy import ESTIMATORS


def cells() -> list[Cell]:
    """Every estimator on every campaign; 'all' is the published one. The bootstraps are the repetitions."""
    found = []
    for campaign in get_args(Campaign):
        for name in ESTIMATORS:
            experiment = OffPolicyExperiment(name, campaign=campaign)
            found.append(Cell(f"{name}-{campaign}", experiment, headline=campaign == "all", minutes=4))
    return found
