"""LightGCN: embeddings smoothed over the graph of who liked what.

He et al. 2020, "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation".

Users and items have *ego* embeddings; what is compared are these averaged with those of their neighbours in
the graph of positives, up to `layers` steps away (equations 3 and 4, with equal weights). Trained by BPR
(equation 15), with L2 regularisation of the ego embeddings of the batch alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.config import Count, Epochs, NotNegative, Parameters, Positive, Width, Within
from hybridvae.data.interactions import Interactions
from hybridvae.files import read_arrays, write_arrays
from hybridvae.memory import Needs
from hybridvae.models._base import Context, EpochMetrics, OnEpoch, Validation
from hybridvae.models._epochs import EpochRecommender
from hybridvae.models._graph import adjacency, as_tensor, propagate
from hybridvae.seeds import derive_seed, random_generator


@dataclass(frozen=True)
class Config(Parameters):
    """The block `lightgcn` of params.yaml."""

    embedding_dim: Width = 128
    layers: Annotated[int, Within(1, 100)] = 3
    regularization: NotNegative = 0.01  # L2 on the ego embeddings
    learning_rate: Positive = 0.005
    batch_size: Count = 8192  # positives, each with one negative
    epochs: Epochs = 400  # at most; an epoch shows each positive once
    patience: Epochs = 30  # epochs without a better validation figure before training stops
    validate_every: Epochs = 5  # epochs


class Network(nn.Module):
    """Ego embeddings (U + I, D) and the graph they are propagated on."""

    def __init__(self, positives: sparse.csr_matrix, config: Config) -> None:
        super().__init__()
        self.layers = config.layers
        self.ego = nn.Parameter(torch.empty(sum(positives.shape), config.embedding_dim))
        nn.init.normal_(self.ego, std=0.1)
        self.graph = as_tensor(adjacency(positives))

    def forward(self) -> Tensor:
        """The propagated embeddings (U + I, D)."""
        return propagate(self.ego, self.graph, self.layers)


class Negatives:
    """Draws, for a positive of a user, an item that is none of the user's positives."""

    def __init__(self, interactions: Interactions) -> None:
        positives = interactions.positives
        self._n_items = interactions.n_items
        owners = np.repeat(np.arange(interactions.n_users, dtype=np.int64), np.diff(positives.indptr))
        self._keys = np.sort(owners * self._n_items + positives.indices)  # one number a positive
        self._pool = np.flatnonzero(interactions.warm)

    def draw(self, users: IntArray, random: np.random.Generator) -> IntArray:
        """(B,) users -> (B,) items, uniform; a user who likes almost everything may get a positive."""
        drawn = self._pool[random.integers(len(self._pool), size=len(users))]
        for _ in range(20):
            keys = users * self._n_items + drawn
            place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            wrong = np.flatnonzero(self._keys[place] == keys)
            if not len(wrong):
                break
            drawn[wrong] = self._pool[random.integers(len(self._pool), size=len(wrong))]
        return drawn


class Model(EpochRecommender):
    """The recommender around the network."""

    name = "lightgcn"
    config_type = Config
    folds_in = False  # a user is a node of the graph
    sparse_matrices = True
    if_too_large = "lower lightgcn.embedding_dim"

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self.network: Network
        self.users: FloatArray = np.zeros((0, 0), dtype=np.float32)  # (U, D), propagated
        self.items: FloatArray = np.zeros((0, 0), dtype=np.float32)  # (I, D), propagated

    def needs(self, interactions: Interactions) -> Needs:
        """The embeddings with gradient, Adam's two moments, the best ones, and one a layer; the graph twice."""
        nodes = interactions.n_users + interactions.n_items
        copies = 5 + self.config.layers + 3
        return {
            "the embeddings of users and items": 4 * copies * nodes * self.config.embedding_dim,
            "the graph": 2 * 2 * 20 * interactions.positives.nnz,
        }

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """Minimise the BPR loss with Adam; one propagation a step.

        Raises:
            BadParameterError: the loss is no number any more.
        """
        self.check_memory(interactions)
        config, seed, n_users = self.config, self.context.seed, interactions.n_users
        torch.manual_seed(derive_seed(seed, self.name, "start"))
        self.network = Network(interactions.positives, config)
        self.network.to(self.device)
        self.network.graph = self.network.graph.to(self.device)
        optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, fused=True)
        negatives = Negatives(interactions)
        owners = np.repeat(np.arange(n_users, dtype=np.int64), np.diff(interactions.positives.indptr))
        liked = interactions.positives.indices.astype(np.int64)

        def train_epoch(epoch: int) -> EpochMetrics:
            random = random_generator(seed, self.name, "epoch", epoch)
            order = random.permutation(len(liked))
            total = torch.zeros((), device=self.device)
            for start in range(0, len(order), config.batch_size):
                chosen = order[start : start + config.batch_size]
                users = owners[chosen]
                disliked = negatives.draw(users, random)
                rows = np.stack([users, liked[chosen] + n_users, disliked + n_users])
                loss = self._loss(torch.from_numpy(rows).to(self.device))
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
            before_validation=lambda: self._propagate(n_users),
        )
        self._propagate(n_users)
        return self

    def _loss(self, rows: Tensor) -> Tensor:
        """BPR of a batch: rows (3, B) are the nodes of users, positives and negatives."""
        # F.embedding, because the gradient of indexing adds in the order in which threads happen to arrive.
        user, positive, negative = F.embedding(rows, self.network())  # each (B, D)
        ranking = F.softplus((user * (negative - positive)).sum(dim=1)).mean()  # -log sigmoid(s_positive - s_negative)
        penalty = F.embedding(rows, self.network.ego).square().sum() / (2 * rows.shape[1])
        loss: Tensor = ranking + self.config.regularization * penalty
        return loss

    @torch.inference_mode()
    def _propagate(self, n_users: int) -> None:
        nodes = self.network().cpu().numpy()
        self.users, self.items = nodes[:n_users], nodes[n_users:]

    def scores(self, users: IntArray) -> FloatArray:
        """(B,) -> (B, I): inner products of propagated embeddings."""
        with np.errstate(over="ignore", invalid="ignore"):  # who asks finds what is not finite, and says so
            scores: FloatArray = self.users[users] @ self.items.T
        return scores

    def save(self, folder: Path) -> None:
        """Write `model.safetensors`: the propagated embeddings of users and items."""
        write_arrays(folder / "model.safetensors", {"users": self.users, "items": self.items})

    @classmethod
    def load(cls, folder: Path, interactions: Interactions, context: Context) -> Self:
        """Read what `save` wrote."""
        model = cls(Config(), context)
        embeddings = read_arrays(folder / "model.safetensors")
        model.users, model.items = embeddings["users"], embeddings["items"]
        return model
