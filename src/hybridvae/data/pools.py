"""What other processes compute, in the order in which it was asked for."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import TypeVar

from hybridvae.errors import NotEnoughMemoryError

Outcome = TypeVar("Outcome")

_AHEAD = 3  # pieces of work a process that wait for it


def in_order(
    asked: Iterable[Future[Outcome]], pools: Sequence[Executor], *, processes: int, doing: str, advice: str
) -> Iterator[Outcome]:
    """The outcomes of work that `asked` submits to the pools, a few pieces ahead; ends the pools.

    Args:
        processes: how many there are in all pools.
        doing: what a process did that was killed.
        advice: what to change then.

    Raises:
        NotEnoughMemoryError: a process was killed.
    """
    waiting: deque[Future[Outcome]] = deque()
    try:
        for future in asked:
            waiting.append(future)
            if len(waiting) > _AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenExecutor:
        raise NotEnoughMemoryError(
            f"a process that {doing} was killed, as happens where memory is short: {advice}, then run this again."
        ) from None
    finally:
        for future in waiting:
            future.cancel()
        for pool in pools:
            pool.shutdown(wait=True)
