"""The tuned classical baselines that stand in a paper's table, on its split."""

from collections.abc import Iterable

from papers_repro.paper import Cell
from rec_jax import registry
from rec_jax.config import Protocol, Stopping

TRIALS = {"popularity": 0, "slim": 10}
"""Settings tried where it is not 30: there is nothing to choose, or a fit takes a minute."""


def baseline_cells(
    names: Iterable[str], data: str, protocol: Protocol, stopping: Stopping, suffix: str = "", minutes: float = 5
) -> list[Cell]:
    """A cell for each, named as it is with the `suffix`; three seeds where a seed matters."""
    found = []
    for name in names:
        experiment = registry.experiment(name, data=data, protocol=protocol, stopping=stopping)
        seeds = 3 if registry.recommender_row(name).seeded else 1
        found.append(Cell(name + suffix, experiment, seeds, trials=TRIALS.get(name, 30), minutes=minutes))
    return found
