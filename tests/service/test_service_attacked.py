"""Clients that send half of something, too much, too slowly, or anything at all."""

import http.client
import json
import random
import socket
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving import PATIENCE, Service, ask, connect, end, eventually, received, responses, serving

from hybridvae.service import connections, errors
from hybridvae.service.connections import Connection

HALF_HEAD = b"POST /recommend HTTP/1.1\r\nHost: x\r\n"
HALF_BODY = HALF_HEAD + b'Content-Length: 1000\r\n\r\n{"user_id": '
LARGE = b'{"user_ids": [%s], "top_k": 100, "exclude_seen": false}' % b", ".join([b'"u001"'] * 1000)


@pytest.fixture(scope="module")
def service(done):
    with Service(done.folder) as service:
        yield service


@pytest.fixture
def quick(monkeypatch):
    """Deadlines that a test can wait for."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(connections, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(errors, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(errors, "DISCARD_SECONDS", 0.2)


def closed(held):
    for connection in held:
        connection.close()


def refused(response):
    """Status and code of an answer that must have the one form."""
    status, _, body = response
    assert set(body) == {"error"} and set(body["error"]) == {"code", "message"}
    return status, body["error"]["code"]


def test_others_are_answered_while_hundreds_keep_the_service_waiting(service):
    # Both ends of a connection are files of this process, which may be allowed few.
    each = min(275, service.files // 6)
    held = [connect(service.port, half) for half in (HALF_HEAD, HALF_BODY) for _ in range(each)]
    eventually(lambda: service.connections >= 2 * each)
    assert [ask(service.port)[0] for _ in range(5)] == [200] * 5
    closed(held)
    eventually(lambda: service.connections == 0)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (HALF_HEAD, "too_slow"),
        (HALF_BODY, "too_slow"),
        (HALF_HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12", "too_slow"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + HALF_HEAD, "too_slow"),
        (b"", None),
    ],
)
def test_whoever_does_not_finish_a_request_is_told_so_and_let_go(service, quick, sent, code):
    with connect(service.port, sent) as connection:
        *before, last = responses(received(connection)) or [None]
    assert [response[0] for response in before] == ([200] if sent.startswith(b"GET") else [])
    assert last is None if code is None else refused(last) == (408, code)
    eventually(lambda: service.connections == 0)


def test_whoever_takes_no_answers_is_let_go(service, quick):
    head = b"POST /recommend/batch HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(LARGE)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", service.port))
        connection.sendall((head + LARGE) * 10)  # answers of 17 MB, more than the system keeps for them
        eventually(lambda: service.connections == 1)
        eventually(lambda: service.connections == 0)


def test_a_full_service_says_so_in_the_one_form(service, monkeypatch):
    monkeypatch.setattr(connections, "LOOK_SECONDS", PATIENCE)
    monkeypatch.setattr(Connection, "most", 8)
    held = [connect(service.port, HALF_BODY) for _ in range(8)]
    eventually(lambda: service.connections == 8)
    response = ask(service.port)
    assert refused(response) == (503, "full") and response[1]["retry-after"] == "10"
    closed(held)
    eventually(lambda: service.connections == 0)
    assert ask(service.port)[0] == 200


def test_whoever_has_waited_longest_with_half_a_head_makes_room(service, monkeypatch):
    monkeypatch.setattr(connections, "LOOK_SECONDS", 0)
    monkeypatch.setattr(Connection, "most", 2)
    held = [connect(service.port, HALF_HEAD)]
    eventually(lambda: service.connections == 1)
    held.append(connect(service.port, HALF_HEAD))
    eventually(lambda: service.connections == 2)
    assert ask(service.port)[0] == 200
    assert received(held[0]) == b"", "the first was let go"
    closed(held)
    eventually(lambda: service.connections == 0)


def test_bodies_that_are_not_complete_hold_so_much_memory_together(service, monkeypatch):
    monkeypatch.setattr(errors, "MOST_HELD_BYTES", 1000)
    with connect(service.port, HALF_HEAD + b"Content-Length: 2000\r\n\r\n" + b" " * 900):
        # The first may be answered before the other's bytes have been read.
        eventually(lambda: refused(ask(service.port, b"{" + b" " * 900)) == (503, "full"))
    eventually(lambda: service.connections == 0)
    assert ask(service.port, b'{"user_id": "u003"}' + b" " * 900)[0] == 200, "what was held is given back"


def test_a_body_in_very_many_pieces_is_refused_before_it_costs_much(service):
    pieces = HALF_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 900_000
    with connect(service.port) as connection, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(connection.sendall, pieces)
        (response,) = responses(received(connection))
        connection.close()
        sending.exception()  # it may not have come to the end
    assert refused(response) == (413, "too_large") and "5,000 pieces" in response[2]["error"]["message"]
    body = b'{"user_id": "u003"}'
    some = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    with connect(service.port, HALF_HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + some) as few:
        assert responses(received(few))[0][0] == 200


def test_the_answer_to_a_body_that_is_too_large_arrives(service, monkeypatch):
    monkeypatch.setattr(errors, "DISCARD_SECONDS", PATIENCE)
    usual = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
    usual.request("POST", "/recommend", b" " * 20_000_000)  # which reads nothing before all is sent
    answer = usual.getresponse()
    assert answer.status == 413 and json.loads(answer.read())["error"]["code"] == "too_large"
    usual.close()


def test_what_has_not_arrived_is_not_waited_for_at_the_end(done, monkeypatch):
    monkeypatch.setattr(connections, "LINGER_SECONDS", 0.1)
    with Service(done.folder) as service:
        held = [connect(service.port, sent) for sent in (b"", HALF_HEAD, HALF_BODY)]
        eventually(lambda: service.connections == 3)
    answers = [responses(received(connection)) for connection in held]
    assert answers[:2] == [[], []] and refused(answers[2][0]) == (503, "ending")
    closed(held)


METHODS = [
    "GET",
    "POST",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "BREW",
    "get",
    "G" * 300,
    "G T",
    "\x00",
    "",
]
PATHS = [
    *("/", "/recommend", "/recommend/batch", "/users", "/users/u001/profile", "/items/i001/info", "/models", "/docs"),
    *(
        "/users?n=",
        "/users?n=%ff",
        "/users?n=1e999",
        "/items?query=%",
        "/items?query=%zz&n=2",
        "/users?" + "n=1&" * 500,
    ),
    *("*", "x:1", "http://x/health", "//", "/%00", "/users/%00/profile", "/users/%ff%fe/profile", "/users/%/profile"),
    *("/users/" + "x" * 60_000 + "/profile", "/items/" + "%c3" * 300 + "/info", "/../../etc/passwd", "/\xff", "/ "),
]
HEADERS = [
    *(
        "Content-Type: text/plain",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: ;;;",
        "Content-Type:",
    ),
    *(
        "Content-Length: -1",
        "Content-Length: 5, 6",
        "Content-Length: 1e3",
        "Content-Length: 9999999",
        "Content-Length: " + "9" * 30,
    ),
    *("Transfer-Encoding: gzip", "Transfer-Encoding: chunked", "Expect: 100-continue", "Upgrade: websocket"),
    *(
        "Connection: upgrade",
        "Connection: keep-alive",
        "Host: [",
        "Host: a\r\nHost: b",
        "X: " + "y" * 70_000,
        "X\x00: y",
    ),
    *(": y", "X : y", " folded", "X-Forwarded-For: \xff", "Cookie: \x7f", "Range: bytes=0-", "Accept: x"),
]
BODIES = [
    *(b"", b"{", b"null", b"[]", b"0", b'"x"', b"\xff\xfe", b"\x00", b"user_id=u001", b'{"user_id": "u001"}'),
    *(
        b'{"user_id": 405}',
        b'{"history": [50, 181]}',
        b'{"user_id": "a", "user_id": "u001"}',
        b'{"user_id": "\\ud800"}',
    ),
    *(
        b'{"user_id": NaN}',
        b'{"user_id": Infinity}',
        b'{"user_id": "u001", "top_k": 1e999}',
        b'{"top_k": ' + b"9" * 5000 + b"}",
    ),
    *(b"[" * 100_000, b'{"a":' * 50_000, b'{"history": ' + b"[" * 900 + b"]" * 900 + b"}", b'{"user_id": "\\u0000"}'),
    *(b'{"user_id": "%s"}' % (b"x" * 60_000), b'{"%s": 1, "user_id": "u001"}' % (b"k" * 60_000)),
    *(b'{"history": [{"item_id": "i001", "rating": 1e308}]}', b'{"history": ["\\u0000", "i001"], "because": true}'),
    *(b'{"user_ids": [null, {}, 1, "u001"]}', b'{"user_ids": ["u001"], "model": "lightgcn", "top_k": 1e1}'),
]


def hostile(chance):
    """Bytes that somebody might send: a request with something odd, then perhaps one that is damaged."""
    body = chance.choice(BODIES)
    headers = ["Host: x", *chance.sample(HEADERS, chance.randrange(3))]
    if chance.random() < 0.7:
        headers.append(f"Content-Length: {len(body) + chance.choice([0, 0, 0, 0, -1, 1, 50])}")
    version = chance.choice(["HTTP/1.1"] * 4 + ["HTTP/1.0", "HTTP/2.0", "HTTP/9", ""])
    method = chance.choice(METHODS[:2] * 6 + METHODS)
    head = "\r\n".join([f"{method} {chance.choice(PATHS)} {version}", *headers]).encode("latin-1")
    sent = bytearray(head + b"\r\n\r\n" + body)
    for _ in range(chance.choice([0, 0, 0, 1, 5])):
        sent[chance.randrange(len(sent))] = chance.randrange(256)
    if chance.random() < 0.1:
        del sent[chance.randrange(1, len(sent)) :]
    return bytes(sent) * chance.choice([1, 1, 1, 3])


def test_whatever_is_sent_gets_an_answer_in_the_one_form(done, tmp_path):
    quick = """
