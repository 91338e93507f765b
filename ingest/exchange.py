"""One HTTP request and its answer, as ASGI wants them."""

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
# A header's name with its value, and no other character than these may hold.
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~\w-]+: [^\0-\x08\n-\x1f\x7f]*")

log = logging.getLogger("tmon.http")


class Line(Protocol):
    """What an exchange needs of its connection."""

    @property
    def is_full(self) -> bool: ...
    def write(self, data: bytes) -> None: ...
    async def drained(self) -> None: ...
    def read_on(self) -> None: ...
    def answered(self, exchange: "Exchange") -> None: ...
    def failed(self, exchange: "Exchange") -> None: ...


class Sender:
    """Who sent a request, for an app that wants to know: the extension ``tmon.sender``."""

    closed = False  # its side of the connection: it may be gone, or still wait for the answer


class Exchange:
    """Owns what has arrived of one request, and what has been sent of its answer.

    Args:
        line: the connection.
        scope: ASGI's, of the request.
        default_headers: of each answer.
        keep_alive: whether another request may follow.
        wants_continue: the sender waits to be told that its body is wanted.
    """

    status = 0
    started = False  # the answer
    complete = False
    _all_here = _all_read = False
    _disconnected = False
    _news: asyncio.Event | None = None
    _head = b""  # goes out with the first of the body
    _bodiless = _chunked = False
    _remaining: int | None = None  # bytes of the body, where it was told how many

    def __init__(
        self,
        line: Line,
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
        self._line = line
        self._default_headers = default_headers
        self._wants_continue = wants_continue
        self._body = bytearray()  # arrived, and not read yet

    @property
    def unread_bytes(self) -> int:
        return len(self._body)

    async def run(self, app: ASGIApp) -> None:
        """Let the app answer, when the answers before are read; where it can't, we do."""
        if self._line.is_full:
            await self._line.drained()
        if self._disconnected:
            return
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            log.exception("%s failed", self.scope["method"])
        finally:
            if not self.complete and not self._disconnected:
                self._line.failed(self)

    def take(self, body: bytes) -> None:
        self._body += body
        self._wake()

    def took_all(self) -> None:
        self._all_here = True
        self._wake()

    def sender_closed(self) -> None:
        """Nothing more will be sent; whoever did that may still want the answer."""
        self.keep_alive = False
        self._sender.closed = True

    def disconnect(self) -> None:
        self._disconnected = self._sender.closed = True
        self._wake()

    async def receive(self) -> Message:
        """ASGI's ``receive``: the body as it arrives, then that the connection is over."""
        if self._wants_continue and not (self.started or self._disconnected):
            self._wants_continue = False
            self._line.write(CONTINUE)
        while not (self._body or self._disconnected or self.complete or self._is_at_end()):
            await self._wait()
        if self._disconnected or self.complete:
            return {"type": "http.disconnect"}
        body = bytes(self._body)
        self._body.clear()
        self._all_read = self._all_here
        self._line.read_on()
        return {"type": "http.request", "body": body, "more_body": not self._all_here}

    async def send(self, message: Message) -> None:
        """ASGI's ``send``: the status and headers, then the body.

        Raises:
            RuntimeError: it isn't HTTP that the app sends.
        """
        if self._line.is_full:
            await self._line.drained()
        if self._disconnected:
            await asyncio.sleep(0)  # who sends without end lets the others have their turn
            return
        if message["type"] == "http.response.start" and not self._head and not self.started:
            self._head = self._start(message)
        elif message["type"] == "http.response.body" and self._takes_body():
            self._write(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"{message['type']} is out of turn")

    def _is_at_end(self) -> bool:
        """Whether only the end of the body is left to be told."""
        return self._all_here and not self._all_read

    def _takes_body(self) -> bool:
        return not self.complete and bool(self._head or self.started)

    async def _wait(self) -> None:
        if self._news is None:
            self._news = asyncio.Event()
        self._news.clear()
        self._line.read_on()
        await self._news.wait()

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()

    def _start(self, message: Message) -> bytes:
        status = self.status = message["status"]
        written, self._remaining, closes = _written_headers(
            (*self._default_headers, *map(tuple, message.get("headers", ())))
        )
        self._bodiless = self.scope["method"] == "HEAD" or status in (204, 304)
        is_endless = self._remaining is None and not self._bodiless
        self._chunked = is_endless and self.scope["http_version"] == "1.1"
        # Else the body ends with the connection; so it may where its sender has more to send.
        if closes or is_endless > self._chunked or not self._all_here:
            self.keep_alive = False
        status_line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        chunked = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        last = b"" if self.keep_alive else b"connection: close\r\n"
        return status_line + written + chunked + last + b"\r\n"

    def _write(self, body: bytes, *, more: bool) -> None:
        self._line.write(self._head + self._framed(body, more=more))
        self._head = b""
        self.started = True
        if not more:
            self.complete = True
            self._body.clear()
            self._wake()
            self._line.answered(self)

    def _framed(self, body: bytes, *, more: bool) -> bytes:
        if self._bodiless:
            return b""
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more else chunk + LAST_CHUNK
        if self._remaining is not None:
            self._remaining -= len(body)
            if self._remaining < 0 or (self._remaining and not more):
                raise RuntimeError("the body isn't as long as its Content-Length")
        return body


@lru_cache(maxsize=1024)
def _written_headers(headers: tuple[tuple[bytes, bytes], ...]) -> tuple[bytes, int | None, bool]:
    """Headers as they are sent, the body's length if they tell it, and whether they say close.

    How the body is framed is not theirs to say.

    Raises:
        RuntimeError: a name or a value has characters that it can't have.
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


def last_answer(status: int, code: str, error: str) -> bytes:
    """A connection's own answer, in the shape that all errors have; then it closes."""
    body = json.dumps({"error": error, "code": code}).encode()
    headers = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return _STATUS_LINES[status] + headers % len(body) + body
