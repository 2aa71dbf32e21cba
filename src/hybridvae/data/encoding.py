"""Where texts are encoded: in this process, in several of this machine, or in those of Spark.

All get the same batches, of which each is computed at once, so that a vector is the same wherever it was made, but for
rounding that depends on the processor and on the number of its threads.
"""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hybridvae.arrays import FloatArray
from hybridvae.data.engine import EngineConfig, scratch_folder
from hybridvae.data.pools import in_order

if TYPE_CHECKING:
    from hybridvae.data.spark import OfRows

Encoder = Callable[[list[str]], FloatArray]
Load = Callable[[str], Encoder]  # from a device

_LEAST = 16  # batches that make another process worth its start
_ROUND = 256  # batches that a process of Spark encodes in a row; what is saved after them survives a kill
_IDLE = 300  # seconds without work after which a process ends

_BATCHES = pa.schema({"batch": pa.int64(), "texts": pa.list_(pa.string())})
_ENCODED = pa.schema({"batch": pa.int64(), "width": pa.int64(), "rows": pa.binary()})


def encode_batches(batches: list[list[str]], load: Load, *, device: str, engine: EngineConfig) -> Generator[FloatArray]:
    """The rows of each batch, in order.

    Args:
        load: the encoder for a device; called in each process that encodes.
        device: "cuda" stands for all GPUs of this machine.

    Raises:
        NotEnoughMemoryError: a process was killed.
        BadParameterError: Spark cannot be started.
    """
    devices = devices_for(device, engine.encoders)[: max(1, len(batches) // _LEAST)]
    if engine.name == "spark":
        yield from _by_spark(batches, load, device, engine)
    elif len(devices) > 1:
        yield from _by_processes(batches, load, devices)
    else:
        yield from map(load(device), batches)


def devices_for(device: str, processes: int) -> list[str]:
    """The device of each process; of 0 processes, one a GPU where there are several, and otherwise one."""
    gpus = 1
    if device == "cuda":
        import torch

        gpus = torch.cuda.device_count()
    count = processes or gpus
    return [device if gpus == 1 else f"{device}:{number % gpus}" for number in range(count)]


def _by_processes(batches: list[list[str]], load: Load, devices: list[str]) -> Iterator[FloatArray]:
    """Batches in turn to processes of joblib (loky), which do not run the script again that this one began with."""
    import torch
    from joblib.externals.loky import ProcessPoolExecutor  # type: ignore[import-untyped]

    threads = max(1, torch.get_num_threads() // len(devices))
    pools = [ProcessPoolExecutor(1, timeout=_IDLE, env={"OMP_NUM_THREADS": str(threads)}) for _ in devices]
    turns = ((number % len(devices), batch) for number, batch in enumerate(batches))
    asked = (pools[turn].submit(_encoded, load, devices[turn], batch) for turn, batch in turns)
    advice = "lower engine.encoders"
    yield from in_order(asked, pools, processes=len(pools), doing="encoded texts", advice=advice)


_own: Encoder | None = None  # of a process of a pool, which has one device


def _encoded(load: Load, device: str, batch: list[str]) -> FloatArray:
    global _own  # noqa: PLW0603 - read once a process
    if _own is None:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        _own = load(device)
    return _own(batch)


def _end_with(parent: int) -> None:
    """End this process, which holds a model in memory, soon after the one that began it was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _by_spark(batches: list[list[str]], load: Load, device: str, engine: EngineConfig) -> Iterator[FloatArray]:
    from hybridvae.data.spark import open_spark

    work = _of_rows(load, device)
    with scratch_folder(engine) as folder, open_spark(engine, folder) as spark:
        step = _ROUND * spark.cores
        for begin in range(0, len(batches), step):
            part = batches[begin : begin + step]
            sent = pa.table({"batch": range(len(part)), "texts": part}, schema=_BATCHES)
            made = spark.map(sent, work, _ENCODED).sort_by("batch")
            for width, rows in zip(made["width"].to_pylist(), made["rows"], strict=True):
                yield np.frombuffer(rows.as_buffer(), dtype=np.float32).reshape(-1, width)


def _of_rows(load: Load, device: str) -> "OfRows":
    """What a process of Spark does with its rows, each a batch: it reads the encoder once."""

    def of_rows(parts: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import torch

        torch.set_num_threads(1)  # Spark starts a process a core
        encode = load(device)
        for part in parts:
            for number, texts in zip(part["batch"].to_pylist(), part["texts"].to_pylist(), strict=True):
                rows = np.asarray(encode(texts), dtype=np.float32)
                columns = {"batch": [number], "width": [rows.shape[1]], "rows": [rows.tobytes()]}
                yield pa.RecordBatch.from_pydict(columns, schema=_ENCODED)

    return of_rows
