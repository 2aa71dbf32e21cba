"""HybridVAE: a variational autoencoder that reads interactions and answers in the space of item text.

The encoder and the multinomial likelihood are those of Mult-VAE (Liang et al. 2018, "Variational
Autoencoders for Collaborative Filtering", equations 2 and 7); the decoder scores an item by the inner
product of the projected latent vector with the item's Sentence-BERT vector. Every part beyond that is a
parameter, switched off in the defaults of `Config`. Loss and training loop, which Mult-VAE shares, are in
`_vae.py`.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from hybridvae.config import NotNegative, Positive, Share, ShareBelowOne, Width, Within
from hybridvae.data.interactions import Interactions
from hybridvae.files import atomic_path, write_json
from hybridvae.models._base import OnEpoch, Validation
from hybridvae.models._text import whitened
from hybridvae.models._vae import Bag, VAEConfig, VAENetwork, VAERecommender


@dataclass(frozen=True)
class Config(VAEConfig):
    """The block `hybridvae` of params.yaml; the defaults are the plain model with the frozen decoder."""

    hidden_dims: Annotated[tuple[Width, ...], Within(1, 20)] = (512,)
    latent_dim: Width = 128
    dropout: ShareBelowOne = 0.5  # after each hidden layer
    input_dropout: ShareBelowOne = 0.0  # share of a history's items that the encoder does not see in a step
    normalised_input: bool = False  # a history enters as a vector of length 1, not as zeros and ones
    text_in_encoder: bool = False  # the encoder also reads the mean text vector of the history
    projection: Literal["linear", "two_layer"] = "linear"  # latent -> text space
    scale: Positive = 1.0  # of the autoencoder's scores (an inverse temperature); the linear path keeps its own
    scale_by_length: bool = False  # divide it by the root of the histories' mean length
    learned_scale: bool = False  # `scale` is where it starts, not where it stays
    decoder: Literal["frozen", "residual"] = "frozen"  # text vectors E, or E + residual_rate * R with R learned
    residual_rate: Positive = 0.05  # the smaller, the slower R leaves the text
    item_bias: bool = False
    linear_dim: Annotated[int, Within(0, 65_536)] = 0  # width of the linear path beside the autoencoder; 0 for none
    linear_decay: NotNegative = 0.0  # weight decay of the linear path
    whitening: Share = 0.0  # of the item vectors: from 0, as they are, to 1, equal variance in all directions
    precision: Literal["auto", "float32", "bfloat16"] = "float32"  # of the product with all items in training
    beta: NotNegative = 1.0
    learning_rate: Positive = 0.003


class Network(VAENetwork):
    """Encoder and decoder; shapes are (users B, items I, hidden H, latent L, text D, linear path K).

    A query has D + K columns: the point of the text space that the users look for, and their linear part.
    """

    item_vectors: Tensor
    residual: Tensor | None  # (I, D)

    def __init__(self, config: Config, item_vectors: Tensor, mean_length: float = 1.0) -> None:
        """Around (I, D) item vectors, for histories of `mean_length` items."""
        super().__init__()
        self.config = config
        n_items, text_dim = item_vectors.shape
        # Linear(n_items -> H) on a 0/1 row is the sum of the rows of its weight at the positives: a bag.
        first, *rest = config.hidden_dims
        self.embedding = nn.EmbeddingBag(n_items, first, mode="sum", include_last_offset=True)
        self.embedding_bias = nn.Parameter(torch.empty(first))
        bound = n_items**-0.5  # as nn.Linear starts
        nn.init.uniform_(self.embedding.weight, -bound, bound)
        nn.init.uniform_(self.embedding_bias, -bound, bound)
        self.text = nn.Linear(text_dim, first, bias=False) if config.text_in_encoder else None
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
        # The longer the histories, the more the items in them say by themselves, in the linear path.
        scale = config.scale / mean_length**0.5 if config.scale_by_length else config.scale
        self.log_scale = nn.Parameter(torch.tensor(scale).log(), requires_grad=config.learned_scale)
        self.register_buffer("item_vectors", item_vectors, persistent=False)  # (I, D), frozen
        residual = nn.Parameter(torch.zeros(n_items, text_dim)) if config.decoder == "residual" else None
        self.register_parameter("residual", residual)
        self.register_parameter("output_bias", nn.Parameter(torch.zeros(n_items)) if config.item_bias else None)
        self.linear_in: nn.EmbeddingBag | None = None
        if config.linear_dim:
            self.linear_in = nn.EmbeddingBag(n_items, config.linear_dim, mode="sum", include_last_offset=True)
            self.linear_out = nn.Parameter(torch.empty(n_items, config.linear_dim))
            nn.init.normal_(self.linear_in.weight, std=config.linear_dim**-0.5)
            nn.init.normal_(self.linear_out, std=0.01)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The linear path with a weight decay of its own, and everything else without."""
        linear: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                (linear if name.startswith("linear_") else others).append(parameter)
        return [{"params": others}, {"params": linear, "weight_decay": self.config.linear_decay}]

    @property
    def output_vectors(self) -> Tensor:
        """(I, D + K): text embeddings, with their residual, beside the output of the linear path."""
        vectors = self.item_vectors
        if self.residual is not None:
            vectors = vectors + self.config.residual_rate * self.residual
        return vectors if self.linear_in is None else torch.cat([vectors, self.linear_out], dim=1)

    def forward(self, bag: Bag) -> tuple[Tensor, Tensor, Tensor]:
        """Histories -> query (B, D + K), mu and log sigma^2 (B, L), with z = mu + sigma * eps in training."""
        counts, kept, unit = self._history(bag)
        mu, log_variance = self._encode(bag, counts, kept, unit)
        z = self.sample(mu, log_variance)
        query = self.query(z)
        if self.linear_in is not None:
            query = torch.cat([query, self.linear_in(bag.items, bag.offsets, per_sample_weights=unit)], dim=1)
        return query, mu, log_variance

    def encode(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Histories -> mu (B, L) and log sigma^2 (B, L)."""
        return self._encode(bag, *self._history(bag))

    def query(self, z: Tensor) -> Tensor:
        """(B, L) -> (B, D): the point of the text space that the users are looking for."""
        projected: Tensor = self.projection(z) * self.log_scale.exp()
        return projected

    def decode(self, query: Tensor, output_vectors: Tensor | None = None) -> Tensor:
        """(B, D + K) -> scores (B, I); in training the product may be of half precision, its sums never are."""
        half = self.training and _is_half(self.config.precision, query.device)
        with torch.autocast(query.device.type, torch.bfloat16, enabled=half):
            scores = query @ (self.output_vectors if output_vectors is None else output_vectors).T
        return scores.float() if self.output_bias is None else scores.float() + self.output_bias

    def _history(self, bag: Bag) -> tuple[Tensor, Tensor, Tensor]:
        """(N,) what each item of each history counts; the same after input dropout; and with histories of length 1.

        In training all count the same: what is hidden there and to be foretold may be early as well as late.
        """
        counts = bag.by_recency(0.0 if self.training else self.config.recency)
        kept = F.dropout(counts, self.config.input_dropout, self.training)
        return counts, kept, kept * bag.spread(bag.total(counts**2).rsqrt())

    def _encode(self, bag: Bag, counts: Tensor, kept: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
        entered = unit if self.config.normalised_input else kept
        summed = self.embedding(bag.items, bag.offsets, per_sample_weights=entered) + self.embedding_bias  # (B, H)
        if self.text is not None:
            mean = F.embedding_bag(  # (B, D)
                bag.items,
                self.item_vectors,
                bag.offsets,
                mode="sum",
                include_last_offset=True,
                per_sample_weights=kept * bag.spread(1 / bag.total(counts)),
            )
            summed = summed + self.text(mean)
        hidden = self.hidden(summed)
        return self.mu(hidden), self.log_variance(hidden)


def _is_half(precision: str, device: torch.device) -> bool:
    """Whether to multiply in bfloat16; `auto`: where the processor has instructions for it, else it is slower."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and any(
        has for name, has in torch.cpu.get_capabilities().items() if name.endswith("_bf16")
    )


