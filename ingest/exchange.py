"""One HTTP request and its response, in the terms of ASGI."""

import asyncio
import json
import logging
import re
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol

from starlette.types import ASGIApp, Message, Scope

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
# A header line: its name, and a value without control characters except tabs.
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~\w-]+: [^\0-\x08\n-\x1f\x7f]*")

log = logging.getLogger("tmon.http")


class Connection(Protocol):
    """What an exchange needs of its connection."""

    @property
    def is_full(self) -> bool: ...
    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None: ...
    def update_reading(self) -> None: ...
    def response_complete(self, exchange: "Exchange") -> None: ...
    def response_failed(self, exchange: "Exchange") -> None: ...


class Sender:
    """ASGI extension ``tmon.sender``: whether the sender may have disconnected."""

    closed = False  # its half of the connection; it may still wait for the response


class Exchange:
    """Owns what has arrived of one request, and what has been sent of its response.

    Args:
        connection: reads the request and writes the response.
        scope: ASGI's, of the request.
        default_headers: of each response.
        keep_alive: whether another request may follow.
        wants_continue: the sender waits for 100 Continue before it sends the body.
    """

    status = 0
    started = False  # the response
    complete = False  # the response
    _body_arrived = _body_read = False  # the whole of it
    _disconnected = False
    _changed: asyncio.Event | None = None
    _head = b""  # sent together with the first part of the body
    _bodiless = _chunked = False
    _remaining: int | None = None  # bytes of the response body, if its length is known

    def __init__(
        self,
        connection: Connection,
        scope: Scope,
        default_headers: list[tuple[bytes, bytes]],
        *,
        keep_alive: bool,
        wants_continue: bool,
    ) -> None:
        self.scope = scope
        self._sender = Sender()
        scope["extensions"] = {"tmon.sender": self._sender}
        self.keep_alive = keep_alive
        self._connection = connection
        self._default_headers = default_headers
        self._wants_continue = wants_continue
        self._body = bytearray()  # arrived, and not read by the app yet

    @property
    def unread_bytes(self) -> int:
        return len(self._body)

    async def run(self, app: ASGIApp) -> None:
        """Run the app once earlier responses are read; report its failure to the connection."""
        if self._connection.is_full:
            await self._connection.drain()
        if self._disconnected:
            return
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            log.exception("%s failed", self.scope["method"])
        finally:
            if not self.complete and not self._disconnected:
                self._connection.response_failed(self)

    def feed_body(self, body: bytes) -> None:
        self._body += body
        self._wake()

    def feed_end(self) -> None:
        self._body_arrived = True
        self._wake()

    def sender_closed(self) -> None:
        """The sender has closed its half; it may still wait for the response."""
        self.keep_alive = False
        self._sender.closed = True

    def disconnect(self) -> None:
        self._disconnected = self._sender.closed = True
        self._wake()

    async def receive(self) -> Message:
        """ASGI's ``receive``: the body as it arrives, then ``http.disconnect``."""
        if self._wants_continue and not (self.started or self._disconnected):
            self._wants_continue = False
            self._connection.write(CONTINUE)
        while not (self._body or self._disconnected or self.complete):
            if self._body_arrived and not self._body_read:
                break  # only the end is left to report
            if self._changed is None:
                self._changed = asyncio.Event()
            self._changed.clear()
            self._connection.update_reading()
            await self._changed.wait()
        if self._disconnected or self.complete:
            return {"type": "http.disconnect"}
        body = bytes(self._body)
        self._body.clear()
        self._body_read = self._body_arrived
        self._connection.update_reading()
        return {"type": "http.request", "body": body, "more_body": not self._body_arrived}

    async def send(self, message: Message) -> None:
        """ASGI's ``send``: the status and headers, then the body.

        Raises:
            RuntimeError: the app breaks the rules of ASGI or HTTP.
        """
        if self._connection.is_full:
            await self._connection.drain()
        if self._disconnected:
            await asyncio.sleep(0)  # an app that sends without end must not block the loop
            return
        has_head = bool(self._head) or self.started
        if message["type"] == "http.response.start" and not has_head:
            self._head = self._response_head(message)
        elif message["type"] == "http.response.body" and has_head and not self.complete:
            self._write(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"{message['type']} is out of turn")

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()

    def _response_head(self, message: Message) -> bytes:
        status = self.status = message["status"]
        headers, self._remaining, closes = _encode_headers(
            (*self._default_headers, *map(tuple, message.get("headers", ())))
        )
        self._bodiless = self.scope["method"] == "HEAD" or status in (204, 304)
        no_length = self._remaining is None and not self._bodiless
        self._chunked = no_length and self.scope["http_version"] == "1.1"
        ends_by_close = no_length and not self._chunked
        if closes or ends_by_close or not self._body_arrived:
            self.keep_alive = False
        status_line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        chunked = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        close = b"" if self.keep_alive else b"connection: close\r\n"
        return status_line + headers + chunked + close + b"\r\n"

    def _write(self, body: bytes, *, more: bool) -> None:
        if self._bodiless:
            body = b""
        elif self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = chunk if more else chunk + LAST_CHUNK
        elif self._remaining is not None:
            self._remaining -= len(body)
            if self._remaining < 0 or (self._remaining and not more):
                raise RuntimeError("the body isn't as long as its Content-Length")
        self._connection.write(self._head + body)
        self._head = b""
        self.started = True
        if not more:
            self.complete = True
            self._body.clear()
            self._wake()
            self._connection.response_complete(self)


@lru_cache(maxsize=128)  # an address of 16 KB may stand in them
def _encode_headers(headers: tuple[tuple[bytes, bytes], ...]) -> tuple[bytes, int | None, bool]:
    """Encoded headers, their Content-Length if any, and whether they say ``close``.

    Connection and Transfer-Encoding are left out: the exchange writes its own.

    Raises:
        RuntimeError: a name or a value has characters that HTTP forbids.
    """
    lines, length, closes = [], None, False
    for name, value in headers:
        match name.lower():
            case b"content-length":
                length = int(value)
            case b"connection":
                closes = closes or b"close" in value.lower()
                continue
            case b"transfer-encoding":
                continue
        line = name + b": " + value
        if not _HEADER.fullmatch(line):
            raise RuntimeError("a header holds a line's end, or another character it can't")
        lines.append(line + b"\r\n")
    return b"".join(lines), length, closes


def closing_response(status: int, code: str, error: str) -> bytes:
    """A response of the connection itself, in the shape of all errors, before it closes."""
    body = json.dumps({"error": error, "code": code}).encode()
    headers = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return _STATUS_LINES[status] + headers % len(body) + body
