"""What validation chooses, how a run's record keeps it, and what is measured to choose by."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rec_jax.config import Experiment
from rec_jax.evaluate.metrics import ERRORS, per_user
from rec_jax.evaluate.ranking import rank
from rec_jax.evaluate.ratings import mae, rating_errors, rmse
from rec_jax.evaluate.report import validation
from rec_jax.models.base import Scorer
from rec_jax.problem import Problem
from rec_jax.train.step import TrainState


@dataclass(frozen=True)
class Choice:
    """What validation chose, and how the training that it watched went."""

    seed: int
    epoch: int
    valid: float
    """The validation metric at that epoch."""
    epochs: int
    """Epochs that were trained to choose among."""
    steps: int
    stopped_by: str
    """'patience' or 'epochs'."""
    pretrain_epochs: dict[str, int]
    """The epoch of each model that was trained first, by its name."""

    def to_record(self, experiment: Experiment) -> dict[str, Any]:
        """What a run's record says of it."""
        found: dict[str, Any] = {
            "steps": self.steps,
            "epochs": self.epochs,
            "best_epoch": self.epoch,
            _best_valid_name(experiment): self.valid,
            "stopped_by": self.stopped_by,
        }
        if self.pretrain_epochs:
            found["pretrain_epochs"] = self.pretrain_epochs
        if self.seed != experiment.seed:
            found["chosen_with_seed"] = self.seed
        return found

    @classmethod
    def of_record(cls, training: dict[str, Any], experiment: Experiment) -> "Choice":
        """The inverse, from the record of a run of `experiment`."""
        return cls(
            seed=training.get("chosen_with_seed", experiment.seed),
            epoch=training["best_epoch"],
            valid=training[_best_valid_name(experiment)],
            epochs=training["epochs"],
            steps=training["steps"],
            stopped_by=training["stopped_by"],
            pretrain_epochs=training.get("pretrain_epochs", {}),
        )


def _best_valid_name(experiment: Experiment) -> str:
    return f"best_valid_{experiment.stopping.metric}"


def lower_is_better(experiment: Experiment) -> bool:
    """Whether the validation metric is an error."""
    return experiment.stopping.metric in ERRORS


def best_valid(experiment: Experiment, state: TrainState) -> float:
    """The validation metric of the chosen epoch: the state keeps errors with the sign turned."""
    return (-1 if lower_is_better(experiment) else 1) * float(state.best_value)


def validate(experiment: Experiment, scorer: Scorer, problem: Problem) -> dict[str, float]:
    """The validation metric by name; both rating errors where it is one."""
    scorer, metric = problem.asked(scorer), experiment.stopping.metric
    if lower_is_better(experiment):
        error = rating_errors(scorer, problem.split.valid)
        return {"rmse": rmse(error), "mae": mae(error)}
    return {metric: validation(scorer, problem.valid, metric)}


def trace(scorer: Scorer, problem: Problem, ks: tuple[int, ...]) -> dict[str, float]:
    """HR, NDCG and recall on the test split, under the first of its candidate rules."""
    ranks = rank(problem.asked(scorer), problem.test[problem.protocol.candidates[0]])
    values = per_user(ranks, [f"{metric}@{k}" for k in ks for metric in ("hr", "ndcg", "recall")])
    return {name: float(np.nanmean(of)) for name, of in values.items()}
