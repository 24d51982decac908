"""A peer of `train_sequence`: RecBole's SASRec, timed by the epoch until a validation NDCG@10 (run by it).

    python recbole_sasrec.py FOLDER target=.07 most_epochs=200 most_seconds=900 width=64 blocks=2 length=50 dropout=.2

It runs in RecBole's own environment; FOLDER/log/log.inter is the log; one line of JSON is printed. Its own defaults
hold for what is not named: 2,048 prefixes a step, Adam at .001. Evaluation is not timed, and is not RecBole's: for
models of sequences that one ranks what the user has seen too.
"""

import json
import logging
import math
import sys
import time
from collections import defaultdict
from pathlib import Path

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

folder = sys.argv[1]
asked = {name: float(value) for name, value in (pair.split("=") for pair in sys.argv[2:])}
width = int(asked["width"])
settings = {
    "data_path": folder,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "use_gpu": False,
    "show_progress": False,
    "state": "ERROR",
    "checkpoint_dir": folder,
    "nproc": 1,
    "hidden_size": width,
    "inner_size": width,
    "n_layers": int(asked["blocks"]),
    "n_heads": 1,
    "MAX_ITEM_LIST_LENGTH": int(asked["length"]),
    "hidden_dropout_prob": asked["dropout"],
    "attn_dropout_prob": asked["dropout"],
    "train_neg_sample_args": None,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
    "metrics": ["NDCG"],
    "topk": [10],
    "valid_metric": "NDCG@10",
}
config = Config(model="SASRec", dataset="log", config_dict=settings)
logging.disable(logging.CRITICAL)
init_seed(config["seed"], config["reproducibility"])
dataset = create_dataset(config)
train, valid, _ = data_preparation(config, dataset)
trainer = Trainer(config, SASRec(config, train.dataset))

events: dict[int, list[int]] = defaultdict(list)
for line in (Path(folder) / "log" / "log.inter").read_text().splitlines()[1:]:
    user, item, _ = line.split("\t")
    events[int(dataset.token2id("user_id", user))].append(int(dataset.token2id("item_id", item)))
seen = {user: items[:-2] for user, items in events.items()}


def validation() -> float:
    """NDCG@10 of the last but one event of each user among all items not seen before it."""
    trainer.model.eval()
    total, users = 0.0, 0
    for batch in valid:
        interaction = batch[0]
        scores = trainer.model.full_sort_predict(interaction).view(len(interaction), -1)
        scores[:, 0] = -math.inf  # padding
        for row, user in enumerate(interaction["user_id"].tolist()):
            of_target = float(scores[row, interaction["item_id"][row]])
            scores[row, seen[user]] = -math.inf
            rank = int((scores[row] > of_target).sum())
            total, users = total + (1 / math.log2(rank + 2) if rank < 10 else 0.0), users + 1
    return total / users


seconds: list[float] = []
ndcg: list[float] = []
while not ndcg or (
    len(ndcg) < asked["most_epochs"] and ndcg[-1] < asked["target"] and sum(seconds) < asked["most_seconds"]
):
    began = time.monotonic()
    trainer._train_epoch(train, len(ndcg))
    seconds.append(time.monotonic() - began)
    with torch.no_grad():
        ndcg.append(validation())
print(json.dumps({"epoch_seconds": seconds, "ndcg": ndcg, "threads": torch.get_num_threads()}))
