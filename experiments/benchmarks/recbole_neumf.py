"""The peer of `train_ncf`: RecBole's NeuMF on the same log, timed by the epoch (run by it).

    python recbole_neumf.py FOLDER BATCH_EXAMPLES NEGATIVES FACTORS EPOCHS

It runs in RecBole's own environment; FOLDER/log/log.inter is the log; one line of JSON is printed. RecBole's batch
counts a positive and its negatives, and its negatives are never known positives; both systems leave out dropout.
"""

import json
import logging
import resource
import sys
import time

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.general_recommender import NeuMF
from recbole.trainer import Trainer
from recbole.utils import init_seed

folder, batch, negatives, factors, epochs = sys.argv[1], *map(int, sys.argv[2:])
config = Config(
    model="NeuMF",
    dataset="log",
    config_dict={
        "data_path": folder,
        "load_col": {"inter": ["user_id", "item_id"]},
        "mf_embedding_size": factors,
        "mlp_embedding_size": 4 * factors,
        "mlp_hidden_size": [4 * factors, 2 * factors, factors],
        "dropout_prob": 0.0,
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": negatives, "dynamic": False},
        "train_batch_size": batch,
        "learner": "adam",
        "learning_rate": 0.001,
        "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "RO", "group_by": None, "mode": "full"},
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "checkpoint_dir": folder,
        "nproc": 1,
    },
)
logging.disable(logging.CRITICAL)
init_seed(config["seed"], config["reproducibility"])
dataset = create_dataset(config)
train_data, _, _ = data_preparation(config, dataset)
model = NeuMF(config, train_data.dataset)
trainer = Trainer(config, model)
seconds = []
for epoch in range(epochs):
    began = time.monotonic()
    trainer._train_epoch(train_data, epoch)
    seconds.append(time.monotonic() - began)
print(
    json.dumps(
        {
            "events": len(train_data.dataset),
            "epoch_seconds": seconds,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "threads": torch.get_num_threads(),
        }
    )
)
