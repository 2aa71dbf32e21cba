"""The normaliser of a softmax over many items, with its gradient taken on the way: no matrix of all scores is kept."""

from typing import Any

import torch
from torch import Tensor

_SCORES = 3 << 18  # held at a time: 3 MB, which stay in the processor's cache ...
_LEAST_ROWS = 32  # ... but so many queries in any case, or reading the vectors for each block takes longest


class _LogNormaliser(torch.autograd.Function):
    """See `log_normaliser`. The gradients are known as soon as the value is, so `backward` only scales them."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, vectors: Tensor, weights: Tensor, added: Tensor | None) -> Tensor:
        of_queries, of_vectors = torch.empty_like(queries), torch.zeros_like(vectors)
        value = torch.zeros((), dtype=torch.float64, device=queries.device)
        rows = max(_LEAST_ROWS, _SCORES // len(vectors))
        buffer = queries.new_empty(min(rows, len(queries)), len(vectors))
        for start in range(0, len(queries), rows):
            query, weight = queries[start : start + rows], weights[start : start + rows, None]
            scores = buffer[: len(query)]  # (R, I)
            if added is None:
                torch.mm(query, vectors.T, out=scores)
            else:
                torch.addmm(added, query, vectors.T, out=scores)
            highest = scores.amax(dim=1, keepdim=True)
            total = scores.sub_(highest).exp_().sum(dim=1, keepdim=True)
            value += (weight * (highest + total.log())).sum(dtype=torch.float64)
            shares = scores.mul_(weight / total)  # the gradient by the scores
            torch.mm(shares, vectors, out=of_queries[start : start + rows])
            of_vectors.addmm_(shares.T, query)
        ctx.save_for_backward(of_queries, of_vectors)
        return value.to(queries.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        of_queries, of_vectors = ctx.saved_tensors
        return gradients[0] * of_queries, gradients[0] * of_vectors, None, None


def log_normaliser(queries: Tensor, vectors: Tensor, weights: Tensor, added: Tensor | None = None) -> Tensor:
    """The weighted sum over N queries of log sum_i exp(query . vectors_i + added_i), a softmax's denominator.

    Args:
        queries: (N, D) float32.
        vectors: (I, D) float32.
        weights: (N,) float32.
        added: (I,) float32, to the scores of each query; by default nothing.

    Returns:
        A scalar in nats, differentiable once by queries and vectors.
    """
    value: Tensor = _LogNormaliser.apply(queries, vectors, weights, added)  # type: ignore[no-untyped-call]
    return value


def softmax_loss(queries: Tensor, vectors: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """The sum over N queries of -log softmax(vectors @ query) at the query's target; in nats.

    Args:
        queries: (N, D) float32.
        vectors: (I, D) float32.
        targets: (N,) int64, of 0 to I - 1.
        smoothing: share of the target's weight that all items get alike (Szegedy et al. 2016, section 7).

    Returns:
        A scalar, differentiable once by queries and vectors.
    """
    wanted = torch.nn.functional.embedding(targets, vectors)
    if smoothing:
        wanted = (1 - smoothing) * wanted + smoothing * vectors.mean(dim=0)
    return log_normaliser(queries, vectors, queries.new_ones(len(queries))) - (queries * wanted).sum()
