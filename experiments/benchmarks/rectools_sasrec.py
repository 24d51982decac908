"""A peer of `train_sequence`: RecTools' SASRec, timed by the epoch until a validation NDCG@10 (run by it).

    python rectools_sasrec.py FOLDER target=.07 most_epochs=200 most_seconds=900 width=64 blocks=2 length=50 dropout=.2

It runs in RecTools' own environment; FOLDER/train.csv and valid.csv are the split; one line of JSON is printed. Its
own defaults hold for what is not named: 128 users a step, Adam at .001. Evaluation is not timed. It knows the items of
train alone, and ranks no others.
"""

import json
import logging
import math
import sys
import time
import warnings
from pathlib import Path

import pandas as pd
import torch
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
folder = Path(sys.argv[1])
asked = {name: float(value) for name, value in (pair.split("=") for pair in sys.argv[2:])}
parts = {}
for name in ("train", "valid"):
    part = pd.read_csv(folder / f"{name}.csv")
    parts[name] = part.assign(**{Columns.Weight: 1.0, Columns.Datetime: pd.to_datetime(part["place"], unit="s")})
dataset = Dataset.construct(parts["train"])
held = dict(zip(parts["valid"][Columns.User], parts["valid"][Columns.Item]))
users = sorted(set(held) & set(parts["train"][Columns.User]))
seed_everything(1)


seconds: list[float] = []
ndcg: list[float] = []


class Watch(Callback):
    """Stops the clock at the end of an epoch, evaluates, and starts it again."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch's seconds (the first's with RecTools' preparation of the data) and NDCG@10; stop where that is
        enough."""
        global began
        seconds.append(time.monotonic() - began)
        model.is_fitted = True  # which `recommend` asks, and `fit` says only when it ends
        found = model.recommend(users=users, dataset=dataset, k=10, filter_viewed=True)
        hits = found[found[Columns.Item] == found[Columns.User].map(held)]
        ndcg.append(sum(1 / math.log2(rank + 1) for rank in hits[Columns.Rank]) / len(users))
        pl_module.train()
        trainer.should_stop = ndcg[-1] >= asked["target"] or sum(seconds) >= asked["most_seconds"]
        began = time.monotonic()


def trainer() -> Trainer:
    """A trainer that says and writes nothing."""
    return Trainer(
        max_epochs=int(asked["most_epochs"]),
        accelerator="cpu",
        callbacks=[Watch()],
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        logger=False,
    )


model = SASRecModel(
    n_factors=int(asked["width"]),
    n_blocks=int(asked["blocks"]),
    n_heads=1,
    session_max_len=int(asked["length"]),
    dropout_rate=asked["dropout"],
    loss="softmax",
    get_trainer_func=trainer,
    recommend_torch_device="cpu",
)
began = time.monotonic()
model.fit(dataset)
print(json.dumps({"epoch_seconds": seconds, "ndcg": ndcg, "threads": torch.get_num_threads()}))
