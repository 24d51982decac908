"""Rewrite the README's tables from the committed records: `python -m experiments.readme` (`--check` only compares).

New records: `experiments.compare … --out experiments/records/NAME` writes a comparison's; the commands stand in the
README. `experiments.quickstart` leaves summary.json and learning_curve.png in its folder (here quickstart.json
and quickstart.png); `experiments.benchmarks.NAME --out experiments/records/NAME.json` writes its own.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.benchmarks.train_sequence import cells_of
from experiments.cli import main, parse_options
from experiments.offline_rl import budget, counted_seeds, verdicts
from experiments.offline_rl_value import spread
from papers_repro.paper import names
from papers_repro.render import overview
from papers_repro.standing import standing
from rec_jax.errors import InputError
from rec_jax.files import atomic, read_json
from rec_jax.tracking.tables import MARKS, mark, of_lists, published_cells

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "experiments" / "records"


@dataclass(frozen=True)
class Options:
    """What to do."""

    check: bool = False
    """Change nothing; fail where the README differs from its records."""


def quickstart(record: dict[str, Any]) -> str:
    """The table of `make run`, and what it was made of."""
    names = record["shown"]
    head = [f"{name.upper()}, `{rule}`" for rule, of_rule in names.items() for name in of_rule]
    lines = ["| model | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for model, metrics in record["metrics"].items():
        cells = [metrics[rule][name] for rule, of_rule in names.items() for name in of_rule]
        shown = [f"{c['mean']:.4f} ({c['low']:.3f}–{c['high']:.3f})" for c in cells]
        lines.append(f"| {model} | " + " | ".join(shown) + " |")
    machine, data = record["machine"], record["data"]
    users = next(iter(record["protocol"]["rules"].values()))["users"]
    lines += [
        "",
        f"Means over {users:,} users with 95 % bootstrap intervals, one seed, {data['name']}, "
        f"{record['protocol']['split']}; `full` ranks all items not seen, `ncf-99` the held-out item among 99 unseen "
        f"ones. Trained and evaluated in {record['seconds']:.0f} s on {machine['cores']} cores ({machine['platform']}, "
        f"jax {machine['packages']['jax']}). Record: [quickstart.json](experiments/records/quickstart.json).",
        "",
        "![Learning curves of the two models](experiments/records/quickstart.png)",
    ]
    return "\n".join(lines)


def train_ncf(record: dict[str, Any]) -> str:
    """The table of the training benchmark."""
    lines = ["| batch | rec_jax | RecBole 1.2.1 | ratio |", "|---|---|---|---|"]
    for row in record["rows"]:
        ours, peer = row["ours"], row.get("recbole")
        cells = [
            f"{side['examples_per_second'] / 1e6:.2f} M examples/s, {side['peak_bytes'] / 2**20:.0f} MB"
            if side
            else "–"
            for side in (ours, peer)
        ]
        ratio = f"{row['ratio']:.1f}" if peer else "–"
        lines.append(f"| {row['batch']} | {cells[0]} | {cells[1]} | {ratio} |")
    machine = record["machine"]
    lines += [
        "",
        f"Training NeuMF ({record['factors']} factors, {record['negatives']} negatives) on {record['users']:,} users × "
        f"{record['items']:,} items, {record['events']:,} events; an example is a scored pair, the memory is the whole "
        f"process's peak. {machine['cores']} cores, {machine['platform']}, jax {machine['packages']['jax']}; the peer "
        "in the same run. `python -m experiments.benchmarks.train_ncf` measures it again; record: "
        "[train_ncf.json](experiments/records/train_ncf.json).",
    ]
    return "\n".join(lines)


def comparison(name: str) -> Callable[[dict[str, Any]], str]:
    """The short table of a comparison: accuracy under each rule, novelty and coverage where lists were made."""

    def render(record: dict[str, Any]) -> str:
        systems, k, published = record["systems"], record["k"], record.get("published") or {}
        lists = [n for n in (f"novelty@{k}", f"coverage@{k}") if of_lists(next(iter(systems.values())), n) is not None]
        columns = record["columns"] if published else [c for c in record["columns"] if "ndcg" in c]
        head = ["system", *(f"{c.split('/')[1].upper()}, `{c.split('/')[0]}`" for c in columns)]
        head += ["published HR/NDCG", "verdict"] if published else []
        lines = ["| " + " | ".join([*head, *lists]) + " |", "|" + "---|" * (len(head) + len(lists))]
        for label, line in systems.items():
            cells = [label]
            for column in columns:
                low, high = line["values"][column]["users"]
                cells.append(f"{line['values'][column]['mean']:.4f} {mark(line, column)} ({low:.3f}–{high:.3f})")
            if published:
                cells += published_cells(line, published.get(label))
            cells += [f"{of_lists(line, n):.3f}" for n in lists]
            lines.append("| " + " | ".join(cells) + " |")
        seeds = max(len(line["seeds"]) for line in systems.values())
        trials = max((line["tuning"] or {}).get("trials", 0) for line in systems.values())
        return "\n".join(
            [
                *lines,
                "",
                f"{record['title']}. Trained on {record['protocol']['trained_on']}; at most {trials} trials on "
                f"validation for each; {seeds} seeds where a seed matters; brackets: 95 % interval over users. "
                f"▲ ▽ = against {record['reference']} (•), the best baseline (paired test, Holm-adjusted). All "
                f"columns, seeds, budget, the audit's findings: [table](experiments/records/{name}/table.md), "
                f"[record](experiments/records/{name}/record.json).",
                "",
                f"![Accuracy against novelty and coverage](experiments/records/{name}/plot.png)",
            ]
        )

    return render


def train_sequence(record: dict[str, Any]) -> str:
    """The tables of the benchmark of sequences: epochs, and the race against the peers."""
    lines = ["| SASRec | s an epoch (fastest–slowest) | peak memory | PyTorch | ratio |", "|---|---|---|---|---|"]
    for row in record["rows"]:
        lines.append(f"| {' | '.join(cells_of(row))} |")
    races, of, data = record["races"], record["race_of"], f"{record['users']:,} users × {record['items']:,} items"
    first = races["rec_jax"]["seconds"]
    lines += ["", "| system | s of training | epochs | best NDCG@10 | ratio |", "|---|---|---|---|---|"]
    for system, found in races.items():
        took, best = found["seconds"], max(found["ndcg"])
        shown = "not reached" if took is None else f"{took:.1f}"
        ratio = f"{took / first:.1f}" if took and first and system != "rec_jax" else "–"
        lines.append(f"| {system} | {shown} | {len(found['ndcg'])} | {best:.4f} | {ratio} |")
    lines += [
        "",
        f"Above, epochs on {record['data']} ({data}, {record['events']:,} events): 2 blocks, 200 events, 128 users a "
        "step. PyTorch: the same, as the ports of the authors' code do it (–: not measured in this run). "
        f"Below, seconds of training, compilation included, until NDCG@10 of MovieLens-100K's validation events "
        f"reaches {record['target']:g}, all items ranked: SASRec of width {of['width']}, {of['blocks']} blocks, "
        f"{of['max_length']} events, each system's own defaults for the rest; evaluation is not counted, nor RecBole's "
        f"preparation of the data. {record['machine']['cores']} cores, jax "
        f"{record['machine']['packages']['jax']}, all in one run. `python -m experiments.benchmarks.train_sequence`; "
        "record: [train_sequence.json](experiments/records/train_sequence.json).",
    ]
    return "\n".join(lines)


def evaluate(record: dict[str, Any]) -> str:
    """The table of the evaluation benchmark."""
    lines = ["| model | rec_jax | RecBole 1.2.1, full sort | ratio |", "|---|---|---|---|"]
    for row in record["rows"]:
        peer = f"{row['recbole']['fastest']:.2f} s" if "recbole" in row else "–"
        ratio = f"{row['ratio']:.1f}" if "ratio" in row else "–"
        lines.append(f"| {row['model']}, width {row['width']} | {row['ours']['median']:.2f} s | {peer} | {ratio} |")
    return "\n".join(
        [
            *lines,
            "",
            f"Full-ranking evaluation of {record['users']:,} users over {record['items']:,} items, after compilation "
            "(median; the peer's faster batch size). `python -m experiments.benchmarks.evaluate`; record: "
            "[evaluate.json](experiments/records/evaluate.json).",
        ]
    )


def ials(record: dict[str, Any]) -> str:
    """The table of the iALS benchmark."""
    lines = ["| width | target NDCG@10 | rec_jax | implicit | ratio |", "|---|---|---|---|---|"]
    for row in record["rows"]:
        reached = [row[system]["to_target"] for system in ("rec_jax", "implicit")]
        shown = ["not reached" if seconds is None else f"{seconds:.2f} s" for seconds in reached]
        ratio = f"{row['ratio']:.2f}" if row.get("ratio") else "–"
        lines.append(f"| {row['factors']} | {row['target']:.4f} | {' | '.join(shown)} | {ratio} |")
    return "\n".join(
        [
            *lines,
            "",
            "Seconds of iALS on MovieLens-1M until implicit's best validation NDCG less .002, both tuned by the same "
            f"number of trials, {record['threads']} threads. `python -m experiments.benchmarks.ials`; record: "
            "[ials.json](experiments/records/ials.json).",
        ]
    )


def ease(record: dict[str, Any]) -> str:
    """The line of the EASE benchmark."""
    return (
        f"EASE on {record['items']:,} items: {record['rec_jax']['median']:.1f} s, numpy's bare inverse of the same "
        f"matrix {record['numpy']['median']:.1f} s. `python -m experiments.benchmarks.ease`; record: "
        "[ease.json](experiments/records/ease.json)."
    )


def tables(record: dict[str, Any]) -> str:
    """The table of the paper tables' benchmark."""
    lines = ["| training | s an epoch and seed | the table's epochs | min |", "|---|---|---|---|"]
    for row in record["rows"]:
        minutes = row["seconds"] * row["epochs"] / 60
        lines.append(f"| {row['case']} | {row['seconds']:.1f} | {row['epochs']} | {minutes:.1f} |")
    return "\n".join(
        [
            *lines,
            "",
            "The models of the paper tables on MovieLens-1M's shapes, 256 positives with 4 negatives a step unless "
            f"said; {record['machine']['cores']} cores. `python -m experiments.benchmarks.tables`; record: "
            "[tables.json](experiments/records/tables.json).",
        ]
    )


