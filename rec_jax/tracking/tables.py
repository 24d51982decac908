"""The table of a comparison, generated from its record: Markdown, CSV, and what stands under it."""

import csv
import io
from collections.abc import Mapping
from typing import Any

MARKS = {"better": "▲", "worse": "▽", "not significant": "="}
LISTS = ("novelty", "diversity_categories", "coverage", "gini")
"""What is shown beyond accuracy."""

Published = Mapping[str, Mapping[str, Any]]
"""By system: `values` by metric as published, their candidate `rule`, `grade`, `band` that ours may lie apart."""


def markdown(record: Mapping[str, Any], published: Published | None = None) -> str:
    """The table with its notes: protocol, intervals, tests, budget, audit, commits."""
    columns, systems = record["columns"], record["systems"]
    head = ["system", *(_title(c) for c in columns)]
    if published:
        head += ["published HR/NDCG", "verdict"]
    beyond = _beyond(record)
    head += [*beyond, "seeds", "trials", "fit, s"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    best = {c: max(s["values"][c]["mean"] for s in systems.values()) for c in columns}
    for label, line in systems.items():
        cells = [label, *(_cell(line, c, best[c]) for c in columns)]
        if published:
            cells += published_cells(line, published.get(label))
        cells += [f"{of_lists(line, name):.3f}" for name in beyond]
        tuning = line["tuning"] or {}
        trials = "given" if "given" in tuning else str(tuning.get("trials", "defaults"))
        cells += [str(len(line["seeds"])), trials, f"{line['fit_seconds']:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *notes(record), *_pairs(record)]) + "\n"


def _pairs(record: Mapping[str, Any]) -> list[str]:
    """What was tested besides, a pair a row."""
    pairs = record.get("pairs", ())
    if not pairs:
        return []
    said = (
        "Pairs that differ by one step of the switch; paired randomisation tests over users, Holm-adjusted over all "
        "pairs, and Welch's t interval of the difference over seeds. A pair is told apart where both say so at 5 %"
    )
    alone = all(of["over_seeds"] is None for of in pairs)
    said += "; of one seed each, users alone decide, and its luck is in the difference." if alone else "."
    head = ["pair", f"difference in {_title(pairs[0]['column'])}", "95 % over users", "p (Holm)", "95 % over seeds", ""]
    rows = ["", said, "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for of in pairs:
        seeds = of["over_seeds"]
        cells = [
            f"{of['first']} – {of['second']}",
            f"{of['difference']:+.4f}",
            f"{of['low']:+.4f} to {of['high']:+.4f}",
            f"{of['p_holm']:.4f}",
            "–" if seeds is None else f"{seeds[0]:+.4f} to {seeds[1]:+.4f}",
            MARKS[of["verdict"]],
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _title(column: str) -> str:
    rule, metric = column.split("/")
    return f"{metric.upper()}, `{rule}`"


def mark(line: Mapping[str, Any], column: str) -> str:
    """How a system's column stands against the reference: ▲ ▽ =, and • for the reference itself."""
    return MARKS[line["against"][column]["verdict"]] if column in line["against"] else "•"


def _cell(line: Mapping[str, Any], column: str, best: float) -> str:
    value = line["values"][column]
    number = f"**{value['mean']:.4f}**" if value["mean"] == best else f"{value['mean']:.4f}"
    low, high = value["users"]
    seeds = "" if value["seeds"] is None else f" ±{(value['seeds'][1] - value['seeds'][0]) / 2:.4f}"
    return f"{number}{seeds} {mark(line, column)} ({low:.3f}–{high:.3f})"


def published_cells(line: Mapping[str, Any], cell: Mapping[str, Any] | None) -> list[str]:
    """The published values with their grade, and the verdict."""
    if cell is None:
        return ["–", "–"]
    shown = "/".join(f"{value:.4f}".lstrip("0") for value in cell["values"].values()) + f" [{cell['grade']}]"
    return [shown, verdict(line, cell)]


def verdict(line: Mapping[str, Any], cell: Mapping[str, Any]) -> str:
    """'reproduced' where all metrics lie within the band, 'better' where none lies below it, else how far off."""
    ours = {name: line["values"][f"{cell['rule']}/{name}"]["mean"] for name in cell["banded"]}
    gaps = {name: mean - cell["values"][name] for name, mean in ours.items()}
    return judged(gaps, cell["band"])


def judged(gaps: Mapping[str, float], band: float) -> str:
    """The verdict on ours less published, by metric."""
    if all(abs(gap) <= band for gap in gaps.values()):
        return "reproduced"
    return "better" if all(gap >= -band for gap in gaps.values()) else far(gaps)


def far(gaps: Mapping[str, float]) -> str:
    """'not reproduced', and how far off."""
    return "not reproduced (" + ", ".join(f"{name} {gap:+.4f}" for name, gap in gaps.items()) + ")"


def _beyond(record: Mapping[str, Any]) -> list[str]:
    line = next(iter(record["systems"].values()))
    return [name for name in (f"{name}@{record['k']}" for name in LISTS) if of_lists(line, name) is not None]


def of_lists(line: Mapping[str, Any], name: str) -> float | None:
    """A metric of the lists, of all together or the mean over users; None where it was left out."""
    by_user = line["values"].get(f"full/{name}")
    value: float | None = line["lists"].get(name) if by_user is None else by_user["mean"]
    return value


def notes(record: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the table, a line each."""
    data, protocol, systems = record["data"], record["protocol"], record["systems"]
    users = {rule: of["users"] for rule, of in protocol["rules"].items()}
    asked = "; ".join(f"`{rule}`: {count:,} users" for rule, count in users.items())
    tuned = [s["tuning"] for s in systems.values() if s["tuning"] and "given" not in s["tuning"]]
    best = "the best baseline" if any(s["baseline"] for s in systems.values()) else "the best system"
    short = [name for name, s in systems.items() if "epochs" in s.get("stopped_by", ())]
    lines = [
        f"{data['name']}: {data['users']:,} users, {data['items']:,} items, {data['interactions']:,} events; split "
        f"{protocol['split']}; trained on {protocol['trained_on']}; {asked}.",
        "",
        "Brackets: 95 % bootstrap interval over users; ±: half of the 95 % t interval over seeds. "
        f"▲ ▽ =: better than, worse than, not told apart from {record['reference']} (•), {best} on this "
        f"very test split; paired randomisation test over users, {record['resamples']:,} resamples, Holm-adjusted over "
        "the column, 5 %.",
    ]
    if common := record.get("common"):
        lines += [
            "",
            f"Of all: `{common}`; the rest is as their names say, or the models' own default. Nothing is tuned.",
        ]
    if short:
        lines += [
            "",
            f"Not stopped by validation but by the limit of epochs, and perhaps not done: {', '.join(short)}.",
        ]
    if tuned:
        first = tuned[0]
        lines += [
            "",
            f"Hyper-parameters: best of the trials on validation ({first['metric']}, `{first['rule']}`), with one "
            "seed, reused for the others.",
        ]
    findings = [(f"{f['severity']}: {f['detail']}", f["severity"]) for f in record["audit"]]
    checked = [label for label, s in systems.items() if any(f["severity"] == "ok" for f in s["audit"])]
    for label, line in systems.items():
        findings += [
            (f"{f['severity']}: {label}: {f['detail']}", f["severity"]) for f in line["audit"] if f["severity"] != "ok"
        ]
    shown = sorted(findings, key=lambda f: ("leak", "warning", "ok").index(f[1]))
    lines += ["", "Audit:", "", *(f"- {text}" for text, severity in shown if severity != "ok")]
    if not any(severity == "leak" for _, severity in shown):
        lines.append(f"- no leak found in {sum(severity == 'ok' for _, severity in shown) + len(checked)} other checks")
    if checked:
        lines.append(f"- fitted again without the held-out events, with the same scores: {', '.join(checked)}")
    return lines + _commits(record)


def _commits(record: Mapping[str, Any]) -> list[str]:
    by_commit: dict[str, list[str]] = {}
    for label, line in record["systems"].items():
        for commit in line["commits"]:
            by_commit.setdefault(commit[:10] + ("+" if line["differs_from_commit"] else ""), []).append(label)
    parts = "; ".join(f"{commit}: {', '.join(labels)}" for commit, labels in by_commit.items())
    said = f"Runs made at commit {next(iter(by_commit))}." if len(by_commit) == 1 else f"Runs made at commits {parts}."
    changed = " A + marks code that differed from its commit." if any("+" in commit for commit in by_commit) else ""
    machine = record["machine"]
    return ["", f"{said}{changed} {machine['cores']} cores, {machine['platform']}, jax {machine['packages']['jax']}."]


def comma_separated(record: Mapping[str, Any]) -> str:
    """One row a system and column: mean, both intervals, the test."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ["system", "rule", "metric", "mean", "users_low", "users_high", "seeds_low", "seeds_high", "seeds"]
    writer.writerow([*names, "difference", "p_randomization", "p_holm", "verdict"])
    for label, line in record["systems"].items():
        for column, value in line["values"].items():
            rule, metric = column.split("/", 1)
            test = line["against"].get(column, {})
            row = [
                label,
                rule,
                metric,
                value["mean"],
                *value["users"],
                *(value["seeds"] or ("", "")),
                len(line["seeds"]),
            ]
            writer.writerow([*row, *(test.get(n, "") for n in ("difference", "p_randomization", "p_holm", "verdict"))])
    return out.getvalue()
