"""Reading review and metadata JSONL: streamed, validated line by line, nothing lost silently.

Three published Amazon layouts are recognised by their field names. Every line ends either in the
Parquet file of what is kept or in the file of rejects, with its line number and a reason.
"""

import ast
import gzip
import html
import json
import math
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hybridvae.data.file_kinds import binary_kind, text_kind
from hybridvae.errors import BadDataError, UnreadableFileError, quoted
from hybridvae.files import atomic_path, is_gzip
from hybridvae.progress import progress

MAX_LINE = 16 * 2**20  # bytes; a longer line is rejected, so that memory stays bounded
EARLIEST, LATEST = 631_152_000_000, 4_102_444_800_000  # 1990-01-01 and 2100-01-01, ms since 1970
MAX_ID = 1_000  # characters
_MAX_LITERAL = 2**20  # bytes of a line in Python's notation, whose syntax tree takes hundreds of times as much
_BATCH, _BATCH_BYTES = 20_000, 64 * 2**20  # rows held in memory, and bytes of their lines
_HEAD = 64 * 2**10  # bytes by which the kind of a file is told

_BOM = b"\xef\xbb\xbf"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WHOLE_UP_TO = 2**53  # floats hold every whole number up to here

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
_METADATA_ITEM = ("parent_asin", "asin")
_A_REVIEW = "; or ".join(", ".join((x.user, " or ".join(x.item), x.rating, x.timestamp)) for x in LAYOUTS)
_AN_ITEM = f"{' or '.join(_METADATA_ITEM)}, and title, brand or store, categories, description"


class Rejected(ValueError):
    """Why a line is not kept: a short reason that is counted, and words for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass
class ReadReport:
    """What became of a file's lines: `lines == kept + sum(rejected.values())`.

    Attributes:
        layout: of reviews, the name of the layout; all good lines have the same.
        id_field: the field that the item of the first good line is named by.
        first_reject: number of the first bad line that is not blank, and what is wrong with it.
    """

    layout: str = ""
    id_field: str = ""
    lines: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    first_reject: str = ""


def read_reviews(path: Path, kept: Path, rejects: IO[bytes]) -> ReadReport:
    """Stream a review file (plain or gzip) into the Parquet file `kept`, its bad lines into `rejects`.

    Raises:
        UnreadableFileError: the file cannot be read to its end.
        BadDataError: no line is a review of a known layout; the message says what the file is instead.
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
    layout: Layout | None = None

    def parse(record: dict[str, Any]) -> dict[str, Any]:
        nonlocal layout
        if layout is not None:
            return _review(record, layout)
        found = next((known for known in LAYOUTS if known.user in record), None)
        if found is None:
            raise _missing(record, tuple(known.user for known in LAYOUTS))
        row = _review(record, found)
        layout = found  # that of the first good line
        report.layout, report.id_field = found.name, _present(record, found.item)
        return row

    yield from _batches(path, report, rejects, role="reviews", parse=parse, most=most)
    if not report.kept:
        raise _nothing_in(path, report, most, f"a review, with the fields {_A_REVIEW}")


def _metadata(
    path: Path, report: ReadReport, rejects: IO[bytes] | None, most: int | None = None
) -> Iterator[list[dict[str, Any]]]:
    def parse(record: dict[str, Any]) -> dict[str, Any]:
        row = _item_row(record)
        report.id_field = report.id_field or _present(record, _METADATA_ITEM)
        return row

    yield from _batches(path, report, rejects, role="metadata", parse=parse, most=most)
    if not report.kept:
        raise _nothing_in(path, report, most, f"about an item, with the fields {_AN_ITEM}")


def _batches(
    path: Path,
    report: ReadReport,
    rejects: IO[bytes] | None,
    *,
    role: str,
    parse: Callable[[dict[str, Any]], dict[str, Any]],
    most: int | None,
) -> Iterator[list[dict[str, Any]]]:
    """The rows of a file's first `most` lines (None: of all), some at a time."""
    if kind := binary_kind(_head(path)):
        raise BadDataError(f"{path} {kind}.")
    batch: list[dict[str, Any]] = []
    size = 0
    for line in progress(islice(_lines(path), most), doing=f"read {path.name}", unit="lines"):
        report.lines += 1
        try:
            batch.append(parse(_record(line)))
            report.kept += 1
        except Rejected as why:
            report.rejected[why.reason] += 1
            if why.reason != "blank_line":
                report.first_reject = report.first_reject or f"line {report.lines}: {why.detail}"
            if rejects is not None:
                entry = {"file": role, "line": report.lines, "reason": why.reason, "detail": why.detail}
                entry["content"] = line[:500].decode("utf-8", "replace")
                rejects.write(orjson.dumps(entry) + b"\n")
        size += len(line)
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _nothing_in(path: Path, report: ReadReport, most: int | None, wanted: str) -> BadDataError:
    """The error for a file without a good line."""
    if kind := text_kind(_head(path)):
        return BadDataError(f"{path} {kind}.")
    none = "no line" if most is None or report.lines < most else f"none of the first {most} lines"
    return BadDataError(f"{none} of {path} is {wanted} ({report.first_reject}): correct it or give the right file.")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A file to read from, unpacked if it is gzip."""
    opened: IO[bytes] = gzip.open(path) if is_gzip(path) else path.open("rb")  # type: ignore[assignment]  # noqa: SIM115
    try:
        with opened as file:
            yield file
    except (EOFError, OSError, zlib.error) as error:
        raise UnreadableFileError(
            f"{path} cannot be read to its end ({error}): it is damaged, so get it again."
        ) from None


def _head(path: Path) -> bytes:
    with _opened(path) as file:
        return file.read(_HEAD)


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file; of one beyond MAX_LINE only its first MAX_LINE + 1 bytes."""
    with _opened(path) as file:
        while line := file.readline(MAX_LINE + 1):
            yield line
            rest = line
            while len(rest) > MAX_LINE and not rest.endswith(b"\n"):
                rest = file.readline(MAX_LINE + 1)


