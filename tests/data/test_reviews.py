"""Reading: every layout, every way in which a line can be bad, and nothing lost."""

import gzip
import io
import json

import pyarrow.parquet as pq
import pytest
from conftest import NOW, review, write_lines

from hybridvae.data import blocks, reviews
from hybridvae.data import records as reading
from hybridvae.errors import HybridVAEError

GOOD = review("u1", "i1")


def read(tmp_path, records, *, compress=False, reader=reviews.read_reviews):
    path = write_lines(tmp_path / "reviews.jsonl", records, compress=compress)
    rejects = io.BytesIO()
    report = reader(path, tmp_path / "kept.parquet", rejects)
    return (
        report,
        pq.read_table(tmp_path / "kept.parquet").to_pylist(),
        [json.loads(x) for x in rejects.getvalue().splitlines()],
    )


def test_2014_layout_has_seconds(tmp_path):
    record = {"reviewerID": "A1", "asin": "B1", "overall": 4.0, "summary": "Nice", "reviewText": "Very &amp; truly."}
    report, rows, _ = read(tmp_path, [record | {"unixReviewTime": 1_400_000_000}])
    assert report.layout == "amazon-2014-2018"
    row = {"user_id": "A1", "item_id": "B1", "variant_id": None, "rating": 4.0, "timestamp": NOW}
    assert rows == [row | {"title": "Nice", "text": "Very & truly."}]


def test_2018_layout_may_lack_the_text(tmp_path):
    record = {"reviewerID": "A1", "asin": "B1", "overall": 1.0, "unixReviewTime": 1_400_000_000, "verified": True}
    _, rows, _ = read(tmp_path, [record])
    assert rows[0]["text"] == "" and rows[0]["title"] == ""


def test_2023_layout_prefers_the_parent(tmp_path):
    records = [review("u", "child", parent_asin="parent"), review("u", "alone"), review("u", "x", parent_asin="x")]
    _, rows, _ = read(tmp_path, records)
    assert [(row["item_id"], row["variant_id"]) for row in rows] == [("parent", "child"), ("alone", None), ("x", None)]


@pytest.mark.parametrize("compress", [False, True])
def test_plain_and_gzip_read_the_same(tmp_path, compress):
    report, rows, _ = read(tmp_path, [GOOD, review("u2", "i2")], compress=compress)
    assert report.kept == 2 and [row["user_id"] for row in rows] == ["u1", "u2"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"user_id": "u", "asin": ', "malformed_line"),
        ("[1, 2]", "malformed_line"),
        ('"\\ud800"', "malformed_line"),
        ("", "blank_line"),
        ({k: v for k, v in GOOD.items() if k != "rating"}, "missing_field"),
        ({k: v for k, v in GOOD.items() if k != "user_id"}, "missing_field"),
        ({k: v for k, v in GOOD.items() if k != "timestamp"}, "missing_field"),
        ({k: v for k, v in GOOD.items() if k != "asin"}, "missing_field"),
        (GOOD | {"rating": 0}, "bad_rating"),
        (GOOD | {"rating": 5.5}, "bad_rating"),
        (GOOD | {"rating": "5"}, "bad_rating"),
        (GOOD | {"rating": True}, "bad_rating"),
        (GOOD | {"timestamp": "yesterday"}, "bad_timestamp"),
        (GOOD | {"timestamp": 1_400_000_000}, "bad_timestamp"),  # seconds where ms belong: 1970
        (GOOD | {"timestamp": 1e300}, "bad_timestamp"),
        (GOOD | {"timestamp": -1}, "bad_timestamp"),
        (GOOD | {"user_id": "  "}, "empty_id"),
        (GOOD | {"asin": ""}, "empty_id"),
        (GOOD | {"asin": ["i"]}, "bad_id"),
    ],
)
def test_a_bad_line_is_rejected_with_its_number_and_reason(tmp_path, line, reason):
    report, rows, rejects = read(tmp_path, [GOOD, line, review("u3", "i3")])
    assert len(rows) == 2
    assert dict(report.rejected) == {reason: 1}
    assert (rejects[0]["line"], rejects[0]["reason"]) == (2, reason)
    assert report.lines == report.kept + sum(report.rejected.values()) == 3


