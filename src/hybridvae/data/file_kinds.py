"""What a file is, judged by its beginning; of one that is no JSON lines, CSV or Parquet, what to do about it.

The functions take the first bytes of a file, unpacked if it is gzip. Those of kinds return what follows the file's name
in a message, such as "is a zip archive: unpack it"; or None where they see nothing of the kind.
"""

import csv
import json

from hybridvae.errors import quoted

_WANTED = "give JSON lines, CSV or Parquet"
_UNPACK = "unpack it and give the file inside, or pack that with gzip"
_BINARY = (  # (offset, what stands there, what the file is, what to do)
    (0, b"PK\x03\x04", "a zip archive", _UNPACK),
    (0, b"BZh", "packed with bzip2", _UNPACK),
    (0, b"\xfd7zXZ\x00", "packed with xz", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "packed with zstd", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"\x1f\x8b", "packed with gzip twice", "unpack it once"),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"PAR1", "a Parquet file packed with gzip", "unpack it: it is packed in itself"),
    (0, b"ARROW1", "an Arrow file", "write it as Parquet, in pandas by `to_parquet`"),
    (0, b"\xd0\xcf\x11\xe0", "an old Excel file", "save it as CSV, in UTF-8"),
    (0, b"SQLite format 3", "a SQLite database", "write its rows as CSV"),
)
_PAGE = "is an HTML page, as a download leaves it that failed: download the file again"
_TEXTS = {  # how it begins, in small letters, and what it is
    "<!doctype html": _PAGE,
    "<html": _PAGE,
    "<": f"is XML, as a download leaves it that failed: {_WANTED}",
    "version https://git-lfs": "is a pointer of Git LFS and not the file: get that by `git lfs pull`",
}
_DELIMITERS = ",\t;|"


def binary_kind(head: bytes) -> str | None:
    """Of a file that cannot be text, whatever comes after its beginning."""
    if not head:
        return f"is empty: {_WANTED}"
    for offset, magic, what, remedy in _BINARY:
        if head[offset : offset + len(magic)] == magic:
            return f"is {what}: {remedy}"
    for name, marks in (("UTF-32", (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")), ("UTF-16", (b"\xff\xfe", b"\xfe\xff"))):
        if head.startswith(marks):
            return _not_utf8(name)
    # Without a byte order mark every second byte of Latin letters is zero.
    zeros = [byte == 0 for byte in head[:4]]
    return _not_utf8("UTF-16") if zeros in ([True, False, True, False], [False, True, False, True]) else None


def _not_utf8(name: str) -> str:
    return f"is {name} text: write it as UTF-8, for instance by `iconv -f {name} -t UTF-8`"


def text_kind(head: bytes) -> str | None:
    """Of a text in which no line is a record."""
    text = _text(head)
    if not text:
        return f"has nothing but blank lines: {_WANTED}"
    for beginning, kind in _TEXTS.items():
        if text[:200].lower().startswith(beginning):
            return kind
    if text[0] == "{":
        return _object_kind(text)
    return _array_kind(text) if text[0] == "[" else _colons_kind(text)


def delimiter_of(head: bytes) -> str | None:
    """What divides the columns of a CSV, or of text of that form; None of JSON lines and what else is no table."""
    text = _text(head)
    lines = [line for line in text.splitlines() if line.strip()][:2]
    if not lines or text[0] in "{[<" or lines[-1].lstrip().startswith("{"):
        return None
    rows = {delimiter: list(csv.reader(lines, delimiter=delimiter)) for delimiter in _DELIMITERS}
    delimiter = max(rows, key=lambda name: len(rows[name][0]))
    first, *second = rows[delimiter]
    if len(first) < 2 or (second and len(first) < 4 and len(second[0]) != len(first)):
        return None
    return delimiter if len(first) > len(lines[0].split("::")) else None


def _text(head: bytes) -> str:
    return head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "ignore").lstrip()


def _array_kind(text: str) -> str:
    if text[1:].lstrip()[:1] == "{":
        return "is a JSON array: write each of its objects in a line of its own, for instance by `jq -c '.[]'`"
    return "has a JSON array in line 1: write a JSON object with named fields in each line"


def _object_kind(text: str) -> str | None:
    """Of a text that begins with a brace: whether an object goes over several lines."""
    first = text.partition("\n")[0].rstrip()
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        pass
    else:
        return None
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        end = len(text) if first == "{" else 0  # longer than what is here of the file
    if end <= len(first):
        return None
    return "has JSON objects that go over several lines: write each in a line of its own, for instance by `jq -c .`"


def _colons_kind(text: str) -> str | None:
    columns = text.partition("\n")[0].split("::")
    if len(columns) < 2:
        return None
    shown = quoted(", ".join(columns))
    return f"looks like text with columns divided by :: (line 1: {shown}): write them as CSV with a line of names"
