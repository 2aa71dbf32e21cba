"""The service of a project on a port of its own: in a thread, or as the process that people start."""

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import uvicorn
from projects import ROOT

from hybridvae.service import read_engine, server_options
from hybridvae.service.app import create_app

PATIENCE = 60  # seconds after which something that must happen is taken not to happen


class Service:
    """The service in a thread."""

    def __init__(self, folder):
        self.engine = read_engine(folder, model="hybridvae")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/"
        self.server = uvicorn.Server(uvicorn.Config(create_app(self.engine), **server_options()))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})

    def __enter__(self):
        self.thread.start()
        eventually(lambda: self.server.started)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()

    @property
    def files(self):
        """How many files this process may open."""
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    @property
    def connections(self):
        return len(self.server.server_state.connections)


def eventually(condition):
    """Wait until something holds; how long that takes says nothing on a busy machine."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < PATIENCE, "it never happened"
        time.sleep(0.01)


@contextmanager
def serving(project, folder, script):
    """A process that runs a script, to which `port` and `serve` are known: the process and its port.

    What it writes to its standard error is in `folder` / "stderr.txt".
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = f"""
from pathlib import Path
import hybridvae.service
def serve():
    hybridvae.service.serve(Path(), model="hybridvae", host="127.0.0.1", port={port})
"""
    with (folder / "stderr.txt").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", start + script],
            cwd=project.folder,
            env=project.environment | {"PYTHONPATH": str(ROOT / "src")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    try:
        eventually(lambda: process.poll() is not None or answers(port))
        assert process.poll() is None, (folder / "stderr.txt").read_text()
        yield process, port
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def line_of(process):
    """The next line that a process prints."""
    assert select.select([process.stdout], [], [], PATIENCE)[0], "it never said anything"
    return process.stdout.readline()


def end(process):
    """Tell a process to end, and wait until it has; gives its exit code, 0 for the signal's own."""
    os.kill(process.pid, signal.SIGTERM)
    code = process.wait(PATIENCE)
    return 0 if code == -signal.SIGTERM else code


def answers(port):
    """Whether something listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def connect(port, sent=b""):
    """A connection on which these bytes were sent."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    connection.sendall(sent)
    return connection


def received(connection):
    """All that comes until the other side closes."""
    found = b""
    try:
        while piece := connection.recv(1 << 16):
            found += piece
    except ConnectionResetError:
        pass
    return found


def responses(data):
    """The responses in what was received: (status, headers, body as JSON, or as bytes)."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        status, *lines = head.decode("ascii").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = 0 if data.startswith(b"HTTP/") else int(headers.get("content-length", 0))  # that to HEAD has no body
        body, data = data[:length], data[length:]
        is_json = body and headers.get("content-type") == "application/json"
        found.append((int(status.split()[1]), headers, json.loads(body) if is_json else body))
    return found


def ask(port, body=b'{"user_id": "u003"}', path="/recommend"):
    """The response to one request, on a connection of its own."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    with connect(port, head.encode() + body) as connection:
        (response,) = responses(received(connection))
    return response
