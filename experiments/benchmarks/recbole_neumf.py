"""The peer of `train_ncf`: RecBole's NeuMF on the same log, timed by the epoch (run by it).

    python recbole_neumf.py FOLDER SETTINGS EPOCHS

It runs in RecBole's own environment; FOLDER/log/log.inter is the log, SETTINGS the JSON of RecBole's configuration;
one line of JSON is printed. RecBole's batch counts a positive and its negatives, and its negatives are never known
positives; both systems leave out dropout.
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

settings, epochs = json.loads(sys.argv[2]), int(sys.argv[3])
config = Config(model="NeuMF", dataset="log", config_dict=settings)
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