def test_bytes_that_are_no_text_are_rejected(tmp_path):
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"user_id": "\xff\xfe"}\n\x00\x00\n')
    report = reviews.read_reviews(path, tmp_path / "kept.parquet", io.BytesIO())
    assert report.kept == 1 and report.rejected["malformed_line"] == 2


def test_a_line_beyond_the_limit_is_rejected_and_the_next_one_read(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_LINE", 300)
    report, rows, rejects = read(tmp_path, [GOOD, review("u2", "i2", text="x" * 1000), review("u3", "i3")])
    assert [row["user_id"] for row in rows] == ["u1", "u3"]
    assert report.lines == 3 and rejects[0]["reason"] == "line_too_long" and rejects[0]["line"] == 2


def test_a_truncated_gzip_is_an_error_in_words(tmp_path):
    path = tmp_path / "reviews.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode() * 50)[:-20])
    with pytest.raises(HybridVAEError, match="damaged"):
        reviews.read_reviews(path, tmp_path / "kept.parquet", io.BytesIO())
    assert not (tmp_path / "kept.parquet").exists()


def deep(levels):
    return "[" * levels + "1" + "]" * levels


@pytest.mark.parametrize(
    ("line", "reason", "words"),
    [
        (f'{{"user_id": {deep(890)}, "asin": "i", "rating": 5, "timestamp": {NOW}}}', "bad_id", "user_id is [[[["),
        (f'{{"user_id": "u", "asin": "i", "rating": {deep(890)}}}', "bad_rating", "rating is [[[["),
        (f'{{"user_id": {deep(5000)}}}', "malformed_line", "depth limit exceeded"),
        (f'{{"user_id": {deep(5000)}, "rating": NaN}}', "malformed_line", "depth limit exceeded"),
        (f"{{'user_id': {deep(5000)}}}", "malformed_line", "not JSON"),
        (json.dumps(GOOD)[:-1] + ', "x": ' + "9" * 400 + "}", "malformed_line", "number is infinity"),
        (json.dumps(GOOD)[:-1] + ', "asin": ' + "9" * 300 + "}", "bad_id", "asin is 1e+300"),
        (GOOD | {"text": "&#" + "9" * 4301 + ";"}, "bad_text", "text has a numeric character reference"),
        (GOOD | {"title": ["fine", "&#" + "9" * 4301 + ";"]}, "bad_text", "title has a numeric"),
        (GOOD | {"rating": "x" * 10_000_000}, "bad_rating", "rating is 'xxxx"),
        (GOOD | {"rating": {"x" * 10_000: {"y": ["z"] * 1000}}}, "bad_rating", "rating is {'xxxx"),
        (GOOD | {"user_id": "x" * 1001}, "bad_id", "user_id has 1001 characters"),
        (GOOD | {"user_id": "a\0b"}, "bad_id", r"user_id is 'a\x00b', with a control character"),
        (GOOD | {"asin": "a\nb"}, "bad_id", "with a control character"),
        (GOOD | {"asin": 1.5}, "bad_id", "asin is 1.5"),
        (GOOD | {"asin": True}, "bad_id", "asin is true"),
        (GOOD | {"asin": float("inf")}, "missing_field", "no parent_asin or asin in the line, or null: it has"),
        (GOOD | {"rating": float("nan")}, "missing_field", "no rating in the line, or null"),
        (GOOD | {"timestamp": float("nan")}, "missing_field", "no timestamp in the line, or null"),
        (GOOD | {"title": "cut \ud83d"}, "malformed_line", "not JSON"),  # half of a surrogate pair
        (GOOD | {"title": "cut \ud83d", "x": float("nan")}, "malformed_line", "not JSON"),
        ({"x" * 10_000: 1}, "missing_field", "no user_id in the line, or null: it has 'xxx"),
        ("9" * 200, "malformed_line", "not a JSON object but 1e+200"),
        ('"' + "x" * 200 + '"', "malformed_line", "not a JSON object but 'xxx"),
    ],
)
def test_whatever_a_line_holds_its_reject_is_short(tmp_path, line, reason, words):
    report, rows, rejects = read(tmp_path, [GOOD, line])
    assert len(rows) == 1 and dict(report.rejected) == {reason: 1}
    assert words in rejects[0]["detail"] and len(rejects[0]["detail"]) < 250
    assert report.first_reject == f"line 2: {rejects[0]['detail']}"


def test_bytes_that_are_not_utf8_are_named(tmp_path):
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"title": "caf\xe9"}\n')
    report = reviews.read_reviews(path, tmp_path / "kept.parquet", io.BytesIO())
    assert report.first_reject == "line 2: not UTF-8 text: byte 0xe9 after 14 others"


