"""Cases in processes of their own, so that neither a crash, nor a hang, nor a want of memory ends the command."""

import multiprocessing
import os
import re
import resource
import runpy
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from typing import Any

from hybridvae.dependencies import PACKAGE
from hybridvae.errors import HybridVAEError

LONGEST_MESSAGE = 500  # characters of what a person is told


@dataclass(frozen=True)
class Fault:
    """What a case showed.

    Attributes:
        kind: what it has in common with others, e.g. "RecursionError in reviews.py".
        said: the rest, of this case.
    """

    kind: str
    said: str


@dataclass(frozen=True)
class Tried:
    """What came of a case: how it ended in a word or two, which is counted, and what was wrong with it."""

    outcome: str
    faults: list[Fault]


Check = Callable[[int], Tried]
Results = Iterator[tuple[int, Tried]]


def random_of(seed: int, part: str, case: int) -> Random:
    """The generator that a case draws from."""
    return Random(f"{seed} {part} {case}")


def in_workers(
    make: Callable[[Path], Check], cases: Sequence[int], work: Path, *, processes: int = 2, limit: float = 120
) -> Results:
    """Check cases in worker processes, of which one that dies or hangs is replaced.

    Args:
        make: called in each worker with a folder of its own; picklable.
        limit: seconds that a case may take.
    """
    work.mkdir(parents=True, exist_ok=True)
    waiting = list(reversed(cases))
    workers = [_Worker(make, work / f"worker-{number}") for number in range(min(processes, len(cases)))]
    try:
        while waiting or any(worker.case is not None for worker in workers):
            for worker in workers:
                if worker.case is None and waiting:
                    worker.begin(waiting.pop())
            busy = [worker for worker in workers if worker.case is not None]
            wait([worker.connection for worker in busy], timeout=1)
            for worker in busy:
                case, tried = worker.case, worker.found(limit)
                if case is not None and tried is not None:
                    worker.case = None
                    yield case, tried
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process that checks one case after the other."""

    def __init__(self, make: Callable[[Path], Check], folder: Path) -> None:
        self._make, self._folder = make, folder
        self.case: int | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        folder = Path(tempfile.mkdtemp(prefix=f"{self._folder.name}-", dir=self._folder.parent))
        self._process = context.Process(target=_serve_cases, args=(self._make, folder, other))
        self._process.start()
        other.close()
        self._is_ready, self._since = False, time.monotonic()

    def begin(self, case: int) -> None:
        self.case, self._since = case, time.monotonic()
        self.connection.send(case)

    def found(self, limit: float) -> Tried | None:
        """The outcome of the case, where it has one by now.

        Raises:
            HybridVAEError: the process could not be made ready for its first case.
        """
        if self.connection.poll():
            try:
                received = self.connection.recv()
            except (EOFError, ConnectionResetError):
                self._process.join()
                if not self._is_ready:
                    raise HybridVAEError("a part could not begin: see above.") from None
                said = f"exit code {self._process.exitcode}"
                self._start()
                return Tried("died", [Fault(f"the process died: {said}", "")])
            if self._is_ready:
                found: Tried = received
                return found
            self._is_ready, self._since = True, time.monotonic()
        if time.monotonic() - self._since > (limit if self._is_ready else 600):
            self.end()
            self._start()
            return Tried("no end", [Fault(f"no end within {limit:.0f} s", "")])
        return None

    def end(self) -> None:
        self.connection.close()
        if self.case is None:  # it waits for another, and ends by itself when there is none
            self._process.join(5)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.kill()
        self._process.join()


def _serve_cases(make: Callable[[Path], Check], folder: Path, connection: Connection) -> None:
    os.setpgid(0, 0)
    check = make(folder)
    connection.send("ready")
    with suppress(EOFError):
        while True:
            connection.send(check(connection.recv()))


@dataclass(frozen=True)
class Ended:
    """How a piece of work ended.

    Attributes:
        code: the exit code, negative for a signal; None where it was stopped at its limit.
        said: what it wrote to the standard error; `out` to the standard output.
    """

    code: int | None
    said: str
    out: str

    def faults(self) -> list[Fault]:
        """What is wrong with how it ended: it may end well, be stopped, or say what is wrong in one sentence."""
        if "Traceback (most recent call last)" in self.said:
            return [Fault(*_of_traceback(self.said))]
        if self.code is None or self.code == 0:
            return []
        if self.code < 0:
            return [Fault(f"died of signal {-self.code}", self.said[-300:])]
        lines = [line for line in self.said.splitlines() if line.strip() and "warning: " not in line]
        if len(lines) != 1:
            return [Fault(f"{len(lines)} lines where one sentence is due", self.said[-300:])]
        return message_faults(lines[0])


def message_faults(message: str) -> list[Fault]:
    """What is wrong with a message for people."""
    message = re.sub(r"/[^ ']*hybridvae-torture-\w+", "", message)  # where our folders lie says nothing of the product
    if len(message) > LONGEST_MESSAGE:
        return [Fault("a message that is too long", f"{len(message)} characters: {message[:200]!r}")]
    if not message.isprintable():
        return [Fault("a message of several lines, or with signs that do not print", repr(message[:300]))]
    return []


def exception_fault(error: BaseException) -> Fault:
    """An exception that is none of the product's own."""
    return Fault(*_of_traceback("".join(traceback.format_exception(error))))


