"""Hostile requests to the real server process on loopback."""

import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from faults.project import make_project, prepare, pretend_to_encode, run_all
from faults.requests import Request, halves, http, request
from faults.running import Check, Fault, Results, Tried, in_workers, message_faults, random_of
from hybridvae.errors import HybridVAEError

CASES = 2_000
TRIED = "hostile requests to `python -m hybridvae serve`, four at a time"
COUNTS = (
    "an answer of status 500 or more, but 503 in the form of our errors; a 4xx of an address of ours in another form; "
    "no answer to a request that is whole; a traceback; 5 s without an answer for a client that behaves; memory that "
    "grows by 200 MB; half a request that is waited for longer than 90 s"
)
MODELS = ("popularity", "itemknn", "hybridvae")
AT_ONCE = 4
SILENCE, PATIENCE = 5, 90  # seconds
GROWTH = 200  # MB


def run(cases: Sequence[int], seed: int, work: Path) -> Results:
    """See `hybridvae.service`."""
    project = work / "served"
    list(in_workers(partial(_prepared, project), [0], work / "service", processes=1))
    yield from attack(project, cases, seed)


def attack(project: Path, cases: Sequence[int], seed: int) -> Results:
    """Serve the models of a project, and send it what the cases are."""
    with _served(project) as server, ThreadPoolExecutor(AT_ONCE) as threads:
        _asked(server, Request((http("POST", "/items/similar", b'{"text": "guitar"}'),), whole=True, hold=120))
        waiting = [(part, _sent(server, part)) for part in halves()]
        since, before = time.monotonic(), server.memory()
        tasks = {threads.submit(_asked, server, request(random_of(seed, "service", case))): case for case in cases}
        for task in as_completed(tasks):
            tried = task.result()
            yield tasks[task], Tried(tried.outcome, tried.faults + server.trouble())
        found = []
        if (after := server.memory()) > before + GROWTH:
            found.append(Fault("memory grows", f"from {before:.0f} to {after:.0f} MB"))
        time.sleep(max(0.0, since + PATIENCE - time.monotonic()) if len(cases) >= 100 else 0.0)
        if len(cases) >= 100:
            found += [
                Fault("half a request is waited for", repr(part[:60])) for part, link in waiting if _is_open(link)
            ]
        yield cases[-1], Tried("", found + server.trouble())


def _prepared(project: Path, folder: Path) -> Check:
    """Train what is served; there are no cases."""
    prepare()
    pretend_to_encode()
    make_project(project, folder / "data", models=MODELS)
    run_all(project, folder, models=MODELS)
    return lambda case: Tried("", [])


class _Server:
    """The process, and what a client that behaves sees of it."""

    def __init__(self, project: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hybridvae-torture-")  # others may read the project
        self._said = Path(self._folder.name) / "said.txt"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "hybridvae", "serve", "--port", str(self.port)]
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL, stderr=said)
        self._read, self._ended, self._silent = 0, threading.Event(), 0.0
        self._lock = threading.Lock()
        self._watch = threading.Thread(target=self._ask_for_health)

    def begin(self) -> None:
        """Wait until it answers, and then watch it.

        Raises:
            HybridVAEError: it does not begin.
        """
        start = time.monotonic()
        while not self._is_healthy():
            if self.process.poll() is not None or time.monotonic() - start > 60:
                raise HybridVAEError(f"the server does not begin: {self._said.read_text()[-300:]}")
            time.sleep(0.05)
        self._watch.start()

    def end(self) -> None:
        self._ended.set()
        if self._watch.is_alive():
            self._watch.join()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._folder.cleanup()

    def memory(self) -> float:
        """Resident memory, MB."""
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0

    def trouble(self) -> list[Fault]:
        """What went wrong since the last time."""
        with self._lock:
            said = self._said.read_bytes()[self._read :].decode(errors="replace")
            self._read += len(said.encode())
            silent, self._silent = self._silent, 0.0
        faults = []
        if "Traceback" in said:
            last = [line for line in said.splitlines() if line[:1].strip()][-1]
            faults.append(Fault(f"a traceback of the server: {last.partition(':')[0]}", said[-400:]))
        if silent > SILENCE:
            faults.append(Fault("no answer for a client that behaves", f"for {silent:.1f} s"))
        if self.process.poll() is not None:
            faults.append(Fault("the server died", f"exit code {self.process.returncode}"))
        return faults

    def _ask_for_health(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(0.3):
            if self._is_healthy():
                last = time.monotonic()
            with self._lock:
                self._silent = max(self._silent, time.monotonic() - last)

    def _is_healthy(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=30) as answer:
            return bool(answer.status == 200)
        return False


@contextmanager
def _served(project: Path) -> Iterator[_Server]:
    server = _Server(project)
    try:
        server.begin()
        yield server
    finally:
        server.end()


def _sent(server: _Server, *pieces: bytes, pause: float = 0.0) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    with suppress(OSError):  # it may hang up on us
        for piece in pieces:
            link.sendall(piece)
            time.sleep(pause)
    return link


def _is_open(link: socket.socket) -> bool:
    with suppress(OSError):
        link.settimeout(0.1)
        while True:
            try:
                if not link.recv(65_536):
                    return False
            except TimeoutError:
                return True
    return False


def _asked(server: _Server, sent: Request) -> Tried:
    """What is wrong with the answer to a request."""
    label = repr(b"".join(sent.pieces)[:150])
    try:
        with _sent(server, *sent.pieces, pause=sent.pause) as link:
            link.settimeout(30 if sent.whole else sent.hold)
            answer = b""
            with suppress(OSError):
                while (piece := link.recv(65_536)) and len(answer) < 2**24:
                    answer += piece
    except OSError as error:
        return Tried("no connection", [Fault("no connection", f"{error}: {label}")])
    head, _, body = answer.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if status is None:
        return Tried("no answer", [Fault("no answer to a whole request", label)] * sent.whole)
    with_body = not sent.pieces[0].startswith(b"HEAD")
    found = wrong(int(status[1]), head.decode("latin-1"), body, in_our_form=sent.whole and with_body)
    found = [Fault(fault.kind, f"{label}: {fault.said}"[:400]) for fault in found]
    return Tried(f"{status[1][:1].decode()}xx", found)


def wrong(status: int, head: str, body: bytes, *, in_our_form: bool) -> list[Fault]:
    """What is wrong with an answer; `in_our_form` where a 4xx must have the form of our errors."""
    if status >= 500 and status != 503:
        return [Fault(f"status {status}", body[:150].decode(errors="replace"))]
    if not (in_our_form or status == 503):
        return []
    try:
        value = json.loads(body, parse_constant=_no_number) if "application/json" in head else None
        if status < 400:
            return []
        if value is None or set(value) != {"error"} or set(value["error"]) != {"code", "message"}:
            raise ValueError("not our form")
    except (ValueError, TypeError) as error:
        return [Fault(f"status {status} with another body than ours", f"{error}: {body[:150]!r}")]
    return message_faults(value["error"]["message"])


def _no_number(name: str) -> float:
    raise ValueError(f"{name} in JSON")
