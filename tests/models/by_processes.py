"""What torchrun starts in `test_processes`: the sum of gradients, or a fit that may be killed; writes what came out."""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from boards import interactions_of
from torch import nn

from hybridvae.data.interactions import Targets
from hybridvae.evaluation.judge import ValidationNDCG
from hybridvae.models import Context, FitState, create
from hybridvae.models._processes import Processes

EPOCHS = 8
RANK = os.environ.get("RANK", "0")


def sum_of_gradients():
    """Two tables with a sparse gradient, one of which has the same rows in both processes, and one weight without."""
    processes = Processes.launched()
    tables = [nn.Parameter(torch.zeros(5, 2)) for _ in range(2)]
    weight, unused = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    own = [[3, 0, 3], [2]][processes.rank]  # the rows of the first table; that of the second is 4
    for table, rows in zip(tables, (own, [4]), strict=True):
        values = torch.full((len(rows), 2), processes.rank + 1.0)
        table.grad = torch.sparse_coo_tensor(torch.tensor([rows]), values, (5, 2))
    weight.grad = torch.tensor([1.0, 2.0, 4.0]) * (processes.rank + 1)
    processes.add_gradients([*tables, weight, unused])
    return {
        "tables": [table.grad.to_dense().tolist() for table in tables],
        "weight": weight.grad.tolist(),
        "figure": processes.figure_of_first(lambda: processes.rank + 0.25),
        "bytes": processes.bytes_of_first(b"of %d" % processes.rank).decode(),
        "nothing": processes.bytes_of_first(b"" if processes.first else b"lost").decode(),
    }


def groups():
    """200 users, each with 7 of the 30 items of one of four groups, of which one is held out."""
    random = np.random.default_rng(0)
    positives = np.zeros((200, 120), dtype=np.float32)
    held_out = np.zeros(200, dtype=np.int64)
    for user in range(200):
        liked = random.choice(30, 7, replace=False) + 30 * (user % 4)
        positives[user, liked[1:]], held_out[user] = 1, liked[0]
    return interactions_of(positives), held_out


def fit(name, cache, die_at):
    """A fit with validation, its weights as a hash; killed after the epoch `die_at` if that is above 0."""
    interactions, held_out = groups()
    targets = Targets(np.arange(200), held_out, np.full((200, 1), -1), part=1)
    block = {"epochs": EPOCHS, "patience": EPOCHS, "batch_size": 33, "softmax_items": 20, "learning_rate": 0.01}
    if name == "hybridvae":
        block |= {"latent_dim": 16, "hidden_dims": [32], "linear_dim": 8, "anneal_epochs": 2}
    state = FitState(Path(cache))
    history = []

    def on_epoch(epoch, figures):
        history.append(figures)
        if epoch == int(die_at) and RANK == "0":
            os.kill(os.getpid(), signal.SIGKILL)

    model = create(name, block, Context(seed=1, device="cpu", state=state))
    model.fit(interactions, validation=ValidationNDCG(interactions, targets), on_epoch=on_epoch)
    weights = model.network.state_dict().values()
    digest = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in weights)).hexdigest()
    return {"weights": digest, "history": history, "best": model.record.best_epoch}


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, into, *rest = sys.argv[1:]
    outcome = {"sum": sum_of_gradients, "fit": fit}[what](*rest)
    Path(into, f"{RANK}.json").write_text(json.dumps(outcome))
