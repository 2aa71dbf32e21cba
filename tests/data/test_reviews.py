"""Reading: every layout, every way in which a line can be bad, and nothing lost."""

import gzip
import io
import json

import pyarrow.parquet as pq
import pytest
from conftest import NOW, review, write_lines

from hybridvae.data import reviews
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
    assert rows == [
        {"user_id": "A1", "item_id": "B1", "rating": 4.0, "timestamp": NOW, "title": "Nice", "text": "Very & truly."}
    ]


def test_2018_layout_may_lack_the_text(tmp_path):
    record = {"reviewerID": "A1", "asin": "B1", "overall": 1.0, "unixReviewTime": 1_400_000_000, "verified": True}
    _, rows, _ = read(tmp_path, [record])
    assert rows[0]["text"] == "" and rows[0]["title"] == ""


def test_2023_layout_prefers_the_parent(tmp_path):
    _, rows, _ = read(tmp_path, [review("u", "child", parent_asin="parent"), review("u", "alone")])
    assert [row["item_id"] for row in rows] == ["parent", "alone"]


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
    monkeypatch.setattr(reviews, "MAX_LINE", 300)
    report, rows, rejects = read(tmp_path, [GOOD, review("u2", "i2", text="x" * 1000), review("u3", "i3")])
    assert [row["user_id"] for row in rows] == ["u1", "u3"]
    assert report.lines == 3 and rejects[0]["reason"] == "line_too_long" and rejects[0]["line"] == 2


def test_a_truncated_gzip_is_an_error_in_words(tmp_path):
    path = tmp_path / "reviews.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode() * 50)[:-20])
    with pytest.raises(HybridVAEError, match="damaged"):
        reviews.read_reviews(path, tmp_path / "kept.parquet", io.BytesIO())
    assert not (tmp_path / "kept.parquet").exists()


def test_a_file_of_another_kind_is_an_error_that_says_what_is_wanted(tmp_path):
    with pytest.raises(HybridVAEError, match=r"reviewerID.*user_id"):
        read(tmp_path, [{"userId": 1, "movieId": 2}])


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


def test_deeply_nested_values_do_not_break_reading(tmp_path):
    nested = json.dumps(GOOD)[:-1] + ', "title": ' + "[" * 900 + '"deep"' + "]" * 900 + "}"
    _, rows, _ = read(tmp_path, [nested])
    assert rows[0]["title"] == "deep"
