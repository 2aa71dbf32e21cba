"""From a file to records: JSON lines, CSV (or TSV) and Parquet, streamed, with nothing lost silently.

The kind of a file is told by its content, whatever its name says. Each line of JSON, row of CSV or row of Parquet
becomes a record of named values, or the reason why it is none.
"""

import ast
import csv
import gzip
import json
import math
import warnings
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hybridvae.data.file_kinds import binary_kind, delimiter_of, text_kind
from hybridvae.errors import BadDataError, UnreadableFileError, quoted
from hybridvae.files import is_gzip

MAX_LINE = 16 * 2**20  # bytes; a longer line is rejected, so that memory stays bounded
MAX_LITERAL = 2**20  # bytes of a line in Python's notation, whose syntax tree takes hundreds of times as much
_HEAD = 64 * 2**10  # bytes by which the kind of a file is told
_PARQUET_BATCH = 2_000  # rows held in memory
_CONTENT = 500  # bytes of a row that is not kept, as rejects show it

_BOM = b"\xef\xbb\xbf"


class Rejected(ValueError):
    """Why a line is not kept: a short reason that is counted, and words for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Row:
    """A line of JSON, or a row of a table.

    Attributes:
        number: of the line in its file, where a row of CSV begins; of Parquet, of the row; from 1 on.
        size: bytes, about.
        content: its beginning, as it stands in the file, or for Parquet as JSON.
        record: its named values, or why there are none.
    """

    number: int
    size: int
    content: bytes
    record: dict[str, Any] | Rejected


@dataclass(frozen=True)
class Records:
    """The rows of a file, which can be read once.

    Attributes:
        kind: "JSON lines", "CSV" or "Parquet".
        unit: what a row's number counts, "line" or "row".
        columns: names, in order; None for JSON lines, each of which has its own.
    """

    kind: str
    unit: str
    columns: tuple[str, ...] | None
    rows: Iterator[Row]


def records_of(path: Path) -> Records:
    """The records of a file, plain or gzip.

    Raises:
        UnreadableFileError: it cannot be read, here or at its end.
        BadDataError: it is of another kind, or its table names a column twice.
    """
    head = _head(path)
    if head.startswith(b"PAR1") and not is_gzip(path):
        return _parquet(path)
    if kind := binary_kind(head):
        raise BadDataError(f"{path} {kind}.")
    if delimiter := delimiter_of(head):
        return _csv(path, delimiter)
    return Records("JSON lines", "line", None, _json_rows(path))


def other_kind(path: Path) -> str | None:
    """What follows the name of a text in a message where no line of it is a record; None where nothing is seen."""
    return text_kind(_head(path))


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file to read from, unpacked if it is gzip."""
    opened: IO[bytes] = gzip.open(path) if is_gzip(path) else path.open("rb")  # type: ignore[assignment]  # noqa: SIM115
    with _whole_file(path), opened as file:
        yield file


@contextmanager
def _whole_file(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError, zlib.error, pa.ArrowException, UnicodeDecodeError, OverflowError) as error:
        said = str(error).partition("\n")[0]
        raise UnreadableFileError(
            f"{path} cannot be read to its end ({said}): it is damaged, so get it again."
        ) from None


