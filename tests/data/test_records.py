"""CSV and Parquet: read as JSON lines are, with the same ids, the same numbers, and no row lost."""

import csv
import datetime
import gzip
import io
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import NOW, review, tiny_metadata, tiny_reviews, write_lines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybridvae.data import records, reviews
from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.data.sources import declared, fetch
from hybridvae.errors import BadDataError, UnreadableFileError
from hybridvae.files import sha256_of

COMMON = {"user_id": "userId", "asin": "item_id", "rating": "stars", "timestamp": "time", "title": "summary"}
TEXTS = ['He said "no", twice', "two\nlines", "Very &amp; truly", "caf\u00e9; a|b\tc", "it's", "'quoted'", "007", ""]
ODD = [
    row | {"user_id": f"00{row['user_id'][1:]}", "title": TEXTS[n % 8], "text": TEXTS[n % 7]}
    for n, row in enumerate(tiny_reviews())
]
KINDS = ["csv", "tsv", "semicolons", "csv.gz", "dos", "parquet"]


def write_table(path, rows, kind):
    """Rows (dicts of text, numbers and lists) as a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
        return path
    text = io.StringIO(newline="")
    ends = {"lineterminator": "\r\n" if kind == "dos" else "\n"}
    delimiter = {"tsv": "\t", "semicolons": ";"}.get(kind, ",")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), delimiter=delimiter, **ends)
    writer.writeheader()
    writer.writerows({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if kind == "csv.gz" else content)
    return path


def renamed(rows, names):
    return [{names.get(key, key): value for key, value in row.items()} for row in rows]


def cleaned(folder, into):
    """What `clean` writes of a raw folder, and what it reports."""
    report = clean(folder, into, CleanConfig(min_user_ratings=2, min_item_ratings=2))
    return report, [pq.read_table(into / f"{name}.parquet").to_pylist() for name in ("reviews", "items")]


@pytest.fixture(scope="module")
def from_lines(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lines")
    write_lines(folder / "raw/reviews.jsonl", ODD)
    write_lines(folder / "raw/metadata.jsonl", tiny_metadata())
    return cleaned(folder / "raw", folder / "clean")


@pytest.mark.parametrize("names", [{}, COMMON], ids=["amazon", "common"])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_content_gives_the_same_clean_tables_row_for_row(tmp_path, from_lines, kind, names):
    write_table(tmp_path / f"raw/reviews.{kind}", renamed(ODD, names), kind)
    write_table(
        tmp_path / f"raw/metadata.{kind}",
        renamed(tiny_metadata(), names and {"asin": "product_id", "title": "name"}),
        kind,
    )
    report, tables = cleaned(tmp_path / "raw", tmp_path / "clean")
    assert tables == from_lines[1]
    assert report | {"layout": ""} == from_lines[0] | {"layout": ""}
    assert report["layout"] == ("common" if names else "amazon-2023")
    assert tables[0][0]["user_id"].startswith("00") and {row["categories"] for row in tables[1]} == {"Music", "Kitchen"}


# Python's writer does not quote \r before version 3.13.
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20)
REVIEWS = st.builds(
    lambda user, item, rating, time, title, text: review(f"u{user}", f"i{item}", rating, time, title=title, text=text),
    WORDS,
    WORDS,
    st.floats(1, 5, width=32) | st.integers(0, 6),
    st.integers(NOW - 10**12, NOW + 10**11),
    WORDS,
    WORDS,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(REVIEWS, min_size=1, max_size=8))
def test_whatever_words_there_are_all_kinds_keep_and_reject_the_same(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("words")
    rows = [review("good", "good"), *rows]
    paths = [write_lines(folder / "lines", rows)]
    paths += [write_table(folder / kind, [r | {"rating": float(r["rating"])} for r in rows], kind) for kind in KINDS]
    found = []
    for path in paths:
        rejects = io.BytesIO()
        report = reviews.read_reviews(path, folder / "kept", rejects)
        assert report.lines == len(rows)
        found.append((pq.read_table(folder / "kept").to_pylist(), report.rejected))
    assert all(one == found[0] for one in found[1:])


def read(path, reader=reviews.read_reviews):
    rejects = io.BytesIO()
    report = reader(path, path.with_name("kept"), rejects)
    kept = pq.read_table(path.with_name("kept")).to_pylist()
    return report, kept, [json.loads(line) for line in rejects.getvalue().splitlines()]


def read_text(tmp_path, text, reader=reviews.read_reviews):
    path = tmp_path / "mine.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path, reader)


@pytest.mark.parametrize(
    ("line", "reason", "words"),
    [
        ("u,i,5", "malformed_line", "3 columns, where the names in the first line are 5"),
        (f"u,i,5,{NOW},a,b", "malformed_line", "6 columns, where"),
        (f'u,"i"x,5,{NOW},a', "malformed_line", "not a row of CSV (',' expected after '\"')"),
        (f'u,"i,5,{NOW},a', "malformed_line", "not a row of CSV ("),
        (f"u,i,5,{NOW}," + "x" * 140_000, "malformed_line", "not a row of CSV (field larger than field limit"),
        (f"u,i,five,{NOW},a", "bad_rating", "rating is 'five', not a number"),
        (f'u,i,"4,5",{NOW},a', "bad_rating", "rating is '4,5', not a number"),
        (f"u,i,nan,{NOW},a", "bad_rating", "rating is 'nan', not a number"),
        (f"u,i,true,{NOW},a", "bad_rating", "rating is 'true', not a number"),
        (f"u,i,6,{NOW},a", "bad_rating", "rating is 6, outside 1 to 5"),
        (f"u,i,,{NOW},a", "missing_field", "no rating in the line"),
        (f",i,5,{NOW},a", "missing_field", "no user_id in the line"),
        (f"   ,i,5,{NOW},a", "empty_id", "user_id is empty"),
        ("u,i,5,yesterday,a", "bad_timestamp", "time is 'yesterday', not a number, nor a date such as 2014-05-01"),
        ("u,i,5,2014-13-01,a", "bad_timestamp", "time is '2014-13-01', not a number, nor a date"),
        ("u,i,5,1814-05-01,a", "bad_timestamp", "time is '1814-05-01', not from 1990 to 2099"),
        ("u,i,5,14,a", "bad_timestamp", "time is 14, not seconds or milliseconds from 1990 to 2099"),
        ("", "blank_line", "nothing in the line"),
    ],
)
def test_a_bad_row_is_rejected_with_its_number_and_reason(tmp_path, line, reason, words):
    rows = ["user_id,item_id,rating,time,title", f'u1,i1,5,{NOW},"two', 'lines"', line, f"u3,i3,4,{NOW},c"]
    report, kept, rejects = read_text(tmp_path, "".join(f"{row}\n" for row in rows))
    assert [row["user_id"] for row in kept] == ["u1", "u3"] and kept[0]["title"] == "two lines"
    assert [(entry["line"], entry["reason"], entry["file"]) for entry in rejects] == [(4, reason, "reviews")]
    assert words in rejects[0]["detail"] and rejects[0]["content"] == f"{line}\n"[:500]
    assert report.lines == 3 and report.kept == 2
    assert report.first_reject == ("" if reason == "blank_line" else f"line 4: {rejects[0]['detail']}")


def test_a_quote_that_is_never_closed_costs_its_own_line_alone(tmp_path):
    rows = [f"u{n},i,5,{NOW}," + ('"open' if n in (3, 7, 8, 9_999) else '"a, ""b"""') for n in range(10_000)]
    text = "user_id,item_id,rating,time,title\n" + "\n".join(rows)
    report, kept, rejects = read_text(tmp_path, text)
    assert [entry["line"] for entry in rejects] == [5, 9, 10, 10_001]
    assert report.kept == len(kept) == 9_996 and {row["title"] for row in kept} == {'a, "b"'}
    plain = text.replace('"a, ""b"""', "b")  # no further quote stands after the last but one
    assert [entry["line"] for entry in read_text(tmp_path, plain)[2]] == [5, 9, 10, 10_001]


