"""The service: lists by user and by history, batches, look-ups, and errors in words."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from projects import MODELS, ROOT
from serving import PATIENCE, answers, ask, eventually, line_of, serving

from hybridvae import errors, load_model
from hybridvae.errors import HybridVAEError
from hybridvae.files import sha256_of, write_arrays
from hybridvae.service import read_engine
from hybridvae.service.app import create_app
from hybridvae.service.batching import Ask, Served
from hybridvae.service.engine import _having, _searchable


@pytest.fixture(scope="module")
def engine(done):
    return read_engine(done.folder, model="hybridvae")


@pytest.fixture(scope="module")
def client(engine):
    with TestClient(create_app(engine)) as client:
        yield client


def listed(answer):
    return [entry["item_id"] for entry in answer["recommendations"]]


def test_a_user_gets_the_best_of_what_they_never_rated(client, engine):
    answer = client.post("/recommend", json={"user_id": "u003", "top_k": 100}).json()
    assert answer["user_id"] == "u003" and answer["model"] == "hybridvae" and answer["total_items"] == 24
    user = engine.user("u003")
    rated = set(engine.known.items[engine.known.ratings[user].indices])
    assert len(rated) == 11 and set(listed(answer)) == set(engine.known.items) - rated
    best = engine.load("hybridvae").recommendations.for_users(np.array([user]), 13)
    assert listed(answer) == engine.known.items[best.items[0]].tolist()
    scores = [entry["score"] for entry in answer["recommendations"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["recommendations"][0]["title"].split()[0] in ("Guitar", "Kettle")
    again = client.post("/recommend", json={"user_id": "u003", "top_k": 24, "exclude_seen": False}).json()
    assert len(listed(again)) == 24
    without = client.post("/recommend", json={"user_id": "u003", "exclude_items": [listed(answer)[0], "zz"]}).json()
    assert listed(without)[:5] == listed(answer)[1:6] and without["unknown_items"] == ["zz"]


def test_a_history_gets_what_its_owner_gets(client, engine):
    history = [entry["item_id"] for entry in client.get("/users/u005/profile").json()["history"]][::-1]
    by_history = client.post("/recommend", json={"history": history, "exclude_seen": False, "top_k": 24}).json()
    by_user = client.post("/recommend", json={"user_id": "u005", "exclude_seen": False, "top_k": 24}).json()
    assert listed(by_history) == listed(by_user) and by_history["user_id"] is None


def test_what_is_rated_low_is_seen_and_not_liked(client):
    liked = {"history": ["i001", "i002"], "top_k": 24}
    rated = [{"item_id": "i001", "rating": 5}, {"item_id": "i020", "rating": 1}, {"item_id": "i002", "rating": 4}]
    plain, with_low = (client.post("/recommend", json=body).json() for body in (liked, liked | {"history": rated}))
    assert "i020" in listed(plain) and [item for item in listed(plain) if item != "i020"] == listed(with_low)


def test_reasons_are_what_the_score_loses(client, engine):
    body = {"history": ["i001", "i013", "i002"], "top_k": 2, "because": True}
    for model in ("hybridvae", "itemknn"):
        shop = engine.load(model).recommendations
        for entry in client.post("/recommend", json=body | {"model": model}).json()["recommendations"]:
            reasons = shop.reasons(shop.history(body["history"]), shop.indices([entry["item_id"]]))[:, 0]
            expected = sorted((float(value) for value in reasons if value > 0), reverse=True)
            assert [reason["contribution"] for reason in entry["because"]] == pytest.approx(expected, abs=1e-5)


def test_batches_and_many_at_once_equal_one_by_one(client):
    users = [f"u{user:03d}" for user in range(40)]
    one_by_one = [listed(client.post("/recommend", json={"user_id": user}).json()) for user in users]
    batch = client.post("/recommend/batch", json={"user_ids": [*users, "nobody"]}).json()
    assert [listed(result) for result in batch["results"]] == one_by_one and batch["unknown_users"] == ["nobody"]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda user: listed(client.post("/recommend", json={"user_id": user}).json()), users))
    assert together == one_by_one


def test_a_batch_of_histories_has_the_list_of_each_and_an_empty_one_where_nothing_is_known(client):
    rated = [{"item_id": "i001", "rating": 5}, {"item_id": "i020", "rating": 1}]
    known = [["i001", "i013"], rated, ["i002", "zz"], []]
    one_by_one = [client.post("/recommend", json={"history": history, "top_k": 4}).json() for history in known]
    batch = client.post("/recommend/batch", json={"histories": [*known, ["zz", "yy"]], "top_k": 4}).json()
    *results, nothing = batch["results"]
    assert [listed(result) for result in results] == [listed(answer) for answer in one_by_one]
    assert all(len(listed(result)) == 4 for result in results)
    assert [result["unknown_items"] for result in results] == [[], [], ["zz"], []]
    assert nothing == {"unknown_items": ["zz", "yy"], "recommendations": []}
    assert batch["unknown_users"] == [] and batch["model"] == "hybridvae" and batch["total_items"] == 24
    body = {"histories": [["i001", "i013"]], "top_k": 24}
    seen, unseen = (client.post("/recommend/batch", json=body | {"exclude_seen": s}).json() for s in (False, True))
    assert set(listed(seen["results"][0])) - set(listed(unseen["results"][0])) == {"i001", "i013"}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.BadDataError, (422, "bad_data")),
        (errors.BadParameterError, (409, "bad_parameter")),
        (errors.UnreadableFileError, (503, "not_ready")),
        (errors.NotEnoughMemoryError, (507, "not_enough_memory")),
        (errors.HybridVAEError, (500, "failed")),
    ],
)
def test_each_kind_of_error_has_a_status_of_its_own(client, engine, monkeypatch, error, expected):
    def load(name):
        raise error("it is so: do this.")

    monkeypatch.setattr(engine, "load", load)
    answer = client.post("/recommend", json={"user_id": "u003", "model": "lightgcn"})
    code, message = answer.json()["error"]["code"], answer.json()["error"]["message"]
    assert (answer.status_code, code) == expected and message == "it is so: do this."


def test_a_failure_reaches_everyone_of_its_batch_and_nobody_else(engine):
    served = engine.load("itemknn")
    asks = [engine.ask_of_history([item], 3, exclude=[], because=False) for item in range(3)]
    broken = Ask(0, asks[0].items, asks[0].ages, np.array([10**6]), 3, False)  # an item beyond the catalogue

    async def together():
        gone = asyncio.ensure_future(served.answer(asks[0]))
        waiting = [asyncio.ensure_future(served.answer(ask)) for ask in asks[1:]]
        await asyncio.sleep(0)
        gone.cancel()
        fine = await asyncio.gather(*waiting)
        failed = await asyncio.gather(*map(served.answer, [broken, *asks]), return_exceptions=True)
        return fine, failed, await served.answer(asks[0])

    fine, failed, after = asyncio.run(together())
    assert [len(answer.items) for answer in fine] == [3, 3]
    assert all(isinstance(answer, Exception) for answer in failed) and len(failed) == 4
    assert after == served.compute([asks[0]])[0]


def test_long_histories_are_computed_beside_the_thread_that_answers(engine, monkeypatch):
    monkeypatch.setattr("hybridvae.service.batching._LONG", 2)
    served, threads = engine.load("itemknn"), []
    monkeypatch.setattr(
        served, "_lists", lambda asks: threads.append(threading.current_thread()) or Served._lists(served, asks)
    )
    asks = [engine.ask_of_history(items, 3, exclude=[], because=False) for items in ([1, 2], [1, 2, 3])]

    async def both():
        return [await served.answer(ask) for ask in asks]

    assert asyncio.run(both()) == served.compute([asks[0]]) + served.compute([asks[1]])
    assert [thread is threading.main_thread() for thread in threads] == [True, False, True, True]


def test_half_a_checkpoint_is_said_to_be_one(done, tmp_path):
    folder = tmp_path / "hybridvae"
    shutil.copytree(done.folder / "data/train/tiny/hybridvae", folder)
    (folder / "model.safetensors").write_bytes(b"half")
    with pytest.raises(HybridVAEError, match=r"hybridvae cannot be read \(.*\): run `dvc checkout --force`"):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(HybridVAEError, match="cannot be read"):
        load_model(folder)
    for name in ("items.parquet", "checkpoint.json"):
        (folder / name).write_bytes(b"half")
        with pytest.raises(HybridVAEError, match="cannot be read"):
            load_model(folder)


def test_every_trained_model_can_be_asked_by_name(client):
    assert {model["name"] for model in client.get("/models").json()["models"]} == set(MODELS)
    for model in MODELS:
        answer = client.post("/recommend", json={"user_id": "u001", "model": model, "top_k": 3}).json()
        assert answer["model"] == model and len(listed(answer)) == 3


def test_items_are_found_by_words_and_by_meaning(client):
    found = client.get("/items", params={"query": "KETTLE 2", "n": 50}).json()
    assert {item["title"] for item in found["items"]} == {
        f"Kettle {item}" for item in range(12, 24) if "2" in f"{item}i0{item}"
    }
    for query in ("guitar 1", "i010"):  # before those whose title or id goes on
        first = client.get("/items", params={"query": query, "n": 1}).json()["items"][0]
        assert query in (first["title"].casefold(), first["item_id"])
    info = client.get("/items/i003/info").json()
    assert info["title"] == "Guitar 3" and info["ratings"] >= info["positives"] > 0 and 1 <= info["mean_rating"] <= 5
    near = client.post("/items/similar", json={"item_id": "i003", "top_k": 11}).json()["items"]
    assert "i003" not in [item["item_id"] for item in near] and near[0]["title"].startswith("Guitar")
    near = client.post("/items/similar", json={"text": "an electric guitar", "top_k": 3}).json()["items"]
    assert all(item["title"].startswith("Guitar") for item in near) and near[0]["score"] <= 1.001


def test_words_are_found_as_python_finds_them():
    names = ["Größe 10", "GROSSE", "ﬁne", "", "a.c (b)"]
    having = {
        word: [word in name.casefold() for name in names] for word in ("grösse", "fi", "", ".", "(", "ö", "\ud800")
    }
    assert {word: _having(_searchable(names), [word]).tolist() for word in having} == having
    assert _having(_searchable(names), ["gr", "10"]).tolist() == [True, False, False, False, False]
    assert _having(_searchable(names), []).all() and _having(_searchable([]), ["a"]).tolist() == []


def test_users_and_sizes_are_told(client):
    users = client.get("/users", params={"n": 2}).json()
    assert users == {
        "users": [{"user_id": "u000", "interaction_count": 11}, {"user_id": "u001", "interaction_count": 11}],
        "total": 40,
        "returned": 2,
    }
    assert client.get("/users", params={"query": "U03"}).json()["total"] == 10
    profile = client.get("/users/u003/profile").json()
    assert profile["interaction_count"] == 11 and profile["positives"] == len(profile["history"]) == 9
    assert [item["rating"] for item in profile["disliked"]] == [2.0, 2.0]
    stats = client.get("/stats").json()
    assert stats["interactions"] == 440 and stats["positives"] == 360 and stats["density"] == pytest.approx(0.375)
    assert client.get("/health").json()["status"] == "ok"


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("path", "sent", "status", "words"),
    [
        ("/recommend", {"json": {"user_id": "nobody"}}, 404, "no user 'nobody': GET /users"),
        ("/recommend", {"json": {"user_id": "u001", "model": "magic"}}, 404, "no trained model 'magic'"),
        ("/recommend", {"json": {"history": ["x", "y"]}}, 404, "none of the history's items"),
        ("/recommend", {"json": {"user_id": "u001", "top_k": 101}}, 422, "top_k: Input should be less"),
        ("/recommend", {"json": {"user_id": "u001", "top_k": True}}, 422, "top_k"),
        ("/recommend", {"json": {"user_id": "u001", "history": []}}, 422, "either user_id or history, and not both"),
        ("/recommend", {"json": {}}, 422, "either user_id or history"),
        ("/recommend", {"json": {"user_id": "u001", "colour": 1}}, 422, "colour: Extra inputs"),
        ("/recommend", {"json": {"history": [{"item_id": "i001", "rating": 9}]}}, 422, "history.0"),
        ("/recommend", {"json": {"history": ["i001"], "model": "lightgcn"}}, 409, "lightgcn takes no history"),
        ("/recommend", {"json": {"user_id": "u001", "model": "lightgcn", "because": True}}, 409, "takes no history"),
        ("/recommend", {"content": b'{"user_id": ', "headers": JSON}, 422, "at character 12"),
        ("/recommend", {"content": b"\xff\xfe", "headers": JSON}, 422, "body"),
        ("/recommend", {"content": b'{"user_id": "\\ud800"}', "headers": JSON}, 422, "surrogate in string"),
        ("/recommend", {"content": b"[" * 100_000, "headers": JSON}, 422, "depth limit"),
        ("/recommend", {"content": b" " * 1_000_001, "headers": JSON}, 413, "larger than 1,000,000 bytes"),
        ("/recommend", {"json": {"user_id": "u001", "id": 2}}, 422, "id: Extra inputs"),
        ("/recommend/batch", {"json": {"user_ids": ["u001"] * 1001}}, 422, "user_ids: List should"),
        ("/recommend/batch", {"json": {"user_ids": ["u001"], "top_k": 0}}, 422, "top_k: Input should"),
        ("/recommend/batch", {"json": {"histories": [["i001"]] * 1001}}, 422, "histories"),
        ("/recommend/batch", {"json": {"histories": ["i001"]}}, 422, "histories.0: Input should be a valid list"),
        ("/recommend/batch", {"json": {"histories": [], "user_ids": ["u001"]}}, 422, "user_ids or histories, and not"),
        ("/recommend/batch", {"json": {"histories": [["i001"]], "model": "lightgcn"}}, 409, "takes no history"),
        ("/items/similar", {"json": {"item_id": "x"}}, 404, "no item 'x'"),
        ("/health", {"json": {}}, 405, "does not take this method"),
        ("/nothing", {"json": {}}, 404, "nothing at this address"),
    ],
)
def test_every_error_has_one_form_and_says_what_to_do(path, sent, status, words, client):
    answer = client.post(path, **sent)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"] and set(answer.json()["error"]) == {"code", "message"}
    message = answer.json()["error"]["message"]
    assert words in message and not message.startswith(("user_ids.", "histories.histories"))


def test_a_body_in_pieces_is_counted_too(client):
    answer = client.post("/recommend", content=(b" " * 10_000 for _ in range(200)), headers=JSON)
    assert answer.status_code == 413


def test_json_is_read_whatever_it_is_called(client):
    body = b'{"user_id": "u003", "top_k": 2}'
    expected = client.post("/recommend", content=body, headers=JSON).json()
    for kind in ({}, {"content-type": "application/x-www-form-urlencoded"}, {"content-type": "text/plain"}):
        assert client.post("/recommend", content=body, headers=kind).json() == expected
    answer = client.post("/recommend", data={"user_id": "u003"})
    assert answer.status_code == 422 and "the body is no JSON" in answer.json()["error"]["message"]
    assert "the body is missing: send JSON" in client.post("/recommend").json()["error"]["message"]


def test_ids_may_be_numbers(client, engine, monkeypatch):
    by_text = client.post("/recommend", json={"user_id": "u003"}).json()
    monkeypatch.setitem(engine._user_index, "405", engine.user("u003"))
    assert client.post("/recommend", json={"user_id": 405}).json() == by_text | {"user_id": "405"}
    assert client.post("/recommend", json={"user_id": 3}).json()["error"]["message"].startswith("there is no user '3'")
    monkeypatch.setitem(engine.load("hybridvae").recommendations._index, "50", engine.item("i001"))
    by_text = client.post("/recommend", json={"history": ["i001", "i013"]}).json()
    assert client.post("/recommend", json={"history": [50, "i013"], "exclude_items": [7]}).json() == by_text | {
        "unknown_items": ["7"]
    }
    rated = [{"item_id": 50, "rating": 5}, {"item_id": "i013", "rating": 5}]
    assert client.post("/recommend", json={"history": rated}).json() == by_text
    for nothing in (True, None, [1]):
        answer = client.post("/recommend", json={"user_id": nothing})
        assert answer.status_code == 422 and "user_id: Input should be a valid string" in answer.text


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("GET", f"/users/{'x' * 60_000}/profile", {}),
        ("GET", f"/items/{'x' * 60_000}/info", {}),
        ("GET", "/users", {"params": {"query": "x" * 60_000}}),
        ("GET", "/users", {"params": {"n": "9" * 60_000}}),
        ("POST", "/recommend", {"json": {"user_id": "x" * 200}}),
        ("POST", "/recommend", {"json": {"user_id": "x" * 60_000}}),
        ("POST", "/recommend", {"json": {"user_id": "u001", "x" * 60_000: 1}}),
        ("POST", "/recommend", {"json": {"user_id": "u001", "model": "x" * 100}}),
        ("POST", "/recommend", {"json": {"history": ["x" * 200]}}),
        ("POST", "/items/similar", {"json": {"item_id": "x" * 200}}),
    ],
)
def test_no_error_repeats_what_is_long(client, method, path, sent):
    answer = client.request(method, path, **sent)
    assert answer.status_code in (404, 422)
    assert len(answer.json()["error"]["message"]) < 250 and "x" * 81 not in answer.text


@pytest.mark.parametrize("value", ["", "x", "0", "-1", "1.5", "1e2", "nan", "9" * 50, "0x10", "\u0661", "null", "1001"])
def test_odd_numbers_in_an_address_are_said_to_be_odd(client, value):
    for path in ("/users", "/items"):
        answer = client.get(path, params={"n": value})
        assert answer.status_code == 422 and answer.json()["error"]["message"].startswith("n: ")


def test_the_documentation_names_no_other_host(client):
    page = client.get("/docs")
    assert page.status_code == 200 and "script" not in page.text and "//" not in page.text
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"<h2><code>{method.upper()} {path}</code></h2>" in page.text
    assert page.text.count("<pre><code>curl localhost:8000/recommend -d '{") == 2


@pytest.fixture
def copied(done, tmp_path):
    """A project whose files may be damaged."""
    shutil.copy(done.folder / "params.yaml", tmp_path)
    for stage in ("split", "train", "embed"):
        shutil.copytree(done.folder / "data" / stage, tmp_path / "data" / stage)
    return tmp_path


def damaged(path, how):
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "other": b"[]"}[how])


@pytest.mark.parametrize("how", ["cut", "empty", "other"])
def test_damaged_files_are_named_before_the_service_starts(copied, how):
    files = {
        **{f"split/tiny/fit/{name}.parquet": "dvc repro split" for name in ("rows", "users", "items")},
        "split/tiny/test/rows.parquet": "dvc repro split",
        "embed/tiny/items.safetensors": "dvc repro embed",
        "train/tiny/hybridvae/model.safetensors": "dvc repro train@hybridvae",
        "train/tiny/hybridvae/items.parquet": "dvc repro train@hybridvae",
        "train/tiny/hybridvae/config.json": "dvc repro train@hybridvae",
        "train/tiny/hybridvae/checkpoint.json": "dvc repro train@MODEL",
    }
    for name, command in files.items():
        path = copied / "data" / name
        whole = path.read_bytes()
        damaged(path, how)
        with pytest.raises(errors.UnreadableFileError, match=f"cannot be read .*`{command}`|The checkpoint is damaged"):
            read_engine(copied, model="hybridvae")
        path.write_bytes(whole)
    read_engine(copied, model="hybridvae")


def test_a_service_that_cannot_start_ends_with_one_sentence(done, copied):
    damaged(copied / "data/train/tiny/hybridvae/model.safetensors", "cut")
    command, environment = [sys.executable, "-m", "hybridvae", "serve"], done.environment | {"PYTHONPATH": ROOT / "src"}
    ended = subprocess.run(command, cwd=copied, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("hybridvae: ") and "cannot be read" in ended.stderr


def test_models_say_whether_they_can_be_asked(copied):
    train = copied / "data/train/tiny"
    damaged(train / "itemknn/model.safetensors", "cut")
    about = json.loads((train / "lightgcn/checkpoint.json").read_text())
    (train / "lightgcn/checkpoint.json").write_text(json.dumps(about | {"users_sha256": "0" * 64}))
    items = (train / "popularity/items.parquet").read_bytes()
    pd.read_parquet(train / "popularity/items.parquet").iloc[1:].to_parquet(train / "popularity/items.parquet")
    about = json.loads((train / "popularity/checkpoint.json").read_text())
    hashes = about["files_sha256"] | {"items.parquet": sha256_of(train / "popularity/items.parquet")}
    (train / "popularity/checkpoint.json").write_text(json.dumps(about | {"files_sha256": hashes}))
    with TestClient(create_app(read_engine(copied, model="hybridvae"))) as client:

        def listed():
            return {model.pop("name"): model for model in client.get("/models").json()["models"]}

        assert listed()["hybridvae"] == {
            **{"title": "HybridVAE", "folds_in": True, "loaded": True},
            **{"default": True, "available": True, "problem": None},
        }
        for name, words in {
            "itemknn": "cannot be read",
            "lightgcn": "was fitted on other users than these: run `dvc repro train@lightgcn`",
            "popularity": "was fitted on other items than these: run `dvc repro train@popularity`",
        }.items():
            assert not listed()[name]["available"] and words in listed()[name]["problem"]
            answer = client.post("/recommend", json={"user_id": "u001", "model": name})
            assert answer.status_code == 503 and words in answer.json()["error"]["message"]
        assert client.post("/recommend", json={"user_id": "u001"}).status_code == 200
        (train / "popularity/items.parquet").write_bytes(items)  # mended, without a new start
        (train / "popularity/checkpoint.json").write_text(json.dumps(about))
        assert client.post("/recommend", json={"user_id": "u001", "model": "popularity"}).status_code == 200
        assert listed()["popularity"]["available"] and listed()["popularity"]["problem"] is None


def test_files_that_are_damaged_later_stop_nothing_else(copied):
    with TestClient(create_app(read_engine(copied, model="hybridvae"))) as client:
        for path in (copied / "data").rglob("*"):
            if path.is_file():
                damaged(path, "cut")
        answers = [client.post("/recommend", json={"user_id": "u001", "model": name}) for name in MODELS]
        assert [answer.status_code for answer in answers] == [503, 503, 503, 200] and MODELS[3] == "hybridvae"
        assert all(answer.json()["error"]["code"] == "not_ready" for answer in answers[:3])
        assert [model["available"] for model in client.get("/models").json()["models"]] == [True, False, False, False]
        similar = client.post("/items/similar", json={"item_id": "i003"})
        assert similar.status_code == 503 and "run `dvc checkout --force`, or `dvc repro embed`" in similar.text
        assert client.get("/users/u003/profile").status_code == client.get("/items/i003/info").status_code == 200


def test_weights_that_are_no_numbers_are_found_before_anybody_gets_them(copied):
    path = copied / "data/train/tiny/popularity/model.safetensors"
    write_arrays(path, {"counts": np.full(24, np.nan, dtype=np.float32)})
    engine = read_engine(copied, model="hybridvae")
    with pytest.raises(errors.UnreadableFileError, match=r"popularity cannot be read"):
        engine.load("popularity")
    assert "popularity cannot be read" in engine.problem("popularity")


def test_what_is_not_there_is_said_before_anything_starts(done, tmp_path):
    with pytest.raises(HybridVAEError, match=r"has no params\.yaml"):
        read_engine(tmp_path, model="hybridvae")
    with pytest.raises(HybridVAEError, match="no trained ease of tiny: run `make run-api`"):
        read_engine(done.folder, model="ease")


GATE = """
import os, sys
from hybridvae.service.engine import Engine
def encode(self, text):  # as slow as the test wants it
    print("asked", flush=True)
    sys.stdin.readline()
    return self.vectors[self.item("i013")]
Engine._encode_text = encode
serve()
"""


def test_requests_in_flight_are_finished_when_the_process_is_told_to_end(done, tmp_path):
    with serving(done, tmp_path, GATE) as (process, port), ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, port, b'{"text": "a kettle", "top_k": 1}', "/items/similar")
        assert line_of(process) == b"asked\n"
        os.kill(process.pid, signal.SIGTERM)
        eventually(lambda: not answers(port))
        process.stdin.write(b"go on\n")
        process.stdin.flush()
        assert [item["title"] for item in answer.result()[2]["items"]] == ["Kettle 13"]
        assert process.wait(PATIENCE) in (0, -signal.SIGTERM)
    assert (tmp_path / "stderr.txt").read_text() == ""


def test_the_openapi_document_is_kept(engine):
    """Requests that the document allows and forbids, drawn by schemathesis, get what it promises."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(engine))

    for operation in schema.include(path_regex="^(?!/items/similar).*").get_all_operations():
        run_operation(operation.ok())


def run_operation(operation):
    @given(case=operation.as_strategy())
    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    def keeps(case):
        case.call_and_validate()

    keeps()
