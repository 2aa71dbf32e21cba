"""Faults of the machine and damaged files: one sentence that names the thing and what to do."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from conftest import ROOT

from hybridvae.errors import HybridVAEError, explained, in_one_sentence, quoted

# Limits bind the superuser too, which permissions do not. Each case runs in a fork, whose limits are its own.
FAULTS = dedent(
    """
    import json, os, resource, signal, sys
    from pathlib import Path

    import numpy as np, pandas as pd, pyarrow.parquet, sqlite3, torch
    from safetensors.numpy import load_file

    from hybridvae.data.engine import DUCKDB, open_engine
    from hybridvae.errors import explained
    from hybridvae.files import read_arrays, read_frame, read_json, write_arrays, write_frame, write_json, write_text
    from hybridvae.reporting import figures

    folder = Path(sys.argv[1])
    many, table = np.arange(200_000) ** 0.5, folder / "whole.parquet"
    if os.fork() == 0:  # here it would start threads, which the forks would miss
        write_frame(table, pd.DataFrame({"a": many}))
        os._exit(0)
    os.wait()
    whole = table.read_bytes()
    damaged = {"empty": b"", "half": whole[:999], "noise": b"noise" * 99, "end": whole[:-99] + b"x" * 99}
    for name, content in damaged.items():
        (folder / f"{name}.parquet").write_bytes(content)
    (folder / "half.json").write_text("{")
    (folder / "latin.json").write_bytes(b'"\\xe9"')
    (folder / "half.safetensors").write_bytes(b"half")
    (folder / "half.sqlite").write_bytes(b"half" * 999)
    (folder / "folder").mkdir()
    (folder / "folder" / "file").touch()


    def limit_to(what, most):
        resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


    def without_limits():
        for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_AS):
            resource.setrlimit(what, resource.getrlimit(what)[1:] * 2)


    def small_files(size=9_000):
        limit_to(resource.RLIMIT_FSIZE, size)


    def few_files():
        limit_to(resource.RLIMIT_NOFILE, 3)


    def little_memory():
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit_to(resource.RLIMIT_AS, used + 2**29)  # threads want some, too


    def database(query, path=folder / "out.parquet", prepare=None):
        with open_engine(DUCKDB) as tables:
            if prepare:
                prepare()
            tables.write(query, path)


    def from_parquet(name):
        with open_engine(DUCKDB) as tables:
            tables.register(read=folder / name)
            tables.query("SELECT SUM(a) FROM read")


    def figure():
        places = pd.DataFrame({"x": [0.0], "y": [0.0], "activity": [1]})
        figures.save(figures.users(places, shows="", title=""), folder, "figure")


    def full_disk():
        with Path("/dev/full").open("w") as file:
            file.write("x" * 9_000)


    MANY = "SELECT md5(range::VARCHAR) AS a FROM range(300000)"
    CASES = {
        "write text": (small_files, lambda: write_text(folder / "a.txt", "x" * 99_999)),
        "write json": (small_files, lambda: write_json(folder / "a.json", {"a": "x" * 99_999})),
        "write frame": (small_files, lambda: write_frame(folder / "a.parquet", pd.DataFrame({"a": many}))),
        "write arrays": (small_files, lambda: write_arrays(folder / "a.safetensors", {"a": many})),
        "write figure": (lambda: small_files(999), figure),
        "copy": (None, lambda: database(MANY, prepare=small_files)),
        "full disk": (None, full_disk),
        "file for folder": (None, lambda: write_text(folder / "half.json" / "a.json", "")),
        "folder for file": (None, lambda: write_text(folder / "folder", "")),
        "read folder": (None, lambda: read_json(folder / "folder")),
        "no file": (None, lambda: read_json(folder / "none.json")),
        "no table": (None, lambda: from_parquet("none.parquet")),
        "no arrays": (None, lambda: read_arrays(folder / "none.safetensors")),
        "open file": (few_files, lambda: read_json(folder / "half.json")),
        "open table": (few_files, lambda: read_frame(table)),
        "open arrays": (few_files, lambda: read_arrays(folder / "half.safetensors")),
        "numpy": (little_memory, lambda: np.zeros(10**10)),
        "torch": (little_memory, lambda: torch.zeros(10**10)),
        "python": (little_memory, lambda: bytes(10**10)),
        "duckdb": (little_memory, lambda: database("SELECT LIST(md5(range::VARCHAR)) AS a FROM range(30000000)")),
        **{f"frame {name}": (None, lambda name=name: read_frame(folder / f"{name}.parquet")) for name in damaged},
        **{f"table {name}": (None, lambda name=name: from_parquet(f"{name}.parquet")) for name in damaged},
        "column": (None, lambda: read_frame(table, ["b"])),
        "arrow": (None, lambda: pyarrow.parquet.read_table(folder / "half.parquet")),
        "json": (None, lambda: read_json(folder / "half.json")),
        "not utf-8": (None, lambda: read_json(folder / "latin.json")),
        "arrays": (None, lambda: read_arrays(folder / "half.safetensors")),
        "safetensors": (None, lambda: load_file(folder / "half.safetensors")),
        "sqlite": (None, lambda: sqlite3.connect(folder / "half.sqlite").execute("SELECT * FROM a")),
    }
    for name, (limit, work) in CASES.items():
        if os.fork():
            os.wait()
            continue
        signal.alarm(120)  # a fork of a process with threads may wait for one that it does not have
        said = "no error"
        try:
            if limit:
                limit()
            work()
        except Exception as error:
            without_limits()
            said = explained(error)
        print(json.dumps([name, said]), flush=True)
        os._exit(0)
    """
)
TOO_LARGE = "would grow beyond the size that a file may have here: raise the limit with `ulimit -f unlimited`"
READ_AGAIN = r"cannot be read \(.+\): run `dvc checkout --force`, or the stage that writes it"
EXPECTED = {
    "write text": f"FOLDER/a.txt {TOO_LARGE}",
    "write json": f"FOLDER/a.json {TOO_LARGE}",
    "write frame": f"FOLDER/a.parquet {TOO_LARGE}",
    "write arrays": f"FOLDER/a.safetensors {TOO_LARGE}",
    "write figure": f"FOLDER/figure.png {TOO_LARGE}",
    "copy": f"/.+ {TOO_LARGE}",
    "full disk": "no space is left on the disk for a file: free some, then run this again",
    "file for folder": "FOLDER/half.json is a file where a folder must be: move it away",
    "folder for file": "FOLDER/folder is a folder where a file must be: move it away",
    "read folder": "FOLDER/folder is a folder where a file must be: move it away",
    "no file": "FOLDER/none.json is not there: run the stage that writes it, or `dvc repro`",
    "no table": "FOLDER/none.parquet is not there: run the stage that writes it, or `dvc repro`",
    "no arrays": "FOLDER/none.safetensors is not there: run the stage that writes it, or `dvc repro`",
    "open file": "too many files are open to open FOLDER/half.json: raise the limit with `ulimit -n 4096`, .*",
    "open table": "too many files are open to open FOLDER/whole.parquet: raise the limit .*",
    "open arrays": "too many files are open to open FOLDER/half.safetensors: raise the limit .*",
    "numpy": r"memory is short \(Unable to allocate 74.5 GiB .*\): close other programs, or take less data .*",
    "torch": r"memory is short \(.*you tried to allocate 40000000000 bytes.*\): close other programs, .*",
    "python": "memory is short: close other programs, or take less data or smaller sizes of the model",
    "duckdb": r"memory is short \(Out of Memory Error: .*\): close other programs, .*",
    **{f"frame {name}": f"FOLDER/{name}.parquet {READ_AGAIN}" for name in ("empty", "half", "noise", "end")},
    **{f"table {name}": f"FOLDER/{name}.parquet {READ_AGAIN}" for name in ("empty", "half", "noise", "end")},
    "column": f"FOLDER/whole.parquet {READ_AGAIN}",
    "arrow": f"FOLDER/half.parquet {READ_AGAIN}",
    "json": f"FOLDER/half.json {READ_AGAIN}",
    "not utf-8": f"FOLDER/latin.json {READ_AGAIN}",
    "arrays": f"FOLDER/half.safetensors {READ_AGAIN}",
    "safetensors": f"a file {READ_AGAIN}",
    "sqlite": f"a file {READ_AGAIN}",
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the limits are those of Linux")
def test_every_fault_is_one_sentence_and_leaves_nothing_half(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, tmp_path], capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    said = dict(map(json.loads, done.stdout.splitlines()))
    assert said.keys() == EXPECTED.keys(), done.stderr
    wrong = {
        name: said[name]
        for name, words in EXPECTED.items()
        if not re.fullmatch(words.replace("FOLDER", re.escape(str(tmp_path))) + r"\.", said[name])
    }
    assert not wrong
    assert not any(path.name.startswith(("a.", ".", "figure")) for path in tmp_path.iterdir())


class Timeout(OSError):
    """As of a library: it has neither number nor file."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "no space is left on the disk for /a/b"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/a/b"), "your share (quota) of the disk is used up by /a/b"),
        (OSError(errno.EROFS, "Read-only file system", "/a/.b.json.12.partial"), "/a/b.json cannot be written, as"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "/a/b may not be opened (permission denied)"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory is short"),
        (OSError(errno.EIO, "Input/output error", "/a/b"), "the disk failed at /a/b"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "b" * 999), "is longer than the disk takes"),
        (FileNotFoundError(errno.ENOENT, "No such file", "dvc"), "the program dvc was not found: install it"),
        (Timeout("nobody answers"), "cannot be used (nobody answers): check disk and network"),
        (ImportError("libtorch.so: failed to map segment from shared object"), "memory is short"),
        (RuntimeError("can't start new thread"), "no further thread may be started"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore"), "the GPU's memory is short (CUDA out"),
        (RuntimeError("MPS backend out of memory"), "the GPU's memory is short"),
        (RuntimeError("CUDA error: device-side assert triggered"), "the GPU failed (CUDA error"),
        (RuntimeError("bad allocation"), "memory is short"),
        (HybridVAEError("a mistake:\ndo this."), "a mistake: do this."),
    ],
)
def test_a_fault_says_what_to_do(error, words):
    said = explained(error)
    assert words in said and "\n" not in said and said.endswith(".") and len(said) < 500


