"""Reading reviews and metadata: streamed, validated row by row, nothing lost silently.

JSON lines, CSV and Parquet (see `records`) are read alike. Published Amazon layouts are recognised by their field
names, and a few common names beside them: see `LAYOUTS`. Every row ends either in the Parquet file of what is kept or
in the file of rejects, with its number and a reason.
"""

import ast
import datetime
import html
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hybridvae.data.records import MAX_LITERAL, Records, Rejected, other_kind, records_of
from hybridvae.errors import BadDataError, quoted
from hybridvae.files import atomic_path
from hybridvae.progress import progress

EARLIEST, LATEST = 631_152_000_000, 4_102_444_800_000  # 1990-01-01 and 2100-01-01, ms since 1970
MAX_ID = 1_000  # characters
_BATCH, _BATCH_BYTES = 20_000, 64 * 2**20  # rows held in memory, and bytes of their lines

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WHOLE_UP_TO = 2**53  # floats hold every whole number up to here
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_DATE = re.compile(r"\s*\d{4}-\d\d-\d\d")

REVIEW_SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "item_id": pa.string(),
        "variant_id": pa.string(),  # null, or another id of the item: see `_item`
        "rating": pa.float32(),
        "timestamp": pa.int64(),
        "title": pa.string(),
        "text": pa.string(),
    }
)
METADATA_SCHEMA = pa.schema(
    {name: pa.string() for name in ("item_id", "variant_id", "title", "brand", "categories", "description")}
)


@dataclass(frozen=True)
class Layout:
    """Names of fields, or of the columns of a table; where several are given, the first present counts."""

    name: str
    user: tuple[str, ...]
    item: tuple[str, ...]
    rating: tuple[str, ...]
    time: tuple[str, ...]
    title: tuple[str, ...]
    text: tuple[str, ...]
    milliseconds: int | None  # of one unit of the time; None: seconds or milliseconds, as the size of the number says

    @property
    def required(self) -> dict[str, tuple[str, ...]]:
        """The names without which there is no review."""
        return {"user": self.user, "item": self.item, "rating": self.rating, "time": self.time}

    def lacks(self, names: Collection[str]) -> list[str]:
        """What is required and has none of these names."""
        return [what for what, accepted in self.required.items() if not any(name in names for name in accepted)]

    def fixed(self, names: Collection[str]) -> "Layout":
        """The layout of a file that has these names: of the common ones the first count in all of its rows."""
        if self is not COMMON:
            return self
        user, item, rating, time = (
            tuple(name for name in accepted if name in names)[:1] for accepted in self.required.values()
        )
        return replace(self, user=user, item=item, rating=rating, time=time)


COMMON = Layout(
    "common",
    user=("user_id", "userId", "user", "reviewerID"),
    item=("item_id", "itemId", "item", "product_id", "parent_asin", "asin"),
    rating=("rating", "score", "stars", "overall"),
    time=("timestamp", "time", "date", "unixReviewTime"),
    title=("title", "summary"),
    text=("text", "review", "reviewText"),
    milliseconds=None,
)
# The first that has all that is required is taken. docs/your-data.md has these names too.
LAYOUTS = (
    Layout(
        "amazon-2014-2018",
        user=("reviewerID",),
        item=("asin",),
        rating=("overall",),
        time=("unixReviewTime",),
        title=("summary",),
        text=("reviewText",),
        milliseconds=1000,
    ),
    Layout(
        "amazon-2023",
        user=("user_id",),
        item=("parent_asin", "asin"),
        rating=("rating",),
        time=("timestamp",),
        title=("title",),
        text=("text",),
        milliseconds=1,
    ),
    COMMON,
)
METADATA_FIELDS = {
    "item": ("parent_asin", "asin", "item_id", "itemId", "item", "product_id"),
    "title": ("title", "name"),
    "brand": ("brand", "store"),
    "categories": ("categories", "category"),
    "description": ("description",),
    "features": ("features",),  # becomes a part of the description
}
_A_REVIEW = ", ".join(" or ".join(accepted) for accepted in COMMON.required.values())
_AN_ITEM = ", ".join(" or ".join(accepted) for accepted in METADATA_FIELDS.values())


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