def _record(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise Rejected("line_too_long", f"more than {MAX_LINE} bytes")
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        record = _loosely(line.strip().removeprefix(_BOM).strip())
    if not isinstance(record, dict):
        raise Rejected("malformed_line", f"not a JSON object but {quoted(record)}")
    return record


def _loosely(line: bytes) -> Any:
    """A line that orjson refuses: JSON after a byte order mark, or with NaN in it, or an object in Python's notation.

    NaN and infinities become null. The way back through orjson refuses what Parquet cannot hold.
    """
    if not line:
        raise Rejected("blank_line", "nothing in the line")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        where = f"byte {line[error.start]:#04x} after {error.start} others"
        raise Rejected("malformed_line", f"not UTF-8 text: {where}") from None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        why = f"{error.msg}, at character {error.pos + 1}"
    for read in (_json_with_nan, _python_literal):
        try:
            return orjson.loads(orjson.dumps(read(text)))
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    raise Rejected("malformed_line", f"not JSON ({why}): {quoted(text)}")


def _json_with_nan(text: str) -> Any:
    """JSON in which numbers may be NaN or infinite, as Python writes it."""
    if "NaN" not in text and "Infinity" not in text:
        raise ValueError
    return json.loads(text, parse_int=_whole)


def _whole(digits: str) -> int | float:
    """A whole number as orjson reads it: beyond 64 bits as a float."""
    number = int(digits) if len(digits) <= 20 else 2**64
    return number if -(2**63) <= number < 2**64 else float(digits)


def _python_literal(text: str) -> Any:
    """An object in Python's notation, as the metadata of the 2014 release is written; `literal_eval` runs no code."""
    if not text.startswith("{'") or len(text) > _MAX_LITERAL:
        raise ValueError
    # Python warns of backslashes that escape nothing.
    with warnings.catch_warnings(action="ignore") if "\\" in text else nullcontext():
        tree = ast.parse(text, mode="eval")
    try:
        return ast.literal_eval(tree)
    except ValueError:
        return ast.literal_eval(_NamesOfNumbers().visit(tree))


class _NamesOfNumbers(ast.NodeTransformer):
    """Makes numbers of the names by which Python writes NaN and infinity."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(math.nan) if node.id in ("nan", "inf") else node


def _review(record: dict[str, Any], layout: Layout) -> dict[str, Any]:
    user = _identifier(record, layout.user)
    item, variant = _item(record, layout.item)
    return {
        "user_id": user,
        "item_id": item,
        "variant_id": variant,
        "rating": _rating(record, layout),
        "timestamp": _timestamp(record, layout),
        "title": _text(record, layout.title),
        "text": _text(record, layout.text),
    }


def _item_row(record: dict[str, Any]) -> dict[str, Any]:
    for layout in LAYOUTS:
        if layout.user in record and layout.rating in record and layout.timestamp in record:
            raise Rejected("not_metadata", f"a review, with {layout.user}, {layout.rating} and {layout.timestamp}")
    item, variant = _item(record, _METADATA_ITEM)
    described = (_text(record, "description"), _text(record, "features"))
    return {
        "item_id": item,
        "variant_id": variant,
        "title": _text(record, "title"),
        "brand": _text(record, "brand") or _text(record, "store"),
        "categories": _text(record, "categories") or _text(record, "category"),
        "description": " ".join(part for part in described if part),
    }


def _present(record: dict[str, Any], names: tuple[str, ...]) -> str:
    """Which of the fields the line has first."""
    return next((name for name in names if record.get(name) is not None), "")


def _missing(record: dict[str, Any], names: tuple[str, ...]) -> Rejected:
    has = quoted(", ".join(islice(record, 20)))
    return Rejected("missing_field", f"no {' or '.join(names)} in the line, or null: it has {has}")


def _item(record: dict[str, Any], names: tuple[str, ...]) -> tuple[str, str | None]:
    """The id of the item, and another one by which the other file may name it: the 2023 release has both.

    There a product has a parent_asin, and each of its variants (colour, size) an asin of its own.
    """
    if not (name := _present(record, names)):
        raise _missing(record, names)
    item = _identifier(record, name)
    other = record.get(names[-1])
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


def _number(record: dict[str, Any], name: str, reason: str) -> float:
    value = record.get(name)
    if value is None:
        raise _missing(record, (name,))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Rejected(reason, f"{name} is {quoted(value)}, not a number")
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
