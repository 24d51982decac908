"""The peer of `evaluate`: RecBole's full-sort evaluation of untrained models on the same log (run by it).

    python recbole_full_sort.py FOLDER MODEL SETTINGS REPEATS BATCH...

It runs in RecBole's own environment; FOLDER/log/log.inter is the log, of which one event a user tests and one
validates. MODEL is BPR or NeuMF, SETTINGS the JSON of RecBole's configuration. BATCH is in scores, as RecBole counts
it. One line of JSON is printed: seconds of each evaluation, by BATCH.
"""

import json
import logging
import sys
import time

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.general_recommender import BPR, NeuMF
from recbole.trainer import Trainer
from recbole.utils import init_seed

name, settings, repeats = sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4])
seconds: dict[int, list[float]] = {}
result: dict[str, float] = {}
for batch in map(int, sys.argv[5:]):
    config = Config(model=name, dataset="log", config_dict=settings | {"eval_batch_size": batch})
    logging.disable(logging.CRITICAL)
    init_seed(config["seed"], config["reproducibility"])
    _, _, test = data_preparation(config, create_dataset(config))
    model = {"BPR": BPR, "NeuMF": NeuMF}[name](config, test._dataset)
    trainer = Trainer(config, model)
    seconds[batch] = []
    with torch.no_grad():
        for _ in range(repeats):
            began = time.monotonic()
            result = dict(trainer.evaluate(test, load_best_model=False))
            seconds[batch].append(time.monotonic() - began)
print(json.dumps({"seconds": seconds, "result": result, "threads": torch.get_num_threads()}))
