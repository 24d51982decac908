"""The peer of `evaluate`: RecBole's full-sort evaluation of untrained models on the same log (run by it).

    python recbole_full_sort.py FOLDER MODEL WIDTH REPEATS BATCH...

It runs in RecBole's own environment; FOLDER/log/log.inter is the log, of which one event a user tests and one
validates. MODEL is BPR (vectors of WIDTH) or NeuMF (factors of WIDTH, the widths of the NCF authors' code). BATCH is
in scores, as RecBole counts it. One line of JSON is printed: seconds of each evaluation, by BATCH.
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

folder, name, width, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
architectures: dict[str, dict[str, object]] = {
    "BPR": {"embedding_size": width},
    "NeuMF": {
        "mf_embedding_size": width,
        "mlp_embedding_size": 4 * width,
        "mlp_hidden_size": [4 * width, 2 * width, width],
        "dropout_prob": 0.0,
    },
}
seconds: dict[int, list[float]] = {}
result: dict[str, float] = {}
for batch in map(int, sys.argv[5:]):
    config = Config(
        model=name,
        dataset="log",
        config_dict={
            "data_path": folder,
            "load_col": {"inter": ["user_id", "item_id"]},
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "RO", "group_by": "user", "mode": "full"},
            "eval_batch_size": batch,
            "metrics": ["Recall", "MRR", "NDCG", "Hit", "Precision"],
            "topk": [10],
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
            "checkpoint_dir": folder,
            "nproc": 1,
            **architectures[name],
        },
    )
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
