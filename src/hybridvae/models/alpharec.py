"""AlphaRec: a graph model whose items have no learned vectors, only their text's, turned by one network.

Sheng et al. 2025, "Language Representations Can Be What Recommenders Need: Findings and Potentials". Items are text
vectors, users the means of those of their items; both pass the same two layers, are smoothed over the graph of who
liked what as in LightGCN, and are compared by their cosine. The loss is InfoNCE.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.config import (
    Count,
    CountOrZero,
    Epochs,
    Parameters,
    Positive,
    Recency,
    Share,
    Width,
    Within,
    read_config,
)
from hybridvae.data.interactions import Interactions, by_recency
from hybridvae.files import read_arrays, write_arrays, write_json
from hybridvae.memory import Needs
from hybridvae.models._base import Context, EpochMetrics, OnEpoch, Validation
from hybridvae.models._epochs import EpochRecommender
from hybridvae.models._graph import adjacency, as_tensor, multiply, propagate
from hybridvae.models._softmax import softmax_loss
from hybridvae.models._text import whitened
from hybridvae.seeds import derive_seed, random_generator


@dataclass(frozen=True)
class Config(Parameters):
    """The block `alpharec` of params.yaml."""

    hidden_dim: Width = 192
    embedding_dim: Width = 64
    layers: Annotated[int, Within(1, 100)] = 2  # of the graph
    temperature: Positive = 0.15  # by which cosines are divided
    negatives: CountOrZero = 256  # drawn for a batch, beside the items of its positives; 0: all items
    whitening: Share = 0.0  # of the text vectors: from 0, as they are, to 1, equal variance in all directions
    recency: Recency = 0.0  # an item of a history counts age^-recency: the latest 1, one of age 4 half that at 0.5
    learning_rate: Positive = 0.0005
    batch_size: Count = 4096  # positives
    epochs: Epochs = 200  # at most; an epoch shows each positive once
    patience: Epochs = 20  # epochs without a better validation figure before training stops
    validate_every: Epochs = 2  # epochs


class Network(nn.Module):
    """Text vectors to vectors of users and items; shapes are (users U, items I, text T, hidden H, width D)."""

    def __init__(self, positives: sparse.csr_matrix, item_vectors: Tensor, config: Config) -> None:
        super().__init__()
        self.layers, self.n_users = config.layers, positives.shape[0]
        self.first = nn.Linear(item_vectors.shape[1], config.hidden_dim)
        self.second = nn.Linear(config.hidden_dim, config.embedding_dim)
        means = sparse.csr_matrix(sparse.diags_array(1 / np.maximum(np.diff(positives.indptr), 1)) @ positives)
        self.item_vectors = item_vectors  # (I, T)
        self.graph = as_tensor(adjacency(positives))  # (U + I, U + I)
        self.means = as_tensor(means.astype(np.float32))  # (U, I)
        self.transposed = as_tensor(means.T.tocsr().astype(np.float32))

    def on(self, device: torch.device) -> Self:
        """The network on a device, with all that it is built around."""
        for name in ("item_vectors", "graph", "means", "transposed"):
            setattr(self, name, getattr(self, name).to(device))
        return self.to(device)

    def nodes(self, hidden: Tensor) -> Tensor:
        """(I, H) -> (U + I, D) before the graph; the first layer of a mean is the mean of the first layer."""
        both = torch.cat([multiply(self.means, self.transposed, hidden), hidden])
        nodes: Tensor = self.second(F.leaky_relu(both))
        return nodes

    def forward(self) -> tuple[Tensor, Tensor]:
        """Users (U, D) and items (I, D), each of length 1."""
        propagated = F.normalize(propagate(self.nodes(self.first(self.item_vectors)), self.graph, self.layers))
        return propagated[: self.n_users], propagated[self.n_users :]


class Model(EpochRecommender):
    """The recommender around the network.

    Once it is fitted, a user is known by the history alone: the user's vector is the network's answer to the mean text,
    `second` of leaky ReLU of the mean of `hidden` (I, H), plus what the graph brings from the items' layers below the
    last, the sum of `gathered` (I, D) over the root of the history's length. `items` (I, D) have length 1.
    """

    name = "alpharec"
    config_type = Config
    needs_vectors = True
    sparse_matrices = True
    if_too_large = "lower alpharec.hidden_dim or embedding_dim"

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self.network: Network
        self.arrays: dict[str, FloatArray] = {}

    def needs(self, interactions: Interactions) -> Needs:
        """The text vectors, whitened too; what a step keeps of each node for its gradient; the graph twice."""
        config, items = self.config, interactions.n_items
        nodes = interactions.n_users + items
        kept = 4 * nodes * (2 * config.hidden_dim + (2 * config.layers + 6) * config.embedding_dim)
        return {
            "the vectors of users and items": kept,
            "the text vectors": 8 * items * interactions.text_dim,
            "the graph": 2 * 2 * 20 * interactions.positives.nnz,
        }

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """Minimise InfoNCE with Adam, one pass over the whole graph a step.

        Raises:
            BadDataError: there are no item vectors.
            BadParameterError: the loss is no number any more.
        """
        vectors = self.vectors_of(interactions)
        assert vectors is not None
        self.check_memory(interactions)
        config, seed = self.config, self.context.seed
        self.histories = interactions.histories
        text = torch.from_numpy(whitened(vectors, config.whitening))
        torch.manual_seed(derive_seed(seed, self.name, "start"))
        self.network = Network(interactions.positives, text, config).on(self.device)
        optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, fused=True)
        owners = np.repeat(np.arange(interactions.n_users, dtype=np.int64), np.diff(interactions.positives.indptr))
        liked = interactions.positives.indices.astype(np.int64)
        warm = np.flatnonzero(interactions.warm)

        def train_epoch(epoch: int) -> EpochMetrics:
            random = random_generator(seed, self.name, "epoch", epoch)
            order = random.permutation(len(liked))
            total = torch.zeros((), device=self.device)
            for start in range(0, len(order), config.batch_size):
                chosen = order[start : start + config.batch_size]
                pool = warm
                if config.negatives:
                    pool = np.union1d(liked[chosen], random.choice(warm, size=config.negatives))
                places = (owners[chosen], pool, np.searchsorted(pool, liked[chosen]))
                loss = self._loss(*(torch.from_numpy(array).to(self.device) for array in places))
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                total += loss.detach() * len(chosen)
            return {"loss": total.item() / len(order)}

        self.train(
            self.network,
            [optimizer],
            interactions,
            train_epoch,
            validation=validation,
            on_epoch=on_epoch,
            before_validation=self._keep,
        )
        self._keep()
        return self

    def _loss(self, owners: Tensor, pool: Tensor, targets: Tensor) -> Tensor:
        """InfoNCE of B positives: of `owners` (B,), with `targets` (B,) as places in the `pool` (P,) of items."""
        # F.embedding, because the gradient of indexing adds in the order in which threads happen to arrive.
        users, items = self.network()
        asked = F.embedding(owners, users) / self.config.temperature
        return softmax_loss(asked, F.embedding(pool, items), targets) / len(targets)

    @torch.inference_mode()
    def _keep(self) -> None:
        """Put together what scores are made of."""
        network = self.network
        hidden = network.first(network.item_vectors)
        nodes = network.nodes(hidden)
        below = propagate(nodes, network.graph, self.config.layers - 1) * self.config.layers  # a sum, and not the mean
        items = F.normalize(propagate(nodes, network.graph, self.config.layers))[network.n_users :]
        degrees = np.maximum(np.bincount(self.histories.indices, minlength=len(items)), 1).astype(np.float32)
        tensors = {"hidden": hidden, "gathered": below[network.n_users :], "items": items} | {
            "weight": network.second.weight,
            "bias": network.second.bias,
        }
        self.arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        self.arrays["gathered"] /= np.sqrt(degrees)[:, None]

    def scores(self, users: IntArray) -> FloatArray:
        """(B,) -> (B, I)."""
        return self.scores_of(self.histories[users])

    def scores_of(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) histories -> (B, I) cosines; zeros for a user without a history."""
        counts = by_recency(histories, self.config.recency)
        total = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), np.finfo(np.float32).tiny)
        shares = sparse.diags_array(1 / total) @ counts
        lengths = np.diff(histories.indptr)[:, None]
        mean = shares @ self.arrays["hidden"]  # (B, H)
        own = np.where(mean > 0, mean, 0.01 * mean) @ self.arrays["weight"].T + self.arrays["bias"]
        found = own + np.sqrt(lengths) * (shares @ self.arrays["gathered"])  # (B, D)
        found *= (lengths > 0) / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        scores: FloatArray = found.astype(np.float32) @ self.arrays["items"].T
        return scores

    def save(self, folder: Path) -> None:
        """Write `model.safetensors`, what scores are made of, and `config.json`."""
        write_arrays(folder / "model.safetensors", self.arrays)
        write_json(folder / "config.json", asdict(self.config))

    @classmethod
    def load(cls, folder: Path, interactions: Interactions, context: Context) -> Self:
        """Read what `save` wrote."""
        model = cls(read_config(Config, folder), context)
        model.arrays = read_arrays(folder / "model.safetensors")
        model.histories = interactions.histories
        return model
