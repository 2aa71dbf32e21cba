"""EASE: a linear model from items to items, in closed form (Steck 2019, "Embarrassingly Shallow Autoencoders")."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.config import Parameters, Positive, Recency, read_config
from hybridvae.data.interactions import Interactions, by_recency
from hybridvae.errors import BadParameterError
from hybridvae.files import read_arrays, write_arrays, write_json
from hybridvae.memory import Needs, check_memory
from hybridvae.models._base import NOTHING, Context, OnEpoch, Validation

_TILE = 512  # rows and columns turned over at a time: a column of the whole matrix misses the cache at each number


@dataclass(frozen=True)
class Config(Parameters):
    """The block `ease` of params.yaml."""

    regularization: Positive = 250.0  # lambda
    recency: Recency = 0.0  # an item of a history counts age^-recency: the latest 1, one of age 4 half that at 0.5


class Model:
    """Scores with B = 1 - P diag(1 / diag P), where P = (X'X + lambda 1)^-1 (eq. 8): it has a zero diagonal.

    Of P, symmetric, `others` (I, I) holds all but the diagonal, and `diagonal` (I,) the rest; B itself would be
    a second matrix of that size, or could not be saved as a triangle.
    """

    name: ClassVar[str] = "ease"
    config_type: ClassVar[type[Config]] = Config
    needs_vectors = False
    folds_in = True
    seeded = False
    chosen = NOTHING
    if_too_large = "take it out of `models`"
    if_singular = "raise ease.regularization"

    def __init__(self, config: Any, context: Context) -> None:
        self.config = config
        self.others: FloatArray = np.zeros((0, 0), dtype=np.float32)
        self.diagonal: FloatArray = np.zeros(0, dtype=np.float32)
        self.histories = sparse.csr_matrix((0, 0), dtype=np.float32)

    def needs(self, interactions: Interactions) -> Needs:
        """The matrix in double precision, beside the sparse one that fills it, or beside what is kept in single."""
        dense, lengths = interactions.n_items**2, np.diff(interactions.positives.indptr).astype(np.float64)
        filled = min(dense, float(lengths @ lengths))  # items that go together in a history, at most
        return {"the matrix of all items with all items": max(12 * dense, 8 * dense + 20 * filled)}

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """Invert X'X + lambda 1 in its own memory, in double precision: 12 bytes x I^2, or 1.7 GB for 12,000 items.

        What is kept is in single precision. Inverted so too, its last digits would be those of the processor.

        Raises:
            NotEnoughMemoryError: less than that is free.
            BadParameterError: lambda is so small that there is no inverse.
        """
        from scipy.linalg.lapack import dpotrf, dpotri

        check_memory(self.name, self.needs(interactions), self.if_too_large)
        self.histories = interactions.histories
        matrix = self._gram(interactions)
        matrix[np.diag_indices(len(matrix))] += self.config.regularization
        matrix, failed = dpotrf(matrix, lower=False, clean=False, overwrite_a=True)
        if failed:
            raise BadParameterError(
                f"{self.name}: this data has no inverse with so little regularization: {self.if_singular}."
            )
        matrix, _ = dpotri(matrix, lower=False, overwrite_c=True)
        self._keep(matrix.T.astype(np.float32))  # the upper triangle by columns is the lower one by rows
        return self

    def _gram(self, interactions: Interactions) -> npt.NDArray[np.float64]:
        """X'X (I, I), by columns."""
        gram: npt.NDArray[np.float64]
        gram = (interactions.positives.T @ interactions.positives).astype(np.float64).toarray()
        return gram.T  # the same by columns, since it is symmetric

    def scores(self, users: IntArray) -> FloatArray:
        """(B,) -> (B, I)."""
        return self.scores_of(self.histories[users])

    def scores_of(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) histories -> (B, I): X B, that is -sum of x_i P_ij over the history's i != j, over P_jj."""
        scores: FloatArray = by_recency(histories, self.config.recency) @ self.others
        scores /= -self.diagonal
        return scores

    def save(self, folder: Path) -> None:
        """Write `model.safetensors`, the lower triangle of P with its diagonal, row by row, and `config.json`."""
        write_arrays(folder / "model.safetensors", self.arrays())
        write_json(folder / "config.json", asdict(self.config))

    def arrays(self) -> dict[str, FloatArray]:
        """What is saved of the fit: `triangle`, of P (I, I), I (I + 1) / 2 numbers."""
        size = len(self.diagonal)
        triangle = np.empty(size * (size + 1) // 2, dtype=np.float32)
        start = 0
        for row in range(size):
            triangle[start : start + row] = self.others[row, :row]
            triangle[start + row] = self.diagonal[row]
            start += row + 1
        return {"triangle": triangle}

    @classmethod
    def load(cls, folder: Path, interactions: Interactions, context: Context) -> Self:
        """Read what `save` wrote."""
        model = cls(read_config(cls.config_type, folder), context)
        model.take(read_arrays(folder / "model.safetensors"), interactions)
        return model

    def take(self, arrays: dict[str, FloatArray], interactions: Interactions) -> None:
        """Take over what `arrays` gave."""
        self.histories, size, triangle = interactions.histories, interactions.n_items, arrays["triangle"]
        matrix = np.empty((size, size), dtype=np.float32)
        start = 0
        for row in range(size):
            matrix[row, : row + 1] = triangle[start : start + row + 1]
            start += row + 1
        self._keep(matrix)

    def _keep(self, matrix: FloatArray) -> None:
        """Take over a matrix whose lower triangle is that of P, in C order, and fill in the upper one."""
        for start in range(0, len(matrix), _TILE):
            rows = slice(start, start + _TILE)
            corner = matrix[rows, rows]
            corner[:] = np.tril(corner) + np.tril(corner, -1).T
            for begin in range(start + _TILE, len(matrix), _TILE):
                columns = slice(begin, begin + _TILE)
                matrix[rows, columns] = matrix[columns, rows].T
        self.diagonal = matrix.diagonal().copy()
        np.fill_diagonal(matrix, 0)
        self.others = matrix
