"""Fetching: identity by hash, downloads that resume, errors that say what to do."""

import hashlib
import http.server
import re
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from conftest import ROOT, review, write_lines

from hybridvae.data.downloads import download_path, obtain_url
from hybridvae.data.sources import datasets, declared, fetch
from hybridvae.errors import BadParameterError, HybridVAEError

CONTENT = bytes(range(256)) * 4000


class Shelf(http.server.BaseHTTPRequestHandler):
    """A server of one file that understands ranges and can hang up half-way."""

    hang_up_after = None
    ranges = True
    requests: list = []  # noqa: RUF012

    def do_GET(self):
        start = 0
        asked = self.headers.get("Range")
        type(self).requests.append(asked)
        if self.path != "/data.jsonl":
            self.send_error(404)
            return
        if asked and self.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(CONTENT):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
                self.end_headers()
                return
            self.send_response(206)
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = len(CONTENT) if self.hang_up_after is None else min(len(CONTENT), start + self.hang_up_after)
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *args):
        pass


@pytest.fixture
def shelf():
    handler = type("Handler", (Shelf,), {"requests": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_port}/data.jsonl"
    yield handler
    server.shutdown()
    server.server_close()


def part_of(shelf, folder):
    path = download_path(shelf.url, folder)
    path.parent.mkdir(parents=True)
    return path.with_name(path.name + ".part")


def test_a_broken_download_is_resumed_until_it_is_whole(shelf, tmp_path):
    shelf.hang_up_after = 400_000
    path = obtain_url(shelf.url, tmp_path)
    assert path.read_bytes() == CONTENT
    assert shelf.requests[0] is None and shelf.requests[1].startswith("bytes=") and len(shelf.requests) == 3
    assert sorted(p.name for p in path.parent.iterdir()) == ["data.jsonl", "data.jsonl.lock"]
    obtain_url(shelf.url, tmp_path)  # it is there: nothing is asked again
    assert len(shelf.requests) == 3


def test_what_an_earlier_run_left_is_used(shelf, tmp_path):
    part_of(shelf, tmp_path).write_bytes(CONTENT[:700_000])
    assert obtain_url(shelf.url, tmp_path).read_bytes() == CONTENT
    assert shelf.requests == ["bytes=700000-"]


def test_a_complete_part_is_taken_as_it_is(shelf, tmp_path):
    part_of(shelf, tmp_path).write_bytes(CONTENT)
    assert obtain_url(shelf.url, tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over(shelf, tmp_path):
    shelf.ranges = False
    part_of(shelf, tmp_path).write_bytes(b"old")
    assert obtain_url(shelf.url, tmp_path).read_bytes() == CONTENT


def test_an_unreachable_address_says_where_to_put_the_file(shelf, tmp_path):
    for url in (shelf.url.replace("data", "nothing"), "http://127.0.0.1:9/data.jsonl"):
        with pytest.raises(HybridVAEError) as caught:
            obtain_url(url, tmp_path)
        words = str(caught.value)
        assert (
            str(download_path(url, tmp_path)) in words and "by hand" in words and len(words) < 400 and "\n" not in words
        )


def test_addresses_that_end_alike_are_kept_apart(tmp_path):
    assert download_path("http://a/x/data.jsonl", tmp_path) != download_path("http://a/y/data.jsonl", tmp_path)
    with pytest.raises(HybridVAEError, match="names no file"):
        download_path("http://a/x/", tmp_path)


def test_two_at_a_time_download_once(shelf, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: obtain_url(shelf.url, tmp_path), range(2)))
    assert paths[0] == paths[1] and paths[0].read_bytes() == CONTENT and len(shelf.requests) == 1


def mine(block, name="mine"):
    return declared({"sources": {name: block}}, name)


def local(tmp_path, **changes):
    file = write_lines(tmp_path / "local" / "r.jsonl.gz", [review("u", "i")], compress=True)
    block = {"kind": "file", "reviews": "r.jsonl.gz", "reviews_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    fetch(mine(block | changes), tmp_path / "raw", cache=tmp_path / "cache", local=tmp_path / "local")


def test_a_local_file_is_copied_when_its_hash_is_right(tmp_path):
    local(tmp_path)
    copied = tmp_path / "raw" / "reviews.jsonl.gz"
    assert copied.read_bytes() == (tmp_path / "local" / "r.jsonl.gz").read_bytes()


def test_another_hash_is_refused_and_the_found_one_printed(tmp_path):
    with pytest.raises(
        HybridVAEError, match=r"has sha256 [0-9a-f]{64}, but sources\.mine\.reviews_sha256 in sources\.yaml says 0{64}"
    ):
        local(tmp_path, reviews_sha256="0" * 64)
    with pytest.raises(HybridVAEError, match=r"mine\.reviews_sha256 is not set in sources\.yaml.* [0-9a-f]{64};"):
        local(tmp_path, reviews_sha256=None)
    assert not (tmp_path / "raw").exists()


def test_a_missing_local_file_says_where_it_was_expected(tmp_path):
    with pytest.raises(HybridVAEError, match=r"local/other\.jsonl does not exist"):
        local(tmp_path, reviews="other.jsonl")
    with pytest.raises(HybridVAEError, match="HYBRIDVAE_DATA is not set"):
        fetch(mine({"kind": "file", "reviews": "r.jsonl"}), tmp_path / "raw", cache=tmp_path, local=None)


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A tiny wheel in RecBole's format that pip finds without a network."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    path = folder / "tinybole-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "tinybole/a.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t9\t4\t881250949\n"
        )
        head = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        archive.writestr("tinybole/a.item", head + '9\tHeat "Wave"\t1995\tDrama Crime\n')
        archive.writestr("tinybole-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinybole\nVersion: 1.0\n")
        archive.writestr(
            "tinybole-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tinybole-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return path


def test_a_package_is_downloaded_checked_and_converted(wheel, tmp_path):
    block = {
        "kind": "package",
        "package": "tinybole==1.0",
        "reviews": "tinybole/a.inter",
        "metadata": "tinybole/a.item",
    }
    block["sha256"] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    fetch(mine(block), tmp_path / "raw", cache=tmp_path / "cache", local=None)
    reviews = yaml.safe_load((tmp_path / "raw/reviews.jsonl").read_text())
    assert reviews == review("7", "9", 4.0, 881_250_949_000)
    items = yaml.safe_load((tmp_path / "raw/metadata.jsonl").read_text())
    assert items == {"asin": "9", "title": 'Heat "Wave" (1995)', "categories": ["Drama", "Crime"]}

    with pytest.raises(HybridVAEError, match=r"tinybole/a\.item of tinybole-1\.0.* has no column user_id"):
        wrong = mine(block | {"reviews": "tinybole/a.item"})
        fetch(wrong, tmp_path / "raw", cache=tmp_path / "cache", local=None)
    with pytest.raises(HybridVAEError, match=r"but sources\.mine\.sha256 in sources\.yaml says"):
        fetch(mine(block | {"sha256": "0" * 64}), tmp_path, cache=tmp_path / "cache", local=None)
    absent = mine(block | {"package": "absent-package==1.0"}, "other")
    with pytest.raises(HybridVAEError, match=r"cannot download the package absent-package.*put its wheel into"):
        fetch(absent, tmp_path, cache=tmp_path / "cache", local=None)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"kind": "ftp"}, "use one of file, url, package"),
        ({"kind": "file"}, "sources.x.reviews is missing"),
        ({"kind": "url", "reviews": "http://a/b", "sha": 1}, "sources.x.sha is not a parameter"),
    ],
)
def test_a_wrong_block_is_refused_in_words(block, words):
    with pytest.raises(HybridVAEError, match=words):
        _ = mine(block, "x").source


