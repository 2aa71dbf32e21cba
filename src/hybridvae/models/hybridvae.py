"""HybridVAE: a variational autoencoder that reads interactions and answers in the space of item text.

The encoder and the multinomial likelihood are those of Mult-VAE (Liang et al. 2018, "Variational
Autoencoders for Collaborative Filtering", equations 2 and 7); the decoder scores an item by the inner
product of the projected latent vector with the item's Sentence-BERT vector. Every part beyond that is a
parameter, switched off in the defaults of `Config`. Loss and training loop, which Mult-VAE shares, are in
`_vae.py`.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Self

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from hybridvae.arrays import FloatArray, over_rows
from hybridvae.config import NotNegative, Positive, Recency, Share, ShareBelowOne, Width, Within
from hybridvae.data.interactions import Interactions
from hybridvae.errors import NotEnoughMemoryError
from hybridvae.memory import Needs, check_memory
from hybridvae.models import ease_text
from hybridvae.models._base import Context, OnEpoch, Validation
from hybridvae.models._text import whitened
from hybridvae.models._vae import Bag, VAEConfig, VAENetwork, VAERecommender
from hybridvae.progress import warn

_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # of EASE, from which validation chooses ...
_FIRST_WEIGHT = 0.1  # ... and with which the epoch is chosen before


@dataclass(frozen=True)
class Config(VAEConfig):
    """The block `hybridvae` of params.yaml; the defaults are the plain model with the frozen decoder."""

    hidden_dims: Annotated[tuple[Width, ...], Within(1, 20)] = (512,)
    latent_dim: Width = 128
    dropout: ShareBelowOne = 0.5  # after each hidden layer
    input_dropout: ShareBelowOne = 0.0  # share of a history's items that the encoder does not see in a step
    normalised_input: bool = False  # a history enters as a vector of length 1, not as zeros and ones
    text_in_encoder: bool = False  # the encoder also reads the mean text vector of the history
    scale: Positive = 1.0  # of the autoencoder's scores (an inverse temperature); the linear path keeps its own
    residual_rate: NotNegative = 0.0  # the smaller, the slower R leaves the text
    linear_dim: Annotated[int, Within(0, 65_536)] = 0  # width of the linear path beside the autoencoder; 0 for none
    whitening: Share = 0.0  # of the item vectors: from 0, as they are, to 1, equal variance in all directions
    ease_weight: NotNegative | None = 0.0  # of EASE beside the autoencoder; None: the best on validation
    ease_regularization: Positive = 150.0
    ease_text_weight: NotNegative = 20.0  # of the item vectors in EASE's Gram matrix
    ease_recency: Recency = 0.75  # as `recency`, in the histories that EASE reads
    beta: NotNegative = 1.0
    learning_rate: Positive = 0.003


@dataclass(frozen=True)
class _Read:
    """What the encoder sees: N items of histories, and what each of them counts.

    Attributes:
        kept: (N,) as it is; what input dropout leaves counts the more.
        unit: (N,) in a history of length 1.
        share: (N,) in a history whose items count 1 together.
    """

    bag: Bag
    kept: Tensor
    unit: Tensor
    share: Tensor


class Network(VAENetwork):
    """Encoder and decoder; shapes are (users B, items I, hidden H, latent L, text D, linear path K).

    A query has D + K columns: the point of the text space that the users look for, and their linear part.
    """

    item_vectors: Tensor
    scale: Tensor  # of the autoencoder's scores, a number
    residual: Tensor | None  # (I, D)

    tables = ("embedding.weight", "residual", "linear_in.weight", "linear_out")

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
        self.projection = nn.Linear(config.latent_dim, text_dim)
        # The longer the histories, the more the items in them say by themselves, in the linear path.
        self.register_buffer("scale", torch.tensor(config.scale / mean_length**0.5))
        self.register_buffer("item_vectors", item_vectors, persistent=False)  # (I, D), frozen
        residual = nn.Parameter(torch.zeros(n_items, text_dim)) if config.residual_rate else None
        self.register_parameter("residual", residual)
        self.linear_in: nn.EmbeddingBag | None = None
        if config.linear_dim:
            self.linear_in = nn.EmbeddingBag(n_items, config.linear_dim, mode="sum", include_last_offset=True)
            self.linear_out = nn.Parameter(torch.empty(n_items, config.linear_dim))
            nn.init.normal_(self.linear_in.weight, std=config.linear_dim**-0.5)
            nn.init.normal_(self.linear_out, std=0.01)

    def output_vectors(self, items: Tensor | None = None) -> Tensor:
        """(I, D + K), or (S, D + K) of `items`: text vectors with their residual, beside the end of the linear path."""

        def rows(table: Tensor) -> Tensor:
            return table if items is None else F.embedding(items, table, sparse=self.sparse and table.requires_grad)

        vectors = rows(self.item_vectors)
        if self.residual is not None:
            vectors = vectors + self.config.residual_rate * rows(self.residual)
        return vectors if self.linear_in is None else torch.cat([vectors, rows(self.linear_out)], dim=1)

    def forward(self, bag: Bag) -> tuple[Tensor, Tensor, Tensor]:
        """Histories -> query (B, D + K), mu and log sigma^2 (B, L), with z = mu + sigma * eps in training."""
        read = self._read(bag)
        mu, log_variance = self._encode(read)
        query = self.projection(self.sample(mu, log_variance)) * self.scale
        if self.linear_in is not None:
            linear = self.linear_in(read.bag.items, read.bag.offsets, per_sample_weights=read.unit)
            query = torch.cat([query, linear], dim=1)
        return query, mu, log_variance

    def encode(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Histories -> mu (B, L) and log sigma^2 (B, L)."""
        return self._encode(self._read(bag))

    def _read(self, bag: Bag) -> _Read:
        """What the encoder sees of histories; where gradients are sparse, without the items that input dropout hides.

        In training all items count the same: what is hidden and to be foretold may be early as well as late.
        """
        counts = bag.by_recency(0.0 if self.training else self.config.recency)
        kept = F.dropout(counts, self.config.input_dropout, self.training)
        unit, share = kept * bag.spread(bag.total(counts**2).rsqrt()), kept * bag.spread(1 / bag.total(counts))
        if self.training and self.sparse:
            seen = kept > 0
            return _Read(bag.only(seen), kept[seen], unit[seen], share[seen])
        return _Read(bag, kept, unit, share)

    def _encode(self, read: _Read) -> tuple[Tensor, Tensor]:
        items, offsets = read.bag.items, read.bag.offsets
        entered = read.unit if self.config.normalised_input else read.kept
        summed = self.embedding(items, offsets, per_sample_weights=entered) + self.embedding_bias  # (B, H)
        if self.text is not None:
            mean = F.embedding_bag(  # (B, D)
                items,
                self.item_vectors,
                offsets,
                mode="sum",
                include_last_offset=True,
                per_sample_weights=read.share,
            )
            summed = summed + self.text(mean)
        hidden = self.hidden(summed)
        return self.mu(hidden), self.log_variance(hidden)


