"""The peer of `ials`: implicit's alternating least squares on the same log, timed by the iteration (run by it).

    python implicit_als.py FOLDER FACTORS ALPHA REGULARIZATION ITERATIONS SEED THREADS

It runs in implicit's own environment. FOLDER/log.npz holds the train matrix (indptr, indices, shape); the vectors
after each iteration go to FOLDER/factors.npz (users, items), for the caller to evaluate. One line of JSON is printed:
the seconds since the fit began at the end of each iteration, storing not counted.
"""

import json
import sys
import time

import numpy as np
import scipy.sparse
from implicit.cpu.als import AlternatingLeastSquares

folder, factors, alpha, regularization, iterations, seed, threads = sys.argv[1:]
log = np.load(f"{folder}/log.npz")
matrix = scipy.sparse.csr_matrix(
    (np.ones(len(log["indices"]), np.float32), log["indices"], log["indptr"]), shape=tuple(log["shape"])
)
model = AlternatingLeastSquares(
    factors=int(factors),
    alpha=float(alpha),
    regularization=float(regularization),
    iterations=int(iterations),
    random_state=int(seed),
    num_threads=int(threads),
)
seconds: list[float] = []
users: list[np.ndarray] = []
items: list[np.ndarray] = []
storing = 0.0


def after(*_: object) -> None:
    """Take the time, then the vectors."""
    global storing
    now = time.monotonic()
    seconds.append(now - began - storing)
    users.append(model.user_factors.copy())
    items.append(model.item_factors.copy())
    storing += time.monotonic() - now


began = time.monotonic()
model.fit(matrix, show_progress=False, callback=after)
np.savez(f"{folder}/factors.npz", users=np.stack(users), items=np.stack(items))
print(json.dumps({"seconds": seconds}))
