"""HybridVAE: a variational autoencoder that reads interactions and answers in the space of item text.

The encoder and the multinomial likelihood are those of Mult-VAE (Liang et al. 2018, "Variational
Autoencoders for Collaborative Filtering", equations 2 and 7); the decoder scores an item by the inner
product of the projected latent vector with the item's frozen Sentence-BERT vector. Loss and training
loop, which Mult-VAE shares, are in `hybridvae.vae`.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hybridvae.vae import Bag, VAEConfig, VAENetwork, VAERecommender


@dataclass(frozen=True)
class Config(VAEConfig):
    """The block `hybridvae` of params.yaml."""

    latent_dim: int = 128
    hidden_dims: tuple[int, ...] = (512,)
    dropout: float = 0.5  # after each hidden layer
    projection: Literal["linear", "two_layer"] = "linear"  # latent -> text space
    learned_scale: bool = False  # multiply the scores by a learned number (a temperature)
    beta: float = 1.0
    learning_rate: float = 0.003

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.latent_dim, *self.hidden_dims) < 1:
            raise ValueError("latent_dim and hidden_dims must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must lie in [0, 1)")


class Network(VAENetwork):
    """Encoder and frozen decoder; shapes are (users B, items I, hidden H, latent L, text D)."""

    item_vectors: Tensor

    def __init__(self, config: Config, item_vectors: Tensor) -> None:
        super().__init__()
        n_items, text_dim = item_vectors.shape
        # Linear(n_items -> H) on a 0/1 row is the sum of the rows of its weight at the positives: a bag.
        first, *rest = config.hidden_dims
        self.embedding = nn.EmbeddingBag(n_items, first, mode="sum", include_last_offset=True)
        self.embedding_bias = nn.Parameter(torch.empty(first))
        bound = n_items**-0.5  # as nn.Linear starts
        nn.init.uniform_(self.embedding.weight, -bound, bound)
        nn.init.uniform_(self.embedding_bias, -bound, bound)
        layers: list[nn.Module] = [nn.LayerNorm(first), nn.GELU(), nn.Dropout(config.dropout)]
        width = first
        for hidden in rest:
            layers += [nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(config.dropout)]
            width = hidden
        self.hidden = nn.Sequential(*layers)
        self.mu = nn.Linear(width, config.latent_dim)
        self.log_variance = nn.Linear(width, config.latent_dim)
        self.projection: nn.Module = nn.Linear(config.latent_dim, text_dim)
        if config.projection == "two_layer":
            self.projection = nn.Sequential(
                nn.Linear(config.latent_dim, text_dim), nn.GELU(), nn.Linear(text_dim, text_dim)
            )
        self.log_scale = nn.Parameter(torch.zeros(()), requires_grad=config.learned_scale)
        self.register_parameter("output_bias", None)
        self.register_buffer("item_vectors", item_vectors, persistent=False)  # (I, D), frozen

    @property
    def output_vectors(self) -> Tensor:
        """(I, D): the frozen text embeddings."""
        return self.item_vectors

    def encode(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Histories -> mu (B, L) and log sigma^2 (B, L)."""
        hidden = self.hidden(self.embedding(bag.items, bag.offsets) + self.embedding_bias)  # (B, H)
        return self.mu(hidden), self.log_variance(hidden)

    def query(self, z: Tensor) -> Tensor:
        """(B, L) -> (B, D): the point of the text space that the users are looking for."""
        projected: Tensor = self.projection(z) * self.log_scale.exp()
        return projected


class Model(VAERecommender):
    """The recommender around the network."""

    name = "hybridvae"
    config_type = Config
    needs_vectors = True

    def build(self, n_items: int, item_vectors: Tensor | None) -> Network:
        """The untrained network around the item vectors."""
        assert item_vectors is not None  # fit and load see to it
        return Network(self.config, item_vectors)