@pytest.mark.parametrize("error", [TypeError("x"), KeyError("x"), ValueError("x"), RuntimeError("x"), AssertionError()])
def test_a_defect_keeps_its_traceback(error):
    assert explained(error) is None
    with pytest.raises(type(error)), in_one_sentence("stage"):
        raise error


def test_an_end_has_its_words_and_its_code(capsys):
    with pytest.raises(SystemExit, match=r"^stage: no good$"), in_one_sentence("stage"):
        raise HybridVAEError("no good")
    for stop in (KeyboardInterrupt(), RuntimeError("Query interrupted")):
        with pytest.raises(SystemExit) as ended, in_one_sentence("stage"):
            raise stop
        assert ended.value.code == 130 and capsys.readouterr().err == "stage: stopped\n"


def test_values_are_quoted_on_one_line_and_cut():
    assert [quoted(value) for value in (None, True, "a\nb", 1.5, [1])] == ["null", "true", r"'a\nb'", "1.5", "[1]"]
    assert quoted("x" * 999, 5) == "'xxxx... (1,001 characters)"
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert quoted(10**5000) == quoted(deep) == "a value too long to repeat"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device is Linux'")
def test_an_output_that_nobody_reads_ends_without_a_word_and_a_full_one_with_one():
    command = [sys.executable, "-m", "hybridvae", "table"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(command, cwd=ROOT, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("hybridvae: no space is left on the disk for the standard output: free some")
    assert len(done.stderr.splitlines()) == 1
