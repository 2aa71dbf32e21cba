"""Item-KNN: items are alike when the same users like them (Deshpande & Karypis 2004, cosine)."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from scipy import sparse

from hybridvae.arrays import FloatArray, IntArray
from hybridvae.config import Count, NotNegative, Parameters, Recency, read_config
from hybridvae.data.interactions import Interactions, by_recency
from hybridvae.files import read_arrays, write_arrays, write_json
from hybridvae.memory import Needs, check_memory
from hybridvae.models._base import NOTHING, Context, OnEpoch, Validation

_BLOCK = 1 << 23  # similarities held at a time


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
        """The neighbours, twice while they are put together; no more than there are items that share a user."""
        shared = _shared(interactions.positives)
        return {
            "the neighbours of all items": 2 * 8 * int(np.minimum(self.config.k, shared).sum()),
            "a block of similarities": 24 * int(min(max(_BLOCK, shared.max(initial=0)), shared.sum())),
        }

    def fit(
        self, interactions: Interactions, *, validation: Validation | None = None, on_epoch: OnEpoch | None = None
    ) -> Self:
        """Keep, of each item, the k most similar others: s_ij = |U_i and U_j| / (sqrt(|U_i| |U_j|) + shrink).

        Cost goes with the pairs of items that users share, and not with the items squared.
        """
        check_memory("itemknn", self.needs(interactions), self.if_too_large)
        positives, self.histories = interactions.positives, interactions.histories
        users_of = positives.T.tocsr()  # (I, U)
        lengths = np.sqrt(np.diff(users_of.indptr)).astype(np.float32)
        kept = [sparse.csr_matrix((0, users_of.shape[0]), dtype=np.float32)]
        for start, end in _blocks(_shared(positives)):
            block = users_of[start:end] @ positives  # how many users each pair of items shares, where that is not 0
            block.sort_indices()
            rows = np.repeat(np.arange(start, end), np.diff(block.indptr))
            block.data /= lengths[rows] * lengths[block.indices] + np.float32(self.config.shrink)
            block.data[block.indices == rows] = 0  # an item is not its own neighbour
            kept.append(_nearest(block, self.config.k))
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


def _shared(positives: sparse.csr_matrix) -> IntArray:
    """(I,) at most how many items share a user with each."""
    lengths = np.diff(positives.indptr).astype(np.float64)
    shared: IntArray = np.minimum(positives.T @ lengths, positives.shape[1]).astype(np.int64)
    return shared


def _blocks(sizes: IntArray) -> Iterator[tuple[int, int]]:
    """Where blocks of rows of such sizes begin and end: of `_BLOCK` similarities together, or of one row."""
    last, start = np.cumsum(sizes), 0
    while start < len(sizes):
        done = last[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(last, done + _BLOCK, side="right")))
        yield start, end
        start = end


def _nearest(block: sparse.csr_matrix, k: int) -> sparse.csr_matrix:
    """The k greatest entries above 0 of each row of a CSR with sorted columns, of equal ones the first columns."""
    chosen = block.data > 0
    for row in np.flatnonzero(np.diff(block.indptr) > k):
        part = slice(block.indptr[row], block.indptr[row + 1])
        values = block.data[part]
        least = np.partition(values, -k)[-k]
        above, equal = values > least, np.flatnonzero(values == least)
        above[equal[: k - np.count_nonzero(above)]] = True
        chosen[part] &= above
    counts = np.concatenate([[0], np.cumsum(chosen)])[block.indptr]
    arrays = block.data[chosen], block.indices[chosen], counts.astype(block.indptr.dtype)
    return sparse.csr_matrix(arrays, shape=block.shape)