def _head(path: Path) -> bytes:
    with opened(path) as file:
        return file.read(_HEAD)


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file; of one beyond MAX_LINE only its first MAX_LINE + 1 bytes."""
    with opened(path) as file:
        while line := file.readline(MAX_LINE + 1):
            yield line
            rest = line
            while len(rest) > MAX_LINE and not rest.endswith(b"\n"):
                rest = file.readline(MAX_LINE + 1)


# --- JSON lines ----------------------------------------------------------------------------------


def _json_rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), start=1):
        yield json_row(number, line)


def json_row(number: int, line: bytes) -> Row:
    """The record of a line, or why it is none."""
    try:
        record: dict[str, Any] | Rejected = _record(line)
    except Rejected as why:
        record = why
    return Row(number, len(line), line[:_CONTENT], record)


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
        raise Rejected("malformed_line", _not_utf8(error, line)) from None
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


def _not_utf8(error: UnicodeDecodeError, line: bytes) -> str:
    return f"not UTF-8 text: byte {line[error.start]:#04x} after {error.start} others"


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
    if not text.startswith("{'") or len(text) > MAX_LITERAL:
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


# --- CSV -----------------------------------------------------------------------------------------


def _csv(path: Path, delimiter: str) -> Records:
    rows = _csv_rows(path, delimiter)
    number, _, header = next(row for row in rows if row[1].strip())  # `delimiter_of` has seen it
    if isinstance(header, Rejected):
        raise BadDataError(f"{path} is CSV without a line of names ({header.detail} in line {number}): correct it.")
    columns = _distinct(path, [name.strip() for name in header])
    return Records("CSV", "line", columns, (_named(row, columns) for row in rows))


def _distinct(path: Path, columns: list[str]) -> tuple[str, ...]:
    if twice := [name for place, name in enumerate(columns) if name and name in columns[:place]]:
        raise BadDataError(f"{path} has two columns of the name {quoted(twice[0])}: rename one of them.")
    return tuple(columns)


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[int, bytes, list[str] | Rejected]]:
    """Number, content and values of each row, of which one goes over several lines where a quoted value does.

    Python's reader says what is no CSV. A quote that is opened and not closed would take the following rows with it, up
    to the 131,072 characters that a value may have: the line in which it stands is rejected, and those after it are
    read again. So is a row over several lines with another number of columns than the first line has.
    """
    lines = _Lines(path)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    number, width = 1, 0
    while True:
        try:
            values: list[str] | Rejected = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            values = Rejected("malformed_line", f"not a row of CSV ({error})")
        if isinstance(values, list) and not width and any(value.strip() for value in values):
            width = len(values)
        if isinstance(values, Rejected) or len(values) != width:
            lines.keep_one()
        taken = lines.take()
        content = b"".join(taken)
        yield number, content, _checked(values, content, width)
        number += len(taken)


class _Lines:
    """The lines of a file as text, with those since the last `take` at hand."""

    def __init__(self, path: Path) -> None:
        self._lines = _lines(path)
        self._waiting: deque[bytes] = deque()  # to be read again
        self._taken: list[bytes] = []
        self._first = True

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else next(self._lines)
        self._taken.append(line)
        if self._first:
            line, self._first = line.removeprefix(_BOM), False
        return line.decode("utf-8", "surrogateescape")  # `_checked` refuses what that had to escape

    def take(self) -> list[bytes]:
        """The lines since the last call."""
        taken, self._taken = self._taken, []
        return taken

    def keep_one(self) -> None:
        """Put back all lines since the last `take` but the first."""
        self._waiting.extendleft(reversed(self._taken[1:]))
        del self._taken[1:]


def _checked(values: list[str] | Rejected, content: bytes, width: int) -> list[str] | Rejected:
    if not content.strip():
        return Rejected("blank_line", "nothing in the line")
    if len(content) > MAX_LINE:
        return Rejected("line_too_long", f"more than {MAX_LINE} bytes")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return Rejected("malformed_line", _not_utf8(error, content))
    if isinstance(values, list) and len(values) != width:
        return Rejected("malformed_line", f"{len(values)} columns, where the names in the first line are {width}")
    return values


def _named(row: tuple[int, bytes, list[str] | Rejected], columns: tuple[str, ...]) -> Row:
    """A row of CSV with the names of its columns; where nothing stands, the value is None."""
    number, content, values = row
    if isinstance(values, list):
        record = {name: value or None for name, value in zip(columns, values, strict=True) if name}
        return Row(number, len(content), content[:_CONTENT], record)
    return Row(number, len(content), content[:_CONTENT], values)


# --- Parquet -------------------------------------------------------------------------------------


def _parquet(path: Path) -> Records:
    with _whole_file(path):
        columns = pq.read_schema(path).names
    return Records("Parquet", "row", _distinct(path, columns), _parquet_rows(path))


def _parquet_rows(path: Path) -> Iterator[Row]:
    number = 0
    with _whole_file(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_PARQUET_BATCH):
            for record in batch.to_pylist():
                number += 1
                content = orjson.dumps(record, default=str)
                plain = {name: _plain(value) for name, value in record.items()}
                yield Row(number, len(content), content[:_CONTENT], plain)


def _plain(value: Any) -> Any:
    """A value as JSON lines have it: NaN and infinities are null there."""
    if isinstance(value, Decimal):
        return _plain(float(value))
    return None if isinstance(value, float) and not math.isfinite(value) else value
