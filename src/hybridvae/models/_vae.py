"""What the variational autoencoders share: histories as bags, the loss, the training loop.

A network encodes a history to a Gaussian in latent space, and decodes a latent point to a *query* (B, D);
the score of an item is the query's inner product with the item's output vector, plus its bias. Whether
output vectors are frozen text embeddings (HybridVAE) or learned weights (Mult-VAE) is the network's affair.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.config import (
    Count,
    CountOrZero,
    Epochs,
    NotNegative,
    Parameters,
    Positive,
    Recency,
    Within,
    read_config,
)
from hybridvae.data.interactions import Interactions, recency_weights
from hybridvae.device import choose_device
from hybridvae.errors import BadDataError
from hybridvae.files import atomic_path, write_json
from hybridvae.models import _training as training
from hybridvae.models._base import Context, EpochMetrics, OnEpoch, Validation
from hybridvae.seeds import derive_seed, random_generator


@dataclass(frozen=True)
class VAEConfig(Parameters):
    """The parameters of training, which both autoencoders have."""

    recency: Recency = 0.0  # an item of a history counts age^-recency: the latest 1, one of age 4 half that at 0.5
    target_recency: Recency = 0.0  # so much the loss asks for each item, in the same way
    beta: NotNegative = 0.2  # weight of the KL term once annealed
    anneal_epochs: CountOrZero = 20  # epochs over which the weight grows from 0 to beta
    learning_rate: Positive = 0.001  # at the start
    decay_steps: Annotated[int, Within(0, 1_000_000_000)] = (
        0  # steps after which half of it is left, a third after twice as many; 0: it stays
    )
    batch_size: Count = 256  # users
    clip_norm: Positive = 5.0  # of the gradient
    epochs: Epochs = 200  # at most
    patience: Epochs = 30  # epochs without a better validation figure before training stops
    validate_every: Epochs = 2  # epochs: on large catalogues a validation takes nearly as long as an epoch


@dataclass(frozen=True)
class Bag:
    """The histories of B users as one list: user b owns `items[offsets[b]:offsets[b + 1]]`.

    A user has a handful of positives among thousands of items, so a dense row is never built.
    """

    items: Tensor  # (N,) int64
    offsets: Tensor  # (B + 1,) int64
    ages: Tensor  # (N,) float32: 1 for the latest

    @classmethod
    def of(cls, histories: sparse.csr_matrix, device: torch.device) -> "Bag":
        """From (B, I) CSR of ages."""
        items, offsets = (torch.from_numpy(array.astype(np.int64)) for array in (histories.indices, histories.indptr))
        ages = torch.from_numpy(histories.data.astype(np.float32))
        return cls(items.to(device), offsets.to(device), ages.to(device))

    @property
    def lengths(self) -> Tensor:
        """(B,) number of positives."""
        return torch.diff(self.offsets)

    def spread(self, of_users: Tensor) -> Tensor:
        """(B,) -> (N,): what belongs to a user, for each item of the user's history."""
        return torch.repeat_interleave(of_users, self.lengths)

    def total(self, of_items: Tensor) -> Tensor:
        """(N,) -> (B,): the sum over each history."""
        owners = self.spread(torch.arange(len(self.lengths), device=of_items.device))
        return of_items.new_zeros(len(self.lengths)).index_add_(0, owners, of_items)

    def by_recency(self, recency: float) -> Tensor:
        """(N,) what each item counts, as `recency_weights` has it."""
        return recency_weights(self.ages, recency)

    def targets_by_recency(self, recency: float) -> Tensor | None:
        """(N,) what the loss asks for each item: age^-recency, of mean 1 in each history; None for ones."""
        if not recency:
            return None
        weights = self.by_recency(recency)
        return weights * self.spread(self.lengths / self.total(weights))


