"""Several processes that fit one network together, started by torchrun or by a stage (`processes` in params.yaml).

Every process has the whole network and all of the data. Of a step's users each takes a share; the gradients are added
up, so that all make the same move and stay alike to the last bit. Of item tables only the rows of a step are exchanged.
The first process validates, keeps the state and writes; the others end with the fit.
"""

import atexit
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

import torch
from scipy import sparse
from torch import Tensor, distributed, nn

_PATIENCE = timedelta(days=1)  # the others wait while the first fits EASE, and validates


@dataclass(frozen=True)
class Processes:
    """The processes of a fit.

    Attributes:
        rank: which of them this one is.
        number: how many there are.
        here: how many of them are on this machine.
    """

    rank: int = 0
    number: int = 1
    here: int = 1

    @classmethod
    def launched(cls) -> "Processes":
        """Those that torchrun started, connected; this one alone where it did not."""
        return _launched() if distributed.is_available() and distributed.is_torchelastic_launched() else cls()

    @property
    def several(self) -> bool:
        """Whether there is another one."""
        return self.number > 1

    @property
    def first(self) -> bool:
        """Whether this is the one that validates and writes."""
        return self.rank == 0

    @property
    def name(self) -> tuple[int, ...]:
        """What tells the seeds of this process from those of the first."""
        return () if self.first else (self.rank,)

    def share(self, histories: sparse.csr_matrix) -> tuple[sparse.csr_matrix, float]:
        """Of a step's users (B, I) those that this process takes, and the weight of their mean in the mean over all.

        Where there are fewer users than processes, each takes all.
        """
        users = histories.shape[0]
        if not self.several or users < self.number:
            return histories, 1 / self.number
        own = histories[self.rank :: self.number]
        return own, own.shape[0] / users

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum over all processes in the place of each gradient; sparse ones may have other rows in each."""
        if not self.several:
            return
        gradients = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
        dense = [gradient for _, gradient in gradients if not gradient.is_sparse]
        joined = nn.utils.parameters_to_vector(dense)  # one message in place of many small ones
        distributed.all_reduce(joined)
        nn.utils.vector_to_parameters(joined, dense)
        for parameter, gradient in gradients:
            if gradient.is_sparse:
                parameter.grad = self._added_rows(gradient.coalesce())

    def added(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.several:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def of_first(self, values: Tensor) -> Tensor:
        """The first process's tensor; all give one of the same shape and type."""
        if self.several:
            values = values.clone()
            distributed.broadcast(values, src=0)
        return values

    def figure_of_first(self, figure: Callable[[], float]) -> float:
        """A number that the first process computes."""
        if not self.several:
            return figure()
        value = torch.tensor(figure() if self.first else 0.0, dtype=torch.float64)
        return float(self.of_first(value.to(_device())))

    def bytes_of_first(self, content: bytes) -> bytes:
        """The first process's bytes, whatever the others give."""
        if not self.several:
            return content
        size = int(self.of_first(torch.tensor(len(content), device=_device())))
        buffer = bytearray(content if self.first else bytes(size))
        if not size:
            return b""
        return self.of_first(torch.frombuffer(buffer, dtype=torch.uint8).to(_device())).cpu().numpy().tobytes()

    def _added_rows(self, gradient: Tensor) -> Tensor:
        """The sum of a coalesced (I, D) gradient over all processes, of which only the rows that occur are sent.

        They are sent in bfloat16, as PyTorch's `bf16_compress_hook` does: messages are what a step waits for.
        """
        rows, values = gradient.indices()[0], gradient.values().bfloat16()
        counts = [
            int(count) for count in self._gathered(torch.tensor([len(rows)], device=rows.device), [1] * self.number)
        ]
        of_all = self._gathered(rows, counts)
        if all(torch.equal(rows, of_one) for of_one in of_all):
            distributed.all_reduce(values)
            return _sparse(rows, values.float(), gradient.shape, coalesced=True)
        values = torch.cat(self._gathered(values, counts)).float()
        return _sparse(torch.cat(of_all), values, gradient.shape, coalesced=False).coalesce()

    def _gathered(self, values: Tensor, lengths: list[int]) -> list[Tensor]:
        """The tensors (N, ...) of all processes, which may be of different lengths N."""
        padded = values.new_zeros(max(lengths), *values.shape[1:])
        padded[: len(values)] = values
        found = [torch.empty_like(padded) for _ in range(self.number)]
        distributed.all_gather(found, padded)
        return [of_one[:length] for of_one, length in zip(found, lengths, strict=True)]


def _sparse(rows: Tensor, values: Tensor, shape: torch.Size, *, coalesced: bool) -> Tensor:
    return torch.sparse_coo_tensor(rows[None], values, shape, is_coalesced=coalesced, check_invariants=False)


@cache
def _launched() -> Processes:
    local = int(os.environ["LOCAL_RANK"])
    if torch.cuda.is_available():
        torch.cuda.set_device(local % torch.cuda.device_count())
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    atexit.register(distributed.destroy_process_group)  # or a process aborts where another one ended a moment before
    return Processes(distributed.get_rank(), distributed.get_world_size(), int(os.environ["LOCAL_WORLD_SIZE"]))


def _device() -> torch.device:
    """Where messages must lie."""
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")


ALONE = Processes()
