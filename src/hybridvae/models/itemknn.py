"""Item-KNN: items are alike when the same users like them (Deshpande & Karypis 2004, cosine)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from scipy import sparse

from hybridvae.arrays import FloatArray, IntArray, top_k
from hybridvae.config import Count, NotNegative, Parameters, Recency, read_config
from hybridvae.data.interactions import Interactions, by_recency
from hybridvae.files import read_arrays, write_arrays, write_json
from hybridvae.memory import Needs, check_memory
from hybridvae.models._base import NOTHING, Context, OnEpoch, Validation

_BLOCK = 1 << 24  # similarities held densely at a time


@dataclass(frozen=True)
class Config(Parameters):
    """The block `itemknn` of params.yaml."""

    k: Count = 50  # neighbours kept of each item
    shrink: NotNegative = 0.0  # added to the cosine's denominator: distrusts items with few users
    # Whose k neighbours count: those that an item of the history names (as in the paper), or those that the item
    # to be scored names (as many later implementations have it).
    neighbours_of: Literal["history", "scored"] = "history"
    recency: Recency = 0.0  # an item of a history counts age^-recency: the latest 1, one of age 4 half that at 0.5


class Model:
    """Scores an item by the summed similarity of its nearest neighbours in the history."""

    needs_vectors = False
    folds_in = True
    seeded = False
    chosen = NOTHING
    if_too_large = "lower itemknn.k"

    def __init__(self, config: Config, context: Context) -> None:
        self.config = config
        self.similarity = sparse.csr_matrix((0, 0), dtype=np.float32)
        self.histories = sparse.csr_matrix((0, 0), dtype=np.float32)

    def needs(self, interactions: Interactions) -> Needs:
        """The neighbours, twice while they are put together."""
        kept = min(self.config.k, interactions.n_items) * interactions.n_items
        return {
            "the neighbours of all items": 2 * 8 * kept,
            "a block of similarities": 16 * min(_BLOCK, interactions.n_items**2),
        }

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """Keep, of each item, the k most similar others: s_ij = |U_i and U_j| / (sqrt(|U_i| |U_j|) + shrink)."""
        check_memory("itemknn", self.needs(interactions), self.if_too_large)
        positives, self.histories = interactions.positives, interactions.histories
        users_of = positives.T.tocsr()  # (I, U)
        n_items = users_of.shape[0]
        lengths = np.sqrt(np.diff(users_of.indptr)).astype(np.float32)
        rows_at_a_time = max(1, _BLOCK // max(1, n_items))
        kept: list[sparse.csr_matrix] = []
        for start in range(0, n_items, rows_at_a_time):
            block = np.asarray((users_of[start : start + rows_at_a_time] @ positives).todense(), dtype=np.float32)
            height = len(block)
            block[np.arange(height), np.arange(start, start + height)] = 0  # an item is not its own neighbour
            denominator = lengths[start : start + height, None] * lengths + np.float32(self.config.shrink)
            np.divide(block, denominator, out=block, where=denominator > 0)
            columns = top_k(block, self.config.k)
            values = np.take_along_axis(block, columns, axis=1)
            rows = np.repeat(np.arange(height), columns.shape[1])
            near = sparse.csr_matrix((values.ravel(), (rows, columns.ravel())), shape=block.shape, dtype=np.float32)
            near.eliminate_zeros()
            kept.append(near)
        nearest = sparse.vstack(kept, format="csr")  # row: the item whose neighbours were kept
        self.similarity = nearest if self.config.neighbours_of == "history" else nearest.T.tocsr()
        return self

    def scores(self, users: IntArray) -> FloatArray:
        """(B,) -> (B, I)."""
        return self.scores_of(self.histories[users])

    def scores_of(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) histories -> (B, I): score_j = sum of x_i s_ij over the items i of the history."""
        weights = by_recency(histories, self.config.recency)
        return np.asarray((weights @ self.similarity).todense(), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write `model.safetensors`, the CSR arrays of `similarity` (I, I), and `config.json`."""
        kept = self.similarity  # row: item of the history; column: item scored
        write_arrays(folder / "model.safetensors", {"data": kept.data, "indices": kept.indices, "indptr": kept.indptr})
        write_json(folder / "config.json", asdict(self.config))

    @classmethod
    def load(cls, folder: Path, interactions: Interactions, context: Context) -> Self:
        """Read what `save` wrote."""
        model = cls(read_config(Config, folder), context)
        stored = read_arrays(folder / "model.safetensors")
        shape = (interactions.n_items, interactions.n_items)
        model.similarity = sparse.csr_matrix((stored["data"], stored["indices"], stored["indptr"]), shape=shape)
        model.histories = interactions.histories
        return model
