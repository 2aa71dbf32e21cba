"""JSON lines in blocks, which all cores parse: one process unpacks the file, the others read the lines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import current_process
from pathlib import Path
from typing import IO, TypeVar

from hybridvae.data import records
from hybridvae.data.pools import in_order

_BLOCK = 4 * 2**20  # bytes, about
_ALONE = 8  # blocks that are read before other processes are worth their start
_MOST_WORKERS = 8  # more would wait for the one that unpacks

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
            *whole_lines, last = rest.split(b"\n")
            lines = [line + b"\n" for line in whole_lines] + ([last] if last else [])
            yield Block(number, [_bounded(line) for line in lines])


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

    After some blocks other processes help, if there are cores for them. They are those of joblib (loky): unlike the
    standard library's they do not run the script again that this process began with.

    Raises:
        NotEnoughMemoryError: one of these processes was killed.
    """
    from joblib import cpu_count  # type: ignore[import-untyped]  # knows the limits of containers

    workers = min(int(cpu_count()), _MOST_WORKERS)
    for number, block in enumerate(blocks, start=1):
        yield parse(block)
        if number == _ALONE and workers > 1 and not current_process().daemon:
            yield from _parsed_by_others(blocks, parse, workers)


def _parsed_by_others(blocks: Iterator[Block], parse: Callable[[Block], Outcome], workers: int) -> Iterator[Outcome]:
    from joblib.externals.loky import ProcessPoolExecutor  # type: ignore[import-untyped]

    pool = ProcessPoolExecutor(workers)
    asked = (pool.submit(parse, block) for block in blocks)
    yield from in_order(asked, [pool], processes=workers, doing="read lines", advice="free some")