class Model(VAERecommender):
    """The recommender around the network."""

    name = "hybridvae"
    config_type = Config
    needs_vectors = True

    def build(self, interactions: Interactions, item_vectors: Tensor | None) -> Network:
        """The untrained network around the item vectors, scaled for histories of this mean length."""
        assert item_vectors is not None  # fit and load see to it
        histories = interactions.histories
        mean_length = histories.nnz / max(1, np.count_nonzero(np.diff(histories.indptr)))
        return Network(self.config, item_vectors.float(), max(1.0, mean_length))

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """As Mult-VAE, on whitened item vectors; then round all to half precision, in which it is saved.

        Raises:
            BadDataError: there are no item vectors.
            BadParameterError: the loss is no number any more.
        """
        if interactions.item_vectors is not None:
            vectors = whitened(interactions.item_vectors, self.config.whitening)
            interactions = replace(interactions, item_vectors=vectors)
        super().fit(interactions, validation=validation, on_epoch=on_epoch)
        with torch.no_grad():
            for weights in self.network.parameters():
                weights.copy_(weights.half())
        rounded = self.network.get_buffer("item_vectors").half().float()
        self.network.register_buffer("item_vectors", rounded, persistent=False)
        return self

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` (weights and item vectors, in half precision) and `config.json`."""
        tensors = self.network.state_dict() | {"item_vectors": self.network.get_buffer("item_vectors")}
        with atomic_path(folder / "model.safetensors") as partial:
            save_file({name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}, partial)
        write_json(folder / "config.json", asdict(self.config))