def simulators(record: dict[str, Any]) -> str:
    """The table of the simulators' benchmark."""
    lines = ["| simulator | rec_jax | return | RecSim | return | ratio |", "|---|---|---|---|---|---|"]
    for row in record["rows"]:
        cells = [row["simulator"]]
        for system in ("rec_jax", "recsim"):
            of = row[system]
            cells += [f"{of['steps_per_second']:,.0f} steps/s", f"{of['return']:.2f} ± {of['return_se']:.2f}"]
        lines.append("| " + " | ".join([*cells, f"{row['ratio']:.0f}"]) + " |")
    return "\n".join(
        [
            *lines,
            "",
            "Steps of live users under random slates of 2 of 10 documents, all features made; return with its standard "
            f"error; {record['machine']['cores']} cores. `python -m experiments.benchmarks.simulators`; record: "
            "[simulators.json](experiments/records/simulators.json).",
        ]
    )


def train_slateq(record: dict[str, Any]) -> str:
    """The table of SlateQ's training."""
    lines = ["| policy | s | steps/s | return | published |", "|---|---|---|---|---|"]
    for row in record["rows"]:
        paper = "–" if row["published"] is None else f"{row['published']:.1f}"
        speed = row["steps"] / row["seconds"]
        lines.append(f"| {row['policy']} | {row['seconds']:.1f} | {speed:,.0f} | {row['return']:.1f} | {paper} |")
    return "\n".join(
        [
            *lines,
            "",
            f"SlateQ's policies from nothing, {record['rows'][0]['steps']:,} steps of users each, compilation and a "
            f"score on validation users included; {record['machine']['cores']} cores. Returns are of one training "
            "each, on the test users of [the table](papers_repro/slateq/README.md), which has several. "
            f"{_short(record)} "
            "`python -m experiments.benchmarks.train_slateq`; record: "
            "[train_slateq.json](experiments/records/train_slateq.json).",
        ]
    )


