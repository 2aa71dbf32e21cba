"""Spark on a real standalone cluster against DuckDB: the same rows, and seconds for both.

    python benchmarks/spark_cluster.py --rows 1_000_000

Starts a master and two workers on this machine, prepares drawn reviews with either engine (clean, split, item texts),
compares every table row for row, and stops what it started. Takes `pip install 'hybridvae[spark]'` and Java.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.data.engine import DUCKDB, EngineConfig
from hybridvae.data.item_text import TextConfig, gather_item_texts
from hybridvae.data.splitting import SplitConfig, split
from hybridvae.errors import HybridVAEError, in_one_sentence
from hybridvae.seeds import random_generator

WORKERS, CORES, MEMORY = 2, 1, 1500  # the last two of each worker, in MB
_DAY, _START = 86_400_000, 1_400_000_000_000  # ms
_PATIENCE = 60.0  # seconds for the master to answer


def write_reviews(path: Path, rows: int, seed: int) -> None:
    """Reviews by users and of items that are drawn by Zipf's law, on 2,000 days, in the layout of the 2023 release."""
    random = random_generator(seed, "spark_cluster")
    users = random.choice(rows // 10, rows, p=_zipf(rows // 10))
    items = random.choice(rows // 40, rows, p=_zipf(rows // 40))
    days, ratings = random.integers(0, 2000, rows), random.integers(1, 6, rows)
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for user, item, day, rating in zip(*(of.tolist() for of in (users, items, days, ratings)), strict=True):
            line = {
                "user_id": f"u{user}",
                "asin": f"i{item}",
                "rating": float(rating),
                "timestamp": _START + day * _DAY,
            }
            file.write(orjson.dumps(line | {"title": f"Of {item}", "text": f"User {user} on day {day}."}) + b"\n")


def _zipf(number: int) -> Any:
    shares = 1 / np.arange(10, number + 10) ** 0.8
    return shares / shares.sum()


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A master and its workers on loopback; yields the master's address.

    Raises:
        HybridVAEError: pyspark is not there, or the master does not answer.
    """
    if not (package := find_spec("pyspark")) or not package.origin:
        raise HybridVAEError("pyspark is not installed: run `pip install 'hybridvae[spark]'`.")
    starter = Path(package.origin).parent / "bin" / "spark-class"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"spark://127.0.0.1:{port}"
    (folder / "spark-defaults.conf").write_text(f"spark.sql.shuffle.partitions {4 * WORKERS * CORES}\n")
    os.environ |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_CONF_DIR": str(folder)}  # of the driver too
    environment = os.environ | {"SPARK_DAEMON_MEMORY": "256m", "PYSPARK_PYTHON": sys.executable}
    master = ["master.Master", "--host", "127.0.0.1", "--port", str(port)]
    worker = ["worker.Worker", "--host", "127.0.0.1", "--cores", str(CORES), "--memory", f"{MEMORY}m"]
    commands = [master] + [[*worker, "--work-dir", str(folder / f"worker-{n}"), address] for n in range(WORKERS)]
    with (folder / "cluster.log").open("wb") as log:
        started = []
        try:
            for program, *options in commands:
                command = [str(starter), f"org.apache.spark.deploy.{program}", "--webui-port", "0", *options]
                started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
                _wait_for(port, started[0], folder / "cluster.log")
            yield address
        finally:
            for process in reversed(started):
                process.send_signal(signal.SIGTERM)
            for process in started:
                process.wait(timeout=60)


def _wait_for(port: int, master: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(int(_PATIENCE / 0.2)):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if master.poll() is not None:
            break
        time.sleep(0.2)
    said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
    raise HybridVAEError(f"the master of the cluster does not answer; it said last: {said[-1][:200]}")


def prepare(raw: Path, into: Path, engine: EngineConfig) -> tuple[dict[str, float], list[Any]]:
    """Clean, split and gather texts; seconds of each, and what they reported."""
    steps: dict[str, Callable[[], Any]] = {
        "clean": lambda: clean(raw, into / "clean", CleanConfig(), engine),
        "split": lambda: split(into / "clean", into / "split", SplitConfig(), engine),
        "item texts": lambda: gather_item_texts(into / "clean", into / "split" / "fit", TextConfig(), engine),
    }
    seconds, reports = {}, []
    for name, step in steps.items():
        start = time.perf_counter()
        reports.append(step())
        seconds[name] = time.perf_counter() - start
    return seconds, reports


def differences(one: Path, other: Path) -> list[str]:
    """The tables of two folders that are not the same, row for row and type for type."""
    files = {path.relative_to(folder) for folder in (one, other) for path in folder.rglob("*.parquet")}
    return [str(file) for file in sorted(files) if _table(one / file) != _table(other / file)]


def _table(path: Path) -> pa.Table | None:
    if not path.is_file():
        return None
    table = pq.read_table(path)
    return table.cast(pa.schema([(field.name, field.type) for field in table.schema]))  # all nullable


def main() -> None:
    """Run both engines and say what they took; exit with 1 where a table differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="reviews that are drawn (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.rows < 10_000:
        sys.exit("spark_cluster: --rows must be at least 10,000, so that a 5-core is left.")
    with TemporaryDirectory(prefix="hybridvae-cluster-") as name:
        folder = Path(name)
        write_reviews(folder / "raw" / "reviews.jsonl", arguments.rows, arguments.seed)
        seconds, reports = prepare(folder / "raw", folder / "duckdb", DUCKDB)
        with cluster(folder) as master:
            engine = EngineConfig(name="spark", master=master, folder=name)
            seconds_there, reports_there = prepare(folder / "raw", folder / "spark", engine)
        different = differences(folder / "duckdb", folder / "spark")
        tables = len(list((folder / "duckdb").rglob("*.parquet")))
    kept = reports[0]
    print(f"{arguments.rows:,} reviews; after the 5-core {kept['rows_out']:,} of {kept['users']:,} users; seconds:\n")
    print(f"{'':12} {'DuckDB':>8} {f'Spark, {WORKERS} workers of {CORES} core':>28}")
    for step, took in seconds.items():
        print(f"{step:12} {took:8.1f} {seconds_there[step]:28.1f}")
    if different or reports != reports_there:
        sys.exit(f"spark_cluster: the engines differ in {', '.join(different) or 'what they report'}.")
    print(f"\nAll {tables} tables, the item texts and both reports are the same, row for row.")


if __name__ == "__main__":
    with in_one_sentence("spark_cluster"):
        main()
