"""What one sender may take of the server: bytes, and time.

uvicorn bounds neither headers nor how long a request may take to arrive.
"""

import asyncio
import json
import zlib
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.types import Receive
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ingest.errors import InvalidBody, TooLarge, TooSlow, Unavailable, UnknownEncoding

BODY_BYTES = 1024 * 1024  # as sent
DECOMPRESSED_BYTES = 8 * 1024 * 1024
BODY_S = 30.0
GZIP_MEMBERS = 100  # each is looked for in a copy of what follows the one before
HEADER_BYTES = 16 * 1024
HEADER_S = 10.0
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say: with gzip's header


async def limited_body(request: Request[Any], *, within_s: float = BODY_S) -> bytes:
    """A request's body, decompressed.

    Raises:
        TooLarge: over 1 MiB as sent or 8 MiB decompressed; it isn't read further.
        TooSlow: not here in time.
        UnknownEncoding: compressed in another way than gzip.
        InvalidBody: it isn't gzip, or it was cut off.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("gzip", "x-gzip", "identity", ""):
        raise UnknownEncoding("send the body as it is, or with Content-Encoding: gzip")
    body = await _read(request, within_s)
    return _decompress(body) if body and encoding.endswith("gzip") else body


async def _read(request: Request[Any], within_s: float) -> bytes:
    try:
        async with asyncio.timeout(within_s):
            return await _whole(request.receive)
    except TimeoutError:
        raise TooSlow(f"the body took over {within_s:g} s to arrive") from None
    except asyncio.CancelledError:  # the server is stopping, and has waited long enough
        raise Unavailable("tmon is stopping; send it again") from None


async def _whole(receive: Receive) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidBody("the sender went away before the body's end")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > BODY_BYTES:
            raise TooLarge(f"the body is over {BODY_BYTES:,} bytes; send fewer readings")
    return bytes(body)


def _decompress(data: bytes) -> bytes:
    whole = bytearray()
    try:
        for _ in range(GZIP_MEMBERS):
            if not data:
                return bytes(whole)
            member = zlib.decompressobj(_GZIP)
            whole += member.decompress(data, DECOMPRESSED_BYTES + 1 - len(whole))
            if len(whole) > DECOMPRESSED_BYTES:
                raise TooLarge(f"the body is over {DECOMPRESSED_BYTES:,} bytes decompressed")
            if not member.eof:
                raise InvalidBody("the gzip body is cut off")
            data = member.unused_data
    except zlib.error as error:
        raise InvalidBody(f"the body is not gzip: {error}") from None
    raise InvalidBody(f"the gzip body has over {GZIP_MEMBERS} members")


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, in which a request must be small in front and arrive in time.

    From the connection, and again from each request's first byte on, the
    headers have ten seconds and 16 KiB; the body has thirty, also where no
    handler reads it. Then the connection is closed.
    """

    header_s = HEADER_S
    body_s = BODY_S + 1  # a handler that reads is first to say that it took too long
    _deadline: asyncio.TimerHandle | None = None
    _in_headers = True
    _header_bytes = 0
    _unread_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > HEADER_BYTES:
            self._refuse_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._in_headers:
            self._expect_headers()

    def on_headers_complete(self) -> None:
        self._expect_body()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > HEADER_BYTES:
            self._refuse_headers()
        elif self.parser.should_upgrade() and self.parser.get_method() == b"POST":
            self._refuse(400, "upgrade_unsupported", "send it without the Upgrade header")
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.cycle.response_complete:
            self._unread_bytes += len(body)
            if self._unread_bytes > BODY_BYTES:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._expect_nothing()
        if not self.transport.is_closing():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "invalid_http", msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: anybody could fill the log with it."""

    def _expect_headers(self) -> None:
        self._expect_nothing()
        self._in_headers = True
        self._header_bytes = 0
        self._deadline = self.loop.call_later(self.header_s, self._headers_are_late)

    def _expect_body(self) -> None:
        self._expect_nothing()
        self._in_headers = False
        self._unread_bytes = 0
        self._deadline = self.loop.call_later(self.body_s, self.transport.close)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def _headers_are_late(self) -> None:
        self._refuse(408, "too_slow", f"the headers took over {self.header_s:g} s to arrive")

    def _refuse_headers(self) -> None:
        self._refuse(431, "headers_too_large", f"the headers are over {HEADER_BYTES:,} bytes")

    def _refuse(self, status: int, code: str, error: str) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False  # the answer under way goes first, then it is closed
            return
        body = json.dumps({"error": error, "code": code}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
