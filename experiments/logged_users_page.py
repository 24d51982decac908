"""The page of `experiments.logged_users`, written from its record: how far the users can be trusted. (Not an
experiment.)"""

from collections.abc import Mapping
from typing import Any

ORDERED = ("random", "popularity", "best predicted")
"""Fixed policies whose order is looked at."""


def page(record: Mapping[str, Any]) -> str:
    """README.md."""
    data, of = record["data"], record["calibration"]
    lines = [
        "# Simulated users fitted to a log",
        "",
        f"{data['name']}: {data['users']:,} users, {data['items']:,} items, {data['events']:,} ratings; split "
        f"{record['split']}. Written from `record.json` by `python -m experiments.logged_users`.",
        "",
        "![Reliability, and policies under other assumptions](plot.png)",
        "",
        "## Is the chance of a like right?",
        "",
        *_scores(of),
        "",
        *_said(of),
        "",
        *_rarity(of),
        "",
        "These are ratings that users chose to give. What they would think of items that they never chose is the "
        "model's guess, and no rating log can check it.",
        "",
        "## What the log says of boredom and drift",
        "",
        *_recency(record),
        "",
        "## What is declared",
        "",
        *_declared(record),
        "",
        "## Which comparisons hang on the assumptions",
        "",
        *_sensitivity(record),
        "",
    ]
    return "\n".join(lines)


def _shown(e: Mapping[str, float], digits: int = 4) -> str:
    return f"{e['mean']:.{digits}f} ({e['low']:.{digits}f}–{e['high']:.{digits}f})"


def _scores(of: Mapping[str, Any]) -> list[str]:
    lines = ["| forecast | calibration error | Brier | log loss | AUC within users |", "|---|---|---|---|---|"]
    for name, found in of["scores"].items():
        cells = [_shown(found[score]) for score in ("ece", "brier", "log_loss", "auc_user")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"{of['events']:,} held-out ratings of {of['users']:,} users; 95 % intervals over users. Calibration error: "
        "mean distance of predicted and seen shares over tenths of the events by predicted chance. It weighs how far "
        "chances are off, not what they tell apart: the base rate is calibrated, and tells nothing. "
        "Chance alone makes it more than 0, in a resample more than in the whole. Held out are ratings drawn at random "
        "from each user's, not later ones.",
    ]
    return lines


def _said(of: Mapping[str, Any]) -> list[str]:
    model, item = of["scores"]["fitted users"], of["scores"]["the item's mean"]
    bins = of["reliability"]["fitted users"]
    worst = max(bins, key=lambda b: abs(b["chance"] - b["share"]))
    top = bins[-1]
    better = "less" if model["log_loss"]["mean"] < item["log_loss"]["mean"] else "not less"
    return [
        f"A predicted chance is off by {model['ece']['mean']:.3f} on average; the worst tenth says "
        f"{worst['chance']:.2f} where {worst['share']:.2f} were liked, the highest {top['chance']:.2f} where "
        f"{top['share']:.2f} were. Of two held-out items of a user, one liked and one not, the fit puts the liked "
        f"one first in {model['auc_user']['mean']:.0%} of cases (the item's mean in {item['auc_user']['mean']:.0%}), "
        f"and its log loss is {better} than the item's mean has."
    ]


def _rarity(of: Mapping[str, Any]) -> list[str]:
    lines = [
        "| items, by train ratings | predicted | liked | calibration error | AUC within users |",
        "|---|---|---|---|---|",
    ]
    for name, found in of["by_rarity"].items():
        cells = [f"{found['chance']:.3f}", f"{found['share']:.3f}", _shown(found["ece"]), _shown(found["auc_user"], 3)]
        lines.append(f"| {name} third of the events | " + " | ".join(cells) + " |")
    return lines


