"""Files that are no JSON lines: what they are, and what to do, in one sentence."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import pandas as pd
import pytest
from conftest import review

from hybridvae.data import reviews
from hybridvae.errors import BadDataError

RECORDS = [review("u", f"i{n}") for n in range(3)]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
ITEMS = [{"asin": "i0", "title": "T"}, {"asin": "i1", "title": "U"}]


def packed(kind):
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("reviews.jsonl", LINES)
    elif kind == "tar":
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            entry = tarfile.TarInfo("reviews.jsonl")
            entry.size = len(LINES)
            archive.addfile(entry, io.BytesIO(LINES))
    else:
        pd.DataFrame(RECORDS).to_parquet(buffer)
    return buffer.getvalue()


FILES = {
    "empty": (b"", "is empty: give JSON lines, CSV or Parquet"),
    "empty gzip": (gzip.compress(b""), "is empty"),
    "blank": (b"\n \n\n", "has nothing but blank lines"),
    "only a mark": (b"\xef\xbb\xbf\n", "has nothing but blank lines"),
    "zip": (packed("zip"), "is a zip archive: unpack it"),
    "bzip2": (bz2.compress(LINES), "is packed with bzip2: unpack it"),
    "xz": (lzma.compress(LINES), "is packed with xz: unpack it"),
    "zstd": (b"\x28\xb5\x2f\xfd\x24\x00", "is packed with zstd: unpack it"),
    "tar": (packed("tar"), "is a tar archive: unpack it"),
    "tar, gzip": (gzip.compress(packed("tar")), "is a tar archive: unpack it"),
    "gzip twice": (gzip.compress(gzip.compress(LINES)), "is packed with gzip twice: unpack it once"),
    "parquet, gzip": (gzip.compress(packed("parquet")), "is a Parquet file packed with gzip: unpack it"),
    "excel": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Excel file: save it as CSV"),
    "UTF-16 with mark": (LINES.decode().encode("utf-16"), "is UTF-16 text: write it as UTF-8"),
    "UTF-16 little": (LINES.decode().encode("utf-16-le"), "is UTF-16 text"),
    "UTF-16 big": (LINES.decode().encode("utf-16-be"), "is UTF-16 text"),
    "UTF-32": (LINES.decode().encode("utf-32"), "is UTF-32 text"),
    "page": (b"\n<!DOCTYPE HTML>\n<html><body>404</body></html>\n", "is an HTML page, as a download leaves it"),
    "xml": (b"<?xml version='1.0'?>\n<Error>AccessDenied</Error>\n", "is XML, as a download leaves it"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a pointer of Git LFS"),
    "array": (json.dumps(RECORDS).encode(), "is a JSON array: write each of its objects in a line of its own"),
    "array, indented": (json.dumps(RECORDS, indent=2).encode(), "is a JSON array"),
    "rows without names": (b'["u", "i", 5, 1]\n["u", "j", 5, 1]\n', "has a JSON array in line 1"),
    "objects, indented": (json.dumps(RECORDS[0], indent=2).encode() * 2, "has JSON objects that go over several lines"),
    "objects of two lines": (b'{"user_id": "u",\n "asin": "i"}\n' * 2, "has JSON objects that go over several lines"),
    "long object": (b"{\n" + b' "x": 1,\n' * 20_000, "has JSON objects that go over several lines"),
    "colons": (b"1::1193::5::978300760\n", "looks like text with columns divided by :: (line 1: '1, 1193, 5, 97830"),
    "csv": (b"userId,movieId,rating,timestamp\n1,2,4.0,964982703\n", "lacks a column for the item (item_id,", "parent"),
    "csv, quoted": (b'"id","title"\n"1","A, b"\n', "lacks a column for the user (user_id, userId, user, reviewerID)"),
    "semicolons": (b"user;thing;rating\n1;2;3\n", "lacks a column for the item (", "and the time (timestamp, time,"),
    "tsv": (b"196\t242\t3\t881250949\n", "lacks a column for the user (", "it has '196, 242, 3, 881250949'; rename"),
    "wide": (
        b",".join(b"c%d" % n for n in range(9_000)) + b"\n",
        "lacks a column for the user (",
        " characters); rename",
    ),
}


@pytest.mark.parametrize("role", ["reviews", "metadata"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_kind_is_named_with_what_to_do(tmp_path, name, role):
    content, words, *more = FILES[name]
    if role == "metadata" and words.startswith("lacks"):
        words, more = "lacks a column for the item (parent_asin, asin, item_id,", []
    path, rejects = tmp_path / "mine.dat", io.BytesIO()
    path.write_bytes(content)
    read = reviews.read_reviews if role == "reviews" else reviews.read_metadata
    with pytest.raises(BadDataError) as caught:
        read(path, tmp_path / "kept.parquet", rejects)
    assert str(caught.value).startswith(f"{path} {words}")
    assert all(word in str(caught.value) for word in more)
    assert len(str(caught.value)) < 600 + len(str(path)) and "\n" not in str(caught.value)
    assert not (tmp_path / "kept.parquet").exists()
    with pytest.raises(BadDataError):
        reviews.look_at(path, role)


@pytest.mark.parametrize(
    ("role", "lines", "words"),
    [
        ("reviews", b'{"userId": 1, "movieId": 2}\n', "line 1: no item_id or .* in the line, or null: it has"),
        ("reviews", b'\n{"userId": 1, "movieId": 2}\n', "line 2: .* it has 'userId, movieId'"),
        ("reviews", b'{"asin": "i", "title": "T"}\n', "line 1: .* it has 'asin, title'"),
        ("reviews", b'{"user_id": "u", "asin": "i", "rating": "5"}\n', "line 1: rating is '5', not a number"),
        ("reviews", b'{"user_id": "u", "asin"\n', r"line 1: not JSON \(unexpected .*'{\"user_id\""),
        ("reviews", b'{"a": 1}{"b": 2}\n', r"line 1: not JSON \(unexpected content after document"),
        ("reviews", b"Hello world\n", r"line 1: not JSON \(.*: 'Hello world'"),
        ("reviews", b"5\n", "line 1: not a JSON object but 5"),
        ("reviews", b'{"a": "\xe4"}\n', "line 1: not UTF-8 text: byte 0xe4"),
        ("reviews", b"\x00\x00\x00\x00\x00", "line 1: not JSON"),
        ("metadata", b'{"movieId": 2, "name": "T"}\n', "line 1: no parent_asin or .* it has 'movieId, name'"),
        ("metadata", LINES, "line 1: a review, with user_id, rating and timestamp"),
    ],
)
def test_of_lines_that_are_all_bad_the_first_is_named_with_what_is_wanted(tmp_path, role, lines, words):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(lines)
    wanted = (
        "a review, with the fields user_id, item_id, rating, timestamp or"
        if role == "reviews"
        else "about an item, with the fields parent_asin"
    )
    with pytest.raises(BadDataError, match=rf"no line of .*mine.jsonl is {wanted}.* \({words}.*\): correct it"):
        reviews.look_at(path, role)


def test_one_good_line_makes_the_others_rejects(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"[1, 2]\n<html>\na,b,c,d\n{\n" + LINES)
    report = reviews.read_reviews(path, tmp_path / "kept.parquet", io.BytesIO())
    assert (report.kept, report.lines, dict(report.rejected)) == (3, 7, {"malformed_line": 4})
    assert reviews.look_at(path, "reviews", lines=5).kept == 1
