"""RecTools: EASE and SASRec."""

import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from protocol import Answer, Data, Floats, Request, seconds_of, serve, versions, write_factors, write_weights
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import LambdaCallback
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import EASEModel, SASRecModel


def dataset_of(data: Data) -> Any:
    """Our training rows; their place stands for the time."""
    times = pd.Timestamp(2000, 1, 1) + pd.to_timedelta(np.arange(len(data.users)), unit="s")
    columns = {Columns.User: data.users, Columns.Item: data.items, Columns.Weight: 1.0, Columns.Datetime: times}
    return Dataset.construct(pd.DataFrame(columns))


def ease(request: Request) -> Answer:
    """Seconds of the fit."""
    data = Data.read(request.data)
    dataset, model = dataset_of(data), EASEModel(regularization=request.parameters["regularization"])
    seconds, _ = seconds_of(lambda: model.fit(dataset))
    weights: Floats = np.zeros((data.n_items, data.n_items), dtype=np.float32)
    items = dataset.item_id_map.external_ids
    weights[np.ix_(items, items)] = model.weight
    return answer([seconds], write_weights(request, weights))


def sasrec(request: Request) -> Answer:
    """Seconds of each epoch."""
    asked, data = request.parameters, Data.read(request.data)
    torch.set_num_threads(request.threads)
    seed_everything(42)
    dataset = dataset_of(data)
    starts: list[float] = []
    ends: list[float] = []
    clock = LambdaCallback(
        on_train_epoch_start=lambda *_: starts.append(time.perf_counter()),
        on_train_epoch_end=lambda *_: ends.append(time.perf_counter()),
    )

    def trainer() -> Any:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        limits = {"max_epochs": request.epochs, "accelerator": "cpu", "enable_checkpointing": False}
        return Trainer(callbacks=[clock], **quiet, **limits)

    model = SASRecModel(
        n_factors=asked["embedding_dim"],
        n_blocks=asked["layers"],
        n_heads=asked["heads"],
        dropout_rate=asked["dropout"],
        session_max_len=asked["max_length"],
        lr=asked["learning_rate"],
        batch_size=asked["batch_size"],
        loss="softmax",
        epochs=request.epochs,
        get_trainer_func=trainer,
    )
    model.fit(dataset)
    users, items = vectors(model, data, dataset)
    return answer((np.array(ends) - np.array(starts)).tolist(), write_factors(request, users, items))


def vectors(model: Any, data: Data, dataset: Any) -> tuple[Floats, Floats]:
    """Those whose products are the scores, (U, D) and (I, D), zeros where RecTools has none."""
    known = model.data_preparator.transform_dataset_u2i(dataset, dataset.user_id_map.external_ids)
    loader = model.data_preparator.get_dataloader_recommend(known, 1000)
    of_users, of_items = model.lightning_model._get_user_item_embeddings(loader, "cpu")
    users = np.zeros((data.n_users, of_users.shape[1]), dtype=np.float32)
    items = np.zeros((data.n_items, of_users.shape[1]), dtype=np.float32)
    users[known.user_id_map.external_ids.astype(np.int64)] = of_users.numpy()
    extra = model.data_preparator.n_item_extra_tokens  # padding, which is no item
    items[known.item_id_map.external_ids[extra:].astype(np.int64)] = of_items.numpy()[extra:]
    return users, items


def answer(seconds: list[float], scores: str) -> Answer:
    """The answer of this library."""
    named = ("rectools", "pytorch-lightning", "torch", "numpy")
    return {"seconds": seconds, "scores": scores, "versions": versions(*named)}


if __name__ == "__main__":
    serve({"ease": ease, "sasrec": sasrec})
