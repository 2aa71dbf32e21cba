"""The command that measures this project beside other libraries, without any of them: programs made up here answer."""

import json
import re
import subprocess
import sys
from pathlib import Path

import measure
import numpy as np
import pytest
from conftest import ROOT
from measure import Bench, Results, ask, code_of, named, plan, read_scores, training_pairs
from protocol import Data, Request
from scipy import sparse
from works import WORKS

from hybridvae.data.interactions import Interactions, Targets
from hybridvae.errors import HybridVAEError
from hybridvae.files import read_json

ASKED = {"parameters": {"k": 1}, "threads": 1, "epochs": 2}
FAKE = """
import numpy as np
from protocol import serve, write_factors
def work(request):
    print("a library that talks")
    users, items = np.eye(2, 3, dtype="f4"), np.array([[3, 0, 0], [2, 0, 0], [1, 5, 0]], dtype="f4")
    return {"seconds": [2.0, 1.0], "scores": write_factors(request, users, items), "versions": {"fake": "1"}}
def fails(request):
    raise MemoryError("no room")
serve({"multvae": work, "ease": fails})
"""


def shop():
    """Two users and three items: user 0 likes item 2 and then item 0, user 1 item 1; held out are 1 and 2."""
    histories = sparse.csr_matrix(np.array([[1, 0, 2], [0, 1, 0]], dtype=np.float32))
    positives = histories.sign().astype(np.float32)
    names = [np.array([f"{kind}{number}" for number in range(size)], object) for kind, size in (("u", 2), ("i", 3))]
    interactions = Interactions(positives, histories, positives * 5, *names, names[1], np.zeros(3, np.int64))
    return interactions, Targets(np.array([0, 1]), np.array([1, 0]), np.array([[-1], [-1]]), part=1)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "protocol.py").write_text(Path(measure.FOLDER, "protocol.py").read_text())
    (programs / "with_recbole.py").write_text(FAKE)
    monkeypatch.setattr(measure, "FOLDER", programs)
    interactions, targets = shop()
    training_pairs(interactions, targets).write(tmp_path / "interactions.npz")
    return Bench(tmp_path, tmp_path, tmp_path, Path(sys.executable), interactions, targets)


def test_libraries_take_turns():
    assert list(plan(["judge"], 2)) == [
        ("judge", "hybridvae", 1),
        ("judge", "recbole", 1),
        ("judge", "hybridvae", 2),
        ("judge", "recbole", 2),
    ]


def test_peers_get_the_training_pairs_in_the_order_of_time(tmp_path):
    training_pairs(*shop()).write(tmp_path / "interactions.npz")
    data = Data.read(str(tmp_path / "interactions.npz"))
    assert (data.n_users, data.n_items) == (2, 3)
    assert list(zip(data.users, data.items, strict=True)) == [(0, 2), (0, 0), (1, 1)]
    assert list(zip(data.held_users, data.held_items, strict=True)) == [(0, 1), (1, 0)]