def test_every_declared_source_is_well_formed():
    catalogue = yaml.safe_load((ROOT / "sources.yaml").read_text())
    names = datasets(catalogue)
    for name in names:
        _ = declared(catalogue, name).source
    assert len(names) == len(set(names)) == 39
    assert {"ml-100k", "beauty", "musical_instruments", "digital_music"} <= set(names)
    assert {"amazon2023-All_Beauty", "amazon2023-Appliances", "amazon2014-Beauty"} <= set(names)


FAMILY = {
    "kind": "url",
    "reviews": "http://a/{name}.gz",
    "metadata": "http://a/meta_{name}.gz",
    "reviews_sha256": {"Books": "ab"},
    "metadata_sha256": {},
    "names": ["Books", "Toys"],
}


def test_a_family_is_written_out_by_name_and_a_block_of_its_own_comes_first():
    books = declared({"families": {"shop": FAMILY}}, "shop-Books")
    assert books.block == {
        "kind": "url",
        "licence": None,
        "reviews": "http://a/Books.gz",
        "metadata": "http://a/meta_Books.gz",
        "reviews_sha256": "ab",
        "metadata_sha256": None,
    }
    without = {"kind": "url", "reviews": "http://a/{name}", "reviews_sha256": None, "names": ["b-c"]}
    assert declared({"families": {"my-shop": without}}, "my-shop-b-c").block["metadata"] is None
    assert books.sha256 == "ab" and books.hash_key.format("x") == "families.shop.x.Books"
    own = {"kind": "file", "reviews": "b.jsonl"}
    both = declared({"sources": {"shop-Books": own}, "families": {"shop": FAMILY}}, "shop-Books")
    assert both.block == own and both.hash_key.format("x") == "sources.shop-Books.x"


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"reviews": "http://a/{name}"}, "families.shop.names is missing"),
        (None, "families.shop.names is missing"),
        ({"names": [2018], "reviews": "http://a/{name}"}, "families.shop.names is 2018: it must be a text"),
        (FAMILY | {"reviews_sha": {"Books": "ab"}}, "families.shop.reviews_sha is not a parameter"),
        (FAMILY | {"reviews_sha256": "ab"}, "families.shop.reviews_sha256 is 'ab': it must be a block"),
    ],
)
def test_a_wrong_family_is_refused_in_words(block, words):
    with pytest.raises(BadParameterError, match=words):
        datasets({"families": {"shop": block}})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("beuaty", "there is no data set 'beuaty' in sources.yaml: near names are beauty"),
        ("toys", "near names are shop-Toys"),
        ("shop-Book", "near names are shop-Books"),
        ("zzz", "it has beauty, shop-Books, shop-Toys"),
    ],
)
def test_an_unknown_name_lists_those_that_are_near(name, words):
    with pytest.raises(BadParameterError, match=words):
        declared({"sources": {"beauty": {"kind": "file"}}, "families": {"shop": FAMILY}}, name)


def test_the_helper_prints_a_block_that_fetch_accepts(tmp_path):
    file = write_lines(tmp_path / "my #1: data" / "mine.jsonl", [review("u", "i")])
    command = [sys.executable, "-m", "hybridvae", "source", str(file), "--name", "mine"]
    block = yaml.safe_load(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["mine"]
    fetch(mine(block), tmp_path / "raw", cache=tmp_path / "cache", local=None)
    assert (tmp_path / "raw/reviews.jsonl").read_bytes() == file.read_bytes()
    outcome = subprocess.run([*command[:4], "nowhere.jsonl"], capture_output=True, text=True, check=False)
    assert outcome.returncode == 1 and "does not exist" in outcome.stderr and "Traceback" not in outcome.stderr
