"""What a model is: the protocol that every file of this room keeps, and what a fit is given."""

import re
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, Self, runtime_checkable

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout
from scipy import sparse

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.data.interactions import Interactions
from hybridvae.memory import Needs
from hybridvae.progress import warn

EpochMetrics = dict[str, float]
NOTHING: Mapping[str, float] = MappingProxyType({})  # what models without epochs choose on validation
OnEpoch = Callable[[int, EpochMetrics], None]
Validation = Callable[["Recommender"], float]

LOCK = "lock"  # the file in a state's folder that the process locks whose fit it is
_KEPT_DAYS = 30  # the state of a fit that nobody has gone on with for so long is removed


@runtime_checkable
class IdentifiedValidation(Protocol):
    """A validation that says what it decides by; with any other a fit keeps no state, for nobody could know that."""

    @property
    def identity(self) -> str:
        """Equal only where the figures of equal models are equal: covers users, targets, what is seen and the like."""
        ...

    def __call__(self, model: "Recommender") -> float:
        """The figure of a model; higher is better."""
        ...


@dataclass(frozen=True)
class StateFolder:
    """The folder of one fit's state, locked."""

    path: Path
    lock: BaseFileLock

    def clear(self) -> None:
        """Remove what is in it but for the lock."""
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK:
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove it, and let go of the lock only then."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.release()
        with suppress(OSError):
            self.path.rmdir()  # Windows removes no file that is open, as the lock was

    def release(self) -> None:
        """Leave it to others, as it is."""
        with suppress(OSError):
            self.lock.release(force=True)


class FitState:
    """Folders in which fits keep what they need to go on after a kill, one a fingerprint.

    The fingerprint covers all that decides the result, so that a fit never goes on from the state of another one. A
    folder is locked from before it is read until `forget`, or until the process ends. Without a folder a fit ends with
    the same result, but begins anew when it is stopped; so what hinders a folder is said in one line and stops no fit.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._used: dict[str, StateFolder] = {}

    def folder(self, fingerprint: str) -> StateFolder | None:
        """The folder of one fit; None where another fit has it, or where the file system allows none."""
        if fingerprint in self._used and self._used[fingerprint].lock.is_locked:
            return self._used[fingerprint]
        self._remove_old(but=fingerprint)
        try:
            folder = _locked(self._root / fingerprint)
        except Timeout:
            warn("another process is at the same fit: this one keeps no state, and begins anew if it is stopped.")
            return None
        except (OSError, NotImplementedError) as error:
            warn(f"{self._root} keeps no state of this fit ({error}): it begins anew if it is stopped.")
            return None
        self._used[fingerprint] = folder
        return folder

    def forget(self) -> None:
        """Remove the folders handed out, once the results are safe."""
        for folder in self._used.values():
            if folder.lock.is_locked:  # if not, another fit may have it by now
                folder.remove()
        self._used.clear()

    def _remove_old(self, *, but: str) -> None:
        """Remove states that nobody has asked for in a long time, as after a change of code."""
        oldest = time.time() - _KEPT_DAYS * 86_400
        for path in self._root.glob("*"):
            with suppress(OSError, NotImplementedError):  # a Timeout is an OSError
                if path.name != but and re.fullmatch("[0-9a-f]{32}", path.name) and path.stat().st_mtime < oldest:
                    _locked(path).remove()


def _locked(path: Path) -> StateFolder:
    """A folder, made where there is none, and locked.

    Raises:
        Timeout: somebody else has locked it.
        OSError: it cannot be made, written or locked.
    """
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK, timeout=0, thread_local=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "flock not supported")
        lock.acquire()
    if isinstance(lock, SoftFileLock):  # which a killed process would leave behind, locked for ever
        lock.release(force=True)
        raise OSError("the file system has no locks")
    return StateFolder(path, lock)


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
        if_too_large: what to change where the model needs more memory than there is.
    """

    needs_vectors: bool
    folds_in: bool
    seeded: bool
    if_too_large: str

    def needs(self, interactions: Interactions) -> Needs:
        """About what memory `fit` takes beside the interactions: what is held -> bytes."""
        ...

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """Fit on the positives (or ratings) and return self.

        Args:
            validation: gives the figure (higher is better) that chooses the epoch; without it the
                model trains for exactly its configured epochs. Models without epochs ignore it. The fit
                can only be gone on with if it is an `IdentifiedValidation`.
            on_epoch: called after each epoch with its number from 1 and its figures, restored epochs
                of an interrupted fit included.
        """
        ...

    def scores(self, users: IntArray) -> FloatArray:
        """(B,) user indices -> (B, I) float32; higher is better, and every score is finite."""
        ...

    @property
    def chosen(self) -> Mapping[str, float]:
        """The parameters that validation chose, such as `epochs`, with which a fit without validation should go on."""
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
