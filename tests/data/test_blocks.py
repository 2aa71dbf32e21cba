"""Blocks of lines and columns of values: the same outcome as line by line, whatever stands in the lines."""

import gzip
import io
import json
import os
import signal
import subprocess
import sys

import orjson
import pyarrow.parquet as pq
import pytest
from conftest import NOW, review
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import cpu_count

from hybridvae.data import blocks, records, reviews
from hybridvae.data.blocks import Block, blocks_of, parsed
from hybridvae.data.layouts import LAYOUTS
from hybridvae.data.reviews import _part, _ReviewParser, _rows, parse_reviews
from hybridvae.errors import NotEnoughMemoryError, UnreadableFileError

SPACED = ["", " ", " a", "a ", "a\tb", "\u00a0x", "x\u2003", "a\u0085", "\x0b", "a\x1f", "\x7f", "x" * 1001, "&amp;"]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(SPACED),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)
PLAIN = {
    "user_id": st.sampled_from(["u", "v", "w"]),
    "asin": st.sampled_from(["a", "b"]),
    "parent_asin": st.sampled_from(["a", "p"]),
    "rating": st.sampled_from([1, 4.0, 5]),
    "timestamp": st.sampled_from([NOW, NOW + 0.5, NOW + 1]),
    "title": st.sampled_from(["Fine", "Two  spaces", "&lt;b&gt;", "a\u00a0b", "line\nbreak"]),
    "text": st.sampled_from(["", "A text."]),
}


@st.composite
def a_line(draw):
    """A line of JSON that is mostly good, now and then with a value that is odd or not there."""
    record = {name: draw(values) for name, values in PLAIN.items() if name != "parent_asin" or draw(st.booleans())}
    for name in draw(st.lists(st.sampled_from(list(PLAIN)), max_size=2)):
        record[name] = draw(ODD)
    for name in draw(st.lists(st.sampled_from(list(PLAIN)), max_size=1)):
        record.pop(name, None)
    line = json.dumps(record).encode()
    return draw(st.sampled_from([line, line, line, line, b"", b"{", b"[1]", b'{"a": NaN}', b"\xff"])) + b"\n"


@given(st.lists(a_line(), min_size=1, max_size=12), st.sampled_from(LAYOUTS), st.booleans())
@settings(max_examples=400, deadline=None)
def test_columns_judge_as_line_by_line(lines, layout, seconds):
    if layout.name == "amazon-2014-2018":
        names = {"user_id": "reviewerID", "rating": "overall", "timestamp": "unixReviewTime", "title": "summary"}
        for old, new in names.items():
            lines = [line.replace(f'"{old}"'.encode(), f'"{new}"'.encode()) for line in lines]
    if seconds:
        lines = [line.replace(str(NOW).encode(), str(NOW // 1000).encode()) for line in lines]
    layout = layout.fixed(list(PLAIN))
    block = Block(7, lines)
    whole, slow = parse_reviews(block, name="r", layout=layout), _part(_rows(block), _ReviewParser("r", layout))
    assert whole.kept.to_pylist() == slow.kept.to_pylist()
    assert whole.rejects == slow.rejects
    assert (whole.report.lines, whole.report.kept) == (slow.report.lines, slow.report.kept)
    assert (whole.report.rejected, whole.report.first_reject) == (slow.report.rejected, slow.report.first_reject)


@given(st.binary(max_size=60), st.integers(1, 20), st.integers(3, 12))
@settings(max_examples=300, deadline=None)
def test_blocks_hold_the_lines_of_the_file(tmp_path_factory, content, size, longest):
    path = tmp_path_factory.mktemp("blocks") / "file"
    content = content.replace(b"\x1f", b"\n")
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_BLOCK", size)
        patch.setattr(records, "MAX_LINE", longest)
        found = list(blocks_of(path))
    lines = [line for block in found for line in block.lines]
    wanted = [line[: longest + 1] for line in io.BytesIO(content)]
    assert lines == wanted
    assert [block.first for block in found] == [1 + sum(len(b.lines) for b in found[:n]) for n in range(len(found))]


def test_lines_after_an_overlong_one_at_the_end_are_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK", 8)
    monkeypatch.setattr(records, "MAX_LINE", 5)
    for end in (b"", b"\n"):
        (tmp_path / "file").write_bytes(b"a" * 12 + b"\nb\nc" + end)
        found = [line for block in blocks_of(tmp_path / "file") for line in block.lines]
        assert found == [b"aaaaaa", b"b\n", b"c" + end]


def test_a_script_without_a_guard_reads_a_long_file(tmp_path):
    path = tmp_path / "reviews.jsonl"
    path.write_bytes(b"".join(orjson.dumps(review(f"u{n}", "i")) + b"\n" for n in range(500)))
    script = tmp_path / "script.py"
    script.write_text(f"""
import io
from pathlib import Path
from hybridvae.data import blocks, reviews
print("began")
blocks._BLOCK, blocks._ALONE = 1000, 2
print(reviews.read_reviews(Path({str(path)!r}), Path({str(tmp_path / "kept.parquet")!r}), io.BytesIO()).kept)
""")
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert said.stdout.split() == ["began", "500"], said.stderr


def killed(block):
    if block.first > 10:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_said_in_words():
    if cpu_count() < 2:
        pytest.skip("one core reads alone")
    with pytest.raises(NotEnoughMemoryError, match="a process that read lines was killed"):
        list(parsed((Block(n, []) for n in range(40)), killed))


def sizes_of(block):
    return block.first, len(block.lines)


def test_other_processes_help_and_the_order_stays():
    whole = [Block(n, [b""] * n) for n in range(40)]
    assert list(parsed(iter(whole), sizes_of)) == [(n, n) for n in range(40)]
    assert list(parsed(iter(whole[:3]), sizes_of)) == [(n, n) for n in range(3)]


def test_a_long_file_is_read_as_a_short_one_is(tmp_path, monkeypatch):
    lines = [orjson.dumps(review(f"u{n}", "i", text=f"text  {n}")) + b"\n" for n in range(3000)]
    lines[0] = lines[1700] = b"no json\n"
    lines[2000] = orjson.dumps(review("u2000", "i", rating=7)) + b"\n"
    path = tmp_path / "reviews.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(lines)))

    def read(into):
        rejects = io.BytesIO()
        report = reviews.read_reviews(path, tmp_path / into, rejects)
        return report, pq.read_table(tmp_path / into), rejects.getvalue()

    short = read("short.parquet")
    monkeypatch.setattr(blocks, "_BLOCK", 10_000)
    assert read("long.parquet") == short
    assert short[0].lines == 3000 and short[0].kept == 2997 and short[0].first_reject.startswith("line 1: ")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UnreadableFileError, match="cannot be read to its end"):
        read("cut.parquet")
    assert not (tmp_path / "cut.parquet").exists()
