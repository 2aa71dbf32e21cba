"""The best items found without scoring all of them, for models whose scores are inner products.

Items lie in cells around the means of k-means (Lloyd 1982), as in the inverted files of Jegou et al. 2011, "Product
Quantization for Nearest Neighbor Search", here by the library faiss. The items of the cells whose means score best are
scored. How many cells that takes depends on the data, so it is tried out with histories of known users.
"""

from importlib import import_module
from types import ModuleType
from typing import Protocol, cast, runtime_checkable

import numpy as np
from scipy import sparse

from hybridvae.arrays import FloatArray
from hybridvae.errors import BadParameterError
from hybridvae.memory import check_memory
from hybridvae.recommendations import Lists, Recommendations, best

_FIRST = 32  # the first try: of so many cells the best one; then twice as many, until ...
_FOUND = 0.97  # ... this share of the best is found
_TRIED, _BEST = 64, 100  # histories, and items of each one's list
_SAMPLE = 64  # items a cell from which the means are computed, in so many rounds:
_ROUNDS = 10


@runtime_checkable
class InnerProduct(Protocol):
    """A model whose scores are inner products, as long as `by_product` is true."""

    @property
    def by_product(self) -> bool:
        """Whether they are, and nothing else."""

    def queries(self, histories: sparse.csr_matrix) -> FloatArray:
        """(B, I) CSR of ages -> (B, D)."""

    def vectors_of_items(self) -> FloatArray:
        """(I, D)."""


class Index:
    """The items of one fitted model, to be searched."""

    def __init__(self, shop: Recommendations) -> None:
        """Build the cells, on all cores.

        Raises:
            BadParameterError: faiss is not installed, or the model's scores are no inner products.
            NotEnoughMemoryError: the index does not fit into what is free.
        """
        if not is_by_product(shop):
            raise BadParameterError(
                f"{shop.name} cannot be searched approximately, since its scores are not one inner product: leave out "
                "--approximate, or take a model whose scores are, such as hybridvae with ease_weight: 0."
            )
        faiss = _faiss()
        self._shop, self._model = shop, cast(InnerProduct, shop.model)
        vectors = np.ascontiguousarray(self._model.vectors_of_items())
        check_memory("approximate search", {"a copy of the item vectors": vectors.nbytes}, "leave out --approximate")
        n_items, width = vectors.shape
        cells = max(1, round(2 * n_items**0.5))
        means = faiss.Kmeans(width, cells, niter=_ROUNDS, max_points_per_centroid=_SAMPLE, min_points_per_centroid=1)
        means.train(vectors)
        _, cell_of = means.assign(vectors)  # the nearest: by product, long means would take nearly all
        self._means = faiss.IndexFlatIP(width)
        self._means.add(means.centroids)
        self._index = faiss.IndexIVFFlat(self._means, width, cells, faiss.METRIC_INNER_PRODUCT)
        self._index.add_core(n_items, faiss.swig_ptr(vectors), None, faiss.swig_ptr(cell_of))
        self._index.nprobe = -(-cells // _FIRST)
        self._widen(cells)
        faiss.omp_set_num_threads(1)  # for searches, as the service does all of its work

    def _widen(self, cells: int) -> None:
        """Search as many cells as it takes."""
        known = self._shop.known.histories
        users = np.flatnonzero(np.diff(known.indptr))
        if not len(users):  # single items, then
            known, users = (
                sparse.eye_array(self._shop.known.n_items, dtype=np.float32, format="csr"),
                np.arange(self._shop.known.n_items),
            )
        tried = known[users[np.linspace(0, len(users) - 1, _TRIED).astype(int)]]
        exact = best(self._shop.folding().scores_of(tried), _BEST).items
        queries = self._model.queries(tried)
        while self._index.nprobe < cells:
            _, found = self._index.search(queries, exact.shape[1])
            shares = [len(np.intersect1d(*lists)) / exact.shape[1] for lists in zip(found, exact, strict=True)]
            if np.mean(shares) >= _FOUND:
                break
            self._index.nprobe = min(cells, 2 * self._index.nprobe)

    def best(self, histories: sparse.csr_matrix, k: int, *, seen: sparse.csr_matrix) -> Lists:
        """The k best items of each history as far as they are found, with their exact scores.

        So many more are looked for as are left out, and all are scored where the search finds too few.

        Args:
            histories: (B, I) CSR of ages.
            seen: (B, I) CSR; what is stored in a row is left out of it.
        """
        wanted = min(k + int(np.diff(seen.indptr).max(initial=0)), self._shop.known.n_items)
        scores, items = self._index.search(self._model.queries(histories), wanted)
        for row, found in enumerate(items):
            left_out = seen.indices[seen.indptr[row] : seen.indptr[row + 1]]
            scores[row, np.isin(found, left_out) | (found < 0)] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        lists = Lists(np.take_along_axis(items, order, axis=1), np.take_along_axis(scores, order, axis=1))
        if lists.items.shape[1] < k or np.isneginf(lists.scores).any():
            return best(self._shop.folding().scores_of(histories), k, seen=seen)
        return lists


def is_by_product(shop: Recommendations) -> bool:
    """Whether a model can be searched so."""
    return isinstance(shop.model, InnerProduct) and shop.model.by_product


def _faiss() -> ModuleType:
    try:
        return import_module("faiss")
    except ImportError:
        raise BadParameterError(
            "--approximate needs faiss, which is not installed: run `pip install 'hybridvae[ann]'`, or leave it out."
        ) from None
