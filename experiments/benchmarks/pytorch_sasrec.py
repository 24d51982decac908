"""A peer of `train_sequence`: SASRec in plain PyTorch, timed by the epoch (run by it).

    python pytorch_sasrec.py FOLDER loss=bce width=50 blocks=2 length=200 dropout=.2 batch=128 items=3416 epochs=3

It runs in an environment that has PyTorch; FOLDER/events.npz is the log in order; one line of JSON is printed. It is
what the public ports of the authors' code do (Kang and McAuley, ICDM 2018): every sequence is padded to the full length
in front, PyTorch's own attention under a causal mask, Adam. Nothing that it could be faster without is counted:
batches come out of one array that was made before, negatives are drawn uniformly whether the user has them or not, and
the cross-entropy is taken where there is an event alone. The first epoch is not counted.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

asked = dict(pair.split("=") for pair in sys.argv[2:])
width, blocks, length, batch, items, epochs = (
    int(asked[name]) for name in ("width", "blocks", "length", "batch", "items", "epochs")
)
dropout = float(asked["dropout"])
torch.manual_seed(1)
rng = np.random.default_rng(1)


class Block(nn.Module):
    """Attention, whose queries alone are normalised, and two layers of a position; both with what came in added."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width, eps=1e-8), nn.LayerNorm(width, eps=1e-8)
        self.attention = nn.MultiheadAttention(width, 1, dropout=dropout, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, width), nn.Dropout(dropout), nn.ReLU(), nn.Linear(width, width), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor, future: Tensor, known: Tensor) -> Tensor:
        """[b, t, d] to [b, t, d]."""
        query = self.before(x)
        x = self.between(query + self.attention(query, x, x, attn_mask=future, need_weights=False)[0])
        return (x + self.feed_forward(x)) * known


class SASRec(nn.Module):
    """States of every position: [b, t] items, 0 in front, to [b, t, d]."""

    def __init__(self) -> None:
        super().__init__()
        self.items, self.places = nn.Embedding(items + 1, width, padding_idx=0), nn.Embedding(length, width)
        self.dropout, self.blocks = nn.Dropout(dropout), nn.ModuleList(Block() for _ in range(blocks))
        self.last = nn.LayerNorm(width, eps=1e-8)
        self.register_buffer("future", torch.ones(length, length, dtype=torch.bool).triu(1))

    def forward(self, read: Tensor) -> Tensor:
        """The states."""
        known = (read > 0)[..., None]
        x = self.dropout(self.items(read) * width**0.5 + self.places.weight) * known
        for block in self.blocks:
            x = block(x, self.future, known)
        return self.last(x)


def sequences() -> Tensor:
    """[users, length + 1]: each user's last items, counted from 1, with 0 in front."""
    with np.load(Path(sys.argv[1]) / "events.npz") as stored:
        user, item = stored["user"], stored["item"]
    order = np.argsort(user, kind="stable")
    user, item = user[order], item[order] + 1
    ends = np.searchsorted(user, np.arange(user.max() + 1), side="right")
    starts = np.concatenate([[0], ends[:-1]])
    rows = np.zeros((len(ends), length + 1), np.int64)
    for row, start, end in zip(rows, np.maximum(starts, ends - length - 1), ends):
        row[length + 1 - (end - start) :] = item[start:end]
    return torch.from_numpy(rows)


def loss_of(model: SASRec, rows: Tensor) -> Tensor:
    """Of the next item at every place that has one and something before it."""
    read, target = rows[:, :-1], rows[:, 1:]
    there = read > 0
    states = model(read)
    if asked["loss"] == "bce":
        negative = torch.from_numpy(rng.integers(1, items + 1, target.shape))
        both = [(states * model.items(of)).sum(-1)[there] for of in (target, negative)]
        likely, unlikely = (functional.binary_cross_entropy_with_logits(x, x * 0 + y) for x, y in zip(both, (1.0, 0.0)))
        return likely + unlikely
    return functional.cross_entropy(states[there] @ model.items.weight[1:].T, target[there] - 1)


rows = sequences()
model = SASRec()
optimizer = torch.optim.Adam(model.parameters(), lr=0.001, betas=(0.9, 0.98))
seconds, steps = list[float](), -(-len(rows) // batch)
for _ in range(1 + epochs):
    began, order = time.monotonic(), torch.from_numpy(rng.permutation(len(rows)))
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model, rows[order[step * batch : (step + 1) * batch]]).backward()
        optimizer.step()
    seconds.append(time.monotonic() - began)
print(json.dumps({"steps": steps, "epoch_seconds": seconds[1:], "threads": torch.get_num_threads()}))
