"""HybridVAE: a variational autoencoder that reads interactions and answers in the space of item text.

The encoder and the multinomial likelihood are those of Mult-VAE (Liang et al. 2018, "Variational
Autoencoders for Collaborative Filtering", equations 2 and 7); the decoder scores an item by the inner
product of the projected latent vector with the item's frozen Sentence-BERT vector.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from hybridvae import training
from hybridvae.config import parse_config
from hybridvae.errors import HybridVAEError
from hybridvae.files import atomic_path, read_json, sha256_of, write_json
from hybridvae.interactions import FloatArray, IntArray, Interactions
from hybridvae.models import Context, EpochMetrics, OnEpoch, Validation
from hybridvae.seeds import derive_seed, random_generator

_NAME = "hybridvae"


@dataclass(frozen=True)
class Config:
    """The block `hybridvae` of params.yaml."""

    latent_dim: int = 128
    hidden_dims: tuple[int, ...] = (512,)
    dropout: float = 0.5  # after each hidden layer
    projection: Literal["linear", "two_layer"] = "linear"  # latent -> text space
    learned_scale: bool = False  # multiply the scores by a learned number (a temperature)
    beta: float = 1.0  # weight of the KL term once annealed
    anneal_epochs: int = 20  # epochs over which the weight grows from 0 to beta
    learning_rate: float = 0.003
    batch_size: int = 256  # users
    clip_norm: float = 5.0  # of the gradient
    epochs: int = 200  # at most
    patience: int = 50  # epochs without a better validation figure before training stops

    def __post_init__(self) -> None:
        if min(self.latent_dim, self.batch_size, self.epochs, self.patience, *self.hidden_dims) < 1:
            raise ValueError("latent_dim, hidden_dims, batch_size, epochs and patience must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must lie in [0, 1)")
        if self.beta < 0 or self.anneal_epochs < 0 or self.learning_rate <= 0 or self.clip_norm <= 0:
            raise ValueError(
                "beta and anneal_epochs must not be negative; learning_rate and clip_norm must be positive"
            )


@dataclass(frozen=True)
class Bag:
    """The positives of B users as one list: user b owns `items[offsets[b]:offsets[b + 1]]`.

    A user has a handful of positives among thousands of items, so a dense row is never built.
    """

    items: Tensor  # (N,) int64
    offsets: Tensor  # (B + 1,) int64

    @classmethod
    def of(cls, histories: sparse.csr_matrix, device: torch.device) -> "Bag":
        """From (B, I) CSR."""
        items, offsets = (torch.from_numpy(array.astype(np.int64)) for array in (histories.indices, histories.indptr))
        return cls(items.to(device), offsets.to(device))

    @property
    def lengths(self) -> Tensor:
        """(B,) number of positives."""
        return torch.diff(self.offsets)


class Network(nn.Module):
    """Encoder, latent sample and frozen decoder; shapes are (users B, items I, hidden H, latent L, text D)."""

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
        self.register_buffer("item_vectors", item_vectors, persistent=False)  # (I, D), frozen

    def encode(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Histories -> mu (B, L) and log sigma^2 (B, L)."""
        hidden = self.hidden(self.embedding(bag.items, bag.offsets) + self.embedding_bias)  # (B, H)
        return self.mu(hidden), self.log_variance(hidden)

    def query(self, z: Tensor) -> Tensor:
        """(B, L) -> (B, D): the point of the text space that the users are looking for."""
        projected: Tensor = self.projection(z) * self.log_scale.exp()
        return projected

    def decode(self, query: Tensor) -> Tensor:
        """(B, D) -> scores (B, I) = E @ query."""
        return query @ self.item_vectors.T

    def forward(self, bag: Bag) -> tuple[Tensor, Tensor, Tensor]:
        """Histories -> query (B, D), mu and log sigma^2 (B, L), with z = mu + sigma * eps in training."""
        mu, log_variance = self.encode(bag)
        z = mu + torch.exp(0.5 * log_variance) * torch.randn_like(mu) if self.training else mu
        return self.query(z), mu, log_variance

    def reconstruction_loss(self, query: Tensor, bag: Bag) -> Tensor:
        """Multinomial negative log-likelihood, the mean over users (Liang et al. 2018, equation 2); in nats.

        -sum_i x_ui log softmax(s_u)_i = n_u logsumexp(s_u) - sum of the scores of u's positives. The second
        term is the query's product with the sum of the positives' vectors, so that neither a dense target
        nor a gradient through single scores is needed.
        """
        liked = F.embedding_bag(
            bag.items, self.item_vectors, bag.offsets, mode="sum", include_last_offset=True
        )  # (B, D)
        normaliser = (bag.lengths * torch.logsumexp(self.decode(query), dim=1)).sum()
        return (normaliser - (query * liked).sum()) / len(query)


