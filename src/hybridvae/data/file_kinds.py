"""What a file is that was given as JSON lines and is none, judged by its beginning, and what to do about it.

The functions take the first bytes of a file, unpacked if it is gzip, and return what follows its name in a message,
such as "is a zip archive: unpack it"; or None where they see nothing of the kind.
"""

import csv
import json

_UNPACK = "unpack it and give the file inside, or pack that with gzip"
_BINARY = (  # (offset, what stands there, what the file is, what to do)
    (0, b"PK\x03\x04", "a zip archive", _UNPACK),
    (0, b"BZh", "packed with bzip2", _UNPACK),
    (0, b"\xfd7zXZ\x00", "packed with xz", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "packed with zstd", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"\x1f\x8b", "packed with gzip twice", "unpack it once"),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"PAR1", "a Parquet file", "write it as JSON lines, in pandas by `to_json(..., orient='records', lines=True)`"),
    (
        0,
        b"ARROW1",
        "an Arrow file",
        "write it as JSON lines, in pandas by `to_json(..., orient='records', lines=True)`",
    ),
    (0, b"SQLite format 3", "a SQLite database", "write its rows as JSON lines"),
)
_PAGE = "is an HTML page, as a download leaves it that failed: download the file again"
_TEXTS = {  # how it begins, in small letters, and what it is
    "<!doctype html": _PAGE,
    "<html": _PAGE,
    "<": "is XML, as a download leaves it that failed: give a file with one JSON object a line",
    "version https://git-lfs": "is a pointer of Git LFS and not the file: get that by `git lfs pull`",
}
_DELIMITERS = {"\t": "TSV", ",": "CSV", ";": "CSV with semicolons", "|": "text with columns divided by |"}


def binary_kind(head: bytes) -> str | None:
    """Of a file that cannot be JSON lines, whatever comes after its beginning."""
    if not head:
        return "is empty: give a file with one JSON object a line"
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
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "ignore").lstrip()
    if not text:
        return "has nothing but blank lines: give a file with one JSON object a line"
    for beginning, kind in _TEXTS.items():
        if text[:200].lower().startswith(beginning):
            return kind
    if text[0] == "{":
        return _object_kind(text)
    return _array_kind(text) if text[0] == "[" else _table_kind(text)


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


def _table_kind(text: str) -> str | None:
    lines = text.splitlines()[:2]
    rows = {delimiter: list(csv.reader(lines, delimiter=delimiter)) for delimiter in _DELIMITERS}
    rows["::"] = [line.split("::") for line in lines]
    delimiter = max(rows, key=lambda name: len(rows[name][0]))
    first, *second = rows[delimiter]
    if len(first) < 2 or (second and len(first) < 4 and len(second[0]) != len(first)):
        return None
    what = _DELIMITERS.get(delimiter, f"text with columns divided by {delimiter}")
    columns = "".join(letter if letter.isprintable() else "?" for letter in ", ".join(first))
    shown = columns if len(columns) <= 80 else f"{columns[:77]}..."
    return (
        f"looks like {what} (line 1: {shown}): write each row as a JSON object in a line of its own, in pandas by "
        "`to_json(..., orient='records', lines=True)`"
    )