def read_reviews(path: Path, kept: Path, rejects: IO[bytes]) -> ReadReport:
    """Stream a review file (JSON lines or CSV, plain or gzip, or Parquet) into the Parquet file `kept`.

    Its bad rows go into `rejects`.

    Raises:
        UnreadableFileError: the file cannot be read to its end.
        BadDataError: no row is a review of a known layout; the message says what the file is instead, or which columns
            a table lacks.
    """
    report = ReadReport()
    _write(_reviews(path, report, rejects), kept, REVIEW_SCHEMA)
    return report


def read_metadata(path: Path, kept: Path, rejects: IO[bytes]) -> ReadReport:
    """Stream an item metadata file, as `read_reviews` does; any published layout."""
    report = ReadReport()
    _write(_metadata(path, report, rejects), kept, METADATA_SCHEMA)
    return report


def look_at(path: Path, role: str, *, lines: int = 1000) -> ReadReport:
    """Read the first lines of a file of reviews or metadata (`role`) and keep nothing.

    Raises:
        UnreadableFileError, BadDataError: as `read_reviews`, of these lines.
    """
    report = ReadReport()
    for _ in (_reviews if role == "reviews" else _metadata)(path, report, None, lines):
        pass
    return report


def _write(batches: Iterator[list[dict[str, Any]]], path: Path, schema: pa.Schema) -> None:
    with atomic_path(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        for batch in batches:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))


def _reviews(
    path: Path, report: ReadReport, rejects: IO[bytes] | None, most: int | None = None
) -> Iterator[list[dict[str, Any]]]:
    records = records_of(path)
    layout = _layout_of_table(path, records.columns) if records.columns is not None else None

    def parse(record: dict[str, Any]) -> dict[str, Any]:
        nonlocal layout
        if layout is None:
            found = _layout_of(record)
            row = _review(record, found)
            layout = found.fixed(
                [name for name, value in record.items() if value is not None]
            )  # that of the first good
        else:
            if records.kind == "CSV":
                record = _with_numbers(record, (*layout.rating, *layout.time))
            row = _review(record, layout)
        report.layout = layout.name
        report.id_field = report.id_field or _present(record, layout.item)
        return row

    yield from _batches(path, records, report, rejects, role="reviews", parse=parse, most=most)
    if not report.kept:
        raise _nothing_in(path, report, most, f"a review, with the fields {_A_REVIEW}")


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


def _metadata(
    path: Path, report: ReadReport, rejects: IO[bytes] | None, most: int | None = None
) -> Iterator[list[dict[str, Any]]]:
    records = records_of(path)
    ids = METADATA_FIELDS["item"]
    if records.columns is not None and not any(name in records.columns for name in ids):
        raise _lacking(path, records.columns, {"item": ids})

    def parse(record: dict[str, Any]) -> dict[str, Any]:
        row = _item_row(_with_lists(record) if records.kind == "CSV" else record)
        report.id_field = report.id_field or _present(record, ids)
        return row

    yield from _batches(path, records, report, rejects, role="metadata", parse=parse, most=most)
    if not report.kept:
        raise _nothing_in(path, report, most, f"about an item, with the fields {_AN_ITEM}")


