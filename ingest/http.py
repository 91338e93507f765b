"""HTTP under uvicorn: httptools parses, ASGI answers, and no sender takes more than its share.

uvicorn's own protocol takes twice the time for a small request, and bounds
neither headers nor how long a request may take to arrive.
"""

import asyncio
import urllib.parse
from collections import deque
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from ingest.deadline import UNBODIED, Awaits, Deadline
from ingest.exchange import Exchange, last_answer, path_and_query
from ingest.limits import BODY_BYTES, BODY_S, HEADER_BYTES, HEADER_S

UNREAD_BYTES = 64 * 1024  # of a body, before its sender is made to wait
ASGI = {"version": "3.0", "spec_version": "2.3"}


class HttpConnection(asyncio.Protocol):
    """One connection, with as many requests as it likes, one after the other.

    From the connection, and again from each request's first byte on, the
    headers have ten seconds and 16 KiB; the body has thirty, also where nobody
    reads it. Then the connection is closed.
    """

    header_s = HEADER_S
    body_s = BODY_S
    exchange_type = Exchange

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._app = config.loaded_app
        self._keep_alive_s = config.timeout_keep_alive
        self._server = server_state
        self._app_state = app_state
        self._count = app_state.get("answered", _uncounted)
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._exchanges: deque[Exchange] = deque()  # the first is being answered
        self._arriving: Exchange | None = None
        self._awaits = Awaits.HEADERS
        self._writable: asyncio.Event | None = None  # while there is too much to write
        self._reading = True
        self._deaf = False  # what arrives now can't be understood
        self._deadline = Deadline(self._loop, self._late)

    # The transport calls these, and the server `shutdown`.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._server.connections.add(self)  # type: ignore[arg-type]
        self._server_address = _address(transport.get_extra_info("sockname"))
        self._client_address = _address(transport.get_extra_info("peername"))
        self._header_bytes = 0
        self._expect(Awaits.HEADERS, self.header_s)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it is over, anyhow
        self._server.connections.discard(self)
        self._deadline.stop()
        for exchange in self._exchanges:
            exchange.disconnect()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._chunk_bytes = len(data)
        self._header_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._deaf = True
        except httptools.HttpParserError:
            self._refuse(400, "invalid_http", "this is not HTTP as it should be")
        if self._awaits in UNBODIED and self._header_bytes > HEADER_BYTES:
            self._refuse_headers()

    def eof_received(self) -> bool:
        """Whether it stays open: who has sent everything may still wait for the answer."""
        if self._arriving is not None or not self._exchanges:
            return False
        self._exchanges[-1].sender_closed()
        return True

    def pause_writing(self) -> None:
        self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    def shutdown(self) -> None:
        """Answer what was asked, then close."""
        if self._exchanges:
            self._exchanges[-1].keep_alive = False
        else:
            self._transport.close()

    # The parser calls these.

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._wants_continue = False
        if self._awaits is not Awaits.HEADERS:
            self._header_bytes = 0
            self._expect(Awaits.HEADERS, self.header_s)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._arriving is not None:
            return  # a trailer: nobody expects more headers when some have been looked at
        name = name.lower()
        self._headers.append((name, value))
        if name == b"expect" and value.lower() == b"100-continue":
            self._wants_continue = True

    def on_headers_complete(self) -> None:
        if self._deaf:
            return
        self._unread_bytes = 0
        self._expect(Awaits.BODY, self.body_s)
        upgrade, method = self._parser.should_upgrade(), self._parser.get_method()
        if max(self._header_bytes, self._chunk_bytes) > HEADER_BYTES < self._headers_size():
            self._refuse_headers()
        elif upgrade and method not in (b"GET", b"HEAD"):
            self._refuse(400, "upgrade_unsupported", "send it without the Upgrade header")
        else:
            self._begin(method.decode(), keep_alive=not upgrade)

    def on_body(self, body: bytes) -> None:
        self._header_bytes = 0
        if self._arriving is None:
            return
        if not self._arriving.complete:
            self._arriving.take(body)
            self.read_on()
            return
        self._unread_bytes += len(body)
        if self._unread_bytes > BODY_BYTES:
            self._transport.close()

    def on_message_complete(self) -> None:
        arrived, self._arriving = self._arriving, None
        if arrived is not None:
            arrived.took_all()
            self._rest()
            if arrived.complete and not arrived.keep_alive:
                self._transport.close()

    # Exchanges call these.

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    @property
    def is_full(self) -> bool:
        """Whether there is more to write than the other side has taken."""
        return self._writable is not None

    async def drained(self) -> None:
        if self._writable is not None:
            await self._writable.wait()

    def read_on(self) -> None:
        """Read, unless there is much already that nobody has looked at."""
        unread = self._arriving.unread_bytes if self._arriving else 0
        reading = len(self._exchanges) < 2 and unread <= UNREAD_BYTES
        if reading == self._reading or self._transport.is_closing():
            return
        self._reading = reading
        (self._transport.resume_reading if reading else self._transport.pause_reading)()

    def answered(self, exchange: Exchange) -> None:
        self._server.total_requests += 1
        self._count(exchange.status)
        self._exchanges.popleft()
        if not exchange.keep_alive:
            if exchange is not self._arriving:  # else its sender would miss the answer
                self._transport.close()
        elif self._exchanges:
            self._answer(self._exchanges[0])
        self._rest()
        self.read_on()

    def failed(self, exchange: Exchange) -> None:
        if exchange.started:
            self._transport.close()
        else:
            self._say(500, "internal", "tmon failed here; its log says why")

    def _begin(self, method: str, *, keep_alive: bool) -> None:
        path, query = path_and_query(self._url)
        version = self._parser.get_http_version()
        scope = {
            "type": "http",
            "asgi": ASGI,
            "http_version": version,
            "server": self._server_address,
            "client": self._client_address,
            "scheme": "http",
            "root_path": "",
            "method": method,
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": path.encode(),
            "query_string": query,
            "headers": self._headers,
            "state": self._app_state.copy(),
        }
        exchange = self.exchange_type(
            self,
            scope,
            self._server.default_headers,
            keep_alive=keep_alive and version == "1.1" and self._parser.should_keep_alive(),
            wants_continue=self._wants_continue and version == "1.1",
        )
        self._arriving = exchange
        self._exchanges.append(exchange)
        if len(self._exchanges) == 1:
            self._answer(exchange)
        else:
            self.read_on()

    def _answer(self, exchange: Exchange) -> None:
        task = self._loop.create_task(exchange.run(self._app))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    def _headers_size(self) -> int:
        return len(self._url) + sum(len(name) + len(value) for name, value in self._headers)

    def _rest(self) -> None:
        """Nothing is arriving: wait for our own answer, or for another request."""
        if self._arriving is not None or self._awaits is Awaits.HEADERS:
            return
        if self._exchanges:
            self._awaits = Awaits.NOTHING
            self._deadline.never()
        else:
            self._expect(Awaits.ANOTHER, self._keep_alive_s)

    def _expect(self, what: Awaits, within_s: float) -> None:
        self._awaits = what
        self._deadline.within(within_s)

    def _late(self) -> None:
        if self._transport.is_closing():
            return
        if self._awaits is Awaits.HEADERS:
            self._refuse(408, "too_slow", f"the headers took over {self.header_s:g} s to arrive")
        elif self._awaits is Awaits.BODY:
            self._refuse(408, "too_slow", f"the body took over {self.body_s:g} s to arrive")
        else:
            self._transport.close()

    def _refuse_headers(self) -> None:
        self._refuse(431, "headers_too_large", f"the headers are over {HEADER_BYTES:,} bytes")

    def _refuse(self, status: int, code: str, error: str) -> None:
        """Say why the rest can't be read, and close; answers that are under way go first."""
        self._deaf = True
        answered = self._arriving is not None and self._arriving.complete
        if self._arriving is not None and not answered:
            self._exchanges.pop().disconnect()
            answered = self._arriving.started
        if self._exchanges:
            self._exchanges[-1].keep_alive = False
        elif answered:
            self._transport.close()
        else:
            self._say(status, code, error)

    def _say(self, status: int, code: str, error: str) -> None:
        self._count(status)
        self._transport.write(last_answer(status, code, error))
        self._transport.close()


def _uncounted(status: int) -> None:
    """Where the app doesn't ask for its answers to be counted."""


def _address(told: object) -> tuple[Any, ...] | None:
    return told[:2] if isinstance(told, tuple) else None
