"""Popularity: everyone is shown what most users like. The floor that any model has to clear."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy import sparse

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.data.interactions import Interactions
from hybridvae.files import read_arrays, write_arrays
from hybridvae.memory import Needs
from hybridvae.models._base import NOTHING, Context, OnEpoch, Validation


@dataclass(frozen=True)
class Config:
    """Popularity has no parameters."""


class Model:
    """Scores an item by its number of positives in the fitted interactions."""

    needs_vectors = False
    folds_in = True
    seeded = False
    chosen = NOTHING
    if_too_large = "use a machine with more memory"

    def __init__(self, config: Config, context: Context) -> None:
        self.counts: FloatArray = np.zeros(0, dtype=np.float32)

    def needs(self, interactions: Interactions) -> Needs:
        """A number an item."""
        return {"counts": 4 * interactions.n_items}

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """Count the positives of each item."""
        self.counts = interactions.item_counts
        return self

    def scores(self, users: IntArray) -> FloatArray:
        """(B,) -> (B, I): the same row for everyone."""
        return np.tile(self.counts, (len(users), 1))

    def scores_of(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) histories -> (B, I) scores."""
        return self.scores(np.arange(histories.shape[0]))

    def save(self, folder: Path) -> None:
        """Write `model.safetensors`."""
        write_arrays(folder / "model.safetensors", {"counts": self.counts})

    @classmethod
    def load(cls, folder: Path, interactions: Interactions, context: Context) -> Self:
        """Read `model.safetensors`."""
        model = cls(Config(), context)
        model.counts = read_arrays(folder / "model.safetensors")["counts"]
        return model
