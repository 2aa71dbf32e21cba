"""Amazon's review data of 2014 as their authors publish them, into files of the form that `sources.yaml` declares.

Two differences are why it is done at all: those files are ordered by item and not by time, and their metadata are in
Python's notation and of every product.
"""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from hybridvae.data import sql
from hybridvae.data.engine import DUCKDB, open_engine
from hybridvae.data.records import Records, Rejected, records_of
from hybridvae.errors import BadDataError
from hybridvae.files import atomic_path
from hybridvae.progress import progress

_FIELDS = ("reviewerID", "asin", "overall", "unixReviewTime")  # that every review has; summary and reviewText may lack
_METADATA = ("asin", "title", "brand", "categories", "description", "price")  # what is kept, where a product has it
_REVIEW_LINES = pa.schema({"time": pa.int64(), "reviewer": pa.string(), "item": pa.string(), "line": pa.string()})
_ITEM_LINES = pa.schema({"item": pa.string(), "line": pa.string()})
_BATCH = 10_000  # lines held in memory


def convert_amazon_2014(reviews: Path, metadata: Path | None, into: Path, *, drop_text: bool) -> dict[Path, int]:
    """Write reviews, and metadata where they are given, as JSON lines, packed with gzip, into the folder `into`.

    reviews_Musical_Instruments_5.json.gz becomes musical_instruments_2014_5core.jsonl.gz, its metadata
    musical_instruments_2014_5core.meta.jsonl.gz. Reviews are in the order of time, user and item, whatever their order
    in the original is. Metadata are those of reviewed items, in the order of items.

    Args:
        drop_text: leave titles and texts of reviews empty.

    Returns:
        The files, each with the number of its lines.

    Raises:
        UnreadableFileError: a file cannot be read to its end.
        BadDataError: a line is no review of 2014, or is not about an item; the message names it.
    """
    with open_engine(DUCKDB) as tables:
        scratch = tables.folder
        _write_parquet(scratch / "reviews.parquet", _review_lines(reviews, drop_text), _REVIEW_LINES)
        tables.register(review_lines=scratch / "reviews.parquet")
        written = {into / f"{_stem(reviews)}.jsonl.gz": sql.REVIEWS_BY_TIME}
        if metadata is not None:
            _write_parquet(scratch / "metadata.parquet", _item_lines(metadata), _ITEM_LINES)
            tables.register(item_lines=scratch / "metadata.parquet")
            written[into / f"{_stem(reviews)}.meta.jsonl.gz"] = sql.REVIEWED_ITEMS
        lines = {}
        for path, query in written.items():
            tables.write(query, scratch / "ordered.parquet")
            lines[path] = _write_lines(path, scratch / "ordered.parquet")
        return lines


def _stem(reviews: Path) -> str:
    """The name without endings of what is made of a file."""
    if found := re.match(r"reviews_(\w+)_5\.json", reviews.name):
        return f"{found[1].lower()}_2014_5core"
    return f"{reviews.name.partition('.')[0].lower()}_2014"


def _review_lines(path: Path, drop_text: bool) -> Iterator[dict[str, Any]]:
    for number, record in _records(path):
        if missing := [name for name in _FIELDS if record.get(name) is None]:
            raise BadDataError(f"line {number} of {path} is no review of 2014: it has no {', '.join(missing)}.")
        try:
            time, rating = int(record["unixReviewTime"]) * 1000, float(record["overall"])
        except (TypeError, ValueError, OverflowError):
            raise BadDataError(f"line {number} of {path} has a rating or a time that is no number.") from None
        user, item = str(record["reviewerID"]), str(record["asin"])
        title, text = ("" if drop_text else str(record.get(name) or "").strip() for name in ("summary", "reviewText"))
        review = {"user_id": user, "asin": item, "rating": rating, "title": title, "text": text, "timestamp": time}
        yield {"time": time, "reviewer": user, "item": item, "line": json.dumps(review)}


def _item_lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, record in _records(path):
        if record.get("asin") is None:
            raise BadDataError(f"line {number} of {path} is not about an item: it has no asin.")
        kept = {name: record[name] for name in _METADATA if record.get(name) is not None}
        yield {"item": str(record["asin"]), "line": json.dumps(kept)}


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and record of every line; JSON, or an object in Python's notation, which is read without running code."""
    records: Records = records_of(path)
    if records.columns is not None:
        raise BadDataError(f"{path} is {records.kind}: give a file of Amazon's release of 2014, which is JSON lines.")
    for row in progress(records.rows, doing=f"read {path.name}", unit="lines"):
        if not isinstance(row.record, Rejected):
            yield row.number, row.record
        elif row.record.reason != "blank_line":
            raise BadDataError(f"line {row.number} of {path} cannot be read ({row.record.detail}): get the file again.")


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]], schema: pa.Schema) -> None:
    with pq.ParquetWriter(path, schema) as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == _BATCH:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
                batch = []
        writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))


def _write_lines(path: Path, ordered: Path) -> int:
    """Write the lines of a table, packed, without a time in the header; how many they are."""
    count = 0
    with (
        pq.ParquetFile(ordered) as table,
        atomic_path(path) as partial,
        partial.open("wb") as raw,
        _packed(raw, path) as file,
    ):
        for batch in table.iter_batches(_BATCH, columns=["line"]):
            file.writelines(f"{line}\n".encode() for line in batch["line"].to_pylist())
            count += len(batch)
    return count


def _packed(raw: IO[bytes], path: Path) -> gzip.GzipFile:
    return gzip.GzipFile(path.name.removesuffix(".gz"), "wb", fileobj=raw, mtime=0)
