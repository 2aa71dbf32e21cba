"""Spoilt reviews and metadata through `clean`: no line may be lost, and nothing invented."""

import ast
import bz2
import gzip
import io
import json
import lzma
import math
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import orjson
import pandas as pd

from faults.running import LONGEST_MESSAGE, Check, Fault, Results, Tried, checked, in_workers, message_faults, random_of
from hybridvae.data.cleaning import CleanConfig, clean

CASES = 10_000
TRIED = "spoilt files of reviews and metadata, through `clean`"
COUNTS = (
    "an error without a sentence for people; a line lost, counted twice, or kept though it is not in the file; "
    "an intact line rejected; something left behind"
)
START = 1_400_000_000  # s since 1970
NAMES = {
    "2014": ("reviewerID", "asin", "overall", "summary", "reviewText", "unixReviewTime"),
    "2023": ("user_id", "parent_asin", "rating", "title", "text", "timestamp"),
}
Record = dict[str, Any]


def run(cases: Sequence[int], seed: int, work: Path) -> Results:
    """See `hybridvae.data.cleaning`."""
    yield from in_workers(partial(checker, seed), cases, work / "intake")


def checker(seed: int, folder: Path) -> Check:
    """What checks a case in a folder of its own."""
    return lambda case: check(random_of(seed, "intake", case), folder)


def check(random: Random, folder: Path) -> Tried:
    """Clean spoilt files and look at what came of each line."""
    raw, into, scratch = folder / "raw", folder / "clean", folder / "tmp"
    for path in (raw, into, scratch):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    tempfile.tempdir = str(scratch)
    layout = random.choice(list(NAMES))
    reviews = spoilt_file(random, reviews_of(random, layout))
    described = spoilt_file(random, metadata_of(random, layout)) if random.random() < 0.5 else None
    (raw / random.choice(["reviews.jsonl", "reviews.jsonl.gz"])).write_bytes(reviews[0])
    if described is not None:
        (raw / random.choice(["metadata.jsonl", "metadata.jsonl.gz"])).write_bytes(described[0])
    share = 1.0 if random.random() < 0.85 else random.choice([0.0, 0.01, 0.2])
    config = CleanConfig(
        min_user_ratings=random.choice([1, 1, 2, 4]),
        min_item_ratings=random.choice([1, 1, 2, 5]),
        max_reject_share=share,
    )
    with redirect_stderr(io.StringIO()) as said:
        report, faults = checked(lambda: clean(raw, into, config))
    for line in said.getvalue().splitlines():
        faults += message_faults(line) if line.startswith("warning: ") else [Fault("words without a form", line[:200])]
    if report is not None:
        faults += [Fault("what is kept does not add up", said) for said in _wrong(report, into, reviews, described)]
    left = [path.name for path in [*scratch.iterdir(), *into.glob(".*")]]
    faults += [Fault("something is left behind", ", ".join(left))] if left else []
    return Tried("refused" if report is None else "read", faults)