def _batches(
    path: Path,
    records: Records,
    report: ReadReport,
    rejects: IO[bytes] | None,
    *,
    role: str,
    parse: Callable[[dict[str, Any]], dict[str, Any]],
    most: int | None,
) -> Iterator[list[dict[str, Any]]]:
    """The rows of a file's first `most` lines or rows (None: of all), some at a time."""
    report.kind = records.kind
    batch: list[dict[str, Any]] = []
    size = 0
    for row in progress(islice(records.rows, most), doing=f"read {path.name}", unit=f"{records.unit}s"):
        report.lines += 1
        try:
            if isinstance(row.record, Rejected):
                raise row.record
            batch.append(parse(row.record))
            report.kept += 1
        except Rejected as why:
            report.rejected[why.reason] += 1
            if why.reason != "blank_line":
                report.first_reject = report.first_reject or f"{records.unit} {row.number}: {why.detail}"
            if rejects is not None:
                entry = {"file": role, "line": row.number, "reason": why.reason, "detail": why.detail}
                entry["content"] = row.content.decode("utf-8", "replace")
                rejects.write(orjson.dumps(entry) + b"\n")
        size += row.size
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _nothing_in(path: Path, report: ReadReport, most: int | None, wanted: str) -> BadDataError:
    """The error for a file without a good line."""
    if report.kind == "JSON lines" and (kind := other_kind(path)):
        return BadDataError(f"{path} {kind}.")
    if not report.lines:
        return BadDataError(f"{path} has names of columns and no row: give the right file.")
    none = "no line" if most is None or report.lines < most else f"none of the first {most} lines"
    return BadDataError(f"{none} of {path} is {wanted} ({report.first_reject}): correct it or give the right file.")


# --- values of CSV, where all are text -----------------------------------------------------------


