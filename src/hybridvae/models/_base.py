"""What a model is: the protocol that every file of this room keeps, and what a fit is given."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from scipy import sparse

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.data.interactions import Interactions

EpochMetrics = dict[str, float]
OnEpoch = Callable[[int, EpochMetrics], None]
Validation = Callable[["Recommender"], float]


class FitState:
    """Folders in which fits keep what they need to go on after a kill, one a fingerprint.

    The fingerprint covers parameters, data and the modules that decide the result, so that a fit never goes on from
    the state of another one.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._used: list[Path] = []

    def folder(self, fingerprint: str) -> Path:
        """The folder of one fit."""
        self._used.append(self._root / fingerprint)
        return self._used[-1]

    def forget(self) -> None:
        """Remove the folders handed out, once the results are safe."""
        for folder in self._used:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Context:
    """Where a fit happens.

    Attributes:
        seed: root seed; models derive theirs from it and their own name.
        device: "auto", "cpu", "cuda" or "mps"; only models in PyTorch look at it.
        state: keeps interrupted fits; None to keep none.
    """

    seed: int = 0
    device: str = "auto"
    state: FitState | None = None


class Recommender(Protocol):
    """What every model can do.

    Attributes:
        needs_vectors: whether `fit` wants `interactions.item_vectors`.
        folds_in: whether it is a `FoldingRecommender`, which takes histories of users who were not fitted on.
        seeded: whether the seed changes the outcome, so that several seeds are worth a run each.
    """

    needs_vectors: bool
    folds_in: bool
    seeded: bool

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """Fit on the positives (or ratings) and return self.

        Args:
            validation: gives the figure (higher is better) that chooses the epoch; without it the
                model trains for exactly its configured epochs. Models without epochs ignore it.
            on_epoch: called after each epoch with its number from 1 and its figures, restored epochs
                of an interrupted fit included.
        """
        ...

    def scores(self, users: IntArray) -> FloatArray:
        """(B,) user indices -> (B, I) float32; higher is better, and every score is finite."""
        ...

    @property
    def epochs(self) -> int:
        """The epochs that a fit without validation should take; 0 for models without epochs."""
        ...

    def save(self, folder: Path) -> None:
        """Write the fitted parameters: no ratings, no pickles."""
        ...

    @classmethod
    def load(cls, folder: Path, interactions: Interactions, context: Context) -> Self:
        """Read what `save` wrote. Histories are not in a checkpoint, so they are handed in again."""
        ...


class FoldingRecommender(Recommender, Protocol):
    """A model that recommends by a history alone, whoever has it."""

    def scores_of(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) histories -> (B, I) float32 scores, as `scores`.

        Args:
            histories: CSR of ages, as `Interactions.histories` has them, or of ones where the order is unknown.
        """
        ...
