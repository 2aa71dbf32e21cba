"""The best items found without scoring all of them, for models whose scores are inner products.

The index is a graph of near items that is searched from its top (Malkov & Yashunin 2018, "Efficient and robust
approximate nearest neighbor search using Hierarchical Navigable Small World graphs"), by the library faiss.
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

_LINKS = 32  # of an item in the graph, and twice as many on its lowest level
_BREADTH = 400  # candidates that a search keeps, at least; with 200 it finds 98 % of the best 100, with 400 99 %
_OVER = 2  # candidates for each item that is asked for, at least


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
        """Build the graph, on all cores.

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
        vectors = self._model.vectors_of_items()
        needs = {"its copy of the item vectors": vectors.nbytes, "its links": 4 * (2 * _LINKS + 8) * len(vectors)}
        check_memory("approximate search", needs, "leave out --approximate")
        self._index = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
        self._index.add(vectors)
        self._parameters = faiss.SearchParametersHNSW
        faiss.omp_set_num_threads(1)  # for searches, as the service does all of its work

    def best(self, histories: sparse.csr_matrix, k: int, *, seen: sparse.csr_matrix) -> Lists:
        """The k best items of each history as far as they are found, with their exact scores.

        So many more are looked for as are left out, and all are scored where the search finds too few.

        Args:
            histories: (B, I) CSR of ages.
            seen: (B, I) CSR; what is stored in a row is left out of it.
        """
        wanted = min(k + int(np.diff(seen.indptr).max(initial=0)), self._shop.known.n_items)
        breadth = self._parameters(efSearch=max(_BREADTH, _OVER * wanted))
        scores, items = self._index.search(self._model.queries(histories), wanted, params=breadth)
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
