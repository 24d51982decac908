"""What an experiment is about before any model: the prepared log, its split, and the questions asked of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rec_jax.config import Experiment
from rec_jax.data.interactions import Dataset
from rec_jax.data.prepare import prepare
from rec_jax.data.registry import load
from rec_jax.data.splits import Split, make_split
from rec_jax.evaluate.protocol import Questions, ask
from rec_jax.files import atomic
from rec_jax.objectives.base import TrainData


@dataclass(frozen=True, eq=False)
class Problem:
    """The data side of an experiment, shared by all models that are compared on it."""

    dataset: Dataset
    split: Split
    train: TrainData
    valid: Questions
    test: dict[str, Questions]
    """By candidate rule."""

    def record(self) -> dict[str, Any]:
        """What a result says of its data and protocol."""
        log, split = self.dataset.interactions, self.split
        counts = {"users": self.dataset.n_users, "items": self.dataset.n_items, "interactions": len(log)}
        events = {name: len(split.part(name)) for name in ("train", "valid", "test")}
        rules = {
            rule: {"users": len(q.user), "fingerprint": q.fingerprint, "dropped": q.dropped}
            for rule, q in self.test.items()
        }
        return {
            "data": {"name": self.dataset.name, "fingerprint": self.dataset.fingerprint, **counts}
            | {"preparation": list(self.dataset.preparation), "licence": self.dataset.licence},
            "protocol": {"split": split.description, "events": events, "rules": rules}
            | {"ndcg": "ideal over min(k, held-out items); ndcg_all: over all of them"}
            | {"ties": "expectation over random order"},
        }

    def store_candidates(self, folder: Path) -> None:
        """Write the sampled candidates of each rule: arrays `user` and `candidates`, padded with -1."""
        for rule, questions in self.test.items():
            if questions.candidates is not None:
                rows = np.full((len(questions.user), max(map(len, questions.candidates))), -1, np.int32)
                for row, ids in zip(rows, questions.candidates):
                    row[: len(ids)] = ids
                with atomic(folder / f"candidates-{rule}.npz") as file:
                    np.savez_compressed(file, user=questions.user, candidates=rows)


def pose(experiment: Experiment, data_dir: Path) -> Problem:
    """Load, prepare and split the data, and pose the questions. InputError: any of it is not possible."""
    protocol = experiment.protocol
    dataset = prepare(load(experiment.data, data_dir, experiment.columns), experiment.preparation)
    split = make_split(dataset, protocol.split, protocol.ratios, protocol.split_seed)
    how: dict[str, Any] = {"seed": protocol.split_seed, "unseen_items": protocol.unseen_items}
    return Problem(
        dataset=dataset,
        split=split,
        train=TrainData.of(split.train, dataset.n_users, dataset.n_items),
        valid=ask(split, "valid", experiment.stopping.rule, **how),
        test={rule: ask(split, "test", rule, **how) for rule in protocol.candidates},
    )
