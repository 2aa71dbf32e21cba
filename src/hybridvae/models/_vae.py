"""What the variational autoencoders share: histories as bags, the loss, the training loop.

A network encodes a history to a Gaussian in latent space, and decodes a latent point to a *query* (B, D);
the score of an item is the query's inner product with the item's output vector, plus its bias. Whether
output vectors are frozen text embeddings (HybridVAE) or learned weights (Mult-VAE) is the network's affair.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
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
from hybridvae.files import atomic_path, write_json
from hybridvae.memory import Needs
from hybridvae.models._base import Context, EpochMetrics, OnEpoch, Validation
from hybridvae.models._epochs import EpochRecommender
from hybridvae.models._row_adam import RowAdam
from hybridvae.models._softmax import log_normaliser
from hybridvae.seeds import derive_seed, random_generator


@dataclass(frozen=True)
class VAEConfig(Parameters):
    """The parameters of training, which both autoencoders have."""

    recency: Recency = 0.0  # an item of a history counts age^-recency: the latest 1, one of age 4 half that at 0.5
    target_recency: Recency = 0.0  # so much the loss asks for each item, in the same way
    softmax_items: CountOrZero = 0  # drawn for the softmax of a step, beside the items of its histories; 0: all
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

    def only(self, chosen: Tensor) -> "Bag":
        """The same users, with those of their items that are `chosen`, (N,) bool."""
        before = F.pad(chosen.cumsum(0), (1, 0))
        return Bag(self.items[chosen], before[self.offsets], self.ages[chosen])

    def by_recency(self, recency: float) -> Tensor:
        """(N,) what each item counts, as `recency_weights` has it."""
        return recency_weights(self.ages, recency)

    def targets_by_recency(self, recency: float) -> Tensor | None:
        """(N,) what the loss asks for each item: age^-recency, of mean 1 in each history; None for ones."""
        if not recency:
            return None
        weights = self.by_recency(recency)
        return weights * self.spread(self.lengths / self.total(weights))


@dataclass(frozen=True)
class Alternatives:
    """The items that the softmax of a step is over.

    Attributes:
        items: (S,) ascending; None for all.
        place: (I,) the place of an item among them.
        log_weight: (S,) how many items of the catalogue one stands for, as a logarithm; None where each is one.
    """

    items: Tensor | None = None
    place: Tensor | None = None
    log_weight: Tensor | None = None

    @classmethod
    def of(cls, items: Tensor, n_items: int, log_weight: Tensor | None = None) -> "Alternatives":
        """These (S,) of `n_items` items."""
        place = items.new_zeros(n_items)
        place[items] = torch.arange(len(items), device=items.device)
        return cls(items, place, log_weight)

    @classmethod
    def drawn(cls, liked: Tensor, draws: Tensor, n_warm: int, n_items: int) -> "Alternatives":
        """The items of a step's histories, `liked`, and those of draws from the warm ones, with repetition.

        Each of the latter stands for 1 / (its chance to be drawn) items, so that the softmax's denominator is right
        in the mean (Bengio & Senecal 2008, "Adaptive Importance Sampling to Accelerate Training of a Neural
        Probabilistic Language Model", section II).

        Args:
            liked: (N,) int64.
            draws: (S,) int64, each of the `n_warm` warm items as likely.
        """
        items = torch.unique(torch.cat([liked, draws]))
        in_histories = torch.zeros(n_items, dtype=torch.bool, device=liked.device).index_fill(0, liked, True)
        chance = -math.expm1(len(draws) * math.log1p(-1 / n_warm))
        log_weight = torch.where(in_histories[items], 0.0, -math.log(chance))
        return cls.of(items, n_items, log_weight)


class VAENetwork(nn.Module, ABC):
    """Encoder, latent sample and decoder; shapes are (users B, items I, latent L, query D).

    Attributes:
        tables: names of the parameters with a row an item.
        sparse: whether a step's gradients of these hold its rows alone; then `output_vectors` is asked for items.
    """

    tables: ClassVar[tuple[str, ...]]
    sparse = False

    @abstractmethod
    def output_vectors(self, items: Tensor | None = None) -> Tensor:
        """(I, D): what a query is multiplied with; (S, D) of the `items` (S,)."""

    def set_sparse(self, sparse: bool) -> None:
        """Whether the gradients of `tables` are sparse from now on."""
        self.sparse = sparse
        for module in self.modules():
            if isinstance(module, nn.EmbeddingBag):
                module.sparse = sparse

    @abstractmethod
    def encode(self, bag: Bag) -> tuple[Tensor, Tensor]:
        """Histories -> mu (B, L) and log sigma^2 (B, L)."""

    @abstractmethod
    def forward(self, bag: Bag) -> tuple[Tensor, Tensor, Tensor]:
        """Histories -> query (B, D), mu and log sigma^2 (B, L), the query at a sample of the latent space."""

    def sample(self, mu: Tensor, log_variance: Tensor) -> Tensor:
        """(B, L) z = mu + sigma * eps in training (Kingma & Welling 2014, section 2.4), z = mu otherwise."""
        return mu + torch.exp(0.5 * log_variance) * torch.randn_like(mu) if self.training else mu

    def reconstruction_loss(
        self, query: Tensor, bag: Bag, among: Alternatives | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Multinomial negative log-likelihood, the mean over users (Liang et al. 2018, equation 2); in nats.

        -sum_i x_ui log softmax(s_u)_i = n_u logsumexp(s_u) - sum of the scores of u's positives. The second
        term is the query's product with the sum of the positives' vectors, so that neither a dense target
        nor a gradient through single scores is needed. Each user must have a positive.

        Args:
            among: the items of the softmax, by default all; all in `bag` must be there.
            weights: (N,) in place of the ones in x; each history's must add up to its length.
        """
        among = among or Alternatives()
        vectors = self.output_vectors(among.items)  # (S, D)
        liked = F.embedding_bag(
            bag.items if among.place is None else among.place[bag.items],
            vectors,
            bag.offsets,
            mode="sum",
            include_last_offset=True,
            per_sample_weights=weights,
        )  # (B, D)
        positive_scores = (query * liked).sum()
        normaliser = log_normaliser(query, vectors, bag.lengths.float(), among.log_weight)
        return (normaliser - positive_scores) / len(query)


def kl_divergence(mu: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)), the mean over users (Kingma & Welling 2014, appendix B); in nats."""
    return -0.5 * (1 + log_variance - mu**2 - log_variance.exp()).sum(dim=1).mean()


def clip_gradient(parameters: Iterable[nn.Parameter], longest: float) -> None:
    """Scale a gradient, parts of which may be sparse, to a length of at most `longest`."""
    parts = []
    for parameter in parameters:
        if parameter.grad is not None:
            if parameter.grad.is_sparse:
                parameter.grad = parameter.grad.coalesce()
            parts.append(parameter.grad.values() if parameter.grad.is_sparse else parameter.grad)
    length = torch.nn.utils.get_total_norm(parts)
    share = torch.clamp(longest / (length + 1e-6), max=1.0)
    for part in parts:
        part.mul_(share)


class VAERecommender(EpochRecommender):
    """The recommender around a network: a model's file names itself, its config and its network."""

    network: VAENetwork
    in_processes = True

    @abstractmethod
    def table_width(self, text_dim: int) -> int:
        """How many numbers the network learns of each item, whose text vector has `text_dim`."""

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self._output_vectors: Tensor | None = None  # put together once, of a network that is trained no more

    @abstractmethod
    def build(self, interactions: Interactions, item_vectors: Tensor | None) -> VAENetwork:
        """The untrained network for such interactions."""

    def needs(self, interactions: Interactions) -> Needs:
        """The tables of items and the best ones, with the moments of Adam and a gradient, or those of `RowAdam`."""
        sparse = 0 < self.config.softmax_items < interactions.n_items
        text = interactions.text_dim if self.needs_vectors else 0
        table = interactions.n_items * self.table_width(text)
        return {
            "the tables of items with their moments": (12 if sparse else 28) * table,
            "the item vectors": 8 * interactions.n_items * text,
        }

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """Minimise reconstruction + beta(t) KL with Adam; by several processes where torchrun started them.

        Raises:
            BadDataError: the interactions lack wanted item vectors.
            BadParameterError: the loss is no number any more.
        """
        vectors = self.vectors_of(interactions)
        self.check_memory(interactions)
        config, seed, n_items = self.config, self.context.seed, interactions.n_items
        self.histories = interactions.histories
        self._output_vectors = None
        torch.manual_seed(derive_seed(seed, self.name, "start"))
        network = self.build(interactions, None if vectors is None else torch.from_numpy(vectors))
        self.network = network.to(self.device)
        # Items of which nothing may be known yet are no alternatives that a user passed over.
        warm = torch.from_numpy(np.flatnonzero(interactions.warm)).to(self.device)
        all_items = Alternatives() if len(warm) == n_items else Alternatives.of(warm, n_items)
        drawing = 0 < config.softmax_items < len(warm)
        optimizers = self._optimizers(sparse_tables=drawing)

        learners = np.flatnonzero(np.diff(self.histories.indptr))  # users with a history
        steps = -(-len(learners) // config.batch_size)

        processes = self.processes

        def alternatives(items: IntArray) -> Alternatives:
            draws = warm[torch.randint(len(warm), (config.softmax_items,), device=self.device)]
            liked = torch.from_numpy(items.astype(np.int64)).to(self.device)
            return Alternatives.drawn(liked, processes.of_first(draws), len(warm), n_items)

        def train_epoch(epoch: int) -> EpochMetrics:
            torch.manual_seed(derive_seed(seed, self.name, "epoch", epoch, *processes.name))
            order = random_generator(seed, self.name, "order", epoch).permutation(learners)
            self.network.train()
            self._output_vectors = None
            sums = torch.zeros(2, device=self.device)
            beta = 0.0
            for step in range(steps):
                users = order[step * config.batch_size : (step + 1) * config.batch_size]
                done = (epoch - 1) * steps + step
                beta = self._beta(done, steps)
                for group in itertools.chain(*(optimizer.param_groups for optimizer in optimizers)):
                    group["lr"] = self._learning_rate(done)
                histories = self.histories[users]
                among = alternatives(histories.indices) if drawing else all_items
                own, weight = processes.share(histories)
                bag = Bag.of(own, self.device)
                query, mu, log_variance = self.network(bag)
                targets = bag.targets_by_recency(config.target_recency)
                reconstruction = self.network.reconstruction_loss(query, bag, among, targets)
                kl = kl_divergence(mu, log_variance)
                self.network.zero_grad()
                torch.autograd.backward((reconstruction + beta * kl) * weight)
                processes.add_gradients(self.network.parameters())
                clip_gradient(self.network.parameters(), config.clip_norm)
                for optimizer in optimizers:
                    optimizer.step()
                sums += torch.stack([reconstruction.detach(), kl.detach()]) * (weight * len(users))
            reconstruction_mean, kl_mean = (processes.added(sums) / len(order)).tolist()
            loss = reconstruction_mean + beta * kl_mean
            return {"loss": loss, "reconstruction": reconstruction_mean, "kl": kl_mean, "beta": beta}

        self.train(self.network, optimizers, interactions, train_epoch, validation=validation, on_epoch=on_epoch)
        self._output_vectors = None
        return self

    def scores(self, users: IntArray) -> FloatArray:
        """(B,) -> (B, I)."""
        return self.scores_of(self.histories[users])

    @torch.inference_mode()
    def scores_of(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) histories -> (B, I) scores, at z = mu."""
        scores: FloatArray = (self._queries(histories) @ self._vectors_of_items().T).cpu().numpy()
        return scores

    @property
    def by_product(self) -> bool:
        """Whether scores are the inner products of `queries` with `vectors_of_items`, and nothing else."""
        return True

    @torch.inference_mode()
    def queries(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) histories -> (B, D), at z = mu."""
        queries: FloatArray = self._queries(histories).cpu().numpy()
        return queries

    @torch.inference_mode()
    def vectors_of_items(self) -> FloatArray:
        """(I, D): what a query is multiplied with."""
        vectors: FloatArray = self._vectors_of_items().cpu().numpy()
        return vectors

    def _queries(self, histories: sparse.csr_matrix) -> Tensor:
        self.network.eval()
        query: Tensor = self.network(Bag.of(histories, self.device))[0]
        return query

    def _vectors_of_items(self) -> Tensor:
        if self._output_vectors is None:
            self._output_vectors = self.network.output_vectors().detach()
        return self._output_vectors

    def _optimizers(self, *, sparse_tables: bool) -> list[torch.optim.Optimizer]:
        """Adam; with `sparse_tables` one of its own for the tables of items, which moves the rows of a step alone."""
        self.network.set_sparse(sparse_tables)
        tables: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in self.network.named_parameters():
            (tables if sparse_tables and name in self.network.tables else others).append(parameter)
        fused, rate = self.device.type in ("cpu", "cuda"), self.config.learning_rate
        dense = torch.optim.Adam(others, lr=rate, fused=fused)
        return [dense, RowAdam(tables, lr=rate)] if tables else [dense]

    @torch.inference_mode()
    def latent_means(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) histories -> (B, L): the means mu of their users in latent space."""
        self.network.eval()
        means: FloatArray = self.network.encode(Bag.of(histories, self.device))[0].cpu().numpy()
        return means

    def tensors(self) -> dict[str, Tensor]:
        """What is saved of the fit."""
        return dict(self.network.state_dict())

    def take(self, tensors: dict[str, Tensor], interactions: Interactions) -> None:
        """Take over what `tensors` gave."""
        self.network = self.build(interactions, tensors.pop("item_vectors", None))
        self.network.load_state_dict(tensors)
        self.network.to(self.device)
        self.histories = interactions.histories

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` and `config.json`."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.tensors().items()}
        with atomic_path(folder / "model.safetensors") as partial:
            save_file(tensors, partial)
        write_json(folder / "config.json", asdict(self.fitted_config))

    @classmethod
    def load(cls, folder: Path, interactions: Interactions, context: Context) -> Self:
        """Read what `save` wrote."""
        model = cls(read_config(cls.config_type, folder), context)
        model.take(load_file(folder / "model.safetensors"), interactions)
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
