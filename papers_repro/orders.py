"""How the order of systems changes with the candidate rule: the same models, ranked by the same users' held-out items.

Krichene and Rendle, "On Sampled Metrics for Item Recommendation", KDD 2020: sampled metrics need not keep the order.
"""

from collections.abc import Mapping
from itertools import permutations

from papers_repro.paper import Paper, rows_of
from papers_repro.verdicts import Line


def values(about: Paper, lines: Mapping[str, Line]) -> dict[str, dict[str, float]]:
    """By system, the second of the metrics shown under each candidate rule, the best under the first rule first;
    of the cells that have a row under every rule."""
    metric, found = about.shown[1], dict[str, dict[str, float]]()
    for name in lines:
        rows = {rule: row for row, rule in rows_of(about, name).items()}
        if all(row in lines for row in rows.values()):
            found[name] = {rule: lines[row].chosen[metric].mean for rule, row in rows.items()}
    return dict(sorted(found.items(), key=lambda of: -of[1][about.rule]))


def turned(found: Mapping[str, Mapping[str, float]], rule: str, other: str) -> list[tuple[str, str]]:
    """The pairs of which the first is better under `rule`, the second under `other`; none that are equal."""
    pairs = ((a, b, found[a], found[b]) for a, b in permutations(found, 2))
    return [(a, b) for a, b, of_a, of_b in pairs if of_a[rule] > of_b[rule] and of_a[other] < of_b[other]]


def told(about: Paper, lines: Mapping[str, Line]) -> list[str]:
    """The table, and which pairs change places; nothing where a paper has one rule, or fewer than two systems."""
    found = values(about, lines) if about.rules else {}
    if len(found) < 2:
        return []
    rules, pairs = (about.rule, *about.rules), len(found) * (len(found) - 1) // 2
    rows = ["| system | " + " | ".join(rules) + " |", "|" + "---|" * (1 + len(rules))]
    for name, of in found.items():
        places = {rule: 1 + sum(other[rule] > of[rule] for other in found.values()) for rule in rules}
        shown = (f"{of[rule]:.4f}".removeprefix("0") + f" ({places[rule]})" for rule in rules)
        rows.append(f"| {name} | " + " | ".join(shown) + " |")
    said = [f"{about.shown[1].upper()}, and the place among these systems; means over seeds, untested."]
    for rule in about.rules:
        swapped = turned(found, about.rule, rule)
        which = f": {', '.join(f'{b} before {a}' for a, b in swapped)}" if swapped else ""
        said.append(f"Under {rule}, {len(swapped)} of {pairs} pairs change places{which}.")
    return ["## Order by candidate rule", "", *rows, "", " ".join(said), ""]
