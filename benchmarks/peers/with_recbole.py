"""RecBole: Mult-VAE, LightGCN, SASRec, EASE, and its evaluation."""

import itertools
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from protocol import Answer, Data, Floats, Ints, Request, seconds_of, serve, versions, write_factors, write_weights

# RecBole imports Ray, of a release that few versions of Python have, for a tuning that is not used here.
sys.modules["ray"] = types.ModuleType("ray")
sys.modules["ray"].tune = types.ModuleType("ray.tune")  # type: ignore[attr-defined]
sys.modules["ray.tune"] = sys.modules["ray"].tune

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.utils import get_model, get_trainer, init_seed  # noqa: E402

BLOCK = 1000  # users scored at a time


class Fit:
    """A model of RecBole on our split, with its trainer; training does not begin here."""

    def __init__(self, request: Request, model: str, parameters: dict[str, Any]) -> None:
        self.data = Data.read(request.data)
        torch.set_num_threads(request.threads)
        sequential = model == "SASRec"
        write_atomic_files(self.data, Path(request.folder, "ours"), whole=sequential)
        split: dict[str, Any] = {"benchmark_filename": ["train", "valid", "test"]}
        if sequential:  # all rows are for training, in the order of time; RecBole makes its own prefixes of them
            split = {"eval_args": {"split": {"RS": [1, 0, 0]}, "group_by": "user", "order": "TO", "mode": "full"}}
        settings = {
            "data_path": request.folder,
            "checkpoint_dir": request.folder,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"], "user": ["user_id"], "item": ["item_id"]},
            "epochs": request.epochs,
            "use_gpu": False,
            "seed": 42,
            "show_progress": False,
            "state": "ERROR",
            "topk": [10],
            "valid_metric": "NDCG@10",
        }
        config = Config(model=model, dataset="ours", config_dict=settings | split | parameters)
        init_seed(config["seed"], config["reproducibility"])
        dataset = create_dataset(config)
        self.train_data, self.valid_data, _ = data_preparation(config, dataset)
        self.users = rows(dataset, "user_id", self.data.n_users)
        self.items = rows(dataset, "item_id", self.data.n_items)
        self.build_seconds, self.model = seconds_of(lambda: get_model(model)(config, self.train_data.dataset))
        self.trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, self.model)

    @torch.enable_grad()
    def train(self) -> list[float]:
        """Train; returns the seconds of each epoch."""
        seconds: list[float] = []
        train_epoch = self.trainer._train_epoch

        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            loss = train_epoch(*arguments, **named)
            seconds.append(time.perf_counter() - start)
            return loss

        self.trainer._train_epoch = timed
        self.trainer.fit(self.train_data, saved=False, verbose=False)
        self.model.eval()
        return seconds


def write_atomic_files(data: Data, folder: Path, *, whole: bool) -> None:
    """RecBole's files of our split: one of all training rows, or one a part; and all users and items."""
    folder.mkdir()

    def write(ending: str, header: str, lines: list[str]) -> None:
        text = "\n".join([header, *lines]) + "\n"
        (folder / f"ours.{ending}").write_text(text, encoding="utf-8")

    def pairs(users: Ints, items: Ints) -> list[str]:
        return [f"{user}\t{item}\t{time}" for time, (user, item) in enumerate(zip(users, items, strict=True))]

    header = "user_id:token\titem_id:token\ttimestamp:float"
    held = pairs(data.held_users, data.held_items)
    for ending, lines in (("train.inter", pairs(data.users, data.items)), ("valid.inter", held), ("test.inter", held)):
        write("inter" if whole else ending, header, lines)
        if whole:
            break
    write("user", "user_id:token", [str(user) for user in range(data.n_users)])
    write("item", "item_id:token", [str(item) for item in range(data.n_items)])


def rows(dataset: Any, field: str, number: int) -> Ints:
    """(N,) the numbers that RecBole gave to ours, which begin at 1."""
    return np.array(dataset.token2id(field, [str(index) for index in range(number)]), dtype=np.int64)


