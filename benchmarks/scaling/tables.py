"""Preparation: JSON lines to tables."""

import gzip
import shutil
import time
from pathlib import Path
from typing import Any

import orjson
from command import REPOSITORY

from hybridvae.config import parse_config
from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.data.engine import EngineConfig
from hybridvae.data.reviews import read_reviews
from hybridvae.data.splitting import SplitConfig, split
from hybridvae.data.synthetic import Size, synthesize

Measured = dict[str, Any]


def synthesized(folder: Path, *, rows: int, items: int) -> Path:
    """The folder with so many invented reviews, which are written where they are not there."""
    synthesize(folder / f"rows-{rows}", Size(rows, items), seed=1)
    return folder / f"rows-{rows}"


def prepare(folder: Path, *, rows: int, items: int) -> Measured:
    """From JSON lines to the tables of `split`."""
    raw, into = synthesized(folder, rows=rows, items=items), folder / f"tables-{rows}"
    params = REPOSITORY.params
    engine = parse_config(EngineConfig, params["engine"], where="engine")
    try:
        start = time.perf_counter()
        report = clean(raw, into / "clean", parse_config(CleanConfig, params["clean"], where="clean"), engine)
        cleaned = time.perf_counter() - start
        split(into / "clean", into / "split", parse_config(SplitConfig, params["split"], where="split"), engine)
        seconds = time.perf_counter() - start
    finally:
        shutil.rmtree(into, ignore_errors=True)
    kept = {name: report[name] for name in ("rows_out", "users", "items")}
    return {"seconds": seconds, "clean_seconds": cleaned, "engine": engine.name, **kept}


def read(folder: Path, *, rows: int, items: int) -> Measured:
    """Reading reviews alone, beside what it cannot do without: unpacking, and parsing JSON."""
    files = sorted(synthesized(folder, rows=rows, items=items).glob("reviews-*"))
    start = time.perf_counter()
    for file in files:
        with gzip.open(file) as lines:
            for line in lines:
                orjson.loads(line)
    alone = time.perf_counter() - start
    kept = folder / f"read-{rows}"
    kept.mkdir(exist_ok=True)
    try:
        start = time.perf_counter()
        with (kept / "rejects.jsonl").open("wb") as rejects:
            for number, file in enumerate(files):
                read_reviews(file, kept / f"{number}.parquet", rejects)
        seconds = time.perf_counter() - start
    finally:
        shutil.rmtree(kept, ignore_errors=True)
    return {"seconds": seconds, "rows_a_second": rows / seconds, "rows_a_second_json_alone": rows / alone}