def test_bytes_that_are_not_utf8_reject_their_row_alone(tmp_path):
    head = b"\xef\xbb\xbfuser_id,item_id,rating,time\n"
    report, kept, rejects = read_text(tmp_path, head + b"u,caf\xe9,5,1400000000\nv,i,5,1400000000\n")
    assert [row["user_id"] for row in kept] == ["v"] and rejects[0]["line"] == 2
    assert report.first_reject == "line 2: not UTF-8 text: byte 0xe9 after 5 others"


def test_a_row_beyond_the_limit_is_rejected_and_the_next_one_read(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MAX_LINE", 100)
    text = f"user_id,item_id,rating,time\nu,{'x' * 1000},5,{NOW}\nv,i,5,{NOW}\n"
    _, kept, rejects = read_text(tmp_path, text)
    assert [row["user_id"] for row in kept] == ["v"] and rejects[0]["line"] == 2


@pytest.mark.parametrize("identifier", ["007", "7.0", "1e5", "9007199254740993", "+7", "NaN", "null", "True", "1_0"])
def test_ids_of_csv_stay_the_text_that_they_are(tmp_path, identifier):
    text = f"user,product_id,score,date\n{identifier},{identifier},5,2014-05-13\n"
    _, kept, _ = read_text(tmp_path, text)
    assert (kept[0]["user_id"], kept[0]["item_id"]) == (identifier, identifier)
    _, kept, _ = read_text(tmp_path, f"product_id,name\n{identifier},Drum\n", reviews.read_metadata)
    assert (kept[0]["item_id"], kept[0]["title"]) == (identifier, "Drum")


def test_whole_numbers_of_parquet_are_ids_without_a_point(tmp_path):
    table = pa.table({"user_id": [7, 2**53 + 1], "item_id": [12.0, 1.5], "rating": [5, 5], "time": [NOW, NOW]})
    pq.write_table(table, tmp_path / "r.parquet")
    report, kept, rejects = read(tmp_path / "r.parquet")
    assert [(row["user_id"], row["item_id"]) for row in kept] == [("7", "12")]
    assert rejects[0]["line"] == 2 and report.first_reject == "row 2: item_id is 1.5, neither text nor a whole number"
    assert json.loads(rejects[0]["content"]) == {"user_id": 2**53 + 1, "item_id": 1.5, "rating": 5, "time": NOW}


def test_nothing_in_parquet_is_nothing(tmp_path):
    frame = pd.DataFrame({"user_id": ["u", None], "item_id": "i", "rating": [5.0, 5.0], "time": NOW})
    frame.assign(title=float("nan"), text=None).to_parquet(tmp_path / "r.parquet")
    _, kept, rejects = read(tmp_path / "r.parquet")
    assert [(row["title"], row["text"]) for row in kept] == [("", "")]
    assert rejects[0]["line"] == 2 and rejects[0]["reason"] == "missing_field"


AT = 1_400_000_000_000  # 2014-05-13 16:53:20 UTC


@pytest.mark.parametrize(
    ("time", "milliseconds"),
    [
        ("1400000000", AT),
        ("1400000000.5", AT + 500),
        ("1400000000000", AT),
        ("1.4e12", AT),
        ("2014-05-13T16:53:20Z", AT),
        ("2014-05-13 16:53:20", AT),
        ("2014-05-13T18:53:20.250+02:00", AT + 250),
        ("2014-05-13", 1_399_939_200_000),
    ],
)
def test_time_is_seconds_milliseconds_or_a_date(tmp_path, time, milliseconds):
    _, kept, _ = read_text(tmp_path, f"user,item,rating,time\nu,i,5,{time}\n")
    assert kept[0]["timestamp"] == milliseconds
    record = {"user": "u", "item": "i", "rating": 5, "time": time if "-" in time else float(time)}
    _, kept, _ = read(write_lines(tmp_path / "r.jsonl", [record]))
    assert kept[0]["timestamp"] == milliseconds


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_dates_of_parquet_are_read_in_any_unit(tmp_path, unit, zone):
    when = pa.array([datetime.datetime.fromtimestamp(AT / 1000, datetime.UTC)]).cast(pa.timestamp(unit, zone))
    table = pa.table({"user": ["u"], "item": ["i"], "rating": [4], "date": when})
    pq.write_table(table, tmp_path / "r.parquet", version="2.6")
    assert read(tmp_path / "r.parquet")[1][0]["timestamp"] == AT
    days = pa.table({"user": ["u"], "item": ["i"], "rating": [4], "date": [datetime.date(2014, 5, 13)]})
    pq.write_table(days, tmp_path / "r.parquet")
    assert read(tmp_path / "r.parquet")[1][0]["timestamp"] == 1_399_939_200_000


def test_names_are_those_of_the_first_line_for_the_whole_file(tmp_path):
    text = "userId,product_id,asin,score,stars,date\nu,p,a,4,2,1400000000\nv,,b,5,1,1400000000\nw,q,c,,3,1400000000\n"
    report, kept, _ = read_text(tmp_path, text)
    assert [(row["user_id"], row["item_id"], row["rating"]) for row in kept] == [("u", "p", 4.0)]
    assert dict(report.rejected) == {"missing_field": 2}, "another column takes the place of none"
    lines = [
        {"user": "u", "item": "i", "rating": 5, "time": AT},
        {"user": "v", "item_id": "j", "rating": 5, "time": AT},
    ]
    assert dict(read(write_lines(tmp_path / "r.jsonl", lines))[0].rejected) == {"missing_field": 1}


@pytest.mark.parametrize("cell", ['["Music", "Drums"]', "['Music', 'Drums']", '[["Music"], ["Drums"]]', "Music, Drums"])
def test_lists_in_csv_are_read_as_json_or_pandas_writes_them(tmp_path, cell):
    path = tmp_path / "m.csv"
    pd.DataFrame({"asin": ["i", "j"], "categories": [cell, "[__import__('os')]"]}).to_csv(path, index=False)
    assert [row["categories"] for row in read(path, reviews.read_metadata)[1]] == [
        "Music, Drums",
        "[__import__('os')]",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("user_id,item_id,rating,time,rating\nu,i,5,1,5\n", "has two columns of the name 'rating': rename one of them"),
        ("user_id,item_id,rating,time,title\n", "has names of columns and no row: give the right file"),
        ('user_id,"item_id"x,rating\nu,i,5\n', "is CSV without a line of names (not a row of CSV ("),
        ("a,b,c,d\n1,2,3,4\n", "lacks a column for the user (user_id, userId, user, reviewerID) and the item ("),
        (
            "user,item,rating\nu,i,5\n",
            "lacks a column for the time (timestamp, time, date, unixReviewTime): it has 'user,",
        ),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_in_one_sentence(tmp_path, text, words):
    with pytest.raises(BadDataError) as caught:
        read_text(tmp_path, text)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_parquet_that_lacks_a_column_or_its_end_is_refused(tmp_path):
    path = write_table(tmp_path / "r.parquet", [{"user": "u", "film": "i", "rating": 5, "time": AT}], "parquet")
    with pytest.raises(BadDataError, match=r"lacks a column for the item .* it has 'user, film, rating, time'"):
        read(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UnreadableFileError, match=r"cannot be read to its end .* get it again"):
        read(path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_is_read_in_parts(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(records, "_PARQUET_BATCH", 10)
    path = write_table(tmp_path / "r", [{"user": f"u{n}", "x": "x" * 1000} for n in range(20_000)], kind)
    rows = records.records_of(path).rows
    assert next(rows).record["user"] == "u0"
    rows.close()
    assert reviews.look_at(write_table(tmp_path / "s", ODD, kind), "reviews", lines=7).lines == 7


@pytest.mark.parametrize(("name", "stored"), [("Shop.CSV", "csv"), ("s.tsv", "tsv"), ("s.parquet", "parquet")])
def test_a_table_keeps_its_ending_through_fetch(tmp_path, name, stored):
    kind = "tsv" if stored == "tsv" else stored
    path = write_table(tmp_path / name, ODD, kind)
    block = {"kind": "file", "reviews": str(path), "reviews_sha256": sha256_of(path)}
    fetch(declared({"sources": {"mine": block}}, "mine"), tmp_path / "raw", cache=tmp_path, local=None)
    assert [file.name for file in (tmp_path / "raw").iterdir()] == [f"reviews.{stored}"]
    assert cleaned(tmp_path / "raw", tmp_path / "clean")[0]["users"] == 40


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_pandas_writes_real_reviews_that_are_cleaned_as_the_original(real_data, tmp_path, kind):
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines/reviews.jsonl.gz").symlink_to(real_data / "musical_instruments_2014_5core.jsonl.gz")
    lines = gzip.decompress((tmp_path / "lines/reviews.jsonl.gz").read_bytes()).splitlines()
    frame = pd.DataFrame([json.loads(line) for line in lines])
    (tmp_path / kind).mkdir()
    if kind == "csv":
        frame.to_csv(tmp_path / "csv/reviews.csv", index=False)
    else:
        frame.to_parquet(tmp_path / "parquet/reviews.parquet")
    found = [cleaned(tmp_path / folder, tmp_path / f"clean-{folder}") for folder in ("lines", kind)]
    assert found[0] == found[1] and found[0][0]["rows_out"] == 10_261


def test_a_column_without_a_name_is_no_title(tmp_path):
    _, kept, _ = read_text(tmp_path, ",user_id,item_id,rating,timestamp\n0,u,i,5,1400000000\n")
    assert (kept[0]["title"], kept[0]["text"]) == ("", "")


def test_a_list_that_no_file_can_hold_stays_text(tmp_path):
    for value in (r"['\ud83d']", "[0x" + "f" * 5000 + "]"):
        _, kept, _ = read_text(tmp_path, f'asin,title,categories\ni,Drum,"{value}"\n', reviews.read_metadata)
        assert kept[0]["item_id"] == "i"