class VAENetwork(nn.Module, ABC):
    """Encoder, latent sample and decoder; shapes are (users B, items I, latent L, query D)."""

    output_bias: Tensor | None  # (I,), where the decoder has one

    @property
    @abstractmethod
    def output_vectors(self) -> Tensor:
        """(I, D): what a query is multiplied with."""

    @abstractmethod
    def encode(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Histories -> mu (B, L) and log sigma^2 (B, L)."""

    @abstractmethod
    def query(self, z: Tensor) -> Tensor:
        """(B, L) -> (B, D)."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is trained, as groups for the optimiser, which may set a `weight_decay` of their own."""
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

    def decode(self, query: Tensor, output_vectors: Tensor | None = None) -> Tensor:
        """(B, D) -> scores (B, I) = query @ output_vectors^T + output_bias.

        Args:
            output_vectors: where they have been put together before.
        """
        scores = query @ (self.output_vectors if output_vectors is None else output_vectors).T
        return scores if self.output_bias is None else scores + self.output_bias

    @abstractmethod
    def forward(self, bag: Bag) -> tuple[Tensor, Tensor, Tensor]:
        """Histories -> query (B, D), mu and log sigma^2 (B, L), the query at a sample of the latent space."""

    def sample(self, mu: Tensor, log_variance: Tensor) -> Tensor:
        """(B, L) z = mu + sigma * eps in training (Kingma & Welling 2014, section 2.4), z = mu otherwise."""
        return mu + torch.exp(0.5 * log_variance) * torch.randn_like(mu) if self.training else mu

    def reconstruction_loss(
        self, query: Tensor, bag: Bag, log_share: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Multinomial negative log-likelihood, the mean over users (Liang et al. 2018, equation 2); in nats.

        -sum_i x_ui log softmax(s_u)_i = n_u logsumexp(s_u) - sum of the scores of u's positives. The second
        term is the query's product with the sum of the positives' vectors, so that neither a dense target
        nor a gradient through single scores is needed. Each user must have a positive.

        Args:
            log_share: (I,) added to the scores in the softmax: -inf for items that must stay out of it.
            weights: (N,) in place of the ones in x; each history's must add up to its length.
        """
        scores = self.decode(query)
        if log_share is not None:
            scores = scores + log_share
        # logsumexp = cross entropy at any one item + its score: half the time of torch.logsumexp and its gradient.
        one = bag.items[bag.offsets[:-1]]
        logsumexp = F.cross_entropy(scores, one, reduction="none") + scores.gather(1, one[:, None])[:, 0]
        normaliser = (bag.lengths * logsumexp).sum()
        liked = F.embedding_bag(
            bag.items,
            self.output_vectors,
            bag.offsets,
            mode="sum",
            include_last_offset=True,
            per_sample_weights=weights,
        )  # (B, D)
        positive_scores = (query * liked).sum()
        if self.output_bias is not None:
            biases = self.output_bias[bag.items]
            positive_scores = positive_scores + (biases if weights is None else weights * biases).sum()
        return (normaliser - positive_scores) / len(query)


def kl_divergence(mu: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)), the mean over users (Kingma & Welling 2014, appendix B); in nats."""
    return -0.5 * (1 + log_variance - mu**2 - log_variance.exp()).sum(dim=1).mean()


class VAERecommender(ABC):
    """The recommender around a network: a model's file names itself, its config and its network."""

    name: ClassVar[str]
    config_type: ClassVar[type[VAEConfig]]
    needs_vectors: bool
    folds_in = True
    seeded = True

    def __init__(self, config: Any, context: Context) -> None:
        self.config = config
        self.context = context
        self.device = choose_device(context.device)
        self.record = training.FitRecord()
        self.network: VAENetwork
        self._output_vectors: Tensor | None = None  # put together once, of a network that is trained no more
        self.histories: sparse.csr_matrix

    @abstractmethod
    def build(self, interactions: Interactions, item_vectors: Tensor | None) -> VAENetwork:
        """The untrained network for such interactions."""

    @property
    def epochs(self) -> int:
        """The best epoch on validation."""
        return self.record.best_epoch

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """Minimise reconstruction + beta(t) KL with Adam, its weight decay decoupled (Loshchilov & Hutter 2019).

        Raises:
            BadDataError: the interactions lack wanted item vectors.
            BadParameterError: the loss is no number any more.
        """
        vectors = interactions.item_vectors if self.needs_vectors else None
        if self.needs_vectors and vectors is None:
            raise BadDataError(f"{self.name} decodes into text embeddings: fit it with item vectors.")
        config, seed = self.config, self.context.seed
        self._output_vectors = None
        self.histories = interactions.histories
        torch.manual_seed(derive_seed(seed, self.name, "start"))
        network = self.build(interactions, None if vectors is None else torch.from_numpy(vectors))
        self.network = network.to(self.device)
        groups = self.network.parameter_groups()
        trained = [parameter for group in groups for parameter in group["params"]]
        fused = self.device.type in ("cpu", "cuda")
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=0.0, fused=fused)
        warm = interactions.warm
        # Items of which nothing may be known yet are no alternatives that a user passed over.
        log_share = None if warm.all() else torch.from_numpy(np.where(warm, 0, -np.inf).astype("f")).to(self.device)

        learners = np.flatnonzero(np.diff(self.histories.indptr))  # users with a history
        steps = -(-len(learners) // config.batch_size)

        def train_epoch(epoch: int) -> EpochMetrics:
            torch.manual_seed(derive_seed(seed, self.name, "epoch", epoch))
            order = random_generator(seed, self.name, "order", epoch).permutation(learners)
            self.network.train()
            sums = torch.zeros(2, device=self.device)
            beta = 0.0
            for step in range(steps):
                users = order[step * config.batch_size : (step + 1) * config.batch_size]
                done = (epoch - 1) * steps + step
                beta = self._beta(done, steps)
                for group in optimizer.param_groups:
                    group["lr"] = self._learning_rate(done)
                bag = Bag.of(self.histories[users], self.device)
                query, mu, log_variance = self.network(bag)
                targets = bag.targets_by_recency(config.target_recency)
                reconstruction = self.network.reconstruction_loss(query, bag, log_share, targets)
                kl = kl_divergence(mu, log_variance)
                optimizer.zero_grad()
                torch.autograd.backward(reconstruction + beta * kl)
                nn.utils.clip_grad_norm_(trained, config.clip_norm)
                optimizer.step()
                sums += torch.stack([reconstruction.detach(), kl.detach()]) * len(users)
            reconstruction_mean, kl_mean = (sums / len(order)).tolist()
            loss = training.checked_loss(reconstruction_mean + beta * kl_mean, epoch, self.name)
            return {"loss": loss, "reconstruction": reconstruction_mean, "kl": kl_mean, "beta": beta}

        self.record = training.train_epochs(
            self.network,
            optimizer,
            config,
            train_epoch=train_epoch,
            validate=(lambda: validation(self)) if validation else None,
            on_epoch=on_epoch,
            state=training.state_folder(
                self.name, config, self.context, self.device, interactions, vectors=vectors, validation=validation
            ),
        )
        return self

    def scores(self, users: IntArray) -> FloatArray:
        """(B,) -> (B, I), at z = mu."""
        return self.scores_of(self.histories[users])

    @torch.inference_mode()
    def scores_of(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) histories -> (B, I) scores, at z = mu."""
        self.network.eval()
        query, _, _ = self.network(Bag.of(histories, self.device))
        scores: FloatArray = self.network.decode(query, self._output_vectors).cpu().numpy()
        return scores

    @torch.inference_mode()
    def latent_means(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) histories -> (B, L): the means mu of their users in latent space."""
        self.network.eval()
        means: FloatArray = self.network.encode(Bag.of(histories, self.device))[0].cpu().numpy()
        return means

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` (weights, and item vectors where there are) and `config.json`."""
        tensors = dict(self.network.state_dict())
        if self.needs_vectors:
            tensors["item_vectors"] = self.network.get_buffer("item_vectors")
        with atomic_path(folder / "model.safetensors") as partial:
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, partial)
        write_json(folder / "config.json", asdict(self.config))

    @classmethod
    def load(cls, folder: Path, interactions: Interactions, context: Context) -> Self:
        """Read what `save` wrote."""
        model = cls(read_config(cls.config_type, folder), context)
        tensors = load_file(folder / "model.safetensors")
        model.network = model.build(interactions, tensors.pop("item_vectors", None))
        model.network.load_state_dict(tensors)
        model.network.to(model.device)
        model._output_vectors = model.network.output_vectors.detach()
        model.histories = interactions.histories
        return model

    def _beta(self, step: int, steps_an_epoch: int) -> float:
        """The weight of the KL term: linear from 0 to beta over `anneal_epochs`, counted in steps."""
        annealing = self.config.anneal_epochs * steps_an_epoch
        share = min(1.0, step / annealing) if annealing else 1.0
        return float(self.config.beta * share)

    def _learning_rate(self, step: int) -> float:
        """Inverse time decay, which asks for no number of steps in advance."""
        rate, half = self.config.learning_rate, self.config.decay_steps
        return float(rate / (1 + step / half) if half else rate)
