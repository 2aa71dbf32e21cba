"""Invented reviews: as many as asked for, the same on every call, and with a taste that text tells."""

import gzip
import json

import numpy as np
import pytest

from hybridvae.data import synthetic
from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.data.synthetic import GENRES, Size, synthesize
from hybridvae.errors import BadParameterError


def lines(path):
    return [json.loads(line) for line in gzip.open(path, "rt")]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(synthetic, "_BLOCK", 1000)


def test_the_same_call_writes_the_same_rows_and_keeps_what_is_there(tmp_path, small):
    size = Size(rows=2500, items=320)
    first = synthesize(tmp_path / "a", size, seed=1)
    assert [len(lines(path)) for path in first] == [1000, 1000, 500]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / first[1].name).write_bytes(first[1].read_bytes())
    again = synthesize(tmp_path / "b", size, seed=1)
    assert [lines(path) for path in first] == [lines(path) for path in again]
    assert lines(synthesize(tmp_path / "c", size, seed=2)[0]) != lines(first[0])
    with pytest.raises(BadParameterError, match="holds reviews of other arguments"):
        synthesize(tmp_path / "a", size, seed=2)
    users = [{row["user_id"] for row in lines(path)} for path in first]
    assert not users[0] & users[1], "a user's reviews are in one file"


def test_popularity_is_skewed_and_text_tells_the_genre(tmp_path, small):
    rows = lines(synthesize(tmp_path, Size(rows=1000, items=640), seed=3)[0])
    items = np.array([int(row["parent_asin"][1:]) for row in rows])
    assert items.max() < 640
    counts = np.bincount(items // GENRES, minlength=20)
    assert counts[0] > 3 * counts[10], "the first place of a genre is drawn most"
    genres = {}
    for row, item in zip(rows, items, strict=True):
        for word in row["text"].split()[1:5]:
            genres.setdefault(word, set()).add(item % GENRES)
    assert np.mean([len(of_word) == 1 for of_word in genres.values()]) > 0.8
    of_user = {}
    for row, item in zip(rows, items, strict=True):
        of_user.setdefault(row["user_id"], []).append(item % GENRES)
    faithful = np.mean([np.sort(np.bincount(of, minlength=GENRES))[-2:].sum() / len(of) for of in of_user.values()])
    assert faithful > 0.6, "most reviews go to two genres"
    words = {row["title"] for row in lines(tmp_path / "metadata.jsonl.gz")}
    assert len(words) > 400


def test_the_rows_are_clean(tmp_path, small):
    synthesize(tmp_path / "raw", Size(rows=900, items=32), seed=1)
    (tmp_path / "raw/reviews-00000.jsonl.gz").rename(tmp_path / "raw/reviews.jsonl.gz")
    report = clean(tmp_path / "raw", tmp_path / "clean", CleanConfig(min_user_ratings=2, min_item_ratings=2))
    assert report["rows_in"] == 900 and not report["rejected"] and report["described"] == report["items"]


def test_a_size_that_cannot_be_is_refused():
    with pytest.raises(BadParameterError, match="items at least 32"):
        Size(rows=10, items=3)
