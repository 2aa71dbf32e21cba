"""SVD: the biased matrix factorisation of rating prediction, by scikit-surprise (Koren, Bell & Volinsky 2009).

The estimate is theirs of eq. 4, r_ui = mean + b_u + b_i + p_u . q_i, learned by stochastic gradient descent
on their eq. 5. It is fitted on the ratings from 1 to 5, liked or not, and not on the positives: those are all
the same number, of which it would learn nothing but the constant. So it predicts how well an item would be
rated, which is not the same question as whether it will be chosen.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.config import Epochs, NotNegative, Parameters, Positive, Width
from hybridvae.data.interactions import Interactions
from hybridvae.files import read_arrays, write_arrays
from hybridvae.memory import Needs, check_memory
from hybridvae.models._base import NOTHING, Context, OnEpoch, Validation
from hybridvae.seeds import derive_seed


@dataclass(frozen=True)
class Config(Parameters):
    """The block `svd` of params.yaml."""

    n_factors: Width = 100
    n_epochs: Epochs = 20
    learning_rate: Positive = 0.005
    regularization: NotNegative = 0.02


class Model:
    """Scores an item by the rating that the user would give it.

    Attributes:
        parameters: `user_factors` (U, F), `item_factors` (I, F), `user_bias` (U,), `item_bias` (I,) and `mean` (1,),
            all float32; factors and bias are zero where there was no rating to learn them from.
    """

    needs_vectors = False
    folds_in = False
    seeded = True
    chosen = NOTHING
    if_too_large = "lower svd.n_factors, or take it out of `models`"

    def __init__(self, config: Config, context: Context) -> None:
        self.config = config
        self.seed = derive_seed(context.seed, "svd", "fit") % 2**32  # as much as NumPy's RandomState takes
        self.parameters: dict[str, FloatArray] = {}

    def needs(self, interactions: Interactions) -> Needs:
        """The ratings as Python's tuples, some 180 bytes each, and the factors in double precision."""
        factors = (interactions.n_users + interactions.n_items) * self.config.n_factors
        return {"the ratings": 180 * interactions.ratings.nnz, "the factors": 16 * factors}

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """Learn factors and biases of the rated users and items, epoch by epoch in the order of the rows."""
        from surprise import SVD, Trainset

        check_memory("svd", self.needs(interactions), self.if_too_large)
        ratings = interactions.ratings
        n_users, n_items = ratings.shape
        cells = list(zip(ratings.indices.tolist(), ratings.data.tolist(), strict=True))
        bounds = ratings.indptr.tolist()
        by_user = {u: cells[bounds[u] : bounds[u + 1]] for u in range(n_users) if bounds[u] < bounds[u + 1]}
        # Built here and not by its Dataset, which would number users and items anew. SVD never looks at the
        # ratings by item.
        trainset = Trainset(by_user, {}, n_users, n_items, len(cells), (1, 5), {}, {})
        svd = SVD(
            n_factors=self.config.n_factors,
            n_epochs=self.config.n_epochs,
            lr_all=self.config.learning_rate,
            reg_all=self.config.regularization,
            random_state=self.seed,
        ).fit(trainset)
        # Factors start at random: where nothing moved them they are noise.
        svd.pu[np.diff(ratings.indptr) == 0] = 0
        svd.qi[np.bincount(ratings.indices, minlength=n_items) == 0] = 0
        fitted = {"user_factors": svd.pu, "item_factors": svd.qi, "user_bias": svd.bu, "item_bias": svd.bi}
        fitted["mean"] = np.array([trainset.global_mean])
        self.parameters = {name: values.astype(np.float32) for name, values in fitted.items()}
        return self

    def scores(self, users: IntArray) -> FloatArray:
        """(B,) -> (B, I): mean + b_u + b_i + p_u . q_i, not clipped to 1..5, which would make ties."""
        known = self.parameters
        scores: FloatArray = known["user_factors"][users] @ known["item_factors"].T
        scores += (known["mean"] + known["user_bias"][users])[:, None] + known["item_bias"]
        return scores

    def save(self, folder: Path) -> None:
        """Write `model.safetensors`."""
        write_arrays(folder / "model.safetensors", self.parameters)

    @classmethod
    def load(cls, folder: Path, interactions: Interactions, context: Context) -> Self:
        """Read `model.safetensors`."""
        model = cls(Config(), context)
        model.parameters = read_arrays(folder / "model.safetensors")
        return model