def _wrong(report: dict[str, Any], into: Path, reviews: "Spoilt", described: "Spoilt | None") -> list[str]:
    """What does not add up in what `clean` wrote and reported."""
    wrong = []
    rejected = sum(report["rejected"].values())
    if report["rows_in"] != report["rows_out"] + rejected + report["duplicates"] + report["k_core_removed"]:
        wrong.append(f"rows: {report}")
    rejects = [orjson.loads(line) for line in (into / "rejects.jsonl").read_bytes().splitlines()]
    for role, counted, spoilt in (
        ("reviews", rejected, reviews),
        ("metadata", sum(report["metadata_rejected"].values()), described),
    ):
        numbers = [entry["line"] for entry in rejects if entry["file"] == role]
        if len(numbers) != counted or len(set(numbers)) != counted:
            wrong.append(f"{counted} lines of the {role} rejected, but {len(numbers)} in rejects.jsonl")
        if spoilt is None:
            continue
        if report["rows_in" if role == "reviews" else "metadata_rows_in"] != len(spoilt[1]):
            wrong.append(f"{role}: {len(spoilt[1])} lines in the file, not as many in the report: {report}")
        if intact := spoilt[2] & set(numbers):
            reason = next(entry for entry in rejects if entry["line"] in intact and entry["file"] == role)
            wrong.append(f"{len(intact)} intact lines of the {role} rejected, e.g. {reason}")
    wrong += [f"a reject of {len(e['detail'])} characters" for e in rejects if len(e["detail"]) > LONGEST_MESSAGE][:1]
    kept, items = pd.read_parquet(into / "reviews.parquet"), pd.read_parquet(into / "items.parquet")
    sizes = (len(kept), kept["user_id"].nunique(), kept["item_id"].nunique(), int(kept["positive"].sum()))
    if sizes != tuple(report[key] for key in ("rows_out", "users", "items", "positives")):
        wrong.append(f"reviews.parquet has {sizes} rows, users, items and positives, not those of {report}")
    if kept.duplicated(["user_id", "item_id"]).any() or sorted(items["item_id"]) != sorted(kept["item_id"].unique()):
        wrong.append("a pair or an item is there twice, or not at all")
    possible = set().union(*(_readings(line) for line in reviews[1]))
    rows = zip(kept["user_id"], kept["item_id"], kept["rating"].astype(float), kept["timestamp"], strict=True)
    if invented := [row for row in rows if row not in possible]:
        wrong.append(f"{len(invented)} rows that no line has, e.g. {invented[0]!r}"[:300])
    return wrong


def _readings(line: bytes) -> set[tuple[str, str, float, int]]:
    """All that a line may say, read by other means than the product's and generously."""
    try:
        record = json.loads(line, parse_int=_whole)
    except (ValueError, RecursionError):
        try:
            # What is no number in Python's notation either is taken as nothing, as NaN in JSON is.
            record = ast.literal_eval(re.sub(r"-?\b(inf|nan)\b", "None", line.decode().strip()))
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return set()
    found = set()
    for user, item, rating, *_, time in NAMES.values() if isinstance(record, dict) else ():
        with_unit = 1000 if time == "unixReviewTime" else 1
        for name in {item, "asin"}:
            try:
                value, when = float(record[rating]), _milliseconds(record[time], with_unit)
                if 1 <= value <= 5 and math.isfinite(when):
                    names = _name(record[user]), _name(record[name])
                    found.add((*names, float(np.float32(value)), int(when)))
            except (KeyError, TypeError, ValueError, OverflowError):
                continue
    return found


def _milliseconds(time: Any, unit: int) -> float:
    """A time as a number of milliseconds; a text may be a date."""
    return float(pd.Timestamp(time, tz="UTC").timestamp() * 1000) if isinstance(time, str) else time * unit


def _whole(digits: str) -> int | float:
    """A whole number, or where it has more digits than Python reads an infinity, which no field may hold."""
    return int(digits) if len(digits) <= 4_300 else math.inf


