"""How well the service holds: a load generator (wrk) on loopback against one worker with a model of Beauty's size.

    python benchmarks/load.py --seconds 60 --soak 10

Every request has a history of its own, or a hundred of them, and nothing is cached. Before it runs, under the same
load, an address that answers nothing, so that what recommending costs can be told from what answering costs. The
outcome goes to `docs/benchmarks/service.json`, of which `make docs` writes the table in docs/service.md. Takes `wrk`
from the system's packages.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import yaml

from hybridvae.checkpoint import Origin, write_checkpoint
from hybridvae.costs import processor_name
from hybridvae.data.interactions import read_interactions
from hybridvae.errors import HybridVAEError
from hybridvae.files import read_yaml, write_arrays, write_frame, write_json, write_text
from hybridvae.models import Context, create
from hybridvae.service import read_engine, use_one_thread

ROOT = Path(__file__).resolve().parent.parent
USERS, ITEMS, RATINGS = 20_914, 12_084, 198_000  # as Beauty has
CONNECTIONS = 64
BATCH, BATCHES = 100, 4  # histories in a request of the second load, and connections that send such
_EMPTY = """
from pathlib import Path
import uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.get("/empty")
async def empty() -> dict[str, str]:
    return {}
uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
"""
_SCRIPT = """
-- Histories of 1 to 20 items, drawn anew for each request.
function init(args) math.randomseed(20261125) end
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local function history()
  local items = {}
  for place = 1, math.random(1, 20) do items[place] = string.format('"B%05d"', math.random(0, ITEMS - 1)) end
  return "[" .. table.concat(items, ", ") .. "]"
end
function request()
  if BATCH == 1 then return wrk.format(nil, nil, nil, '{"history": ' .. history() .. ', "top_k": 10}') end
  local histories = {}
  for place = 1, BATCH do histories[place] = history() end
  return wrk.format(nil, nil, nil, '{"histories": [' .. table.concat(histories, ", ") .. '], "top_k": 10}')
