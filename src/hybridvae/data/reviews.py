"""Reading reviews and metadata: streamed, validated row by row, nothing lost silently.

JSON lines, CSV and Parquet (see `records`) are read alike. Published Amazon layouts are recognised by their field
names, and a few common names beside them: see `layouts`. Every row ends either in the Parquet file of what is kept or
in the file of rejects, with its number and a reason.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hybridvae.data.blocks import Block, blocks_of, parsed
from hybridvae.data.columns import REVIEW_SCHEMA, review_columns
from hybridvae.data.layouts import COMMON, LAYOUTS, METADATA_FIELDS, Layout
from hybridvae.data.records import MAX_LINE, Records, Rejected, Row, json_row, other_kind, records_of
from hybridvae.data.values import item_row, present, review_row, with_lists, with_numbers
from hybridvae.errors import BadDataError, quoted
from hybridvae.files import atomic_path
from hybridvae.progress import progress

_BATCH, _BATCH_BYTES = 20_000, 64 * 2**20  # rows held in memory, and bytes of their lines

METADATA_SCHEMA = pa.schema(
    {name: pa.string() for name in ("item_id", "variant_id", "title", "brand", "categories", "description")}
)
_A_REVIEW = f"{', '.join(accepted[0] for accepted in COMMON.required.values())} or others of docs/your-data.md"
_AN_ITEM = f"{', '.join(accepted[0] for accepted in METADATA_FIELDS.values())} or others of docs/your-data.md"


@dataclass
class ReadReport:
    """What became of a file's lines or rows: `lines == kept + sum(rejected.values())`.

    Attributes:
        kind: of the file, "JSON lines", "CSV" or "Parquet".
        layout: of reviews, the name of the layout; all good lines have the same.
        id_field: the field that the item of the first good line is named by.
        first_reject: number of the first bad line (of Parquet: row) that is not blank, and what is wrong with it.
    """

    kind: str = ""
    layout: str = ""
    id_field: str = ""
    lines: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    first_reject: str = ""

    def add(self, later: "ReadReport") -> None:
        """Count what follows in the file, or in the next one."""
        self.kind, self.layout = self.kind or later.kind, self.layout or later.layout
        self.id_field, self.first_reject = self.id_field or later.id_field, self.first_reject or later.first_reject
        self.lines, self.kept = self.lines + later.lines, self.kept + later.kept
        self.rejected += later.rejected


@dataclass(frozen=True)
class Part:
    """What became of some lines or rows that follow each other.

    Attributes:
        kept: the good ones, in order.
        rejects: the others, as lines of JSON.
        report: of these alone.
    """

    kept: pa.RecordBatch
    rejects: bytes
    report: ReadReport


def read_reviews(path: Path, kept: Path, rejects: IO[bytes], *, name: str = "reviews") -> ReadReport:
    """Stream a review file (JSON lines or CSV, plain or gzip, or Parquet) into the Parquet file `kept`.

    Its bad rows go into `rejects`.

    Args:
        name: what the file is called in `rejects`.

    Raises:
        UnreadableFileError: the file cannot be read to its end.
        BadDataError: no row is a review of a known layout; the message says what the file is instead, or which columns
            a table lacks.
    """
    return _write(_reviews(path, name), path, kept, REVIEW_SCHEMA, rejects)


def read_metadata(path: Path, kept: Path, rejects: IO[bytes], *, name: str = "metadata") -> ReadReport:
    """Stream an item metadata file, as `read_reviews` does; any published layout."""
    return _write(_metadata(path, name), path, kept, METADATA_SCHEMA, rejects)


def look_at(path: Path, role: str, *, lines: int = 1000) -> ReadReport:
    """Read the first lines of a file of reviews or metadata (`role`) and keep nothing.

    Raises:
        UnreadableFileError, BadDataError: as `read_reviews`, of these lines.
    """
    report = ReadReport()
    for part in (_reviews if role == "reviews" else _metadata)(path, role, lines):
        report.add(part.report)
    return report


def _write(parts: Iterator[Part], path: Path, into: Path, schema: pa.Schema, rejects: IO[bytes]) -> ReadReport:
    report = ReadReport()
    with (
        atomic_path(into) as partial,
        pq.ParquetWriter(partial, schema) as writer,
        progress(doing=f"read {path.name}", unit="lines") as bar,
    ):
        for part in parts:
            writer.write_batch(part.kept)
            rejects.write(part.rejects)
            report.add(part.report)
            bar.update(part.report.lines)
    return report


def _reviews(path: Path, name: str, most: int | None = None) -> Iterator[Part]:
    """What becomes of a file's first `most` lines or rows (None: of all)."""
    records = records_of(path)
    layout = _layout_of_table(path, records.columns) if records.columns is not None else None
    parse = _ReviewParser(name, layout, in_csv=records.kind == "CSV")
    if records.columns is None and most is None:
        parts = _blocks_of_reviews(path, parse)
    else:
        parts = _parts(records, parse, most)
    yield from _with_a_good_row(parts, path, most, f"a review, with the fields {_A_REVIEW}")


