"""Long work shows how far it is, in one style everywhere: stage, done of total, rate, time left.

On a terminal that is a line that changes. Anywhere else, as in a log, it is a new line every minute; a stage that
counts nothing says then that it is at work. All of it goes to the standard error, and so do warnings.
"""

import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from typing import Any
from weakref import WeakSet

from tqdm import tqdm

_EVERY = 60.0  # seconds from one line of a log to the next
_SAID = {"ndcg@10": "validation NDCG@10", "loss": "loss"}  # of the figures of a fit, the first that is known

_stage, _stage_began = "", 0.0
_open: "WeakSet[_Progress]" = WeakSet()
_changing = threading.Lock()  # of what is open
_clock: Callable[[], float] = time.monotonic


class _Progress(tqdm):  # type: ignore[type-arg]  # it is no generic class when it runs
    """A line of progress, which also knows how to say in a log how far it is."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.figures: dict[str, str] = {}
        self.began, self.on_terminal = _clock(), sys.stderr.isatty()
        if not self.on_terminal:  # it counts, and `_far` reads it: a line is seldom drawn, and nowhere
            options |= {"file": StringIO(), "mininterval": 10}
        super().__init__(*arguments, **options)
        if not self.disable:
            with _changing:
                _open.add(self)

    def set_postfix(self, ordered_dict: Any = None, refresh: bool | None = True, **figures: Any) -> None:
        """Show figures behind the line; those that are not measured each time stay known to the log."""
        self.figures |= {**(ordered_dict or {}), **figures}
        super().set_postfix(ordered_dict, refresh, **figures)

    def close(self) -> None:
        """End the line."""
        with _changing:
            _open.discard(self)
        super().close()

    def in_words(self) -> str:
        """How far it is, e.g. "epoch 120 of at most 400, validation NDCG@10 0.178, 1 min 10 s"."""
        unit, done = self.unit.strip(), f"{self.n:,}"
        if unit == "epochs":
            far = f"epoch {done} of at most {self.total:,}"
        else:
            far = f"{done} of {self.total:,} {unit}" if self.total is not None else f"{done} {unit}"
        figures = [f"{words} {self.figures[name]}" for name, words in _SAID.items() if name in self.figures][:1]
        return ", ".join([far, *figures, duration(_clock() - self.began)])


def name_stage(name: str) -> None:
    """Say what this process is for; every line of progress begins with it."""
    global _stage, _stage_began
    _stage, _stage_began = name, _clock()
    _begin_log()


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
    _begin_log()
    return _Progress(
        work,
        desc=f"{_stage}, {doing}" if _stage else doing,
        unit=f" {unit}",
        total=counted,
        initial=done,
        unit_scale=scaled,
        bar_format=share + unit + left,
    )


def duration(seconds: float) -> str:
    """A time in words, e.g. "1 min 10 s" or "2 h 5 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


_log: threading.Thread | None = None


def _begin_log() -> None:
    """Say every minute from now on, until the process ends, how far its work is."""
    global _log  # noqa: PLW0603 - a process has one log
    if _log is None or not _log.is_alive():  # a forked process has none
        never = threading.Event()
        _log = threading.Thread(target=_say_each_minute, args=(never.wait,), name="progress", daemon=True)
        _log.start()


def _say_each_minute(wait: Callable[[float], bool]) -> None:
    """Write a line whenever `wait` has waited a minute, until it returns True."""
    while not wait(_EVERY):
        if (line := _far()) is not None:
            with suppress(OSError, ValueError):  # nobody reads it any more
                tqdm.write(line, file=sys.stderr)


def _far() -> str | None:
    """How far the work is that began last; None where a terminal shows it, or where there is none."""
    with _changing:
        latest = max(_open, key=lambda one: one.began, default=None)
    if latest is not None:
        return None if latest.on_terminal else f"{latest.desc}: {latest.in_words()}"
    return f"{_stage}: at work for {duration(_clock() - _stage_began)}" if _stage else None


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
