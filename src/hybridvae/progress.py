"""Long work shows how far it is, in one style everywhere: stage, done of total, rate, time left.

The line goes to the standard error, and only where that is a terminal. Warnings go there too, wherever it leads.
"""

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

_stage = ""


def name_stage(name: str) -> None:
    """Say what this process is for; every line of progress begins with it."""
    global _stage  # noqa: PLW0603 - a process runs one stage
    _stage = name


def progress(
    work: Iterable[Any] | None = None,
    *,
    doing: str,
    unit: str,
    total: int | None = None,
    done: int = 0,
    scaled: bool = False,
) -> "tqdm[Any]":
    """A line of progress: a context manager with `update(n)`, or around an iterable.

    Args:
        doing: what is done, e.g. "fit".
        unit: what is counted, e.g. "epochs".
        total: how many there are; without it, and without a length of `work`, no time left is shown.
        done: how many were done before.
        scaled: write large numbers as 1.2M.
    """
    counted: Any = total if total is not None or not hasattr(work, "__len__") else len(work)  # type: ignore[arg-type]
    share = "{desc}: {n_fmt} of {total_fmt} " if counted is not None else "{desc}: {n_fmt} "
    left = ", {rate_fmt}, {remaining} left{postfix}" if counted is not None else ", {rate_fmt}{postfix}"
    return tqdm(
        work,
        desc=f"{_stage}, {doing}" if _stage else doing,
        unit=f" {unit}",
        total=counted,
        initial=done,
        unit_scale=scaled,
        bar_format=share + unit + left,
        disable=None,  # where the standard error is no terminal
    )


def warn(sentence: str) -> None:
    """Say in one line what a person should know of, though the work goes on."""
    tqdm.write(f"{_stage}: warning: {sentence}" if _stage else f"warning: {sentence}", file=sys.stderr)


@contextmanager
def standard_output() -> Iterator[None]:
    """Write out what the block prints. A reader that has gone, as in `| head`, ends the block without a word.

    Raises:
        OSError: the standard output cannot be written, and is named as the error's file.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        named = error.filename or getattr(error, "__notes__", None)  # as every file that we write is
        if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EFBIG, errno.EIO) or named:
            raise
        # What waits to be written goes nowhere, or Python would try it again at its end and say so.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            error.filename = "the standard output"
            raise
