"""Reading review and metadata JSONL: streamed, validated line by line, nothing lost silently.

Three published Amazon layouts are recognised by their field names. Every line ends either in the
Parquet file of what is kept or in the file of rejects, with its line number and a reason.
"""

import ast
import gzip
import html
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hybridvae.errors import BadDataError, UnreadableFileError
from hybridvae.files import atomic_path, is_gzip
from hybridvae.progress import progress

MAX_LINE = 16 * 2**20  # bytes; a longer line is rejected, so that memory stays bounded
EARLIEST, LATEST = 631_152_000_000, 4_102_444_800_000  # 1990-01-01 and 2100-01-01, ms since 1970
_BATCH = 20_000  # rows held in memory

REVIEW_SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "item_id": pa.string(),
        "rating": pa.float32(),
        "timestamp": pa.int64(),
        "title": pa.string(),
        "text": pa.string(),
    }
)
METADATA_SCHEMA = pa.schema({name: pa.string() for name in ("item_id", "title", "brand", "categories", "description")})


@dataclass(frozen=True)
class Layout:
    """Field names of a published release; where several are given, the first present counts."""

    name: str
    user: str
    item: tuple[str, ...]
    rating: str
    title: str
    text: str
    timestamp: str
    milliseconds: int  # of one unit of the timestamp


LAYOUTS = (
    Layout("amazon-2014-2018", "reviewerID", ("asin",), "overall", "summary", "reviewText", "unixReviewTime", 1000),
    Layout("amazon-2023", "user_id", ("parent_asin", "asin"), "rating", "title", "text", "timestamp", 1),
)


class Rejected(ValueError):
    """Why a line is not kept: a short reason that is counted, and words for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass
class ReadReport:
    """What became of a file's lines: `lines == kept + sum(rejected.values())`."""

    layout: str = ""
    lines: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    first_reject: str = ""


def read_reviews(path: Path, kept: Path, rejects: IO[bytes]) -> ReadReport:
    """Stream a review file (plain or gzip) into the Parquet file `kept`, its bad lines into `rejects`.

    Raises:
        UnreadableFileError: the file cannot be read to its end.
        BadDataError: no line has the fields of a layout.
    """
    layout: Layout | None = None

    def parse(record: dict[str, Any]) -> dict[str, Any]:
        nonlocal layout
        layout = layout or next((known for known in LAYOUTS if known.user in record), None)
        if layout is None:
            raise Rejected("missing_field", f"no {' or '.join(known.user for known in LAYOUTS)} in the line")
        return _review(record, layout)

    report = _stream(path, kept, rejects, role="reviews", schema=REVIEW_SCHEMA, parse=parse)
    if layout is None:
        wanted = "; or ".join(", ".join((x.user, x.item[0], x.rating, x.timestamp)) for x in LAYOUTS)
        raise BadDataError(f"{path} has no line with the fields of a known layout ({wanted}): check the file.")
    report.layout = layout.name
    return report


def read_metadata(path: Path, kept: Path, rejects: IO[bytes]) -> ReadReport:
    """Stream an item metadata file, as `read_reviews` does; any published layout."""
    return _stream(path, kept, rejects, role="metadata", schema=METADATA_SCHEMA, parse=_metadata)