end
"""


def main() -> None:
    """Build the model, run both loads, write the outcome."""
    parser = argparse.ArgumentParser(description="The service under load.")
    parser.add_argument("--seconds", type=int, default=60, help="of each load (default: %(default)s)")
    parser.add_argument("--soak", type=int, default=0, metavar="MINUTES", help="watch memory so long (default: not)")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--output", type=Path, default=ROOT / "docs/benchmarks/service.json")
    arguments = parser.parse_args()
    try:
        if shutil.which("wrk") is None:
            raise HybridVAEError("wrk is not here: install it, for example by `apt-get install wrk`.")
        with TemporaryDirectory(prefix="hybridvae-load-") as folder:
            build(Path(folder))
            for name, batch in (("history", 1), ("histories", BATCH)):
                script = _SCRIPT.replace("ITEMS", str(ITEMS)).replace("BATCH", str(batch))
                write_text(Path(folder) / f"{name}.lua", script)
            report = measure(Path(folder), arguments.port, arguments.seconds, arguments.soak)
    except HybridVAEError as error:
        sys.exit(f"load: {error}")
    write_json(arguments.output, report)
    print(json.dumps(report, indent=2))


def build(root: Path) -> None:
    """A repository with HybridVAE as params.yaml has it, of Beauty's size, fitted for one epoch on drawn ratings."""
    params = read_yaml(ROOT / "params.yaml")
    params |= {"dataset": "drawn", "models": ["hybridvae"]}
    write_text(root / "params.yaml", yaml.safe_dump(params))
    random = np.random.default_rng(0)
    fit, test = root / "data/split/drawn/fit", root / "data/split/drawn/test"
    users = pd.DataFrame({"user_index": np.arange(USERS), "user_id": [f"A{user:05d}" for user in range(USERS)]})
    items = pd.DataFrame({"item_index": np.arange(ITEMS), "item_id": [f"B{item:05d}" for item in range(ITEMS)]})
    pairs = np.unique(random.integers(USERS * ITEMS, size=RATINGS))
    rows = pd.DataFrame({"user_index": (pairs // ITEMS).astype("int32"), "item_index": (pairs % ITEMS).astype("int32")})
    rows = rows.assign(rating=5.0, positive=True, target=False, part=np.int8(0), timestamp=0)
    rows = rows.assign(position=np.arange(len(rows), dtype=np.int32))
    write_frame(fit / "users.parquet", users)
    write_frame(fit / "items.parquet", items.assign(title=[f"Product {item}" for item in range(ITEMS)], cold=0))
    write_frame(fit / "rows.parquet", rows)
    write_frame(test / "rows.parquet", rows.head(0))
    vectors = random.standard_normal((ITEMS, 384), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    write_arrays(root / "data/embed/drawn/items.safetensors", {"vectors": vectors})
    known = read_interactions(fit, upto="validation", vectors=root / "data/embed/drawn/items.safetensors")
    model = create("hybridvae", params["hybridvae"], Context(device="cpu"), chosen={"epochs": 1})
    model.fit(known)
    figure = {"mean": 0.0, "low": 0.0, "high": 0.0}
    nothing = {"users": 0, "full": {"ndcg@10": figure, "recall@10": figure}}
    origin = Origin("drawn", "temporal", 0, {}, params["hybridvae"], {"epochs": 1}, (), "", nothing)
    write_checkpoint(root / "data/train/drawn/hybridvae", "hybridvae", model, known, origin)


def measure(root: Path, port: int, seconds: int, soak: int) -> dict[str, Any]:
    """All loads one after the other, and the service's memory."""
    listing = seconds_a_list(root)
    with Server([sys.executable, "-c", _EMPTY.replace("PORT", str(port))], root, port, "/empty") as server:
        load(f"http://127.0.0.1:{port}/empty", max(3, seconds // 10))
        empty = load(f"http://127.0.0.1:{port}/empty", seconds)
    command = [sys.executable, "-m", "hybridvae", "serve", "--port", str(port)]
    with Server(command, root, port, "/health") as server:
        address, script = f"http://127.0.0.1:{port}/recommend", root / "history.lua"
        load(address, max(3, seconds // 10), script)
        memory, worked = [server.memory()], server.processor_seconds()
        recommend = load(address, seconds, script)
        worked = server.processor_seconds() - worked
        memory.append(server.memory())
        batches = load(f"{address}/batch", seconds, root / "histories.lua", connections=BATCHES)
        soaked = []
        for _ in range(soak):
            soaked.append(load(address, 60, script)["errors"])
            memory.append(server.memory())
        finished = server.end_in_flight(address)
    return {
        "command": f"python benchmarks/load.py --seconds {seconds}" + (f" --soak {soak}" if soak else ""),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "users": USERS,
        "items": ITEMS,
        "connections": CONNECTIONS,
        "seconds": seconds,
        "empty": empty,
        "recommend": recommend,
        "batch": batches | {"histories": BATCH, "connections": BATCHES},
        "milliseconds_a_list": round(listing * 1000, 3),  # without HTTP, in batches of as many as there are connections
        "cores_busy": round(worked / seconds, 2),
        "seconds_to_ready": server.seconds_to_ready,
        "memory_mb": memory,  # after the warm-up, after the load, and after each minute of the soak
        "soak_errors": soaked,
        "finished_in_flight": finished,
    }


def seconds_a_list(root: Path) -> float:
    """Seconds of one thread that a list takes in a batch of CONNECTIONS, by the library."""
    use_one_thread()
    engine, random = read_engine(root, model="hybridvae"), np.random.default_rng(1)
    served, batches = engine.load("hybridvae"), []
    for _ in range(60):
        histories = [random.integers(ITEMS, size=random.integers(1, 21)).tolist() for _ in range(CONNECTIONS)]
        batches.append([engine.ask_of_history(items, 10, exclude=items, because=False) for items in histories])
    for batch in batches[:10]:
        served.compute(batch)
    start = time.perf_counter()
    for batch in batches[10:]:
        served.compute(batch)
    return (time.perf_counter() - start) / (50 * CONNECTIONS)


class Server:
    """A server process, from the start to its end."""

    def __init__(self, command: list[str], root: Path, port: int, ready: str) -> None:
        self._command, self._root, self._port, self._ready = command, root, port, ready
        self.seconds_to_ready = 0.0

    def __enter__(self) -> "Server":
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", self._port)):
                raise HybridVAEError(f"something answers at port {self._port} already: end it first.")
        start = time.perf_counter()
        self._process = subprocess.Popen(self._command, cwd=self._root, stdout=subprocess.DEVNULL)
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}{self._ready}", timeout=1).close()
                break
            except OSError:
                if self._process.poll() is not None or time.perf_counter() - start > 60:
                    self.__exit__()
                    raise HybridVAEError("the server did not start: see above.") from None
                time.sleep(0.02)
        self.seconds_to_ready = round(time.perf_counter() - start, 2)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(30)

    def memory(self) -> float:
        """Resident memory, MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return round(int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024, 1)  # type: ignore[index]

    def processor_seconds(self) -> float:
        """Seconds that the process has computed, on all cores."""
        _, _, fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def end_in_flight(self, address: str) -> bool:
        """Whether a request that is in flight when the process is told to end is answered, and the process ends."""
        body = json.dumps({"user_ids": [f"A{user:05d}" for user in range(1000)], "top_k": 100}).encode()
        asked = ["curl", "--silent", "--fail", "--output", os.devnull, "--header", "Content-Type: application/json"]
        asked += ["--data-binary", "@-", f"{address}/batch"]
        curl = subprocess.Popen(asked, stdin=subprocess.PIPE)
        assert curl.stdin is not None
        curl.stdin.write(body)
        curl.stdin.close()
        time.sleep(0.05)
        in_flight = curl.poll() is None
        self._process.send_signal(signal.SIGTERM)
        answered = curl.wait(30) == 0
        return in_flight and answered and self._process.wait(15) in (0, -signal.SIGTERM)


def load(address: str, seconds: int, script: Path | None = None, *, connections: int = CONNECTIONS) -> dict[str, float]:
    """What wrk measured: one thread, and so many connections that are kept."""
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--latency"]
    command += ["--timeout", "10s"] + (["--script", str(script)] if script else []) + [address]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0}

    def percentile(which: int) -> float:
        found = re.search(rf"{which}%\s+([\d.]+)(us|ms|s)", said)
        assert found is not None, said
        return round(float(found[1]) * units[found[2]], 3)

    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    assert rate is not None, said
    errors = (int(refused[1]) if refused else 0) + (sum(map(int, broken.groups())) if broken else 0)
    return {
        "requests_a_second": float(rate[1]),
        "p50_ms": percentile(50),
        "p99_ms": percentile(99),
        "errors": errors,
    }


if __name__ == "__main__":
    main()
