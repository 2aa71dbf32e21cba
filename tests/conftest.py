"""Tiny data that all tests share: made here, so that nobody's ratings are in the repository."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
DAY = 86_400_000  # ms
NOW = 1_400_000_000_000


def review(user, item, rating=5.0, time=NOW, *, title="", text="", **more):
    """A review in the layout of the 2023 release."""
    return {"user_id": user, "asin": item, "rating": rating, "timestamp": time, "title": title, "text": text, **more}


def write_lines(path, records, *, compress=False):
    """Write records (dicts, or raw text) as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records)
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if compress else text.encode())
    return path


def tiny_reviews(users=40, items=24, seed=7):
    """Two tastes: users of either like items of their half; every review says a word of its item."""
    random = np.random.default_rng(seed)
    records = []
    for user in range(users):
        half = user % 2
        liked = random.permutation(items // 2)[:9] + half * (items // 2)
        disliked = random.permutation(items // 2)[:2] + (1 - half) * (items // 2)
        rated = [(item, 5.0) for item in liked] + [(item, 2.0) for item in disliked]
        for order, index in enumerate(random.permutation(len(rated))):
            item, rating = rated[index]
            word = f"{'guitar' if item < items // 2 else 'kettle'} number {item}"
            words = {"title": f"A {word}", "text": f"I tried the {word}."}
            records.append(review(f"u{user:03d}", f"i{item:03d}", rating, NOW + order * DAY, **words))
    return records


def tiny_metadata(items=24):
    """Titles and categories of the tiny items."""
    return [
        {
            "asin": f"i{item:03d}",
            "title": f"{'Guitar' if item < items // 2 else 'Kettle'} {item}",
            "categories": ["Music" if item < items // 2 else "Kitchen"],
        }
        for item in range(items)
    ]


@pytest.fixture
def raw(tmp_path):
    """A raw folder with tiny reviews and metadata."""
    folder = tmp_path / "raw"
    write_lines(folder / "reviews.jsonl", tiny_reviews())
    write_lines(folder / "metadata.jsonl", tiny_metadata())
    return folder


@pytest.fixture(scope="session")
def real_data():
    """The folder of real data; tests that want it skip where there is none."""
    folder = os.environ.get("HYBRIDVAE_DATA")
    if not folder:
        pytest.skip("HYBRIDVAE_DATA is not set: no real data on this machine")
    return Path(folder)
