"""The one form of every error, and the limit on what may be sent."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hybridvae.errors import (
    BadDataError,
    BadParameterError,
    HybridVAEError,
    NotEnoughMemoryError,
    UnreadableFileError,
)
from hybridvae.service.engine import Refused

_STATUSES: dict[type[HybridVAEError], tuple[int, str]] = {
    BadDataError: (422, "bad_data"),
    BadParameterError: (409, "bad_parameter"),  # the model or the configuration does not go with what was asked
    UnreadableFileError: (503, "not_ready"),
    NotEnoughMemoryError: (507, "not_enough_memory"),
    HybridVAEError: (500, "failed"),
}
_SHAPES = ("user_id", "history", "user_ids", "histories", "item_id", "text")
_KINDS = ("id", "rated")  # of an item of a history

MOST_BYTES = 1_000_000  # of a request's body
MOST_HELD_BYTES = 100_000_000  # of all bodies that are not yet complete
BODY_SECONDS = 10.0  # from a complete head to a complete body
DISCARD_SECONDS = 2.0  # in which whoever is refused may send on, and reads why
LATER = {"Retry-After": "10"}  # seconds


def json_response(value: Any, status: int = 200) -> Response:
    """A value as JSON."""
    return Response(orjson.dumps(value), status, media_type="application/json")


def problem(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error in the one form."""
    response = json_response({"error": {"code": code, "message": message}}, status)
    response.headers.update(headers or {})
    return response


def answer_errors(app: FastAPI) -> None:
    """Give every error the one form."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return problem(error.status, error.code, error.message)

    @app.exception_handler(HybridVAEError)
    async def unable(request: Request, error: HybridVAEError) -> Response:
        status, code = next(answer for kind, answer in _STATUSES.items() if isinstance(error, kind))
        return problem(status, code, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        said = [_sentence(one) for one in error.errors()[:3]]
        return problem(422, "invalid_request", "; ".join(said) + ". GET /docs shows what is expected.")

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        codes = {404: "unknown_address", 405: "wrong_method", 413: "too_large"}
        said = {404: "there is nothing at this address", 405: "this address does not take this method"}
        message = f"{said.get(error.status_code, str(error.detail))}: GET /docs lists the addresses."
        headers = dict(error.headers) if error.headers else None
        return problem(error.status_code, codes.get(error.status_code, "bad_request"), message, headers)

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> Response:
        return problem(500, "defect", "the service has a defect, which its log describes: please report it.")


def plain(words: str, most: int = 80) -> str:
    """Words of somebody else's, such as a key of a request or a library's message: in ASCII, and cut."""
    words = words[: most + 1].encode("ascii", "replace").decode()
    return words if len(words) <= most else words[:most] + "..."


def _sentence(error: Mapping[str, Any]) -> str:
    """What is wrong by pydantic, without the value that was sent, which may be long or no text at all."""
    if error["type"] == "json_invalid":
        return f"the body is no JSON: {plain(error['ctx']['error'])}, at character {error['loc'][-1]}"
    if error["loc"] == ("body",) and error["type"] == "missing":
        return "the body is missing: send JSON"
    where, *parts = error["loc"]
    if where == "body" and len(parts) > 1 and parts[0] in _SHAPES:
        parts = parts[1:]  # it says which of several shapes the body was read as
    place = ".".join(
        plain(str(part))
        for before, part in pairwise((None, *parts))
        if not (isinstance(before, int) and part in _KINDS)
    )
    return f"{place or 'the body'}: {plain(error['msg'], 200)}"


async def full(scope: Scope, receive: Receive, send: Send) -> None:
    """The application where there are too many connections."""
    await _refuse(_too_many(), receive, send)


async def _refuse(response: Response, receive: Receive, send: Send, *, more: bool = True) -> None:
    """Answer before the body is read whole, and end the connection.

    Where more of the body comes it may do so for a moment, unread: a connection that is closed at once takes the answer
    with it.
    """
    headers = [*response.raw_headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            while more:
                more = (await receive()).get("more_body", False)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class Limit:
    """Read each body whole, within MOST_BYTES and BODY_SECONDS, before the application sees the request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._held = 0  # bytes of bodies that are not yet complete

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body as far as it may go, and hand it on whole."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._answer(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0").lstrip(b"0")
        if len(declared) > len(str(MOST_BYTES)) or int(declared or b"0") > MOST_BYTES:
            await _refuse(_too_large(), receive, send)
            return
        body, more, refusal = bytearray(), True, None
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more and refusal is None:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    more = message.get("more_body", False)
                    refusal = self._keep(body, message.get("body", b""))
        except TimeoutError:
            more = False  # in time
            said = f"the body did not arrive within {BODY_SECONDS:g} seconds: send it at once."
            refusal = problem(408, "too_slow", said)
        finally:
            self._held -= len(body)
        if refusal is not None:
            await _refuse(refusal, receive, send, more=more)
            return
        read = False

        async def once() -> Message:
            nonlocal read
            if read:
                return await receive()
            read = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._answer(_as_json(scope), once, send)

    def _keep(self, body: bytearray, piece: bytes) -> Response | None:
        """Add what arrived to a body; the answer where that is too much."""
        body += piece
        self._held += len(piece)
        if len(body) > MOST_BYTES:
            return _too_large()
        return _too_many() if self._held > MOST_HELD_BYTES else None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:  # the process ends, and waits no longer
            said = "the service ends, and has no time left for the answer: ask again when it is back."
            with suppress(RuntimeError):  # the answer has begun
                await problem(503, "ending", said, LATER)(scope, receive, send)


def _too_large() -> Response:
    return problem(413, "too_large", f"the body is larger than {MOST_BYTES:,} bytes: send less at a time.")


def _too_many() -> Response:
    return problem(503, "full", "the service has as many connections as it can hold: ask again later.", LATER)


def _as_json(scope: Scope) -> Scope:
    """The request as one of JSON, whatever it calls its body: `curl -d` calls it a form."""
    headers = scope["headers"]
    if (b"content-type", b"application/json") in headers:
        return scope
    others = [(name, value) for name, value in headers if name != b"content-type"]
    return {**scope, "headers": [*others, (b"content-type", b"application/json")]}