def kl_divergence(mu: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)), the mean over users (Kingma & Welling 2014, appendix B); in nats."""
    return -0.5 * (1 + log_variance - mu**2 - log_variance.exp()).sum(dim=1).mean()


class Model:
    """The recommender around the network."""

    needs_vectors = True
    folds_in = True

    def __init__(self, config: Config, context: Context) -> None:
        self.config = config
        self.context = context
        self.device = training.choose_device(context.device)
        self.progress = training.Progress()
        self.network: Network
        self.positives: sparse.csr_matrix

    @property
    def epochs(self) -> int:
        """The best epoch on validation."""
        return self.progress.best_epoch

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """Minimise reconstruction + beta(t) KL with Adam.

        Raises:
            HybridVAEError: the interactions bring no item vectors, or the loss is no number any more.
        """
        if interactions.item_vectors is None:
            raise HybridVAEError(f"{_NAME} decodes into text embeddings: fit it with item vectors.")
        self.positives = interactions.positives
        torch.manual_seed(derive_seed(self.context.seed, _NAME, "start"))
        self.network = Network(self.config, torch.from_numpy(interactions.item_vectors)).to(self.device)
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        fused = self.device.type in ("cpu", "cuda")
        optimizer = torch.optim.Adam(trained, lr=self.config.learning_rate, fused=fused)

        learners = np.flatnonzero(np.diff(self.positives.indptr))  # users with a history
        steps = -(-len(learners) // self.config.batch_size)

        def train_epoch(epoch: int) -> EpochMetrics:
            torch.manual_seed(derive_seed(self.context.seed, _NAME, "epoch", epoch))
            order = random_generator(self.context.seed, _NAME, "order", epoch).permutation(learners)
            self.network.train()
            sums = torch.zeros(2, device=self.device)
            beta = 0.0
            for step in range(steps):
                users = order[step * self.config.batch_size : (step + 1) * self.config.batch_size]
                beta = self._beta((epoch - 1) * steps + step, steps)
                bag = Bag.of(self.positives[users], self.device)
                query, mu, log_variance = self.network(bag)
                reconstruction, kl = self.network.reconstruction_loss(query, bag), kl_divergence(mu, log_variance)
                optimizer.zero_grad()
                torch.autograd.backward(reconstruction + beta * kl)
                nn.utils.clip_grad_norm_(trained, self.config.clip_norm)
                optimizer.step()
                sums += torch.stack([reconstruction.detach(), kl.detach()]) * len(users)
            reconstruction_mean, kl_mean = (sums / len(order)).tolist()
            loss = reconstruction_mean + beta * kl_mean
            if not np.isfinite(loss):
                raise HybridVAEError(f"{_NAME}: the loss of epoch {epoch} is {loss}: lower {_NAME}.learning_rate.")
            return {"loss": loss, "reconstruction": reconstruction_mean, "kl": kl_mean, "beta": beta}

        state = self.context.state
        self.progress = training.train_epochs(
            self.network,
            optimizer,
            epochs=self.config.epochs,
            patience=self.config.patience,
            train_epoch=train_epoch,
            validate=(lambda: validation(self)) if validation else None,
            on_epoch=on_epoch,
            state=state.folder(self._fingerprint(interactions, validation is not None)) if state else None,
        )
        return self

    def scores(self, users: IntArray) -> FloatArray:
        """(B,) -> (B, I), at z = mu."""
        return self.scores_of(self.positives[users])

    @torch.inference_mode()
    def scores_of(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) histories -> (B, I) scores."""
        self.network.eval()
        query, _, _ = self.network(Bag.of(histories, self.device))
        scores: FloatArray = self.network.decode(query).cpu().numpy()
        return scores

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` (weights and item vectors) and `config.json`."""
        tensors = self.network.state_dict() | {"item_vectors": self.network.item_vectors}
        with atomic_path(folder / "model.safetensors") as partial:
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, partial)
        write_json(folder / "config.json", asdict(self.config))

    @classmethod
    def load(cls, folder: Path, interactions: Interactions, context: Context) -> Self:
        """Read what `save` wrote."""
        config = parse_config(Config, read_json(folder / "config.json"), where=str(folder / "config.json"))
        model = cls(config, context)
        tensors = load_file(folder / "model.safetensors")
        model.network = Network(config, tensors.pop("item_vectors"))
        model.network.load_state_dict(tensors)
        model.network.to(model.device)
        model.positives = interactions.positives
        return model

    def _beta(self, step: int, steps_an_epoch: int) -> float:
        """The weight of the KL term: linear from 0 to beta over `anneal_epochs`, counted in steps."""
        annealing = self.config.anneal_epochs * steps_an_epoch
        return self.config.beta * min(1.0, step / annealing) if annealing else self.config.beta

    def _fingerprint(self, interactions: Interactions, validated: bool) -> str:
        """A name for all that decides the outcome of a fit, the code that runs it included."""
        digest = hashlib.sha256()
        code = [sha256_of(Path(file)) for file in (__file__, str(training.__file__))]
        facts = [asdict(self.config), self.context.seed, str(self.device), torch.__version__, validated, code]
        digest.update(json.dumps(facts).encode())
        for array in (self.positives.indptr, self.positives.indices, interactions.item_vectors):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:32]
