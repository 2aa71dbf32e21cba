"""What the models share that are a network fitted in epochs; the loop itself is in `_training.py`."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from scipy import sparse

from hybridvae.arrays import FloatArray
from hybridvae.config import Parameters
from hybridvae.data.interactions import Interactions
from hybridvae.device import choose_device
from hybridvae.errors import BadDataError
from hybridvae.memory import Needs, check_memory, free_on
from hybridvae.models import _training as training
from hybridvae.models._base import Context, EpochMetrics, OnEpoch, StateFolder, Validation
from hybridvae.models._processes import ALONE, Processes


class EpochRecommender:
    """The recommender around a network: a model's file names itself and its config, and fits the network."""

    name: ClassVar[str]
    config_type: ClassVar[type[Parameters]]
    needs_vectors = False
    folds_in = True
    seeded = True
    if_too_large = "use a machine with more memory"
    in_processes = False  # whether several processes can fit it together
    sparse_matrices = False  # whether the network multiplies with some, which Apple's devices cannot

    def __init__(self, config: Any, context: Context) -> None:
        self.config = config
        self.context = context
        self.processes = Processes.launched() if self.in_processes else ALONE
        device = choose_device(context.device)
        self.device = torch.device("cpu") if self.sparse_matrices and device.type == "mps" else device
        self.record = training.FitRecord()
        self.histories: sparse.csr_matrix

    @property
    def chosen(self) -> dict[str, float]:
        """The best epoch on validation."""
        return {"epochs": self.record.best_epoch} if self.record.best_epoch else {}

    @property
    def fitted_config(self) -> Any:
        """The config with what the fit itself decided in it: what is saved, and what an interrupted fit goes on by."""
        return self.config

    def vectors_of(self, interactions: Interactions) -> FloatArray | None:
        """The item vectors (I, D) where the model reads them, else None.

        Raises:
            BadDataError: it reads them, and there are none.
        """
        if not self.needs_vectors:
            return None
        if interactions.item_vectors is None:
            raise BadDataError(f"{self.name} reads text embeddings: fit it with item vectors.")
        return interactions.item_vectors

    def needs(self, interactions: Interactions) -> Needs:
        """About what `fit` holds at once: what -> bytes."""
        raise NotImplementedError

    def needs_of_network(self, interactions: Interactions) -> Needs:
        """That which lies on the device."""
        return self.needs(interactions)

    def check_memory(self, interactions: Interactions) -> None:
        """Refuse a network that does not fit into what is free, on a GPU into its memory; each process has its own.

        Raises:
            NotEnoughMemoryError: it does not.
        """
        shared = self.processes.here if self.device.type == "cpu" else 1
        needs = {what: size * shared for what, size in self.needs_of_network(interactions).items()}
        check_memory(self.name, needs, self.if_too_large, free=free_on(self.device.type))

    def train(
        self,
        network: torch.nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        interactions: Interactions,
        train_epoch: Callable[[int], EpochMetrics],
        *,
        validation: Validation | None,
        on_epoch: OnEpoch | None,
        before_validation: Callable[[], None] = lambda: None,
    ) -> None:
        """Run the epochs, and leave the chosen weights in the network; `_training.train_epochs` says more.

        Args:
            before_validation: puts together what scores are made of.

        Raises:
            BadParameterError: the loss is no number any more.
        """

        def checked_epoch(epoch: int) -> EpochMetrics:
            metrics = train_epoch(epoch)
            training.checked_loss(metrics["loss"], epoch, self.name)
            return metrics

        def validate() -> float:
            assert validation is not None
            before_validation()
            return validation(self)  # type: ignore[arg-type]  # a subclass has `load`

        self.record = training.train_epochs(
            network,
            optimizers,
            self.config,
            train_epoch=checked_epoch,
            validate=validate if validation else None,
            on_epoch=on_epoch,
            state=self._state(interactions, validation) if self.processes.first else None,
            processes=self.processes,
        )

    def _state(self, interactions: Interactions, validation: Validation | None) -> StateFolder | None:
        return training.state_folder(
            self.name,
            self.fitted_config,
            self.context,
            self.device,
            interactions,
            vectors=self.vectors_of(interactions),
            validation=validation,
            processes=self.processes.number,
        )