def _of_traceback(text: str) -> tuple[str, str]:
    """The exception and the innermost of our files that it came through; and what it said."""
    lines = text.splitlines()
    files = [(number, line.strip()) for number, line in enumerate(lines) if line.startswith('  File "')]
    ours = [line for _, line in files if str(PACKAGE) in line or "/stages/" in line] or ["nowhere"]
    place = ours[-1].removeprefix("File ").split(", ")
    file = Path(place[0].strip('"')).name
    after = files[-1][0] if files else -1  # what follows is a line of code, which is indented, and the exception
    rest = [line for line in lines[after + 1 :] if line[:1].strip() and set(line.strip()) - set("~^")]
    error, _, said = " ".join(rest[:3]).partition(":")
    return f"{error.rpartition('.')[2][:80]} from {file}, {place[-1]}", said.strip()[:300]


def checked(work: Callable[[], Any]) -> tuple[Any, list[Fault]]:
    """What work returned; or None, and what is wrong with the exception that it raised."""
    try:
        return work(), []
    except HybridVAEError as error:
        return None, message_faults(str(error))
    except Exception as error:
        return None, [exception_fault(error)]


def fork(work: Callable[[], Any], folder: Path, *, cpu: int = 20, memory: int | None = None) -> int:
    """Begin work in a fork of this process, which has imported what is slow to import; the fork's number.

    Args:
        folder: takes what it writes to the standard output and error.
        cpu: seconds of the processor that it may take.
        memory: bytes that it may ask for beyond what this process has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid == 0:
        code = 70
        with suppress(BaseException):
            code = _in_fork(work, folder / "out.txt", folder / "error.txt", cpu, memory)
        os._exit(code)
    return pid


def ended(status: int, folder: Path) -> Ended:
    """How a fork ended, of which `os.waitpid` said the status."""
    code = os.waitstatus_to_exitcode(status)
    said, out = ((folder / name).read_text(errors="replace") for name in ("error.txt", "out.txt"))
    return Ended(None if code in (-signal.SIGXCPU, -signal.SIGALRM) else code, said, out)


def forked(work: Callable[[], Any], folder: Path, **limits: Any) -> Ended:
    """Do work in a fork, see `fork`, and wait for it."""
    return ended(os.waitpid(fork(work, folder, **limits), 0)[1], folder)


def _in_fork(work: Callable[[], Any], out: Path, error: Path, cpu: int, memory: int | None) -> int:
    for path, descriptor in ((out, 1), (error, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(5 * cpu)  # of sleep, too
    if memory is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    code = 0
    try:
        work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def run_script(script: Path, *arguments: str) -> Callable[[], None]:
    """What runs a Python script as `python script arguments` would, from the root of its repository."""

    def work() -> None:
        os.chdir(script.parent.parent)
        sys.argv = [str(script), *arguments]
        sys.path.insert(0, str(script.parent))
        runpy.run_path(str(script), run_name="__main__")

    return work