def test_what_a_program_scores_is_judged_here(bench):
    row = bench.row("multvae", "recbole", ASKED)
    # User 0 has seen 0 and 2, so that its target stands alone: rank 1. User 1 scores 0 and 2 with 0 and 5: rank 2.
    assert row["ndcg@10"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert row["seconds"] == [2.0, 1.0] and "scores" not in row


def test_weights_of_items_with_items_are_scores_of_a_history(tmp_path):
    weights = np.arange(9, dtype=np.float32).reshape(3, 3)
    np.savez(tmp_path / "scores.npz", weights=weights)
    scores = read_scores(str(tmp_path / "scores.npz"), shop()[0])
    assert scores(np.array([1, 0])).tolist() == [[3, 4, 5], [6, 8, 10]]


def test_a_program_that_fails_is_told_by_its_last_line(bench):
    with pytest.raises(HybridVAEError, match=r"^with_recbole.py failed at ease \(MemoryError: no room\)\.$"):
        bench.row("ease", "recbole", ASKED)


def test_a_program_that_gives_no_answer_has_failed(tmp_path):
    (tmp_path / "silent.py").write_text("")
    request = Request("ease", {}, 1, 1, str(tmp_path), "")
    with pytest.raises(HybridVAEError, match="it ended with 0"):
        ask(Path(sys.executable), tmp_path / "silent.py", request)


def test_what_was_measured_of_the_same_request_and_code_counts(tmp_path):
    same = {"asked": ASKED, "code": "abc"}
    results = Results.read(tmp_path / "peers.json", "shop")
    results.add("ease", "recbole", 1, {"seconds": [1.0], **same})
    again = Results.read(tmp_path / "peers.json", "shop")
    assert again.has("ease", "recbole", 1, same)
    assert not again.has("ease", "recbole", 2, same) and not again.has("ease", "scipy", 1, same)
    assert not again.has("ease", "recbole", 1, {"asked": ASKED | {"threads": 2}, "code": "abc"})
    assert not again.has("ease", "recbole", 1, same | {"code": "other"})


def test_the_code_of_a_row_is_that_of_its_program_and_of_our_model():
    codes = {
        (work, library): code_of(work, library) for work in ("ease", "multvae") for library in ("hybridvae", "recbole")
    }
    assert codes["ease", "recbole"] == codes["multvae", "recbole"]
    assert len(set(codes.values())) == 3


def test_a_new_row_takes_the_place_of_the_old_one_and_of_a_failure(tmp_path):
    results = Results.read(tmp_path / "peers.json", "shop")
    results.report["failed"]["ease, recbole"] = "no room"
    for seconds in (1.0, 2.0):
        results.add("ease", "recbole", 1, {"seconds": [seconds], "asked": ASKED})
    results.add("multvae", "recbole", 1, {"seconds": [3.0, 4.0], "asked": ASKED})
    written = read_json(tmp_path / "peers.json")
    assert [(row["work"], row["seconds"]) for row in written["rows"]] == [("multvae", [3.0, 4.0]), ("ease", [2.0])]
    assert written["failed"] == {}


def test_seconds_of_another_work_are_added_up_and_asked_for_where_they_are_missing(tmp_path):
    results = Results.read(tmp_path / "peers.json", "shop")
    with pytest.raises(HybridVAEError, match="measure multvae first"):
        results.summed("multvae", "recbole", 1)
    results.add("multvae", "recbole", 1, {"seconds": [3.0, 4.0], "asked": ASKED})
    assert results.summed("multvae", "recbole", 1)["seconds"] == [7.0]


def test_results_of_other_data_are_left_as_they_are(tmp_path):
    Results.read(tmp_path / "peers.json", "shop").write()
    with pytest.raises(HybridVAEError, match="is of shop: move it away"):
        Results.read(tmp_path / "peers.json", "toys")


def test_rows_of_works_that_are_no_more_are_left_out(tmp_path):
    results = Results.read(tmp_path / "peers.json", "shop")
    results.report["rows"] = [{"work": work, "library": "recbole", "run": 1} for work in ("gone", "ease", "export")]
    results.path.write_text(json.dumps(results.report))
    assert [row["work"] for row in Results.read(tmp_path / "peers.json", "shop").report["rows"]] == ["ease"]


def test_works_are_named_in_their_own_order():
    assert named("ease, multvae") == ["multvae", "ease"]
    with pytest.raises(HybridVAEError, match=r"^there is no work speed: choose of multvae, "):
        named("ease,speed")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "speed"], "peers: there is no work speed: choose of multvae"),
        (["--runs", "0"], "peers: --runs, --threads and --epochs must be at least 1."),
        (
            ["--peers-python", "nowhere/python"],
            "peers: nowhere/python is not there: `make peers DATASET=...` makes it.",
        ),
    ],
)
def test_a_mistake_is_said_in_one_sentence(arguments, said):
    command = [sys.executable, "benchmarks/peers/measure.py", "ml-100k", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1


def test_every_library_of_a_work_has_a_program_that_does_it():
    for name, work in WORKS.items():
        for library in set(work.libraries) - set(dict(work.borrowed)):
            program = (ROOT / "benchmarks" / "peers" / f"with_{library}.py").read_text()
            assert f'"{name}": ' in program.rpartition("serve(")[2], f"{library} cannot do {name}"


def test_the_lock_pins_every_version():
    lock = (ROOT / "benchmarks/peers/requirements.lock").read_text().splitlines()
    pins = [line for line in lock if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins)
    assert {"recbole==1.2.1", "torch==2.13.0"} <= set(pins)
