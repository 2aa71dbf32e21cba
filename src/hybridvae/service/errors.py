"""The one form of every error, and the limit on what may be sent."""

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
_SHAPES = ("user_id", "history", "item_id", "text")
_TYPES = ("Rated", "constrained-str")  # of an item of a history
MOST_BYTES = 1_000_000  # of a request's body


def json_response(value: Any, status: int = 200) -> Response:
    """A value as JSON."""
    return Response(orjson.dumps(value), status, media_type="application/json")


def _problem(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    response = json_response({"error": {"code": code, "message": message}}, status)
    response.headers.update(headers or {})
    return response


def answer_errors(app: FastAPI) -> None:
    """Give every error the one form."""

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return _problem(error.status, error.code, error.message)

    @app.exception_handler(HybridVAEError)
    async def unable(request: Request, error: HybridVAEError) -> Response:
        status, code = next(answer for kind, answer in _STATUSES.items() if isinstance(error, kind))
        return _problem(status, code, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # What was sent is not repeated: it may be no text that JSON can carry.
        said = []
        for one in error.errors()[:3]:
            if one["type"] == "json_invalid":
                said.append(f"the body is no JSON from character {one['loc'][-1]} on")
                continue
            where, *parts = [str(part).encode("ascii", "replace").decode() for part in one["loc"]]
            if where == "body" and len(parts) > 1 and parts[0] in _SHAPES:
                parts = parts[1:]  # it says which of several shapes the body was read as
            place = ".".join(part for part in parts if part not in _TYPES)
            said.append(f"{place or 'the body'}: {one['msg'].encode('ascii', 'replace').decode()}")
        return _problem(422, "invalid_request", "; ".join(said) + ". GET /docs shows what is expected.")

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        codes = {404: "unknown_address", 405: "wrong_method", 413: "too_large"}
        said = {404: "there is nothing at this address", 405: "this address does not take this method"}
        message = f"{said.get(error.status_code, str(error.detail))}: GET /docs lists the addresses."
        headers = dict(error.headers) if error.headers else None
        return _problem(error.status_code, codes.get(error.status_code, "bad_request"), message, headers)

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> Response:
        return _problem(500, "defect", "the service has a defect, which its log describes: please report it.")


class Limit:
    """Refuse a body beyond MOST_BYTES before it is read whole."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body as far as it may go, and hand it on whole."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        body, more = b"", True
        if not declared.isdigit() or int(declared) > MOST_BYTES:
            await self._refuse(scope, receive, send)
            return
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MOST_BYTES:
                await self._refuse(scope, receive, send)
                return
        read = False

        async def once() -> Message:
            nonlocal read
            if read:
                return await receive()
            read = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, once, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        said = f"the body is larger than {MOST_BYTES:,} bytes: send less at a time."
        await _problem(413, "too_large", said, {"Connection": "close"})(scope, receive, send)
