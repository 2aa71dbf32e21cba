"""`make torture` in short, and that it finds what it looks for."""

import os
import time
from functools import partial
from random import Random

import pandas as pd
import pytest
from conftest import ROOT
from faults import intake, parameters, requests, service
from faults.project import MODELS, make_project
from faults.running import Ended, Fault, Tried, checked, forked, in_workers, message_faults, random_of

from hybridvae.data.cleaning import clean
from hybridvae.errors import BadDataError
from hybridvae.files import read_yaml
from hybridvae.reporting.documents import torture_page


def faults_of(results):
    return [(case, fault) for case, tried in results for fault in tried.faults]


# --- a short part of each ---


def test_spoilt_files_lose_no_line(tmp_path):
    check = intake.checker(2, tmp_path)
    results = [(case, check(case)) for case in range(60)]
    assert not faults_of(results)
    assert {tried.outcome for _, tried in results} == {"read", "refused"}


def test_senseless_parameters_are_refused_in_a_sentence(tmp_path):
    make_project(tmp_path / "base", tmp_path / "data")
    params = read_yaml(tmp_path / "base/params.yaml")
    names = parameters.names_of(params)
    results = []
    for case in range(len(names)):
        one = parameters.Case(tmp_path, tmp_path / "base", params, names[case], random_of(2, "parameters", case))
        results.append((case, one.configured() or Tried("taken", [])))
    assert not faults_of(results)
    assert {tried.outcome for _, tried in results} == {"taken", "refused"}


def test_hostile_requests_are_answered(done):
    results = list(service.attack(done.folder, range(60), 2))
    assert not faults_of(results)
    assert {"2xx", "4xx"} <= {tried.outcome for _, tried in results}


# --- it finds what it looks for ---


def losing(raw, into, config):
    report = clean(raw, into, config)
    lines = (into / "rejects.jsonl").read_bytes().splitlines(keepends=True)
    (into / "rejects.jsonl").write_bytes(b"".join(lines[1:]))
    return report


def inventing(raw, into, config):
    report = clean(raw, into, config)
    kept = pd.read_parquet(into / "reviews.parquet")
    kept.assign(rating=(kept["rating"] % 5) + 1).to_parquet(into / "reviews.parquet")
    return report


def failing(raw, into, config):
    raise KeyError("user_id")


def rambling(raw, into, config):
    raise BadDataError("a line\nand another")


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        (losing, "what is kept does not add up"),
        (inventing, "what is kept does not add up"),
        (failing, "KeyError from nowhere, nowhere"),
        (rambling, "a message of several lines, or with signs that do not print"),
    ],
)
def test_a_broken_clean_is_found(tmp_path, monkeypatch, broken, kind):
    monkeypatch.setattr(intake, "clean", broken)
    check = intake.checker(2, tmp_path)
    assert kind in {fault.kind for case in range(12) for fault in check(case).faults}


def test_errors_are_told_from_sentences(tmp_path):
    assert checked(lambda: int("x"))[1][0].kind.startswith("ValueError from ")
    assert checked(lambda: 3) == (3, [])
    assert not message_faults("a sentence.") and message_faults("x" * 501) and message_faults("a\nb")
    assert not Ended(1, "warning: one thing\nclean: a sentence.\n", "").faults()
    assert Ended(1, "clean: a sentence.\nand more\n", "").faults()[0].kind == "2 lines where one sentence is due"
    assert Ended(-11, "", "").faults()[0].kind == "died of signal 11"
    assert not Ended(None, "", "").faults(), "what was stopped at its limit is no fault"

    def broken():
        raise KeyError("a")

    assert forked(broken, tmp_path).faults() == [Fault("KeyError from nowhere, nowhere", "'a'")]
    hungry = forked(lambda: bytearray(2**32), tmp_path, memory=2**28)
    assert hungry.faults()[0].kind.startswith("MemoryError")


def dying(seconds, folder):
    """Cases of which one ends the process and one never ends."""

    def check(case):
        if case == 1:
            os._exit(3)
        time.sleep(seconds if case == 2 else 0)
        return Tried("well", [])

    return check


def test_a_process_that_dies_or_hangs_is_a_fault_and_the_rest_goes_on(tmp_path):
    results = dict(in_workers(partial(dying, 600), range(5), tmp_path, limit=3))
    assert {case: tried.outcome for case, tried in results.items()} == {
        0: "well",
        1: "died",
        2: "no end",
        3: "well",
        4: "well",
    }
    assert results[1].faults[0].kind == "the process died: exit code 3"


def test_answers_in_another_form_than_ours_are_found():
    json, ours = "Content-Type: application/json", b'{"error": {"code": "a", "message": "b."}}'
    wrong = partial(service.wrong, in_our_form=True)
    assert not wrong(422, json, ours) and not wrong(503, json, ours) and not wrong(200, json, b'{"a": 1}')
    for status, body in [(500, ours), (422, b"no"), (422, b'{"detail": 1}'), (503, b"busy"), (200, b'{"a": NaN}')]:
        assert wrong(status, json, body), (status, body)
    assert not service.wrong(400, "", b"Invalid HTTP request received.", in_our_form=False)


def test_a_case_is_the_same_again():
    drawn = [[requests.request(random_of(seed, "service", case)) for case in range(50)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    nasty = [[parameters.nasty(Random(seed), 0.5) for _ in range(9)] for seed in (1, 1)]
    assert nasty[0] == nasty[1]


def test_every_model_is_tortured():
    assert set(MODELS) == set(read_yaml(ROOT / "params.yaml")["models"])


def test_the_page_says_what_was_found_and_how_to_see_it_again():
    kind = {"kind": "KeyError from a.py, in b", "count": 2, "case": 7, "said": "`x`\ny"}
    row = {
        "tried": "files",
        "counts": "an error",
        "cases": 1000,
        "outcomes": {"read": 900, "refused": 100},
        "faults": 2,
    }
    row |= {"kinds": [kind], "more_kinds": 0, "seed": 1, "command": "make torture", "commit": "c" * 40}
    row |= {"seconds": 90.0, "processor_seconds": 60.0, "machine": "2 cores"}
    page = torture_page({"parts": {"intake": row}})
    assert "| intake: files | 1,000 | 900 read, 100 refused | 2 | 1.5 | 1.0 |" in page
    assert "- 2 x KeyError from a.py, in b: `'x' y`, case 7" in page
