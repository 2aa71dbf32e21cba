"""The service: lists by user and by history, batches, look-ups, and errors in words."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from projects import MODELS, ROOT

from hybridvae import errors, load_model
from hybridvae.errors import HybridVAEError
from hybridvae.service import read_engine
from hybridvae.service.app import create_app
from hybridvae.service.batching import Ask, Served


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
    rated = set(engine.known.items[engine.known.ratings[3].indices])
    assert len(rated) == 11 and set(listed(answer)) == set(engine.known.items) - rated
    assert (
        listed(answer)
        == engine.known.items[engine.load("hybridvae").recommendations.for_users(np.array([3]), 13).items[0]].tolist()
    )
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
        ("/recommend/batch", {"json": {"user_ids": ["u001"] * 1001}}, 422, "user_ids"),
        ("/items/similar", {"json": {"item_id": "x"}}, 404, "no item 'x'"),
        ("/health", {"json": {}}, 405, "does not take this method"),
        ("/nothing", {"json": {}}, 404, "nothing at this address"),
    ],
)
def test_every_error_has_one_form_and_says_what_to_do(path, sent, status, words, client):
    answer = client.post(path, **sent)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"] and set(answer.json()["error"]) == {"code", "message"}
    assert words in answer.json()["error"]["message"]


def test_a_body_in_pieces_is_counted_too(client):
    answer = client.post("/recommend", content=(b" " * 10_000 for _ in range(200)), headers=JSON)
    assert answer.status_code == 413


def test_what_is_not_there_is_said_before_anything_starts(done, tmp_path):
    with pytest.raises(HybridVAEError, match=r"has no params\.yaml"):
        read_engine(tmp_path, model="hybridvae")
    with pytest.raises(HybridVAEError, match="no trained ease of tiny: run `make run-api`"):
        read_engine(done.folder, model="ease")


def test_requests_in_flight_are_finished_when_the_process_is_told_to_end(done):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "hybridvae", "serve", "--port", str(port)]
    server = subprocess.Popen(command, cwd=done.folder, env=done.environment | {"PYTHONPATH": str(ROOT / "src")})
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        # Reading the text encoder takes seconds, in which the signal arrives.
        body = urllib.request.Request(f"http://127.0.0.1:{port}/items/similar", b'{"text": "a kettle"}', dict(JSON))
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(lambda: urllib.request.urlopen(body, timeout=60).read())
            time.sleep(0.5)
            os.kill(server.pid, signal.SIGTERM)
            assert b'"title":"Kettle' in answer.result()
        assert server.wait(30) in (0, -signal.SIGTERM)
    finally:
        server.kill()


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
