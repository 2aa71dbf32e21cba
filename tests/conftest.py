"""Tiny data that all tests share: made here, so that nobody's ratings are in the repository."""

import gzip
import json
import os
import shutil
import signal
from pathlib import Path

# Tests run side by side on few cores, where the threads of one would wait for those of another. It is read on import,
# and by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell that starts pytest in the background has it, and all that it starts, ignore Ctrl-C, which tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import numpy as np
import pytest
from filelock import FileLock
from projects import ROOT, Project, new_project

__all__ = ["ROOT"]
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


def pytest_collection_modifyitems(items):
    """Long tests first: those that run stages in a project of their own, then what else needs the one that is done.

    Each process begins with a share of the tests, and takes half of what another has left, from the end, when it has
    none. So no long test is left for the end, and one process begins with what needs no project while it is made.
    """
    items.sort(key=lambda item: ("done" not in item.fixturenames, "tmp_path" not in item.fixturenames))


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


def made_once(tmp_path_factory, name, make):
    """A folder that `make` fills in the process that asks first, and that all processes of this run of pytest share."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # then this is one process of several, and its folder lies in the run's
        shared = shared.parent
    folder, finished = shared / name, shared / f"{name}.finished"
    with FileLock(shared / f"{name}.lock"):
        if not folder.exists():
            folder.mkdir()
            make(folder)
            finished.touch()
    assert finished.exists(), f"{folder} could not be made: the process that tried says why"
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    def make(folder):
        write_lines(folder / "reviews.jsonl.gz", tiny_reviews(), compress=True)
        write_lines(folder / "metadata.jsonl", tiny_metadata())

    return made_once(tmp_path_factory, "data", make)


@pytest.fixture(scope="session")
def done(tmp_path_factory, tiny_data):
    """A project in which `dvc repro` has run; tests must leave it as it is, which others read at the same time."""

    def make(folder):
        project = new_project(folder / "project", folder / "cache", tiny_data)
        (folder / "output.txt").write_text(project.run("dvc", "repro"))
        project.commit("Run")

    folder = made_once(tmp_path_factory, "done", make)
    project = Project(folder / "project", folder / "cache", tiny_data)
    project.output = (folder / "output.txt").read_text()
    return project


@pytest.fixture
def s3():
    """A bucket on an S3 server of this process: its address, the server's, and what gives the names of its objects."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    client.create_bucket(Bucket="models")
    pages = client.get_paginator("list_objects_v2")
    yield (
        "s3://models/hybridvae",
        endpoint,
        lambda: [item["Key"] for page in pages.paginate(Bucket="models") for item in page.get("Contents", [])],
    )
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def remote(request, tmp_path):
    """An address for a DVC remote, and its options."""
    if request.param == "folder":
        return str(tmp_path / "remote"), {}
    address, endpoint, _ = request.getfixturevalue("s3")
    return address, {"endpointurl": endpoint, "region": "us-east-1"}


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, as the system has it."""
    if not (chromium := shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("there is no Chromium on this machine to open pages in")
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()
