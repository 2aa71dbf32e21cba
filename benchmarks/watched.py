"""Run a command and watch it: how long it takes, and the most memory that it and all that it starts hold together."""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from threading import Thread

import psutil  # type: ignore[import-untyped]

_EVERY = 0.05  # seconds between two looks


@dataclass(frozen=True)
class Ended:
    """What a command took.

    Attributes:
        code: its exit code, negative for a signal.
        peak: bytes, the resident memory of all its processes added up, where what they share counts for each.
        processor: seconds of the processor, of the command and of what it waited for.
        killed: whether it was ended because of its memory.
        said: what it wrote to the standard error, the last 4,000 characters.
    """

    code: int
    seconds: float
    processor: float
    peak: int
    killed: bool
    said: str


def measured(command: Sequence[str], *, limit: int | None = None) -> Ended:
    """Run a command to its end; it ends with this process, too.

    Args:
        limit: bytes of memory that it may take, as of a container. Where a control group can be made, the system holds
            it to them; elsewhere it is ended here as soon as it is seen to hold more.
    """
    inside = limit is not None and groups_can_be_made()
    full = [*_in_group(limit), *command] if inside and limit else [*command]
    start, used, peak, killed = time.perf_counter(), _processor_seconds(), 0, False
    process = subprocess.Popen(full, stderr=subprocess.PIPE, stdout=sys.stderr)
    lines: list[bytes] = []
    reader = Thread(target=_copied, args=(process, lines), daemon=True)
    reader.start()
    try:
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            if limit is not None and not inside and peak > limit:
                killed = True
                _end(process.pid)
            time.sleep(_EVERY)
    finally:
        _end(process.pid)
    reader.join()
    code = process.wait()
    killed = killed or (inside and code in (-9, 137))
    said = b"".join(lines)[-4000:].decode(errors="replace")
    return Ended(code, time.perf_counter() - start, _processor_seconds() - used, peak, killed, said)


def _copied(process: "subprocess.Popen[bytes]", lines: list[bytes]) -> None:
    """Show what the command says, and keep it."""
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        sys.stderr.write(line.decode(errors="replace"))
        sys.stderr.flush()


@cache
def groups_can_be_made() -> bool:
    """Whether systemd makes a control group of its own for a command here."""
    if shutil.which("systemd-run") is None:
        return False
    tried = subprocess.run([*_in_group(10**9), "true"], capture_output=True, check=False)
    return tried.returncode == 0


def _in_group(limit: int) -> list[str]:
    whose = [] if os.geteuid() == 0 else ["--user"]
    return ["systemd-run", *whose, "--scope", "--quiet", "-p", f"MemoryMax={limit}", "-p", "MemorySwapMax=0"]


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _memory(pid: int) -> int:
    total = 0
    for process in _tree(pid):
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def _end(pid: int) -> None:
    for process in reversed(_tree(pid)):
        with suppress(psutil.Error):
            process.kill()
