"""`make scale` in short: what it measures, how it goes on, and what `make docs` makes of its rows."""

import json
import os
import subprocess
import sys

import pytest
import scale
from conftest import ROOT
from watched import measured

from hybridvae.errors import BadParameterError, HybridVAEError
from hybridvae.reporting.documents import scale_figures
from hybridvae.reporting.scaling import scale_frame, scale_section, scale_table


def a_row(part, settings, seconds, peak_mb=900, **found):
    about = {"command": "make scale", "commit": "c" * 40, "machine": "2 cores", "threads": "2"}
    return {"part": part, "settings": settings, "measured": found, "seconds": seconds, "peak_mb": peak_mb} | about


def lines_of(*rows):
    """The table's lines as lists of cells, without the head."""
    table = scale_table({"scale": {str(number): row for number, row in enumerate(rows)}})
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


# --- the command ---


def test_every_part_is_measured_by_a_function_of_its_name(tmp_path):
    works = scale.planned(scale.ROWS, scale.ITEMS, 1.0)
    assert {work.part for work in works} == set(scale.MODULES)
    assert len({work.name for work in works}) == len(works)
    assert next(work for work in works if work.name == "prepare-30000000").settings["rows"] == 30_000_000
    assert {work.settings["items"] for work in works if work.part == "epoch"} == {12_000, 100_000, 500_000}


def test_small_sizes_of_all_works(tmp_path):
    """The real thing, but for Beauty and ml-100k, which have no small size, and one model of those under a limit."""
    only = "prepare-1000000,read,epoch-12000,judge,lists,memory-ease"
    command = [sys.executable, "benchmarks/scale.py", "--share", "0.0001", "--folder", str(tmp_path), "--only", only]
    run = subprocess.run(
        [*command, "--output", str(tmp_path / "out.json")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not run.returncode, run.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["scale"]
    parts = ["prepare", "read", "epoch", "judge", "lists", "memory"]
    assert [row["part"] for row in rows.values()] == parts
    assert all(row["peak_mb"] > 50 and row["seconds"] > 0 for row in rows.values())
    assert rows["memory-ease"]["measured"]["outcome"] == "fitted"
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"], "nothing of the data in between is left"


def test_rows_are_written_one_by_one_and_not_measured_again(tmp_path, monkeypatch):
    asked = []

    def measure(work, folder):
        asked.append(work.name)
        if work.name == "epoch-500000":
            raise HybridVAEError("it ended with exit code 1")
        return a_row(work.part, work.settings, 1.0)

    monkeypatch.setattr(scale, "measure", measure)
    output = tmp_path / "scale.json"

    def fill(share=0.001, again=False):
        asked.clear()
        rows = json.loads(output.read_text())["scale"] if output.exists() else {}
        works = scale.chosen(scale.planned(scale.ROWS, scale.ITEMS, share), "epoch,judge")
        return scale.fill(rows, works, tmp_path / "between", output, again=again)

    assert fill() == ["epoch-500000"], "what fails is named, and the rest goes on"
    assert asked == ["epoch-12000", "epoch-100000", "epoch-500000", "judge-500000"]
    assert list(json.loads(output.read_text())["scale"]) == ["epoch-12000", "epoch-100000", "judge-500000"]
    assert fill() and asked == ["epoch-500000"]
    assert fill(share=0.01) and len(asked) == 4, "rows of other sizes are measured"
    assert fill(share=0.01, again=True) and len(asked) == 4


def test_too_little_disk_and_unknown_names_are_said(tmp_path):
    with pytest.raises(HybridVAEError, match="too little space"):
        scale._check_disk(scale.Work("prepare-1", "prepare", {}, 1e18), tmp_path)
    with pytest.raises(BadParameterError, match="--only names epochs"):
        scale.chosen(scale.planned(scale.ROWS, scale.ITEMS, 1.0), "epochs,judge")


# --- a process and all that it starts ---

HOLDS = "import time; held = bytearray(150_000_000); time.sleep(1)"
STARTS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLDS!r}]); print('done', file=sys.stderr)"


def test_the_peak_is_that_of_all_processes_together():
    ended = measured([sys.executable, "-c", STARTS])
    assert ended.code == 0 and not ended.killed and ended.said == "done\n"
    assert 150e6 < ended.peak < 400e6
    assert 1 < ended.seconds < 30


def test_what_outgrows_its_limit_is_ended():
    ended = measured([sys.executable, "-c", STARTS], limit=120_000_000)
    assert ended.killed and ended.code != 0


# --- the pages ---


