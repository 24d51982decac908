"""Train one model, or fit one baseline, and score it once on the test split.

    python -m experiments.train neumf --data ml-100k --factors 16 --epochs 20     (about 30 s on 2 cores)
    python -m experiments.train mf --objective rating --split ratio               (RMSE, MAE)
    python -m experiments.train ease --l2 300 --refit                             (a baseline, in seconds)
    python -m experiments.train mf --data my_log.csv --user-column u --item-column i --time-column t

`python -m experiments.train MODEL --help` lists every hyper-parameter. Several processes: give each
`--coordinator HOST:PORT --processes N --process-id I`.
"""

import dataclasses
from collections.abc import Sequence

from rich.console import Console

from experiments.cli import main, parse_job
from rec_jax.run import Outcome, run, shown_k
from rec_jax.tracking.console import ProgressBar, estimate, results_table
from rec_jax.tracking.plots import learning_curves
from rec_jax.tracking.rundir import RunDir
from rec_jax.train.devices import connect, is_writer


def train(argv: Sequence[str]) -> None:
    """Read the flags, run, print."""
    job = parse_job(argv, "python -m experiments.train", __doc__ or "")
    experiment, runtime = job.experiment, job.runtime
    connect(runtime.coordinator, runtime.processes, runtime.process_id)
    runtime = dataclasses.replace(runtime, run_dir=runtime.run_dir or runtime.runs / experiment.name)
    console = Console()
    if is_writer():
        console.print(
            f"{experiment.name}: {experiment.model} on {experiment.data}, seed {experiment.seed}", highlight=False
        )
    with ProgressBar(console, experiment.stopping.metric, runtime.progress and is_writer()) as bar:
        outcome = run(experiment, runtime, show=bar.show)
    if is_writer():
        report(console, outcome)


def report(console: Console, outcome: Outcome) -> None:
    """Print what a finished run has to say, and draw its learning curve."""
    result, directory = outcome.result, RunDir(outcome.path)
    ks = result["runtime"]["k"]  # those it was scored with, which a resumed run may have been asked otherwise
    k = shown_k(tuple(ks))
    names = {rule: [f"hr@{k}", f"ndcg@{k}"] for rule in outcome.problem.test}
    console.print(results_table({result["experiment"]["model"]: result["metrics"]}, names))
    for rule, of in result["protocol"]["rules"].items():
        for name, count in of["dropped"].items():
            if name.startswith("users_with_fewer") and count:
                said = name.removeprefix("users_with_").replace("_", " ")
                console.print(f"{rule}: {count:,} of {of['users']:,} users have {said}", highlight=False)
    for name, value in result["metrics"].get("ratings", {}).items():
        console.print(f"{name.upper()} {estimate(value)}".replace("\n", " "), highlight=False)
    training, times, lines = result["training"], result["times"], []
    if "best_epoch" in training:
        metric = result["experiment"]["stopping"]["metric"]
        curve = outcome.path / "learning_curve.png"
        learning_curves({result["experiment"]["model"]: directory.rows(directory.metrics)}, metric, curve)
        lines.append(
            f"best epoch {training['best_epoch']} of {training['epochs']} (stopped by {training['stopped_by']}), "
            f"{training['parameters']:,} parameters, trained in {times['train_seconds']:.1f} s"
        )
        lines.append(f"curve   {curve}")
    else:
        lines.append(f"fitted in {times['fit_seconds']:.1f} s")
    lines[0] += f"; test scored {result['test_scored']} time(s)"
    lines += [f"run     {outcome.path}", f"result  {directory.result}"]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main(train)
