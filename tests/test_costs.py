"""What stages cost is noted beside their results, and read again."""

import json
from dataclasses import asdict, replace

import pytest

from hybridvae.costs import Cost, note_cost, read_costs

COST = Cost("train", "shop", "temporal", "ease", {"recency": 0.5}, 1, "2", 5.0, 120.0)
NOTE = json.dumps(asdict(COST)).encode()


def test_costs_are_read_in_the_order_in_which_they_were_noted(tmp_path):
    others = [COST, replace(COST, seconds=8.0, threads="1"), replace(COST, model=None, parameters=None, peak_mb=None)]
    for cost in others:
        note_cost(tmp_path / "cache", cost)
    assert list(read_costs(tmp_path / "cache")) == others
    assert not list(read_costs(tmp_path / "nowhere"))


def test_a_line_that_was_left_half_is_passed_over(tmp_path):
    note_cost(tmp_path, COST)
    with (tmp_path / "costs.jsonl").open("a") as file:
        file.write('{"stage": "train", "data\n{"stage": "of another version"}\n[1]\n')
    note_cost(tmp_path, COST)
    assert list(read_costs(tmp_path)) == [COST, COST]


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe\x00",
        b'{"stage": "tr\xffin"}',
        b"[" * 100_000,
        b"9" * 5000,
        NOTE.replace(b'"train"', b"[]"),
        NOTE.replace(b'"ease"', b"{}"),
        NOTE.replace(b"5.0", b"9" * 400),
        NOTE.replace(b"5.0", b"NaN"),
        NOTE.replace(b"5.0", b"1e999"),
        NOTE.replace(b"5.0", b'"5"'),
        NOTE.replace(b"5.0", b"null"),
        NOTE.replace(b"120.0", b"[]"),
    ],
)
def test_what_is_no_note_is_passed_over(tmp_path, line):
    note_cost(tmp_path, COST)
    with (tmp_path / "costs.jsonl").open("ab") as file:
        file.write(line + b"\n")
    note_cost(tmp_path, COST)
    assert list(read_costs(tmp_path)) == [COST, COST]


def test_a_cache_that_cannot_be_written_or_read_stops_nobody(tmp_path):
    (tmp_path / "file").write_text("")
    note_cost(tmp_path / "file", COST)
    assert (tmp_path / "file").read_text() == "" and not list(read_costs(tmp_path / "file"))
    (tmp_path / "cache" / "costs.jsonl").mkdir(parents=True)
    note_cost(tmp_path / "cache", COST)
    assert not list(read_costs(tmp_path / "cache"))
