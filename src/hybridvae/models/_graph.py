"""The graph of who liked what, on which LightGCN and AlphaRec smooth their vectors.

He et al. 2020, "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation".
"""

import warnings
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor


def adjacency(positives: sparse.csr_matrix) -> sparse.csr_matrix:
    """D^-1/2 A D^-1/2 (U + I, U + I) of the graph of users and items (He et al. 2020, equation 8)."""
    graph = sparse.block_array([[None, positives], [positives.T, None]], format="csr", dtype=np.float32)
    degrees = np.asarray(graph.sum(axis=1)).ravel()
    scale = sparse.diags_array(1 / np.sqrt(np.maximum(degrees, 1)))
    return sparse.csr_matrix(scale @ graph @ scale, dtype=np.float32)


def as_tensor(matrix: sparse.csr_matrix) -> Tensor:
    """A sparse matrix as PyTorch has it."""
    rows, columns, values = (torch.from_numpy(array) for array in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(rows, columns, values, size=matrix.shape, check_invariants=True)


class _Propagate(torch.autograd.Function):
    """X -> (X + AX + ... + A^K X) / (K + 1). A is symmetric, so the gradient goes through the same sum."""

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, graph: Tensor, layers: int) -> Tensor:
        ctx.graph, ctx.layers = graph, layers
        return _averaged(embeddings, graph, layers)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _averaged(gradients[0], ctx.graph, ctx.layers), None, None


def _averaged(embeddings: Tensor, graph: Tensor, layers: int) -> Tensor:
    summed = embeddings
    for _ in range(layers):  # Horner: X + A(X + A(X + ...))
        summed = embeddings + graph @ summed
    return summed / (layers + 1)


def propagate(embeddings: Tensor, graph: Tensor, layers: int) -> Tensor:
    """(U + I, D) -> (U + I, D): the mean of the vectors and of those of their neighbours up to `layers` steps away.

    Equations 3 and 4 of the paper, with equal weights.

    Args:
        graph: `adjacency`, as a tensor.
    """
    propagated: Tensor = _Propagate.apply(embeddings, graph, layers)  # type: ignore[no-untyped-call]
    return propagated


class _Multiply(torch.autograd.Function):
    """M, X -> M X. Autograd has no gradient of a CSR matrix times a dense one that works in CSR alone."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, dense: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ dense

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ gradients[0]


def multiply(matrix: Tensor, transposed: Tensor, dense: Tensor) -> Tensor:
    """Sparse (M, N) times (N, D), differentiable by the latter; `transposed` is the former's transpose in CSR."""
    product: Tensor = _Multiply.apply(matrix, transposed, dense)  # type: ignore[no-untyped-call]
    return product
