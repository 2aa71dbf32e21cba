"""iALS: matrix factorisation of choices by weighted least squares (Hu, Koren & Volinsky 2008), by `implicit`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.config import Epochs, Parameters, Positive, Recency, Width, read_config
from hybridvae.data.interactions import Interactions, by_recency
from hybridvae.files import read_arrays, write_arrays, write_json
from hybridvae.memory import Needs, check_memory
from hybridvae.models._base import NOTHING, Context, OnEpoch, Validation
from hybridvae.seeds import derive_seed


@dataclass(frozen=True)
class Config(Parameters):
    """The block `ials` of params.yaml."""

    factors: Width = 128
    regularization: Positive = 10.0  # lambda
    alpha: Positive = 1.0  # a positive weighs 1 + alpha, everything else 1
    iterations: Epochs = 15
    recency: Recency = 0.0  # an item of a history counts age^-recency: the latest 1, one of age 4 half that at 0.5


class Model:
    """Scores an item by x_u . y_i, x_u being the least-squares answer to the history given the item factors.

    User factors are not kept: `scores` solves for them anew, so that a known history and a new one are
    treated alike.
    """

    needs_vectors = False
    folds_in = True
    seeded = True
    chosen = NOTHING
    if_too_large = "lower ials.factors"

    def __init__(self, config: Config, context: Context) -> None:
        self.config = config
        self.seed = derive_seed(context.seed, "ials", "fit")
        self.item_factors: FloatArray = np.zeros((0, config.factors), dtype=np.float32)
        self.histories = sparse.csr_matrix((0, 0), dtype=np.float32)

    def needs(self, interactions: Interactions) -> Needs:
        """The factors of users and items, and the positives once more by items."""
        factors = (interactions.n_users + interactions.n_items) * self.config.factors
        return {"the factors of users and items": 8 * factors, "the positives": 16 * interactions.positives.nnz}

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """Solve for users and items in turn; the confidence of a positive is c_ui = 1 + alpha, as in the paper."""
        check_memory("ials", self.needs(interactions), self.if_too_large)
        self.histories = interactions.histories
        als = self._als()
        # With one BLAS thread sums have one order, and so the same seed gives the same bytes on any number of
        # cores; the threads of implicit's own each take rows of their own.
        with threadpool_limits(1, "blas"):
            als.fit(self._confidence(interactions.positives), show_progress=False)
        self.item_factors = als.item_factors
        return self

    def scores(self, users: IntArray) -> FloatArray:
        """(B,) -> (B, I)."""
        return self.scores_of(self.histories[users])

    def scores_of(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) histories -> (B, I): Y x_u with x_u = (Y' C_u Y + lambda 1)^-1 Y' C_u p_u (eq. 4)."""
        als = self._als()
        als.item_factors = self.item_factors
        with threadpool_limits(1, "blas"):
            weights = by_recency(histories, self.config.recency)
            user_factors = als.recalculate_user(np.arange(histories.shape[0]), self._confidence(weights))
        scores: FloatArray = user_factors @ self.item_factors.T
        return scores

    def _als(self) -> Any:
        from implicit.cpu.als import AlternatingLeastSquares

        with threadpool_limits(1, "blas"):  # only now: the import may load a BLAS that no earlier limit knows of
            return AlternatingLeastSquares(
                factors=self.config.factors,
                regularization=self.config.regularization,
                iterations=self.config.iterations,
                random_state=self.seed,
            )

    def _confidence(self, weights: sparse.csr_matrix) -> sparse.csr_matrix:
        """c_ui = 1 + alpha x_ui where x_ui is stored. implicit's own `alpha` would give alpha x_ui."""
        confidence = 1 + np.float32(self.config.alpha) * weights.data
        return sparse.csr_matrix((confidence, weights.indices, weights.indptr), shape=weights.shape)

    def save(self, folder: Path) -> None:
        """Write `model.safetensors`, the (I, F) item factors, and `config.json`."""
        write_arrays(folder / "model.safetensors", {"item_factors": self.item_factors})
        write_json(folder / "config.json", asdict(self.config))

    @classmethod
    def load(cls, folder: Path, interactions: Interactions, context: Context) -> Self:
        """Read what `save` wrote."""
        model = cls(read_config(Config, folder), context)
        model.item_factors = read_arrays(folder / "model.safetensors")["item_factors"]
        model.histories = interactions.histories
        return model
