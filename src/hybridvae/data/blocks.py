"""JSON lines in blocks, which all cores parse: one process unpacks the file, the others read the lines."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import IO, TypeVar

from hybridvae.data import records

_BLOCK = 4 * 2**20  # bytes, about
_ALONE = 8  # blocks that are read before other processes are worth their start
_AHEAD = 3  # blocks a process that wait for it

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Block:
    """Whole lines of a file.

    Attributes:
        first: the number of the first of them.
        lines: as they stand in the file; of one beyond `records.MAX_LINE` its first bytes, one more than that.
    """

    first: int
    lines: list[bytes]


def blocks_of(path: Path) -> Iterator[Block]:
    """The lines of a file, plain or gzip, in order.

    Raises:
        UnreadableFileError: it cannot be read to its end.
    """
    number, rest = 1, b""
    with records.opened(path) as file:
        while chunk := file.read(_BLOCK):
            chunk = rest + chunk
            whole, end, rest = chunk.rpartition(b"\n")
            if end:
                lines = [_bounded(line + b"\n") for line in whole.split(b"\n")]
                yield Block(number, lines)
                number += len(lines)
            elif len(rest) > records.MAX_LINE:
                yield Block(number, [_bounded(rest)])
                number, rest = number + 1, _after_line(file)
        if rest:
            yield Block(number, [_bounded(rest)])


def _bounded(line: bytes) -> bytes:
    return line if len(line) <= records.MAX_LINE + 1 else line[: records.MAX_LINE + 1]


def _after_line(file: IO[bytes]) -> bytes:
    """What follows the next end of a line in the piece of the file that has it."""
    while chunk := file.read(_BLOCK):
        _, end, rest = chunk.partition(b"\n")
        if end:
            return bytes(rest)
    return b""


def parsed(blocks: Iterator[Block], parse: Callable[[Block], Outcome]) -> Iterator[Outcome]:
    """What `parse`, which must be a function of a module, makes of each block, in order.

    After some blocks other processes help, if there are more cores than one.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for number, block in enumerate(blocks, start=1):
        yield parse(block)
        if number == _ALONE and workers > 1:
            break
    else:
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting: deque[Future[Outcome]] = deque()
        try:
            for block in blocks:
                waiting.append(pool.submit(parse, block))
                if len(waiting) > workers * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
