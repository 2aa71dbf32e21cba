"""Content-KNN: an item is as good as its text is near to the texts of the history. It knows nobody else's taste."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy import sparse

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.config import CountOrZero, Parameters, Recency, read_config
from hybridvae.data.interactions import Interactions, by_recency
from hybridvae.errors import BadDataError
from hybridvae.files import read_arrays, write_arrays, write_json
from hybridvae.memory import Needs, check_memory
from hybridvae.models._base import NOTHING, Context, OnEpoch, Validation

_BLOCK = 1 << 24  # similarities held at a time


@dataclass(frozen=True)
class Config(Parameters):
    """The block `content` of params.yaml."""

    k: CountOrZero = 0  # nearest items of the history that count; 0 for all
    centred: bool = False  # first take off the catalogue's mean vector, which Sentence-BERT vectors share
    recency: Recency = 0.0  # an item of a history counts age^-recency: the latest 1, one of age 4 half that at 0.5


class Model:
    """Scores an item by the sum of its k highest cosine similarities to items of the history, each by its recency.

    Similarities may be negative and none is cut off, so cold items have a rank like all others.
    """

    needs_vectors = True
    folds_in = True
    seeded = False
    chosen = NOTHING
    if_too_large = "use a machine with more memory"

    def __init__(self, config: Config, context: Context) -> None:
        self.config = config
        self.vectors: FloatArray = np.zeros((0, 0), dtype=np.float32)  # (I, D), of length 1
        self.histories = sparse.csr_matrix((0, 0), dtype=np.float32)

    def needs(self, interactions: Interactions) -> Needs:
        """The item vectors, centred, and in length 1."""
        return {"the item vectors": 8 * interactions.n_items * interactions.text_dim}

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """Scale the item vectors to length 1; there is nothing to learn.

        Raises:
            BadDataError: there are no item vectors.
        """
        if interactions.item_vectors is None:
            raise BadDataError("content compares text embeddings: fit it with item vectors.")
        check_memory("content", self.needs(interactions), self.if_too_large)
        self.histories = interactions.histories
        vectors = interactions.item_vectors
        if self.config.centred:
            vectors = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        self.vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        return self

    def scores(self, users: IntArray) -> FloatArray:
        """(B,) -> (B, I)."""
        return self.scores_of(self.histories[users])

    def scores_of(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) histories -> (B, I); zeros for an empty one."""
        weights = by_recency(histories, self.config.recency)
        if self.config.k == 0:
            total: FloatArray = (weights @ self.vectors) @ self.vectors.T
            return total
        scores = np.zeros(histories.shape, dtype=np.float32)
        bounds = histories.indptr
        rows_at_a_time = _BLOCK // histories.shape[1]
        begin = 0
        while begin < len(scores):  # as many users as fit into a block, at least one
            end = int(np.searchsorted(bounds, bounds[begin] + rows_at_a_time, side="right")) - 1
            end = max(end, begin + 1)
            rows = slice(bounds[begin], bounds[end])
            near = (self.vectors[weights.indices[rows]] @ self.vectors.T) * weights.data[rows, None]
            for user in range(begin, end):
                own = near[bounds[user] - bounds[begin] : bounds[user + 1] - bounds[begin]]  # (n, I)
                scores[user] = _sum_of_highest(own, self.config.k)
            begin = end
        return scores

    def save(self, folder: Path) -> None:
        """Write `model.safetensors`, the (I, D) vectors as compared, and `config.json`."""
        write_arrays(folder / "model.safetensors", {"vectors": self.vectors})
        write_json(folder / "config.json", asdict(self.config))

    @classmethod
    def load(cls, folder: Path, interactions: Interactions, context: Context) -> Self:
        """Read what `save` wrote."""
        model = cls(read_config(Config, folder), context)
        model.vectors = read_arrays(folder / "model.safetensors")["vectors"]
        model.histories = interactions.histories
        return model


def _sum_of_highest(values: FloatArray, k: int) -> FloatArray:
    """(n, I) -> (I,): the sum of each column's k highest values, or of all where there are fewer."""
    if k < len(values):
        values = np.partition(values, -k, axis=0)[-k:]
    total: FloatArray = values.sum(axis=0)
    return total