class Model(VAERecommender):
    """The recommender around the network, with EASE on interactions and text beside it.

    An item's score is its z-score among the autoencoder's scores for the user plus `weight` times that among EASE's.
    """

    name = "hybridvae"
    config_type = Config
    needs_vectors = True
    if_too_large = "lower hybridvae.hidden_dims, the first, or hybridvae.linear_dim"
    network: Network

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self.weight = _FIRST_WEIGHT if config.ease_weight is None else config.ease_weight
        self.ease: _EASE | None = None

    def table_width(self, text_dim: int) -> int:
        """The first layer's weights, R, and both ends of the linear path."""
        residual = text_dim if self.config.residual_rate else 0
        return int(self.config.hidden_dims[0] + residual + 2 * self.config.linear_dim)

    @property
    def fitted_config(self) -> Config:
        """The config with the weight of EASE: the first one, then that which validation chose; 0 if it is left out."""
        config: Config = replace(self.config, ease_weight=self.weight)
        return config

    @property
    def chosen(self) -> dict[str, float]:
        """The best epoch on validation, and the weight of EASE where no parameter says it."""
        return super().chosen | ({"ease_weight": self.weight} if self.config.ease_weight is None else {})

    def build(self, interactions: Interactions, item_vectors: Tensor | None) -> Network:
        """The untrained network around the item vectors, scaled for histories of this mean length."""
        assert item_vectors is not None  # fit and load see to it
        histories = interactions.histories
        mean_length = histories.nnz / max(1, np.count_nonzero(np.diff(histories.indptr)))
        return Network(self.config, item_vectors.float(), max(1.0, mean_length))

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """EASE; then the autoencoder as Mult-VAE's, on whitened vectors; then, where it is to be chosen, the weight.

        Where the weight is to be chosen and EASE's matrix does not fit into the memory, it is left out, which is said.

        The epoch is chosen with EASE at the weight that is given, or at a first one. The autoencoder ends in half
        precision, in which it is saved.

        Raises:
            BadDataError: there are no item vectors.
            BadParameterError: the loss is no number any more.
            NotEnoughMemoryError: the tables of items do not fit into what is free, or EASE, at a weight that is given,
                does not.
        """
        vectors = self.vectors_of(interactions)
        assert vectors is not None
        self.check_memory(interactions)
        if self.weight and not self._has_room_for_ease(interactions):
            self.weight = 0.0
        if self.weight and self.processes.first:  # which alone validates
            self.ease = self._untrained_ease().fit(interactions)
        white = replace(interactions, item_vectors=whitened(vectors, self.config.whitening))
        super().fit(white, validation=validation, on_epoch=on_epoch)
        with torch.no_grad():
            for weights in (*self.network.parameters(), self.network.scale):
                weights.copy_(weights.half())
        rounded = self.network.item_vectors.half().float()  # a copy: they may be the caller's own
        self.network.register_buffer("item_vectors", rounded, persistent=False)
        if self.config.ease_weight is None and self.ease is not None and validation is not None:
            self.weight = max(_WEIGHTS, key=lambda weight: self._at(weight, validation))
        return self

    def scores_of(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) histories -> (B, I) scores, the autoencoder's at z = mu."""
        scores = super().scores_of(histories)
        if self.ease is not None and self.weight:
            over_rows(partial(self._add_ease, self.ease, scores, histories), scores.shape)
        return scores

    def _add_ease(self, ease: "_EASE", scores: FloatArray, histories: sparse.csr_matrix, rows: slice) -> None:
        """In place, to some rows of the autoencoder's scores (B, I)."""
        block, beside = scores[rows], ease.scores_of(histories[rows])
        _standardise(block)
        _standardise(beside)
        beside *= self.weight
        block += beside

    @property
    def by_product(self) -> bool:
        """Only without EASE, whose z-scores are added."""
        return self.ease is None or not self.weight

    def needs(self, interactions: Interactions) -> Needs:
        """The autoencoder's, and EASE's where its weight is given: where it is to be chosen, EASE may be left out."""
        return self._needs_with_ease(interactions) if self.config.ease_weight else self.needs_of_network(interactions)

    def needs_of_network(self, interactions: Interactions) -> Needs:
        """The autoencoder's."""
        return super().needs(interactions)

    def _needs_with_ease(self, interactions: Interactions) -> Needs:
        of_ease = self._untrained_ease().needs(interactions)
        return {**self.needs_of_network(interactions), **{f"EASE's {what}": size for what, size in of_ease.items()}}

    def _has_room_for_ease(self, interactions: Interactions) -> bool:
        if self.config.ease_weight is not None:
            return True  # it was asked for: EASE itself refuses
        try:
            check_memory("hybridvae with EASE", self._needs_with_ease(interactions), "so it leaves out EASE")
        except NotEnoughMemoryError as error:
            warn(str(error))
            return False
        return True

    def _at(self, weight: float, validation: Validation) -> float:
        self.weight = weight
        return validation(self)

    def _untrained_ease(self) -> "_EASE":
        config = ease_text.Config(
            regularization=self.config.ease_regularization,
            recency=self.config.ease_recency,
            text_weight=self.config.ease_text_weight,
            whitening=self.config.whitening,
        )
        return _EASE(config, self.context)

    def tensors(self) -> dict[str, Tensor]:
        """The autoencoder's weights and item vectors in half precision, and EASE's arrays as they are."""
        tensors = super().tensors() | {"item_vectors": self.network.get_buffer("item_vectors")}
        tensors = {name: tensor.half() for name, tensor in tensors.items()}
        if self.ease is not None and self.weight:
            tensors |= {f"ease.{name}": torch.from_numpy(array) for name, array in self.ease.arrays().items()}
        return tensors

    def take(self, tensors: dict[str, Tensor], interactions: Interactions) -> None:
        """Take over what `tensors` gave."""
        of_ease = {name: tensors.pop(name).numpy() for name in list(tensors) if name.startswith("ease.")}
        super().take(tensors, interactions)
        if of_ease:
            self.ease = self._untrained_ease()
            self.ease.take({name.removeprefix("ease."): array for name, array in of_ease.items()}, interactions)


class _EASE(ease_text.Model):
    """EASE with text as a part of HybridVAE, whose parameters its errors name."""

    name = "hybridvae: EASE"
    if_too_large = "set hybridvae.ease_weight to 0"
    if_singular = "raise hybridvae.ease_regularization"


def _standardise(scores: FloatArray) -> None:
    """Give each row of (B, I) mean 0 and deviation 1, in place, or make it all zeros."""
    scores -= scores.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.einsum("bi,bi->b", scores, scores) / scores.shape[1])
    scores /= np.where(deviation > 0, deviation, 1)[:, None].astype(np.float32)
