"""Adam for tables of which a step has the gradients of a few rows."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_NUMBERS = 1 << 16  # updated at a time: what is read and written of them stays in the processor's cache


class RowAdam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1) that moves the rows in a sparse gradient and leaves all others as they are.

    The moments of a row are those of the steps in which it had a gradient, as in `torch.optim.SparseAdam`. The second
    is one number a row, the mean over its squares, as in row-wise AdaGrad (Mudigere et al. 2022, "Software-Hardware
    Co-Design for Fast and Scalable Training of Deep Learning Recommendation Models"), and the first is in bfloat16:
    the moments of a table take half of its own memory, and Adam's would take twice.
    """

    def __init__(
        self, tables: Iterable[nn.Parameter], lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__(tables, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # never called with one
        """Move each table (I, D) by its gradient, a sparse tensor of rows."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                state = self.state[table]
                if not state:
                    state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(table, dtype=torch.bfloat16)}
                    state["exp_avg_sq"] = table.new_zeros(len(table), 1)
                state["step"] += 1
                gradient = table.grad.coalesce()
                rows, values = gradient.indices()[0], gradient.values()
                at_once = max(1, _NUMBERS // values.shape[1])
                for part, moves in zip(rows.split(at_once), values.split(at_once), strict=True):
                    _move(table, part, moves, state, group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As of any optimizer, which gives moments the type of their table: the first is given back its own."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state["exp_avg"] = state["exp_avg"].bfloat16()


def _move(table: Tensor, rows: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    """Move these rows (R,) by their gradient (R, D)."""
    step, (first, second) = float(state["step"]), group["betas"]
    mean = state["exp_avg"].index_select(0, rows).to(gradient.dtype).lerp_(gradient, 1 - first)
    square = state["exp_avg_sq"].index_select(0, rows).lerp_(gradient.square().mean(dim=1, keepdim=True), 1 - second)
    state["exp_avg"].index_copy_(0, rows, mean.bfloat16())
    state["exp_avg_sq"].index_copy_(0, rows, square)
    rate = group["lr"] * (1 - second**step) ** 0.5 / (1 - first**step)
    table.index_add_(0, rows, mean.div_(square.sqrt_().add_(group["eps"])), alpha=-rate)