def _metadata(path: Path, name: str, most: int | None = None) -> Iterator[Part]:
    """As `_reviews`, of item metadata."""
    records = records_of(path)
    if records.columns is not None and not any(name in records.columns for name in METADATA_FIELDS["item"]):
        raise _lacking(path, records.columns, {"item": METADATA_FIELDS["item"]})
    if records.columns is None and most is None:
        parts = parsed(blocks_of(path), partial(parse_items, name=name))
    else:
        parts = _parts(records, _ItemParser(name, in_csv=records.kind == "CSV"), most)
    yield from _with_a_good_row(parts, path, most, f"about an item, with the fields {_AN_ITEM}")


class _ReviewParser:
    """Makes rows of records; where the layout is not known, it is that of the first good one."""

    schema = REVIEW_SCHEMA

    def __init__(self, name: str, layout: Layout | None = None, *, in_csv: bool = False) -> None:
        self.name, self.layout, self._in_csv = name, layout, in_csv
        self.id_field = ""  # that names the item of the first good one

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        layout = self.layout
        if layout is None:
            row = review_row(record, found := _layout_of(record))
            layout = self.layout = found.fixed([name for name, value in record.items() if value is not None])
        else:
            if self._in_csv:
                record = with_numbers(record, (*layout.rating, *layout.time))
            row = review_row(record, layout)
        self.id_field = self.id_field or present(record, layout.item)
        return row


class _ItemParser:
    """Makes rows of records of metadata, which may have any layout."""

    schema, layout = METADATA_SCHEMA, None

    def __init__(self, name: str, *, in_csv: bool = False) -> None:
        self.name, self._in_csv = name, in_csv
        self.id_field = ""

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        row = item_row(with_lists(record) if self._in_csv else record)
        self.id_field = self.id_field or present(record, METADATA_FIELDS["item"])
        return row


def _blocks_of_reviews(path: Path, parse: _ReviewParser) -> Iterator[Part]:
    """Line by line up to the block with the first good one, and in blocks after it."""
    blocks = blocks_of(path)
    for block in blocks:
        yield _part(_rows(block), parse)
        if parse.layout is not None:
            yield from parsed(blocks, partial(parse_reviews, name=parse.name, layout=parse.layout))


def _rows(block: Block) -> list[Row]:
    return [json_row(number, line) for number, line in enumerate(block.lines, start=block.first)]


def parse_items(block: Block, *, name: str) -> Part:
    """The metadata in a block of JSON lines."""
    return _part(_rows(block), _ItemParser(name))


def parse_reviews(block: Block, *, name: str, layout: Layout) -> Part:
    """The reviews in a block of lines of a known layout: as columns, but for lines that are out of the ordinary."""
    places, records = [], []
    for place, line in enumerate(block.lines):
        with suppress(orjson.JSONDecodeError):
            if type(record := orjson.loads(line)) is dict and len(line) <= MAX_LINE:
                places.append(place)
                records.append(record)
    columns = review_columns(records, layout) if records else None
    parse = _ReviewParser(name, layout)
    if columns is None:
        return _part(_rows(block), parse)
    batch, odd = columns
    ordinary = np.zeros(len(block.lines), dtype=bool)
    ordinary[places] = ~odd
    others = np.flatnonzero(~ordinary).tolist()
    numbers: list[int] = []
    part = _part([json_row(block.first + place, block.lines[place]) for place in others], parse, numbers)
    known = batch.filter(pa.array(~odd))
    part.report.lines, part.report.kept = len(block.lines), part.report.kept + known.num_rows
    if numbers:  # back to the order of the file
        order = np.argsort(np.concatenate([np.flatnonzero(ordinary) + block.first, numbers]))
        known = pa.Table.from_batches([known, part.kept]).take(pa.array(order)).combine_chunks().to_batches()[0]
    return Part(known, part.rejects, part.report)


