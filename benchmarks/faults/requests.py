"""Requests that no client that behaves would send."""

import json
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote

GETS: tuple[str, ...] = (
    "/health",
    "/stats",
    "/models",
    "/users",
    "/users?n=3",
    "/items?query=item",
    "/users/u001/profile",
)
GETS += ("/items/i001/info", "/", "/docs", "/openapi.json")
BODIES: dict[str, tuple[dict[str, Any], ...]] = {
    "/recommend": (
        {"user_id": "u001", "top_k": 5},
        {"history": ["i001", "i003"], "top_k": 5, "because": True},
        {"history": [{"item_id": "i001", "rating": 5}], "exclude_items": ["i002"], "model": "itemknn"},
    ),
    "/recommend/batch": (
        {"user_ids": ["u001", "u002"], "top_k": 3},
        {"histories": [["i001"], ["i003", "zz"]], "top_k": 3},
    ),
    "/items/similar": ({"item_id": "i001", "top_k": 3}, {"text": "a guitar", "top_k": 3}),
}


@dataclass(frozen=True)
class Request:
    """What is sent.

    Attributes:
        pieces: sent one after the other, with `pause` seconds between them.
        whole: whether it is HTTP as it should be, and so must be answered in our form.
        hold: seconds that the connection stays open after it, where nothing comes back.
    """

    pieces: tuple[bytes, ...]
    whole: bool = False
    pause: float = 0.0
    hold: float = 1.0


def http(method: str, target: str, body: bytes = b"", *, head: str = "") -> bytes:
    """A request as it should be."""
    length = f"Content-Length: {len(body)}\r\n" if method not in ("GET", "HEAD") else ""
    typed = "" if "Content-Type" in head else "Content-Type: application/json\r\n"
    lines = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{typed}{length}{head}\r\n"
    return lines.encode("utf-8", "surrogatepass") + body


def halves() -> list[bytes]:
    """Requests that never end."""
    return [
        b"",
        b"G",
        b"GET /health HTTP/1.1\r\nHost:",
        b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ]


def request(random: Random) -> Request:
    """One request, of one of several kinds."""
    return random.choices([_odd_values, _odd_body, _odd_address, _odd_bytes], [5, 2, 4, 4])[0](random)


def _nasty(random: Random) -> Any:
    deep: Any = 1
    for _ in range(random.choice([2, 100, 900])):
        deep = [deep]
    return random.choice(
        [
            *(
                None,
                True,
                False,
                0,
                -1,
                1,
                100,
                101,
                1e308,
                float("nan"),
                float("inf"),
                10**20,
                10**400,
                10**4200,
                1.0,
                1.5,
            ),
            *(
                "",
                " ",
                "x" * 201,
                "x" * 100_000,
                "\0",
                "\ud800",
                "é",
                "\U0001f3b8",
                "\u202e",
                "../../x",
                "u001",
                "i001",
            ),
            *("'; DROP TABLE users; --", "%00", "\n", "<script>", "5", "true", [], {}, [[]], [None], {"a": 1}, deep),
            *(["i001"] * 2_001, ["x"] * 1_000, [{"item_id": "i001", "rating": 6}], [{"item_id": 1}], ["i001", 1]),
        ]
    )


def _odd_values(random: Random) -> Request:
    address = random.choice(list(BODIES))
    body = dict(random.choice(BODIES[address]))
    for _ in range(random.choice([1, 1, 2])):
        name = random.choice([*body, "top_k", "model", "extra", "history", "user_id", "exclude_items"])
        if random.random() < 0.15:
            body.pop(name, None)
        else:
            body[name] = _nasty(random)
    text = json.dumps(body, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    return Request((http("POST", address, text),), whole=True)


def _odd_body(random: Random) -> Request:
    address = random.choice(list(BODIES))
    good = json.dumps(random.choice(BODIES[address])).encode()
    at = random.randrange(len(good))
    deep = random.choice([500, 100_000])
    body = random.choice(
        [
            *(b"", b"null", b"[]", b"1", b'"x"', b"{", b"}", b"\0", b"\xff\xfe", good[:at], good[at:], good + good),
            *(
                good[:at] + bytes([random.randrange(256)]) + good[at + 1 :],
                good.decode().encode("utf-16"),
                b"\xef\xbb\xbf" + good,
            ),
            *(
                b"[" * deep,
                b'{"a":' * deep + b"1" + b"}" * deep,
                b'{"user_id": ' + b"9" * 5000 + b"}",
                good[:-1] + b", " + good[1:],
            ),
            *(
                b'{"user_id": "u001", "top_k": 1e999}',
                b'{"user_id": "u001", "top_k": NaN}',
                random.randbytes(300),
                b"a=1&b=2",
            ),
            *(b" " * 999_000 + good, b"x" * 1_000_001, b'{"history": [' + b'"i001",' * 140_000 + b'"i001"]}'),
        ]
    )
    kinds = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
        "application/json; charset=utf-16",
    ]
    head = f"Content-Type: {random.choice(kinds)}\r\n" if random.random() < 0.3 else ""
    return Request((http("POST", address, body, head=head),), whole=True)