def test_what_says_clearly_what_it_means_is_kept(tmp_path):
    path = tmp_path / "reviews.jsonl"
    lines = [
        "\ufeff" + json.dumps(review("mark", "i")),
        json.dumps(review("nan", 9_007_199_254_740_993, text=float("nan"), title=-float("inf"), x=float("inf"))),
        json.dumps(review(7.0, 12.0)),  # whole numbers, as pandas writes them where some are missing
        "\ufeff" + json.dumps(review("child", "i", parent_asin=float("nan"))),
        "{'user_id': 'python', 'asin': 'i', 'rating': 5, 'timestamp': 1400000000000, 'title': nan, 'x': [-inf, '\\d']}",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    report = reviews.read_reviews(path, tmp_path / "kept.parquet", io.BytesIO())
    rows = pq.read_table(tmp_path / "kept.parquet").to_pylist()
    assert not report.rejected
    ids = [("mark", "i"), ("nan", "9007199254740993"), ("7", "12"), ("child", "i"), ("python", "i")]
    assert [(row["user_id"], row["item_id"]) for row in rows] == ids
    assert {row["title"] + row["text"] for row in rows} == {""}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1984, "1984"),
        (1984.0, "1984"),
        (3.5, "3.5"),
        (0, "0"),
        (1e300, "1e+300"),
        (True, ""),
        (None, ""),
        ({"en": "x"}, ""),
        ([1984, ["A", 1984, False, "A"], ""], "1984, A"),
        ("a\0b\n c", "a b c"),
    ],
)
def test_numbers_are_text_and_other_values_are_none(tmp_path, value, text):
    record = {"asin": "i", "title": value, "brand": value, "categories": value, "description": value}
    _, rows, _ = read(tmp_path, [record], reader=reviews.read_metadata)
    assert [rows[0][name] for name in ("title", "brand", "categories", "description")] == [text] * 4


def test_long_lines_are_written_before_they_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK", 1000)
    records = [review(f"u{n}", "i", text="x" * 400) for n in range(7)]
    read(tmp_path, records)
    assert pq.ParquetFile(tmp_path / "kept.parquet").num_row_groups > 3  # of a block each


def test_metadata_of_all_releases(tmp_path):
    records = [
        # 2014: Python's notation, nested categories
        "{'asin': 'B1', 'title': \"Kids' drum\", 'brand': 'X', 'categories': [['Music', 'Drums'], ['Music', 'Toys']]}",
        {"asin": "B2", "title": "T", "brand": "Y", "category": ["Music", "Strings"], "description": ["One.", "Two."]},
        {"parent_asin": "B3", "title": "U", "store": "Z", "categories": [], "description": [], "features": ["Loud"]},
        "{'asin': __import__('os').getcwd()}",
    ]
    report, rows, _ = read(tmp_path, records, reader=reviews.read_metadata)
    assert [row["item_id"] for row in rows] == ["B1", "B2", "B3"]
    assert rows[0]["title"] == "Kids' drum" and rows[0]["categories"] == "Music, Drums, Toys"
    assert rows[1]["categories"] == "Music, Strings" and rows[1]["description"] == "One., Two."
    assert rows[2]["brand"] == "Z" and rows[2]["description"] == "Loud"
    assert dict(report.rejected) == {"malformed_line": 1}


def test_reviews_are_not_taken_for_metadata(tmp_path):
    old = {"reviewerID": "A1", "asin": "B1", "overall": 4.0, "unixReviewTime": 1_400_000_000}
    report, rows, _ = read(tmp_path, [GOOD, {"asin": "B2", "title": "T"}, old], reader=reviews.read_metadata)
    assert len(rows) == 1 and dict(report.rejected) == {"not_metadata": 2}
    assert report.first_reject == "line 1: a review, with user_id, rating and timestamp"


def test_deeply_nested_values_do_not_break_reading(tmp_path):
    nested = json.dumps(GOOD)[:-1] + ', "title": ' + "[" * 900 + '"deep"' + "]" * 900 + "}"
    _, rows, _ = read(tmp_path, [nested])
    assert rows[0]["title"] == "deep"