def _short(record: Mapping[str, Any]) -> str:
    """Which policies earn less than was published, and by how much."""
    told = [row for row in record["rows"] if row["published"] is not None]
    gaps = {row["policy"]: row["published"] - row["return"] for row in told}
    found = [f"{name} by {gap:.1f}" for name, gap in gaps.items() if gap > 0]
    return f"Short of the published return: {', '.join(found)}." if found else "None is short of the published return."


def offline_rl(name: str) -> Callable[[dict[str, Any]], str]:
    """Whether RL from a log helped: accuracy, and what was earned in users fitted to the log."""

    def render(record: dict[str, Any]) -> str:
        value = read_json(RECORDS / name / "value.json")
        earned = verdicts(value["tests"])
        of = {key: f" {MARKS[verdict]}" for key, verdict in (verdicts(record["tests"]) | earned).items()}
        shown = ("ndcg@10", "ndcg@10 liked", "reward@10")
        lines = [f"| system | {' | '.join(shown)} | return in fitted users |", "|---" * 5 + "|"]
        for label, system in record["systems"].items():
            cells = [f"{system['values'][metric]['mean']:.4f}{of.get((label, metric), '')}" for metric in shown]
            half = spread(value, label, "return")
            seeds = "" if half is None else f" ±{half:.2f}"
            earned_by = f"{value['values'][label]['return'][0]:.2f}{seeds}{of.get((label, 'return'), '')}"
            lines.append(f"| {label} | {' | '.join(cells)} | {earned_by} |")
        folder = f"experiments/records/{name}"
        lines += [
            "",
            f"{record['data']['name']}, {budget(record['trials']).lower()} and {counted_seeds(record['seeds'])} each; "
            f"▲ ▽ = against the same model alone. [Table]({folder}/table.md), [record]({folder}/record.json), "
            f"[value]({folder}/value.json).",
            "",
            f"- On the log: {record['conclusion']}",
            f"- In the fitted users: {_in_fitted_users(record, value, earned)}",
            "",
            f"![Differences from the same models alone]({folder}/plot.png)",
        ]
        return "\n".join(lines)

    return render