def _odd_address(random: Random) -> Request:
    strange = [
        *(
            "%00",
            "%ff",
            "%ed%a0%80",
            "%2e%2e%2f",
            "..",
            "../../etc/passwd",
            "%",
            "%zz",
            "é",
            "a b",
            "x" * 3_000,
            "%0d%0aX: 1",
        ),
        *("", "/", "//", "u001/", "u001%2Fprofile", "\u202e", "'", '"', "<b>", "*", "?", "#", "&", ";", "%252e", "\\"),
    ]
    odd = random.choice(strange)
    if random.random() < 0.5:
        odd = quote(odd)
    number = random.choice(["0", "-1", "1001", "1e3", "NaN", "9" * 400, "", "x", "5&n=6", "1.0", "%35", "true", "[]"])
    targets = [
        *(
            f"/users/{odd}/profile",
            f"/items/{odd}/info",
            f"/users?n={number}",
            f"/items?n={number}",
            f"/items?query={odd}",
        ),
        *(f"/users?query={odd}", f"/{odd}", f"/static/{odd}", f"/docs/{odd}", f"/recommend/{odd}", random.choice(GETS)),
    ]
    target = random.choice(targets)
    others = ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POST"]
    method = "GET" if random.random() < 0.75 else random.choice(others)
    # White space and signs beyond ASCII have no place in a request line, so then it is not whole.
    fine = target.isascii() and target.isprintable() and not set(target) & set(' "<>\\#')
    return Request((http(method, target),), whole=fine)


def _odd_bytes(random: Random) -> Request:
    good = http("POST", "/recommend", b'{"user_id": "u001"}')
    at = random.randrange(1, len(good))
    get, post = b"GET /health HTTP/1.1\r\nHost: x\r\n", b"POST /recommend HTTP/1.1\r\nHost: x\r\n"
    chunked = post + b"Transfer-Encoding: chunked\r\n\r\n"
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n"
    lengths = [b"-1", b"1e3", b"9" * 20, b"5, 6", b"", b"\xb2", b"0x10"]
    chunks = [b"zz\r\n", b"-1\r\n", b"5\r\nab", b"f" * 16 + b"\r\n", b"0\r\n\r\n", b"5;x=y\r\n{}   \r\n0\r\n\r\n"]
    raw: list[bytes] = [
        random.randbytes(random.randrange(1, 3_000)),
        good[:at] + bytes([random.randrange(256)]) + good[at + 1 :],
        good * 50,
        get + b"X: " + b"x" * random.choice([9_000, 70_000, 3_000_000]) + b"\r\n\r\n",
        get + b"X: y\r\n" * random.choice([200, 50_000]) + b"\r\n",
        b"GET /" + b"a" * random.choice([10_000, 100_000]) + b" HTTP/1.1\r\n\r\n",
        chunked + random.choice(chunks),
        chunked + b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n5\r\nabcde\r\n0\r\n\r\n",
        post + b"Content-Length: " + random.choice(lengths) + b"\r\n\r\n{}",
        post + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n{}  ",
        post + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET http://example.org/health HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"GET /health HTTP/1.1\nHost: x\n\n",
        b"CONNECT example.org:443 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(500),  # of TLS
        http("GET", "/health", head=upgrade),
        http("POST", "/recommend", head="Expect: 100-continue\r\n"),
    ]
    how = random.random()
    if how < 0.15:
        return Request((good[:at],), hold=random.choice([0.0, 0.5]))
    if how < 0.25:
        return Request(tuple(good[i : i + 8] for i in range(0, len(good), 8)), pause=0.02, whole=True)
    if how < 0.3:
        packed = http("POST", "/recommend", b"\x1f\x8b" + random.randbytes(50), head="Content-Encoding: gzip\r\n")
        return Request((packed,), whole=True)
    return Request((random.choice(raw),), hold=0.4)
