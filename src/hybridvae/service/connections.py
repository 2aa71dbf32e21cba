"""Connections that nobody can hold for ever: deadlines, a limit of their number, and errors in the one form.

uvicorn waits as long as a client likes for the head of a request, and for an answer to be taken. The deadline of a body
is kept where it is read, by `service.errors.Limit`.
"""

import asyncio
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from hybridvae.service.errors import LATER, full, plain, problem

HEAD_SECONDS = 10.0  # from the connection, or from the last answer, to a complete head
ANSWER_SECONDS = 60.0  # in which an answer must have been taken
LINGER_SECONDS = 2.0  # in which whoever was refused may read why
LOOK_SECONDS = 1.0  # between two looks at these deadlines
MOST_CONNECTIONS = 1_000  # held at a time; an eighth more are told that there are too many, and the rest nothing
MOST_PIECES = 5_000  # of a body: in the smallest packets of the internet 1 MB comes in 2,000


class _Requests(h11.Connection):
    """What arrives, as h11 reads it; the pieces of a body are counted, since each costs time, however small it is."""

    pieces = 0
    refusal: tuple[int, str, str] = (400, "bad_request", "the request cannot be read as HTTP.")

    def next_event(self) -> Any:
        """As h11's, which raises RemoteProtocolError; `refusal` says then what to answer."""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                said = "the head of the request is too long: send less in the address and the headers."
                self.refusal = (431, "too_large", said)
            else:
                said = f"the request cannot be read as HTTP ({plain(str(error))}): send it by a usual client."
                self.refusal = (400, "bad_request", said)
            raise
        if isinstance(event, h11.Request):
            self.pieces = 0
        elif isinstance(event, h11.Data):
            self.pieces += 1
            if self.pieces > MOST_PIECES:
                said = f"the body comes in more than {MOST_PIECES:,} pieces: send larger ones."
                self.refusal = (413, "too_large", said)
                raise h11.RemoteProtocolError(said)
        return event


class Connection(H11Protocol):
    """A connection that ends when its client keeps it waiting."""

    most = MOST_CONNECTIONS
    conn: _Requests

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = _Requests(h11.SERVER)
        self._since = self.loop.time()  # of the connection, or of the last answer
        self._ended = False  # nothing more is read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Answer it, in the place of one that only waits if need be, or tell it that there are too many."""
        super().connection_made(transport)
        self._looking = self.loop.call_later(LOOK_SECONDS, self._look)
        if len(self.connections) > self.most and not self._replace_another():
            if len(self.connections) > self.most + self.most // 8:
                transport.abort()
            self.app = full

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        self._looking.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless all was said."""
        if not self._ended:
            super().data_received(data)

    def on_response_complete(self) -> None:
        """The next head has its own time."""
        self._since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Say in the one form what cannot be read."""
        self._end(*self.conn.refusal)

    def shutdown(self) -> None:
        """Finish what was asked when the process is told to end; what has not arrived by then is not waited for."""
        if self.cycle is not None and not self.cycle.response_complete and self.cycle.more_body:
            self._end(503, "ending", "the service ends: ask again when it is back.")
        elif not self._ended:
            super().shutdown()

    @property
    def _is_between(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _replace_another(self) -> bool:
        """Break off the connection that has kept a head waiting longest, if it did so for a while."""
        waiting = [other for other in self.connections if isinstance(other, Connection) and other._is_between]
        longest = min(waiting, key=lambda other: (other._ended, other._since))
        if longest._ended or self._since - longest._since < LOOK_SECONDS:
            return False
        longest._ended = True
        longest.transport.abort()
        return True

    def _look(self) -> None:
        """Whether a deadline has passed."""
        self._looking = self.loop.call_later(LOOK_SECONDS, self._look)
        waited = self.loop.time() - self._since
        if self._ended:
            if waited > LINGER_SECONDS:
                self.transport.abort()
        elif self.transport.get_write_buffer_size():
            if waited > ANSWER_SECONDS:
                self.transport.abort()
        elif self._is_between and waited > HEAD_SECONDS and not self.transport.is_closing():
            said = f"the head of the request did not arrive within {HEAD_SECONDS:g} seconds: send it at once."
            self._end(408, "too_slow", said)

    def _end(self, status: int, code: str, message: str) -> None:
        """Answer without the application, unless an answer has begun or nothing was asked; then read no more."""
        self._ended, self._since = True, self.loop.time()
        self._unset_keepalive_if_required()
        begun = self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE)
        asked = self.conn.our_state is h11.SEND_RESPONSE or self.conn.their_state is h11.ERROR
        if not begun and (asked or self.conn.trailing_data[0]):
            response = problem(status, code, message, LATER if status == 503 else {})
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nconnection: close\r\n".encode()
            headers = b"".join(b"%s: %s\r\n" % header for header in response.raw_headers)
            self.transport.write(head + headers + b"\r\n" + bytes(response.body))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write_eof()  # and not `close`, by which what is still unread would take the answer with it