import hybridvae.service.connections, hybridvae.service.errors
hybridvae.service.connections.HEAD_SECONDS = hybridvae.service.errors.BODY_SECONDS = 0.3
hybridvae.service.connections.LOOK_SECONDS = hybridvae.service.errors.DISCARD_SECONDS = 0.1
options = hybridvae.service.server_options
hybridvae.service.server_options = lambda: options() | {"timeout_keep_alive": 0.3}
serve()
"""
    chance = random.Random(20261126)
    requests = [hostile(chance) for _ in range(400)]

    def answers_to(sent):
        with connect(port) as connection, ThreadPoolExecutor(1) as pool:
            sending = pool.submit(connection.sendall, sent)
            found = received(connection)
            sending.exception()
        return found

    with serving(done, tmp_path, quick) as (process, port):
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(answers_to, requests))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=PATIENCE) as response:
            assert response.status == 200
        assert end(process) == 0
    assert (tmp_path / "stderr.txt").read_text() == ""
    seen = set()
    for sent, answer in zip(requests, answers, strict=True):
        found = responses(answer)
        assert found, sent[:200]
        for status, _, body in found:
            seen.add(status)
            assert status < 500, (sent[:200], body)
            if status >= 400 and body:  # the answer to HEAD has none
                assert set(body) == {"error"} and set(body["error"]) == {"code", "message"}, sent[:200]
                assert len(body["error"]["message"]) < 500, sent[:200]
    assert {200, 400, 404, 405, 408, 413, 422, 431} <= seen, "else the requests are not odd enough"