def _with_numbers(record: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """A record with numbers in these fields where JSON would have them; ids stay the text that they are."""
    return record | {name: _number_in(record[name]) for name in names if isinstance(record[name], str)}


def _number_in(text: str) -> Any:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text


def _with_lists(record: dict[str, Any]) -> dict[str, Any]:
    """A record of metadata with lists where a field has one, in JSON or as pandas writes it: "['Music', 'Drums']"."""
    names = [name for what in ("categories", "description", "features") for name in METADATA_FIELDS[what]]
    return record | {name: _list_in(record[name]) for name in names if (record.get(name) or "").startswith("[")}


def _list_in(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return ast.literal_eval(text) if len(text) <= MAX_LITERAL else text
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return text


# --- values, of whatever kind of file ------------------------------------------------------------


def _review(record: dict[str, Any], layout: Layout) -> dict[str, Any]:
    user = _identifier(record, _named(record, layout.user))
    item, variant = _item(record, layout.item)
    return {
        "user_id": user,
        "item_id": item,
        "variant_id": variant,
        "rating": _rating(record, layout),
        "timestamp": _timestamp(record, layout),
        "title": _text(record, _present(record, layout.title)),
        "text": _text(record, _present(record, layout.text)),
    }


def _item_row(record: dict[str, Any]) -> dict[str, Any]:
    for layout in LAYOUTS:
        told_by = [_present(record, names) for names in (layout.user, layout.rating, layout.time)]
        if all(told_by):
            raise Rejected("not_metadata", f"a review, with {told_by[0]}, {told_by[1]} and {told_by[2]}")
    item, variant = _item(record, METADATA_FIELDS["item"])
    texts = {what: _first_text(record, names) for what, names in METADATA_FIELDS.items() if what != "item"}
    return {
        "item_id": item,
        "variant_id": variant,
        "title": texts["title"],
        "brand": texts["brand"],
        "categories": texts["categories"],
        "description": " ".join(filter(None, (texts["description"], texts["features"]))),
    }


def _first_text(record: dict[str, Any], names: tuple[str, ...]) -> str:
    return next(filter(None, (_text(record, name) for name in names)), "")


def _present(record: dict[str, Any], names: tuple[str, ...]) -> str:
    """Which of the fields the line has first; "" if none."""
    for name in names:
        if record.get(name) is not None:
            return name
    return ""


def _named(record: dict[str, Any], names: tuple[str, ...]) -> str:
    if not (name := _present(record, names)):
        raise _missing(record, names)
    return name


def _missing(record: dict[str, Any], names: tuple[str, ...]) -> Rejected:
    has = quoted(", ".join(islice(record, 20)))
    return Rejected("missing_field", f"no {' or '.join(names)} in the line, or null: it has {has}")


def _item(record: dict[str, Any], names: tuple[str, ...]) -> tuple[str, str | None]:
    """The id of the item, and another one by which the other file may name it: the 2023 release has both.

    There a product has a parent_asin, and each of its variants (colour, size) an asin of its own.
    """
    name = _named(record, names)
    item = _identifier(record, name)
    other = record.get("asin") if name == "parent_asin" else None
    variant = other.strip() if isinstance(other, str) and len(other) <= MAX_ID else ""
    return item, variant if variant and variant != item else None


def _identifier(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if isinstance(value, str):
        identifier = value.strip()
    elif value is None:
        raise _missing(record, (name,))
    elif isinstance(value, float) and value.is_integer() and abs(value) <= _WHOLE_UP_TO:
        identifier = str(int(value))  # pandas makes floats of whole numbers where some are missing
    elif isinstance(value, int) and not isinstance(value, bool):
        identifier = str(value)
    else:
        raise Rejected("bad_id", f"{name} is {quoted(value)}, neither text nor a whole number")
    if not identifier:
        raise Rejected("empty_id", f"{name} is empty")
    if len(identifier) > MAX_ID:
        raise Rejected("bad_id", f"{name} has {len(identifier)} characters, more than {MAX_ID}")
    if _CONTROL.search(identifier):
        raise Rejected("bad_id", f"{name} is {quoted(identifier)}, with a control character in it")
    return identifier


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _rating(record: dict[str, Any], layout: Layout) -> float:
    name = _named(record, layout.rating)
    value: float = record[name]
    if not _is_number(value):
        raise Rejected("bad_rating", f"{name} is {quoted(value)}, not a number")
    if not 1 <= value <= 5:
        raise Rejected("bad_rating", f"{name} is {value}, outside 1 to 5")
    return value


def _timestamp(record: dict[str, Any], layout: Layout) -> int:
    """Milliseconds since 1970, of a number or of a date."""
    name = _named(record, layout.time)
    value = record[name]
    if _is_number(value):
        units = {1000: "seconds", 1: "milliseconds"}
        if layout.milliseconds is not None:
            units = {layout.milliseconds: units[layout.milliseconds]}
        for unit in units:
            if EARLIEST <= value * unit < LATEST:
                return int(value * unit)
        raise Rejected("bad_timestamp", f"{name} is {value}, not {' or '.join(units.values())} from 1990 to 2099")
    when = _date(value)
    if when is None:
        raise Rejected("bad_timestamp", f"{name} is {quoted(value)}, not a number, nor a date such as 2014-05-01")
    milliseconds = (when - _EPOCH) // datetime.timedelta(milliseconds=1)
    if not EARLIEST <= milliseconds < LATEST:
        raise Rejected("bad_timestamp", f"{name} is {quoted(value)}, not from 1990 to 2099")
    return milliseconds


def _date(value: Any) -> datetime.datetime | None:
    """A date of ISO 8601, with or without a time, or one of Parquet; where it says no zone it is of UTC."""
    when = value
    if isinstance(value, str) and _DATE.match(value):
        try:
            when = datetime.datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    elif isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        when = datetime.datetime.combine(value, datetime.time())
    if not isinstance(when, datetime.datetime):
        return None
    return when if when.tzinfo else when.replace(tzinfo=datetime.UTC)


def _text(record: dict[str, Any], name: str) -> str:
    """A field's text, or (nested) lists of it, as one line: entities decoded, white space folded, repeats dropped.

    Numbers are text (a film is called 1984); true, false, null and objects are none.
    """
    value = record.get(name)
    if isinstance(value, str):
        return _one_line(value, name) if value else ""
    leaves: dict[str, None] = {}  # in order, each once
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(reversed(part))
        elif isinstance(part, str):
            leaves[_one_line(part, name)] = None
        elif isinstance(part, int | float) and not isinstance(part, bool):
            # 1984.0 is what pandas makes of 1984 where other titles are missing.
            whole = isinstance(part, float) and part.is_integer() and abs(part) <= _WHOLE_UP_TO
            leaves[str(int(part) if whole else part)] = None
    return ", ".join(filter(None, leaves))


def _one_line(text: str, name: str) -> str:
    try:
        return " ".join(html.unescape(text).replace("\0", " ").split())
    except ValueError:  # int() takes 4,300 digits
        raise Rejected("bad_text", f"{name} has a numeric character reference of thousands of digits") from None