def _name(value: Any) -> str:
    """An id as text; a whole number is the same name whether it is written 7 or 7.0."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


# --- what is spoilt ---

Spoilt = tuple[bytes, list[bytes], set[int]]  # the file; the lines in it; the numbers of those that are intact


def reviews_of(random: Random, layout: str) -> list[Record]:
    """Intact reviews of six users on five items."""
    user, item, rating, title, text, time = NAMES[layout]
    unit = 1 if layout == "2014" else 1000
    pairs = [(u, i) for u in range(6) for i in range(5)]
    return [
        {
            user: f"u{u}",
            item: f"i{i}",
            rating: float(random.randint(1, 5)),
            title: f"title {u}",
            text: "Good &amp; cheap.\n<b>Buy</b> it",
            time: (START + 86_400 * random.randrange(1000)) * unit,
        }
        for u, i in random.sample(pairs, len(pairs))
    ]


def metadata_of(random: Random, layout: str) -> list[Record]:
    """Intact metadata of the five items."""
    if layout == "2014":
        shape: Record = {"brand": "b", "categories": [["A", "B"], ["C"]], "description": "d"}
    else:
        shape = {"store": "b", "categories": ["A"], "description": ["d", "e"], "features": []}
    key = "asin" if layout == "2014" else "parent_asin"
    return [{key: f"i{i}", "title": f"Item {random.randrange(99)}", **shape} for i in range(5)]


def nasty(random: Random) -> Any:
    """A value that few expect in a field."""
    deep: Any = "x"
    for _ in range(random.choice([3, 40, 1100])):
        deep = [deep] if random.random() < 0.5 else {"k": deep}
    return random.choice(
        [
            *(None, True, False, math.nan, math.inf, -math.inf, 0, -1, 1, 5, 6, 5.0000001, 0.9999999, 1e-320, 1.5),
            *(10**18, 2**63, 2**64, -(2**63) - 1, 10**400, 10**4400, 1e300, "5", "5.0", "NaN", "", " ", "\t", "\u00a0"),
            *("\0", "a\0b", "a\nb", "a\r\nb", "\ud800", "\udfff\ud800", "é", "e\u0301", "\u202eabc", "\U0001f3b8" * 50),
            *("x" * 3_000, "&#" + "9" * 4301 + ";", "&#xD800;", "&#0;", "&amp;" * 500, "&" * 1000, "<b>" * 200),
            *("'; DROP TABLE ratings; --", "../../x", "%s%n", "{user}", "=1+1", [], {}, [[]], [None, 1, "a"], {"a": 1}),
            *("u1", "i1", 1984, "2014-05-01", 631_152_000, 631_151_999, 4_102_444_799, 4_102_444_800, 1.4e9 + 0.5),
            *(631_152_000_000, 631_151_999_999, 4_102_444_799_999, 4_102_444_800_000, 1.4e12 + 0.5, -1.4e12),
            deep,
        ]
    )


def spoilt_record(random: Random, record: Record) -> Record:
    """A record with a field dropped, renamed, added or of another value."""
    name = random.choice(list(record))
    how = random.choice(["value", "value", "value", "drop", "rename", "more", "all"])
    if how == "value":
        return record | {name: nasty(random)}
    if how == "drop":
        return {key: value for key, value in record.items() if key != name}
    if how == "rename":
        new = random.choice([name.upper(), name + " ", "", "asin", "user_id", "reviewerID", "rating", "\0"])
        return {(new if key == name else key): value for key, value in record.items()}
    if how == "more":
        return record | {random.choice(["asin", "parent_asin", "user_id", "extra", "text"]): nasty(random)}
    return {key: nasty(random) for key in record}


def spoilt_line(random: Random, line: bytes) -> bytes:
    """A line with its bytes disturbed."""
    at, to = sorted((random.randrange(len(line) + 1), random.randrange(len(line) + 1)))
    depth = random.choice([100, 2_000, 100_000])
    ways: list[Callable[[], bytes]] = [
        lambda: line[:at] + bytes([random.randrange(256)]) + line[at + 1 :],
        lambda: line[:at],
        lambda: line[at:],
        lambda: line[:at] + line[to:],
        lambda: line[:at] + random.randbytes(random.randrange(1, 20)) + line[at:],
        lambda: line[:-1] + b"," + line[1:],  # every key twice
        lambda: line + line,
        lambda: b"[" + line + b"]",
        lambda: line[:-1] + b",}",
        lambda: b"\xef\xbb\xbf" + line,
        lambda: line.replace(b'"', b"'"),
        lambda: repr(json.loads(line)).encode("utf-8", "surrogatepass"),
        lambda: line.decode().encode("utf-16"),
        lambda: line.replace(b" ", b"\xa0"),
        lambda: b"[" * depth + b"]" * depth,
        lambda: b'{"a":' * depth + b"1" + b"}" * depth,
        lambda: line[:-1] + b', "deep": ' + b"[" * depth + b"]" * depth + b"}",
        lambda: b"{'a': " + b"[" * depth + b"]" * depth + b"}",
        lambda: line[:-1] + b', "n": ' + b"9" * 5000 + b"}",
        lambda: random.choice([b"", b"   ", b"\t", b"\r", b"\0", b"null", b"1", b'"x"', b"[]", b"{}", b"{'", b"NaN"]),
        lambda: ",".join(map(str, json.loads(line).values())).encode("utf-8", "replace"),
        lambda: random.randbytes(random.randrange(200)).replace(b"\n", b""),
        lambda: line[:-1] + b', "pad": "' + b"x" * random.choice([70_000, 70_000, 17 * 2**20]) + b'"}',
    ]
    weights = [3] * (len(ways) - 1) + [1]
    try:
        return random.choices(ways, weights)[0]().replace(b"\n", b"")
    except ValueError:  # the line was no JSON, or no text, to begin with
        return line[:at]


def spoilt_file(random: Random, records: list[Record]) -> Spoilt:
    """Records as a file, with some of them and perhaps the whole of it spoilt."""
    chosen = set(random.sample(range(len(records)), random.choice([0, 1, 1, 2, 3, len(records)])))
    lines: list[tuple[bytes, bool]] = []
    for number, record in enumerate(records):
        changed = spoilt_record(random, record) if number in chosen and random.random() < 0.6 else record
        line = _written(changed, ascii_only=random.random() < 0.5)
        if number in chosen and (changed is record or random.random() < 0.2):
            line = spoilt_line(random, line)
        lines.append((line, number not in chosen))
    if random.random() < 0.2:
        lines.insert(random.randrange(len(lines) + 1), (spoilt_line(random, b"{}"), False))
    if random.random() < 0.1:
        lines += random.sample(lines, 3)
    # The first line says which layout a file has, so of one that is spoilt there nothing is known to be intact.
    intact = {number for number, (_, good) in enumerate(lines, start=1) if good} if lines[0][1] else set()
    content = b"".join(line + b"\n" for line, _ in lines)
    return _spoilt_whole(random, content, intact)


def _written(record: Record, *, ascii_only: bool) -> bytes:
    try:
        return json.dumps(record, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):  # more digits, or more levels, than Python writes
        return b'{"user_id": ' + b"9" * 4400 + b', "deep": ' + b"[" * 3000 + b"]" * 3000 + b"}"


def _spoilt_whole(random: Random, content: bytes, intact: set[int]) -> Spoilt:
    """The file: as it is, in another form that must read the same, or damaged."""
    at = random.randrange(1, len(content))
    how = random.random()
    if how < 0.45:
        same = random.choice(
            [
                content,
                content[:-1],
                gzip.compress(content, mtime=0),
                gzip.compress(content[:at]) + gzip.compress(content[at:]),
            ]
        )
        lines = content if same != content[:-1] else content[:-1]
        return same, _lines(lines), intact
    if how < 0.55:
        content = content.replace(b"\n", b"\r\n")
        return content, _lines(content), intact
    packed = bytearray(gzip.compress(content, mtime=0))
    place = random.randrange(2, len(packed))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("reviews.jsonl", content)
    plain: list[bytes] = [
        b"\xef\xbb\xbf" + content,
        content.decode("utf-8", "replace").encode("utf-16"),
        content.decode("utf-8", "replace").encode("utf-32"),
        content.decode("utf-8", "replace").encode("latin-1", "replace"),
        content.replace(b"\n", b"\r"),
        content.replace(b"\n", b""),
        b"[" + content.replace(b"\n", b",\n") + b"]",
        b"user_id,asin,rating,timestamp\n" + b"u1,i1,5,1400000000\n" * 20,
        content[:at] + random.randbytes(50) + content[at:],
        content[at:],
        content[:at],
        b"",
        b"\n" * 50,
        b"\0" * 300,
        random.randbytes(500),
        archive.getvalue(),
        bz2.compress(content),
        lzma.compress(content),
    ]
    zipped = [
        bytes(packed[:place]),
        bytes(packed) + random.randbytes(30),
        bytes(packed) + b"\0" * 100,
        bytes(packed[:place] + bytes([packed[place] ^ (1 << random.randrange(8))]) + packed[place + 1 :]),
        b"\x1f\x8b",
        b"\x1f\x8b" + random.randbytes(100),
        gzip.compress(bytes(packed), mtime=0),
        gzip.compress(b"", mtime=0),
    ]
    which = random.randrange(len(plain) + len(zipped))
    written = (plain + zipped)[which]
    try:
        read = gzip.decompress(written) if written[:2] == b"\x1f\x8b" else written
    except Exception:  # damaged: it must be refused, and there are no lines to count
        read = b""
    return written, _lines(read), set()


def _lines(content: bytes) -> list[bytes]:
    """As a file is read: only a line feed ends a line."""
    *lines, rest = content.split(b"\n")
    return [*lines, rest] if rest else lines
