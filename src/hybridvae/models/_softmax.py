"""The softmax over all items as a loss, with its gradient taken on the way: no matrix of all scores is ever kept."""

from typing import Any

import torch
from torch import Tensor

_SCORES = 1 << 21  # held at a time: 8 MB, which stay in the processor's cache


class _SoftmaxLoss(torch.autograd.Function):
    """See `softmax_loss`. The gradients are known as soon as the loss is, so `backward` only scales them."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, vectors: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        n_items = len(vectors)
        of_queries, of_vectors = torch.empty_like(queries), torch.zeros_like(vectors)
        loss = torch.zeros((), dtype=torch.float64, device=queries.device)
        rows = max(1, _SCORES // n_items)
        buffer = queries.new_empty(min(rows, len(queries)), n_items)
        for start in range(0, len(queries), rows):
            query, wanted = queries[start : start + rows], targets[start : start + rows, None]
            scores = torch.mm(query, vectors.T, out=buffer[: len(query)])  # (R, I)
            asked = scores.gather(1, wanted)
            if smoothing:
                asked = (1 - smoothing) * asked + smoothing * scores.mean(dim=1, keepdim=True)
            highest = scores.amax(dim=1, keepdim=True)
            total = scores.sub_(highest).exp_().sum(dim=1, keepdim=True)
            loss += (highest + total.log() - asked).sum(dtype=torch.float64)
            shares = scores.div_(total)  # the softmax, and below the gradient of the loss by the scores
            if smoothing:
                shares.sub_(smoothing / n_items)
            shares.scatter_add_(1, wanted, wanted.new_full(wanted.shape, -1, dtype=shares.dtype) * (1 - smoothing))
            torch.mm(shares, vectors, out=of_queries[start : start + rows])
            of_vectors.addmm_(shares.T, query)
        ctx.save_for_backward(of_queries, of_vectors)
        return loss.to(queries.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        of_queries, of_vectors = ctx.saved_tensors
        return gradients[0] * of_queries, gradients[0] * of_vectors, None, None


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
    loss: Tensor = _SoftmaxLoss.apply(queries, vectors, targets, smoothing)  # type: ignore[no-untyped-call]
    return loss