def _parts(records: Records, parse: "_ReviewParser | _ItemParser", most: int | None) -> Iterator[Part]:
    """What becomes of the first `most` rows (None: of all), some at a time."""
    some: list[Row] = []
    size = 0
    for row in islice(records.rows, most):
        some.append(row)
        size += row.size
        if len(some) >= _BATCH or size >= _BATCH_BYTES:
            yield _part(some, parse, kind=records.kind, unit=records.unit)
            some, size = [], 0
    if some:
        yield _part(some, parse, kind=records.kind, unit=records.unit)


def _part(
    rows: list[Row],
    parse: "_ReviewParser | _ItemParser",
    numbers: list[int] | None = None,
    *,
    kind: str = "JSON lines",
    unit: str = "line",
) -> Part:
    """What becomes of rows, one after the other.

    Args:
        numbers: gets the numbers of those that are kept.
    """
    report, kept, rejects = ReadReport(kind, lines=len(rows)), [], []
    for row in rows:
        try:
            if isinstance(row.record, Rejected):
                raise row.record
            kept.append(parse(row.record))
            if numbers is not None:
                numbers.append(row.number)
        except Rejected as why:
            report.rejected[why.reason] += 1
            if why.reason != "blank_line":
                report.first_reject = report.first_reject or f"{unit} {row.number}: {why.detail}"
            entry = {"file": parse.name, "line": row.number, "reason": why.reason, "detail": why.detail}
            rejects.append(orjson.dumps(entry | {"content": row.content.decode("utf-8", "replace")}) + b"\n")
    report.kept, report.id_field = len(kept), parse.id_field
    report.layout = parse.layout.name if parse.layout is not None and kept else ""
    return Part(pa.RecordBatch.from_pylist(kept, parse.schema), b"".join(rejects), report)


def _with_a_good_row(parts: Iterator[Part], path: Path, most: int | None, wanted: str) -> Iterator[Part]:
    report = ReadReport()
    for part in parts:
        report.add(part.report)
        yield part
    if not report.kept:
        raise _nothing_in(path, report, most, wanted)


def _layout_of(record: dict[str, Any]) -> Layout:
    names = [name for name, value in record.items() if value is not None]
    return next((known for known in LAYOUTS if not known.lacks(names)), COMMON)


def _layout_of_table(path: Path, columns: tuple[str, ...]) -> Layout:
    """The layout of a table, by the names of its columns."""
    found = next((known for known in LAYOUTS if not known.lacks(columns)), None)
    if found is None:
        raise _lacking(path, columns, {what: COMMON.required[what] for what in COMMON.lacks(columns)})
    return found.fixed(columns)


def _lacking(path: Path, columns: tuple[str, ...], wanted: dict[str, tuple[str, ...]]) -> BadDataError:
    names = " and ".join(f"the {what} ({', '.join(accepted)})" for what, accepted in wanted.items())
    return BadDataError(
        f"{path} lacks a column for {names}: it has {quoted(', '.join(columns), 100)}; rename the columns that are "
        "meant, or write a first line of names if there is none."
    )


def _nothing_in(path: Path, report: ReadReport, most: int | None, wanted: str) -> BadDataError:
    """The error for a file without a good line."""
    if report.kind == "JSON lines" and (kind := other_kind(path)):
        return BadDataError(f"{path} {kind}.")
    if not report.lines:
        return BadDataError(f"{path} has names of columns and no row: give the right file.")
    none = "no line" if most is None or report.lines < most else f"none of the first {most} lines"
    return BadDataError(f"{none} of {path} is {wanted} ({report.first_reject}): correct it or give the right file.")