def mult_vae(request: Request) -> Fit:
    """Mult-VAE with our parameters."""
    asked, data = request.parameters, Data.read(request.data)
    steps = -(-len(np.unique(data.users)) // asked["batch_size"])
    parameters = {
        "mlp_hidden_size": [asked["hidden_dim"]],
        "latent_dimension": 2 * asked["latent_dim"],  # means and variances together
        "dropout_prob": asked["input_dropout"],
        "anneal_cap": asked["beta"],
        # Its weight grows by 1 / total_anneal_steps a step, up to the cap.
        "total_anneal_steps": int(asked["anneal_epochs"] * steps / asked["beta"]),
        "learning_rate": asked["learning_rate"],
        "train_batch_size": asked["batch_size"],
        "clip_grad_norm": {"max_norm": asked["clip_norm"]},
        "train_neg_sample_args": None,
    }
    return Fit(request, "MultiVAE", parameters)


@torch.no_grad()
def multvae(request: Request) -> Answer:
    """Seconds of each epoch; the scores are products of the decoder's last hidden layer with its output weights."""
    fit = mult_vae(request)
    seconds = fit.train()
    *hidden, output = fit.model.decoder
    query = []
    for begin in range(0, len(fit.users), BLOCK):
        block = torch.from_numpy(fit.users[begin : begin + BLOCK])
        history = torch.nn.functional.normalize(fit.model.get_rating_matrix(block))
        decoded = fit.model.encoder(history)[:, : fit.model.lat_dim // 2]
        for layer in hidden:
            decoded = layer(decoded)
        query.append(torch.cat([decoded, torch.ones(len(decoded), 1)], dim=1))
    weights = torch.cat([output.weight, output.bias[:, None]], dim=1)[fit.items]
    return answer(seconds, write_factors(request, torch.cat(query).numpy(), weights.numpy()))


def judge(request: Request) -> Answer:
    """Seconds of RecBole's own full ranking of the validation part, of a Mult-VAE after an epoch."""
    fit = mult_vae(request)
    fit.train()
    seconds, found = seconds_of(lambda: fit.trainer.evaluate(fit.valid_data, load_best_model=False))
    return answer([seconds], None) | {"own": float(found["ndcg@10"])}


@torch.no_grad()
def lightgcn(request: Request) -> Answer:
    """Seconds of each epoch."""
    asked = request.parameters
    parameters = {
        "embedding_size": asked["embedding_dim"],
        "n_layers": asked["layers"],
        "reg_weight": asked["regularization"],
        "require_pow": True,
        "learning_rate": asked["learning_rate"],
        "train_batch_size": asked["batch_size"],
    }
    fit = Fit(request, "LightGCN", parameters)
    seconds = fit.train()
    users, items = fit.model()
    return answer(seconds, write_factors(request, users[fit.users].numpy(), items[fit.items].numpy()))


@torch.no_grad()
def sasrec(request: Request) -> Answer:
    """Seconds of each epoch.

    RecBole's SASRec has a row for each item that is to be foretold, where the batches of others are of users. Its
    batches are so large that an epoch has as many steps as theirs.
    """
    asked, counts = request.parameters, np.unique(Data.read(request.data).users, return_counts=True)[1]
    steps = -(-int((counts > 1).sum()) // asked["batch_size"])
    parameters = {
        "hidden_size": asked["embedding_dim"],
        "inner_size": asked["embedding_dim"],
        "n_layers": asked["layers"],
        "n_heads": asked["heads"],
        "hidden_dropout_prob": asked["dropout"],
        "attn_dropout_prob": asked["dropout"],
        "hidden_act": "relu",
        "MAX_ITEM_LIST_LENGTH": asked["max_length"],
        "loss_type": "CE",
        "learning_rate": asked["learning_rate"],
        "train_batch_size": -(-int((counts - 1).sum()) // steps),
        "train_neg_sample_args": None,
    }
    fit = Fit(request, "SASRec", parameters)
    seconds = fit.train()
    sequences, lengths = histories(fit, asked["max_length"])
    blocks = [slice(begin, begin + BLOCK) for begin in range(0, len(lengths), BLOCK)]
    users = torch.cat([fit.model(sequences[block], lengths[block]) for block in blocks])
    items = fit.model.item_embedding.weight[fit.items]
    return answer(seconds, write_factors(request, users.numpy(), items.numpy()))


def histories(fit: Fit, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(U, L) the latest items of each user, filled up with 0 at the end, and (U,) how many; at least 1 counts."""
    data = fit.data
    sequences, lengths = torch.zeros(data.n_users, longest, dtype=torch.int64), torch.ones(data.n_users).long()
    starts = np.searchsorted(data.users, np.arange(data.n_users + 1))
    for user, (start, end) in enumerate(itertools.pairwise(starts)):
        latest = fit.items[data.items[start:end][-longest:]]
        sequences[user, : len(latest)] = torch.from_numpy(latest)
        lengths[user] = max(1, len(latest))
    return sequences, lengths


def ease(request: Request) -> Answer:
    """Seconds of the constructor, which is where RecBole fits EASE."""
    fit = Fit(request, "EASE", {"reg_weight": request.parameters["regularization"]})
    weights: Floats = np.asarray(fit.model.item_similarity)[np.ix_(fit.items, fit.items)]
    return answer([fit.build_seconds], write_weights(request, weights))


def answer(seconds: list[float], scores: str | None) -> Answer:
    """The answer of this library."""
    return {"seconds": seconds, "scores": scores, "versions": versions("recbole", "torch", "numpy")}


if __name__ == "__main__":
    serve({"multvae": multvae, "judge": judge, "lightgcn": lightgcn, "sasrec": sasrec, "ease": ease})