def _in_fitted_users(record: Mapping[str, Any], value: Mapping[str, Any], earned: Mapping[tuple[str, str], str]) -> str:
    """What the tests there say, of rewards that are ratings and of those that are all 1, beside fixed policies."""
    kinds = {"where ratings are rewards": False, "where all rewards are 1": True}
    brought = []
    for kind, constant in kinds.items():
        if found := [verdict for (name, _), verdict in earned.items() if name.endswith("-constant") == constant]:
            counts = f"{found.count('better')} better and {found.count('worse')} worse"
            brought.append(f"{len(found)} bring {counts} {kind}")
    apart = all(test["over_seeds"] for test in value["tests"])
    unit = "users" if "users" in value else "sessions"
    of_all = f", {value['sessions']:,} sessions" + (f" of {value['users']:,} users" if "users" in value else "")
    over = f"both over {unit} and over seeds (±: 95 % over seeds)" if apart else f"over {unit} of one seed"
    returns = {name: of_policy["return"][0] for name, of_policy in value["values"].items()}
    others = ", ".join(f"{name} {returns[name]:.2f}" for name in ("random", "popularity", "best predicted"))
    most = max(record["systems"], key=lambda name: returns[name])
    beside = "more" if returns[most] > returns["popularity"] else "less"
    return (
        "of comparisons with the same model alone (return, clicks a slate, likes a click) "
        f"{', '.join(brought)}, {over}{of_all}. Besides: {others}. The best of the recommenders, {most}, earns "
        f"{beside} than popularity."
    )