def test_the_bars():
    epochs = [
        a_row("epoch", {"items": items, "positives": 1_000_000}, 50.0, peak, seconds_a_million=seconds)
        for items, seconds, peak in ((500_000, 160.0, 11_000), (12_000, 40.0, 900), (100_000, 91.0, 3000))
    ]
    assert lines_of(a_row("prepare", {"rows": 30_000_000}, 1500.0, 4001), a_row("prepare", {"rows": 1000}, 6.0)) == [
        ["clean and split 1,000 rows, gzip JSON to tables", "", "0.1 minutes, 900 MB", "", "6.0", "900 MB"],
        [
            "clean and split 30,000,000 rows, gzip JSON to tables",
            "25 minutes, 4.0 GB",
            "25.0 minutes, 4.0 GB",
            "**no**",
            "1,500.0",
            "4.0 GB",
        ],
    ]
    assert [line[1:4] for line in lines_of(*epochs)] == [
        ["", "40.0 s", ""],
        ["90 s", "91.0 s", "**no**"],
        ["10 GB", "160.0 s, 11 GB", "**no**"],
        ["3 x", "4.0 x", "**no**"],
    ]
    read = a_row("read", {"rows": 1000}, 1.0, rows_a_second=40.0, rows_a_second_json_alone=100.0)
    judged = a_row("judge", {"users": 1000, "items": 500_000}, 2.96, seconds_of_scores=2.0)
    listed = a_row("lists", {"users": 200_000, "items": 100_000}, 361.0)
    assert [line[1:4] for line in lines_of(read, judged, listed)] == [
        ["40%", "40 rows a second, 40%", "yes"],
        ["3 s", "3.0 s, of these 2.0 s for HybridVAE's scores", "yes"],
        ["6 minutes", "6.0 minutes", "**no**"],
    ]


def test_models_under_a_limit_are_one_line():
    sizes = {"users": 10, "items": 20, "limit": 10**9}
    rows = [
        a_row("memory", sizes | {"model": one}, 1.0, outcome=outcome, held_by="watching")
        for one, outcome in (("a", "fitted"), ("b", "refused"), ("c", "killed"))
    ]
    (line,) = lines_of(*rows)
    assert line[0] == "3 models in 1.0 GB, 10 users, 20 items (held to it by watching)"
    assert line[1:5] == ["none killed", "1 fitted, 1 refused, 1 killed", "**no**", "3.0"]
    assert lines_of(*rows[:2])[0][3] == "yes"


def test_quality_and_processes_need_both_rows():
    full, drawn = (
        a_row("sampled", {"dataset": "toys", "softmax_items": number}, 5.0, items=50, **{"ndcg@10": figure})
        for number, figure in ((0, 0.2), (7, 0.1958))
    )
    assert lines_of(drawn) == lines_of(drawn, drawn) == []
    (line,) = lines_of(drawn, full)
    assert line[0] == "validation NDCG@10 on toys (50 items), softmax over 7 drawn items against all"
    assert line[1:5] == ["98%", "0.1958 against 0.2000, 97.9%", "**no**", "10.0"]
    one, two = (
        a_row("processes", {"processes": number, "items": 9}, 1.0, users_a_second=speed, users_a_step=1_000)
        for number, speed in ((1, 100.0), (2, 150.0))
    )
    assert lines_of(one) == []
    (line,) = lines_of(two, one)
    assert line[0] == "train in 2 processes against one, 9 items, 1,000 users a step"
    assert line[1:4] == ["1.5 x", "1.50 x users a second", "yes"]


def test_the_section_and_the_figure():
    rows = [a_row("prepare", {"rows": rows}, rows / 1000) for rows in (10_000, 1000)]
    rows.append(a_row("epoch", {"items": 12, "positives": 10}, 2.0, seconds_a_million=3.0))
    report = {"scale": {str(number): row for number, row in enumerate(rows)}}
    section = scale_section(report)
    assert "`make scale`, on 2 cores, 2 threads." in section and "(docs/benchmarks/figures/scale.svg)" in section
    alone = {"scale": report["scale"] | {"0": rows[0] | {"threads": "1"}}}
    assert "`make scale`, on 2 cores, 1 or 2 threads." in scale_section(alone)
    assert scale_frame(report).to_dict("list") == {
        "panel": ["items", "rows", "rows"],
        "size": [12, 1000, 10_000],
        "seconds": [3.0, 1.0, 10.0],
        "gigabytes": [0.9, 0.9, 0.9],
    }
    drawn = scale_figures(report)
    assert drawn == scale_figures(report) and drawn["scale.svg"].startswith("<?xml")
    assert scale_figures({"scale": {}}) == {}