def _recency(record: Mapping[str, Any]) -> list[str]:
    lines = ["| events remembered | boredom | drift |", "|---|---|---|"]
    for memory, found in record["recency"].items():
        cells = ["{:.3f} ({:.3f} to {:.3f})".format(*found[name]) for name in ("boredom", "drift")]
        lines.append(f"| {memory} | " + " | ".join(cells) + " |")
    low, high = record["ratings"]["levels"][0], record["ratings"]["levels"][-1]
    used = []
    for name in ("boredom", "drift"):
        of = record[name]
        used.append(
            f"{name} {of['used']:.3f}, as the log has it"
            if of["source"] == "log"
            else f"{name} {of['used']:.3f}, declared, since the log's interval does not lie above 0"
        )
    return [
        *lines,
        "",
        "Boredom: units of rating that an item loses if all of the last ones had its genres, the user's lasting taste "
        "held constant. Drift: how far a user's vector is moved by what was liked last. 95 % intervals over users; "
        "each event is predicted by a fit that had not seen it.",
        "",
        f"Used: {used[0]}; {used[1]}; memory of {record['fit']['memory']:g} events. "
        f"On a scale from {low:g} to {high:g}, boredom of {record['boredom']['used']:.2f} is "
        f"{record['boredom']['used'] / (high - low):.1%} of the scale.",
        "",
        f"The log holds the order of ratings, not of watching: {record['tied']:.0%} of its events share their second "
        "with another of the same user, whose order is unknown. Weariness of what is watched evening after evening may "
        "be larger, and is not in these data.",
    ]


def _declared(record: Mapping[str, Any]) -> list[str]:
    of = record["declared"]
    return [
        f"- Position bias: place j is looked at with chance 1 / j^{of['eta']:g}. A log without places cannot tell it.",
        f"- Clicks: a document looked at is clicked with chance {of['appeal']:g} · P(like), and a user clicks once.",
        f"- Patience {of['patience']:g}, of which a step takes {of['cost'][0]:g} without a click, {of['cost'][1]:g} "
        f"with one that is not liked, {of['cost'][2]:g} with one that is; {of['budget']} steps at most.",
        f"- Candidates: {of['candidates']} a step, drawn in proportion to (ratings + 1)^{of['temper']:g}; slates of "
        f"{of['slate']}.",
        f"- A platform knows the first {record['fit']['known_events']} ratings of a user, and the genres of what was "
        "clicked in the session.",
        "",
        "Click-through rates, lengths of sessions and returns therefore mean nothing in themselves; what can be read "
        "are comparisons of policies, where they come out the same under the assumptions below.",
    ]


def _sensitivity(record: Mapping[str, Any]) -> list[str]:
    table = record["sensitivity"]
    policies = list(next(iter(table.values())))
    heads = ("world", *policies, "varied less best predicted")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, of in table.items():
        gap = of["varied"]["less_best_predicted"]
        cells = [_shown(of[policy]["return"], 2) for policy in policies]
        cells.append(f"{gap['difference']:+.2f} ({gap['low']:+.2f} to {gap['high']:+.2f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        f"Mean return of {record['sessions']:,} sessions, the sum over the clicked of (rating − lowest) / (highest − "
        "lowest); 95 % intervals, of differences paired by session. 'varied' is the best predicted with half a unit of "
        "rating taken off for the genres of what was clicked last.",
        "",
        _order(table),
        "",
        _varied(table),
    ]


def _order(table: Mapping[str, Any]) -> str:
    orders = {name: sorted(ORDERED, key=lambda p: -of[p]["return"]["mean"]) for name, of in table.items()}
    first = orders["as fitted"]
    other = [name for name, order in orders.items() if order != first]
    said = " > ".join(first)
    if not other:
        return f"The order {said} is the same in all {len(table)} worlds: it does not hang on these assumptions."
    return f"The order is {said} as fitted, and another in: {', '.join(other)}."


def _varied(table: Mapping[str, Any]) -> str:
    kinds: dict[str, list[str]] = {"gains": [], "loses": [], "makes no difference that can be told": []}
    for name, of in table.items():
        gap = of["varied"]["less_best_predicted"]
        kind = "gains" if gap["low"] > 0 else "loses" if gap["high"] < 0 else "makes no difference that can be told"
        kinds[kind].append(name)
    said = "; ".join(f"it {kind} in: {', '.join(names)}" for kind, names in kinds.items() if names)
    settled = "does not hang" if sum(bool(names) for names in kinds.values()) == 1 else "hangs"
    return f"Whether variety pays {settled} on them: {said}."
