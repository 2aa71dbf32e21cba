"""Mult-VAE: Liang et al. 2018, "Variational Autoencoders for Collaborative Filtering".

The paper's network I -> hidden -> latent -> hidden -> I with tanh, on an L2-normalised and dropped-out
input (section 2.2 and the authors' settings), trained by the multinomial likelihood of equation 2 with the
annealed KL term of equation 7. Loss and training loop, which HybridVAE shares, are in `_vae.py`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hybridvae.config import Count, ShareBelowOne, Width
from hybridvae.data.interactions import Interactions
from hybridvae.models._vae import Bag, VAEConfig, VAENetwork, VAERecommender


@dataclass(frozen=True)
class Config(VAEConfig):
    """The block `multvae` of params.yaml."""

    latent_dim: Width = 200
    hidden_dim: Width = 600
    input_dropout: ShareBelowOne = 0.5  # share of a history's items that the encoder does not see in a step
    batch_size: Count = 500


class Network(VAENetwork):
    """Encoder and decoder; shapes are (users B, items I, hidden H, latent L)."""

    tables = ("embedding.weight", "output")

    def __init__(self, config: Config, n_items: int) -> None:
        super().__init__()
        self.input_dropout, self.recency = config.input_dropout, config.recency
        self.embedding = nn.EmbeddingBag(n_items, config.hidden_dim, mode="sum", include_last_offset=True)
        self.embedding_bias = nn.Parameter(torch.zeros(config.hidden_dim))
        self.mu = nn.Linear(config.hidden_dim, config.latent_dim)
        self.log_variance = nn.Linear(config.hidden_dim, config.latent_dim)
        self.decoder = nn.Linear(config.latent_dim, config.hidden_dim)
        self.output = nn.Parameter(torch.zeros(n_items, config.hidden_dim + 1))  # the last column is the bias
        for weight in (self.embedding.weight, self.mu.weight, self.log_variance.weight, self.decoder.weight):
            nn.init.xavier_uniform_(weight)
        nn.init.xavier_uniform_(self.output.data[:, :-1])

    def output_vectors(self, items: Tensor | None = None) -> Tensor:
        """(I, H + 1), or (S, H + 1) of `items`: the learned weights and biases of the last layer."""
        return self.output if items is None else F.embedding(items, self.output, sparse=self.sparse)

    def forward(self, bag: Bag) -> tuple[Tensor, Tensor, Tensor]:
        """Histories -> query (B, H + 1), mu and log sigma^2 (B, L), at z = mu + sigma * eps in training."""
        mu, log_variance = self.encode(bag)
        query = torch.tanh(self.decoder(self.sample(mu, log_variance)))
        return torch.cat([query, torch.ones_like(query[:, :1])], dim=1), mu, log_variance

    def encode(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Histories -> mu (B, L) and log sigma^2 (B, L): x / ||x||, dropout, tanh layer."""
        counts = bag.by_recency(0.0 if self.training else self.recency)  # (N,)
        unit = counts * bag.spread(bag.total(counts**2).rsqrt())
        weights = F.dropout(unit, self.input_dropout, self.training)
        summed = self.embedding(bag.items, bag.offsets, per_sample_weights=weights)
        hidden = torch.tanh(summed + self.embedding_bias)  # (B, H)
        return self.mu(hidden), self.log_variance(hidden)


class Model(VAERecommender):
    """The recommender around the network."""

    name = "multvae"
    config_type = Config
    needs_vectors = False
    if_too_large = "set multvae.softmax_items to 2000, or lower multvae.hidden_dim"

    def table_width(self, text_dim: int) -> int:
        """The first layer's weights, and the last one's with their bias."""
        return int(2 * self.config.hidden_dim + 1)

    def build(self, interactions: Interactions, item_vectors: Tensor | None) -> Network:
        """The untrained network for such interactions."""
        return Network(self.config, interactions.n_items)