def _stream(
    path: Path,
    kept: Path,
    rejects: IO[bytes],
    *,
    role: str,
    schema: pa.Schema,
    parse: Callable[[dict[str, Any]], dict[str, Any]],
) -> ReadReport:
    report = ReadReport()
    batch: list[dict[str, Any]] = []
    with atomic_path(kept) as partial, pq.ParquetWriter(partial, schema) as writer:
        for line in progress(_lines(path), doing=f"read {path.name}", unit="lines"):
            report.lines += 1
            try:
                batch.append(parse(_record(line)))
                report.kept += 1
            except Rejected as why:
                report.rejected[why.reason] += 1
                report.first_reject = report.first_reject or f"line {report.lines}: {why.detail}"
                entry = {"file": role, "line": report.lines, "reason": why.reason, "detail": why.detail}
                entry["content"] = line[:500].decode("utf-8", "replace")
                rejects.write(orjson.dumps(entry) + b"\n")
            if len(batch) == _BATCH:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
                batch.clear()
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
    return report


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file; of one beyond MAX_LINE only its first MAX_LINE + 1 bytes."""
    opened: IO[bytes] = gzip.open(path) if is_gzip(path) else path.open("rb")  # type: ignore[assignment]  # noqa: SIM115
    try:
        with opened as file:
            while line := file.readline(MAX_LINE + 1):
                yield line
                rest = line
                while len(rest) > MAX_LINE and not rest.endswith(b"\n"):
                    rest = file.readline(MAX_LINE + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise UnreadableFileError(
            f"{path} cannot be read to its end ({error}): it is damaged, so get it again."
        ) from None


def _record(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise Rejected("line_too_long", f"more than {MAX_LINE} bytes")
    if not line.strip():
        raise Rejected("blank_line", "nothing in the line")
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        record = _python_literal(line)
        if record is None:
            raise Rejected("malformed_line", f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise Rejected("malformed_line", "not a JSON object")
    return record


def _python_literal(line: bytes) -> Any:
    """A line in Python's notation, as the metadata of the 2014 release is written; None otherwise.

    `literal_eval` runs no code. The way back through JSON refuses what Parquet cannot hold.
    """
    if not line.lstrip().startswith(b"{'"):
        return None
    try:
        return orjson.loads(orjson.dumps(ast.literal_eval(line.decode("utf-8").strip())))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _review(record: dict[str, Any], layout: Layout) -> dict[str, Any]:
    return {
        "user_id": _identifier(record, (layout.user,)),
        "item_id": _identifier(record, layout.item),
        "rating": _rating(record, layout),
        "timestamp": _timestamp(record, layout),
        "title": _text(record.get(layout.title)),
        "text": _text(record.get(layout.text)),
    }


def _metadata(record: dict[str, Any]) -> dict[str, Any]:
    described = (_text(record.get("description")), _text(record.get("features")))
    return {
        "item_id": _identifier(record, ("parent_asin", "asin")),
        "title": _text(record.get("title")),
        "brand": _text(record.get("brand")) or _text(record.get("store")),
        "categories": _text(record.get("categories")) or _text(record.get("category")),
        "description": " ".join(part for part in described if part),
    }


def _identifier(record: dict[str, Any], names: tuple[str, ...]) -> str:
    present = next((name for name in names if record.get(name) is not None), None)
    if present is None:
        raise Rejected("missing_field", f"no {' or '.join(names)} in the line")
    value = record[present]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Rejected("bad_id", f"{present} is {value!r}, neither text nor a whole number")
    if not (identifier := str(value).strip()):
        raise Rejected("empty_id", f"{present} is empty")
    return identifier


def _number(record: dict[str, Any], name: str, reason: str) -> float:
    value = record.get(name)
    if value is None:
        raise Rejected("missing_field", f"no {name} in the line")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Rejected(reason, f"{name} is {value!r}, not a number")
    return value


def _rating(record: dict[str, Any], layout: Layout) -> float:
    value = _number(record, layout.rating, "bad_rating")
    if not 1 <= value <= 5:
        raise Rejected("bad_rating", f"{layout.rating} is {value}, outside 1 to 5")
    return value


def _timestamp(record: dict[str, Any], layout: Layout) -> int:
    value = _number(record, layout.timestamp, "bad_timestamp") * layout.milliseconds
    if not EARLIEST <= value < LATEST:
        unit = "seconds" if layout.milliseconds == 1000 else "milliseconds"
        raise Rejected(
            "bad_timestamp", f"{layout.timestamp} is {record[layout.timestamp]}, not {unit} from 1990 to 2099"
        )
    return int(value)


def _text(value: Any) -> str:
    """Text, or (nested) lists of it, as one line: entities decoded, white space folded, repeats dropped."""
    leaves: dict[str, None] = {}  # in order, each once
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(reversed(part))
        elif isinstance(part, str) and (line := " ".join(html.unescape(part).split())):
            leaves[line] = None
    return ", ".join(leaves)
