"""Amazon's files of 2014, as published, become the files that sources.yaml declares."""

import gzip
import json
import random
import subprocess
import sys

import pytest
from conftest import write_lines

from hybridvae.__main__ import main
from hybridvae.data.cleaning import CleanConfig, clean

DAY = 86_400


def original(user, item, time, **more):
    """A review as the authors publish it."""
    names = {"reviewerID": user, "asin": item, "reviewerName": "N", "helpful": [0, 1], "overall": 5.0}
    return names | {"summary": " Fine ", "reviewText": "It\u2019s &quot;good&quot;.", "unixReviewTime": time} | more


def run(capsys, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["hybridvae", "from-amazon-2014", *map(str, arguments)])
    try:
        main()
    except SystemExit as error:
        return str(error.code)
    return capsys.readouterr().out


def lines(path):
    return gzip.decompress(path.read_bytes()).splitlines(keepends=True)


@pytest.fixture
def reviews(tmp_path):
    rows = [original("B", "j", 3 * DAY), original("A", "i", 3 * DAY), original("A", "h", 3 * DAY)]
    rows += [original("C", "j", DAY, reviewText="", summary=None), ""]
    return write_lines(tmp_path / "reviews_Patio_Lawn_5.json.gz", rows, compress=True)


def test_reviews_are_in_the_order_of_time_user_and_item(tmp_path, reviews, capsys, monkeypatch):
    said = run(capsys, monkeypatch, reviews, "--out", tmp_path / "out")
    path = tmp_path / "out/patio_lawn_2014_5core.jsonl.gz"
    assert said.startswith(f"wrote {path}: 4 lines, sha256 ") and path.read_bytes()[4:8] == b"\0\0\0\0"
    found = lines(path)
    order = [("C", "j"), ("A", "h"), ("A", "i"), ("B", "j")]
    assert [(row["user_id"], row["asin"]) for row in map(json.loads, found)] == order
    assert found[0] == (
        b'{"user_id": "C", "asin": "j", "rating": 5.0, "title": "", "text": "", "timestamp": 86400000}\n'
    )
    assert found[1] == (
        b'{"user_id": "A", "asin": "h", "rating": 5.0, "title": "Fine", '
        b'"text": "It\\u2019s &quot;good&quot;.", "timestamp": 259200000}\n'
    )
    run(capsys, monkeypatch, reviews, "--out", tmp_path / "bare", "--drop-text")
    bare = [json.loads(line) for line in lines(tmp_path / "bare/patio_lawn_2014_5core.jsonl.gz")]
    assert {(row["title"], row["text"]) for row in bare} == {("", "")}
    assert bare == [json.loads(line) | {"title": "", "text": ""} for line in found]


def test_metadata_of_reviewed_items_are_kept_and_no_code_is_run(tmp_path, reviews, capsys, monkeypatch):
    items = [
        "{'asin': 'j', 'price': 9.5, 'categories': [['Patio', 'Lawn']], 'title': \"Jack's rake\", 'related': {}}",
        "{'asin': 'unknown', 'title': 'Of no review'}",
        {"asin": "i", "brand": "", "description": "An item."},
    ]
    metadata = write_lines(tmp_path / "meta_Patio_Lawn.json", items)
    run(capsys, monkeypatch, reviews, metadata, "--out", tmp_path / "out")
    assert lines(tmp_path / "out/patio_lawn_2014_5core.meta.jsonl.gz") == [
        b'{"asin": "i", "brand": "", "description": "An item."}\n',
        b'{"asin": "j", "title": "Jack\'s rake", "categories": [["Patio", "Lawn"]], "price": 9.5}\n',
    ]
    write_lines(metadata, [*items, "{'asin': __import__('os').getcwd()}"])
    said = run(capsys, monkeypatch, reviews, metadata, "--out", tmp_path / "other")
    assert said.startswith(f"hybridvae: line 4 of {metadata} cannot be read (not JSON (") and "\n" not in said
    assert not list((tmp_path / "other").glob("*meta*"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            [{"user_id": "u", "asin": "i"}],
            "line 1 of {} is no review of 2014: it has no reviewerID, overall, unixReview",
        ),
        ([original("A", "i", 1), original("B", "j", "soon")], "line 2 of {} has a rating or a time that is no number."),
        ([original("A", "i", 1), "{"], "line 2 of {} cannot be read (not JSON ("),
        (["reviewerID,asin,overall,unixReviewTime", "A,i,5,1"], "{} is CSV: give a file of Amazon's release of 2014"),
        ([], "{} is empty: give JSON lines"),
    ],
)
def test_what_is_no_such_file_is_refused_in_one_sentence(tmp_path, content, words, capsys, monkeypatch):
    path = write_lines(tmp_path / "reviews.json", content)
    said = run(capsys, monkeypatch, path, "--out", tmp_path / "out")
    assert said.startswith(f"hybridvae: {words.format(path)}") and "\n" not in said
    assert not list(tmp_path.glob("out/*"))


def published(real_data, name, into, category):
    """The local files of a data set as their authors publish them: other names, another order, more products."""
    rows = [json.loads(line) for line in lines(real_data / f"{name}.jsonl.gz")]
    random.Random(5).shuffle(rows)
    reviews = [
        original(
            row["user_id"],
            row["asin"],
            row["timestamp"] // 1000,
            overall=row["rating"],
            summary=row["title"],
            reviewText=row["text"],
        )
        for row in rows
    ]
    paths = [write_lines(into / f"reviews_{category}_5.json.gz", reviews, compress=True)]
    if (described := real_data / f"{name}.meta.jsonl.gz").exists():
        items = [json.loads(line) for line in lines(described)] + [{"asin": "0", "title": "Of no review"}]
        random.Random(6).shuffle(items)
        paths.append(write_lines(into / f"meta_{category}.json.gz", [repr(item) for item in items], compress=True))
    return paths


@pytest.mark.parametrize(
    ("name", "category"),
    [("musical_instruments_2014_5core", "Musical_Instruments"), ("digital_music_2014_partial", "Digital_Music")],
)
def test_the_declared_files_are_made_of_published_ones_byte_for_byte(real_data, tmp_path, name, category):
    """What is packed, byte for byte; how gzip packs it is zlib's affair."""
    paths = published(real_data, name, tmp_path, category)
    command = [sys.executable, "-m", "hybridvae", "from-amazon-2014", *paths, "--out", tmp_path / "out"]
    subprocess.run(command, check=True)
    for ending in ("", ".meta")[: len(paths)]:
        made = tmp_path / f"out/{category.lower()}_2014_5core{ending}.jsonl.gz"
        assert lines(made) == lines(real_data / f"{name}{ending}.jsonl.gz")


def test_what_is_made_is_read_as_the_original_is(tmp_path, capsys, monkeypatch):
    rows = [original(f"U{u}", f"I{i}", (1_400 + u * i) * 10**6) for u in range(6) for i in range(6)]
    path = write_lines(tmp_path / "published/reviews.jsonl", rows)
    run(capsys, monkeypatch, path, "--out", tmp_path / "out")
    (tmp_path / "made").mkdir()
    (tmp_path / "out/reviews_2014.jsonl.gz").rename(tmp_path / "made/reviews.jsonl.gz")
    tables = []
    for folder in ("published", "made"):
        clean(tmp_path / folder, tmp_path / f"clean-{folder}", CleanConfig())
        tables.append((tmp_path / f"clean-{folder}/reviews.parquet").read_bytes())
    assert tables[0] == tables[1]
