"""What an experiment is about before any model: the prepared log, its split, and the questions asked of it."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rec_jax.config import Experiment, Protocol
from rec_jax.data.interactions import Dataset
from rec_jax.data.prepare import prepare
from rec_jax.data.registry import load
from rec_jax.data.splits import Split, make_split
from rec_jax.errors import InputError
from rec_jax.evaluate.beyond import item_vectors
from rec_jax.evaluate.protocol import Questions, ask_all, check_rule
from rec_jax.files import atomic
from rec_jax.models.base import Scorer
from rec_jax.objectives.base import TrainData


@dataclass(frozen=True, eq=False)
class Problem:
    """The data side of an experiment, shared by all models that are compared on it."""

    dataset: Dataset
    split: Split
    train: TrainData
    protocol: Protocol
    valid_rule: str

    @cached_property
    def valid(self) -> Questions:
        """The validation's questions, posed when first needed."""
        return self._ask("valid", (self.valid_rule,))[self.valid_rule]

    @cached_property
    def test(self) -> dict[str, Questions]:
        """The test's questions by candidate rule, posed when first needed."""
        return self._ask("test", self.protocol.candidates)

    @cached_property
    def whole(self) -> "Problem":
        """The same with the validation events among the train events: what is trained on after all choices."""
        split = self.split.whole
        train = TrainData.of(split.train, self.dataset.n_users, self.dataset.n_items)
        return dataclasses.replace(self, split=split, train=train)

    @cached_property
    def item_vectors(self) -> np.ndarray:
        """[n_items, d]: the vectors under which the diversity of all models' lists is measured."""
        return item_vectors(self.split, min(32, self.dataset.n_users - 1, self.dataset.n_items - 1))

    def asked(self, scorer: Scorer) -> Scorer:
        """The scorer that the questions are put to: where users are held out, it is first given their histories.

        InputError: it cannot be.
        """
        if self.split.fold_in is None:
            return scorer
        if scorer.fold_in is None:
            raise InputError(f"{scorer.name} cannot fold in unseen users; choose another --split than 'users'")
        return scorer.fold_in(self.split.fold_in, self.dataset.n_users)

    def _ask(self, part: str, rules: tuple[str, ...]) -> dict[str, Questions]:
        seed, unseen = self.protocol.split_seed, self.protocol.unseen_items
        return ask_all(self.split, part, rules, seed=seed, unseen_items=unseen)

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
            | {"trained_on": "train and validation" if self.protocol.refit else "train"}
            | {"ndcg": "ideal over min(k, held-out items); ndcg_all: over all of them"}
            | {"ties": "expectation over random order"},
        }

    def store_candidates(self, folder: Path) -> None:
        """Write the sampled candidates, as original ids, one row a user: `user`, `candidates` (padded with '').

        A file that is there already must hold the same. InputError: it does not.
        """
        asked = {f"test-{rule}": questions for rule, questions in self.test.items()}
        for name, questions in (asked | {f"valid-{self.valid_rule}": self.valid}).items():
            if questions.candidates is None:
                continue
            ids = np.append(self.dataset.item_ids, "")
            rows = np.full((len(questions.user), max(map(len, questions.candidates))), len(ids) - 1)
            for row, candidates in zip(rows, questions.candidates):
                row[: len(candidates)] = candidates
            arrays = {"user": self.dataset.user_ids[questions.user], "candidates": ids[rows]}
            path = folder / f"candidates-{name}.npz"
            if not path.exists():
                with atomic(path) as file:
                    np.savez_compressed(file, **arrays)
            with np.load(path) as stored:
                if any(not np.array_equal(stored[key], value) for key, value in arrays.items()):
                    raise InputError(f"{path}: holds other candidates than this experiment asks for")


def pose(experiment: Experiment, data_dir: Path) -> Problem:
    """Load, prepare and split the data. InputError: any of it is not possible."""
    protocol = experiment.protocol
    for rule in (*protocol.candidates, experiment.stopping.rule):
        check_rule(rule)
    dataset = prepare(load(experiment.data, data_dir, experiment.columns), experiment.preparation)
    split = make_split(dataset, protocol.split, protocol.ratios, protocol.split_seed, protocol.fold_in)
    train = TrainData.of(split.train, dataset.n_users, dataset.n_items)
    return Problem(dataset, split, train, protocol, experiment.stopping.rule)