def compared(name: str, metrics: Sequence[str], about: str) -> Callable[[dict[str, Any]], str]:
    """What each of a record's pairs differs by in these metrics."""

    def render(record: dict[str, Any]) -> str:
        of = {(*test["pair"], test["metric"]): test for test in record["tests"]}
        lines = [f"| {about} | {' | '.join(metrics)} |", "|---" * (len(metrics) + 1) + "|"]
        for first, second in dict.fromkeys(tuple(test["pair"]) for test in record["tests"]):
            cells = [of[first, second, metric] for metric in metrics]
            shown = [f"{test['difference']:+.4f} {MARKS[test['verdict']]}" for test in cells]
            lines.append(f"| {first} less {second} | {' | '.join(shown)} |")
        folder = f"experiments/records/{name}"
        lines += [
            "",
            f"Differences on {record['test_users']:,} users of {record['data']['name']} that no training saw, "
            f"{counted_seeds(record['seeds'])} of what is trained; ▲ ▽: better or worse both over users (Holm over "
            f"all) and over seeds. [Record]({folder}/record.json), [picture]({folder}/plot.png).",
        ]
        return "\n".join(lines)

    return render


def papers() -> str:
    """How the cells of the published tables came out."""
    return "\n".join(overview([standing(name) for name in names()], "papers_repro/"))


BLOCKS: dict[str, Callable[[dict[str, Any]], str]] = {
    "quickstart": quickstart,
    "ml-100k/record": comparison("ml-100k"),
    "ml-1m-ncf/record": comparison("ml-1m-ncf"),
    "train_ncf": train_ncf,
    "train_sequence": train_sequence,
    "evaluate": evaluate,
    "ials": ials,
    "ease": ease,
    "tables": tables,
    "simulators": simulators,
    "train_slateq": train_slateq,
    "before_after/record": compared("before_after", ("return", "ctr", "reward"), "SlateQ"),
    "reinforce/record": compared("reinforce", ("return", "clicks a slate", "likes a click"), "REINFORCE"),
    "offline_rl/record": offline_rl("offline_rl"),
    "offline_rl_1m/record": offline_rl("offline_rl_1m"),
    "offline_rl_1m_gru4rec/record": offline_rl("offline_rl_1m_gru4rec"),
}


def rendered(text: str) -> str:
    """The README with every generated block made anew. InputError: a block or its record is missing."""
    for name in (*BLOCKS, "papers"):
        pattern = rf"(<!-- begin generated: {name} -->\n).*?(<!-- end generated: {name} -->)"
        block = papers() if name == "papers" else BLOCKS[name](read_json(RECORDS / f"{name}.json"))
        found = list(re.finditer(pattern, text, flags=re.DOTALL))
        if len(found) != 1:
            raise InputError(f"README.md: expected one block '{name}', found {len(found)}")
        text = text[: found[0].end(1)] + block + "\n" + text[found[0].start(2) :]
    return text


def script(argv: Sequence[str]) -> None:
    """Rewrite or compare."""
    options = parse_options(Options, argv, "python -m experiments.readme", __doc__)
    path = ROOT / "README.md"
    old = path.read_text()
    new = rendered(old)
    if options.check and new != old:
        raise InputError("README.md differs from its records; run python -m experiments.readme")
    if not options.check:
        with atomic(path) as file:
            file.write(new.encode())


if __name__ == "__main__":
    main(script)
