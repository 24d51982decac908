"""Commits that records name and that the history no longer has, because they were written anew before they landed.

What vouches for such a commit: seeds that were run again at the one that took its place, with the same values by user
and the same course of training, bit for bit. Records are never edited; `check` counts the pairs and compares them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from papers_repro.paper import Record

Made = Mapping[str, Sequence[Record]]
"""A paper's records by the cell's name."""

REWRITTEN: dict[str, str] = {
    "c7d0e43d6e67de788deed1130f9b339990162d03": "15f9f41bdecc8c5eced9896ab0f6e7433f7584e4",
}
"""By the commit that is gone, the one that has its code and its paper.toml."""


@dataclass(frozen=True)
class Pair:
    """A seed of a cell that was run at a commit that is gone and at the one in its place."""

    cell: str
    seed: int
    equal: bool


def now(commit: str) -> str:
    """The commit in the history that has the code of `commit`."""
    return REWRITTEN.get(commit, commit)


def at_gone(made: Made) -> list[Record]:
    """The records that name a commit that is gone."""
    return [record for of_cell in made.values() for record in of_cell if record["code"]["commit"] in REWRITTEN]


def pairs(made: Made) -> list[Pair]:
    """The seeds that were run at both."""
    found = []
    for gone in at_gone(made):
        for again in made[gone["cell"]]:
            if again["seed"] == gone["seed"] and again["code"]["commit"] == now(gone["code"]["commit"]):
                equal = all(again[of] == gone[of] for of in ("experiment", "per_user", "training"))
                found.append(Pair(gone["cell"], gone["seed"], equal))
    return found


def told(made: Made) -> list[str]:
    """What a paper's page says of it; nothing where no record names such a commit."""
    count = len(at_gone(made))
    if not count:
        return []
    commits = " and ".join(f"{gone[:7]} (now {here[:7]})" for gone, here in REWRITTEN.items())
    return [
        f"{count} records name a commit that was written anew before it landed, {commits}; of them "
        f"{len(pairs(made))} were run again there, with the same values by user, bit for bit.",
        "",
    ]
