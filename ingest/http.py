"""HTTP under uvicorn: httptools parses, ASGI answers, and no sender takes more than its share.

uvicorn's own protocol takes twice the time for a small request, and bounds
neither headers nor how long a request may take to arrive.
"""

import asyncio
import logging
from collections import deque
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from ingest.deadline import LOOK_S, NEVER_S, UNBODIED, Awaits, Deadline
from ingest.exchange import Exchange, last_answer
from ingest.limits import BODY_S, DRAIN_BYTES, HEADER_BYTES, HEADER_S, LINGER_S, UNREAD_BYTES
from ingest.request import RequestHead, end_of_few_requests
from ingest.sending import SendingProtocol

log = logging.getLogger("tmon.http")


class HttpConnection(SendingProtocol):
    """One connection, with as many requests as it likes, one after the other.

    From the connection, and again from each request's first byte on, the
    headers have ten seconds and 16 KiB; the body has thirty, also where nobody
    reads it. That time stands still while we don't read. Then the connection is
    closed; so it is where its answers aren't read at 2 KiB/s on average.
    """

    header_s = HEADER_S
    body_s = BODY_S
    look_s = LOOK_S
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
        self._count = app_state.get("answered", lambda _: None)
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._exchanges: deque[Exchange] = deque()  # the first is being answered
        self._arriving: Exchange | None = None
        self._unparsed = b""  # requests behind those that wait for their answer
        self._within_request = False
        self._refusal: tuple[int, str, str] | None = None  # to be said after the other answers
        self._awaits = Awaits.HEADERS
        self._reading = True
        self._deaf = False  # what arrives now can't be understood

    # The transport calls these, and the server `shutdown`.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._server.connections.add(self)  # type: ignore[arg-type]
        self._server_address = _address(transport.get_extra_info("sockname"))
        self._client_address = _address(transport.get_extra_info("peername"))
        self._header_bytes = 0
        self.start_sending()
        self._deadline = Deadline(self._loop, self._late, self.abort_if_unread, self.look_s)
        self._expect(Awaits.HEADERS, self.header_s)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it is over, anyhow
        self._server.connections.discard(self)
        self._deadline.stop()
        for exchange in self._exchanges:
            exchange.disconnect()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        if not self._deaf:
            self._unparsed += data
            self._parse()

    def eof_received(self) -> bool:
        """Whether it stays open: who has sent everything may still wait for the answer."""
        if self._within_request:
            self._refuse(400, "incomplete", "the connection ended before the request did")
        elif self._exchanges and self._refusal is None:
            self._exchanges[-1].sender_closed()
        return bool(self._exchanges) and self._awaits is not Awaits.CLOSE

    def shutdown(self) -> None:
        """Answer what was asked, then close."""
        if self._exchanges:
            self._exchanges[-1].keep_alive = False
        else:
            self._close()

    # The parser calls these.

    def on_message_begin(self) -> None:
        if self._exchanges and not self._exchanges[-1].keep_alive:
            self._deaf = True  # that one was the last
        if self._deaf:
            return
        self._head = RequestHead()
        self._within_request = True
        if self._awaits is not Awaits.HEADERS:
            self._header_bytes = 0
            self._expect(Awaits.HEADERS, self.header_s)

    def on_url(self, url: bytes) -> None:
        self._head.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._arriving is None:  # else a trailer: nobody expects more when some were looked at
            self._head.add(name, value)

    def on_headers_complete(self) -> None:
        if self._deaf:
            return
        self._unread_bytes = 0
        self._expect(Awaits.BODY, self.body_s)
        version, upgrade = self._parser.get_http_version(), self._parser.should_upgrade()
        method = self._parser.get_method().decode()
        if max(self._header_bytes, self._part_bytes) > HEADER_BYTES < self._head.size_bytes:
            self._refuse_headers()
        elif fault := self._head.fault(version):
            self._refuse(400, "invalid_http", fault)
        elif upgrade and method not in ("GET", "HEAD"):
            self._refuse(400, "upgrade_unsupported", "send it without the Upgrade header")
        else:
            self._begin(self._head.scope(method, version), may_keep_alive=not upgrade)

    def on_body(self, body: bytes) -> None:
        self._header_bytes = 0
        if self._arriving is None:
            return
        if not self._arriving.complete:
            self._arriving.take(body)
            self.read_on()
            return
        self._unread_bytes += len(body)
        if self._unread_bytes > DRAIN_BYTES:
            self._close()

    def on_message_complete(self) -> None:
        self._within_request = False
        arrived, self._arriving = self._arriving, None
        if arrived is not None:
            arrived.took_all()
            self._rest()
            if arrived.complete and not arrived.keep_alive:
                self._close()

    # Exchanges call these.

    def read_on(self) -> None:
        """Read, unless there is much already that nobody has looked at."""
        unread = self._arriving.unread_bytes if self._arriving else 0
        reading = self._deaf or (len(self._exchanges) < 2 and unread <= UNREAD_BYTES)
        if reading == self._reading or self._transport.is_closing():
            return
        self._reading = reading
        if reading:
            self._deadline.release()
            self._transport.resume_reading()
        else:
            self._deadline.hold()
            self._transport.pause_reading()

    def answered(self, exchange: Exchange) -> None:
        self._server.total_requests += 1
        self._count(exchange.status)
        self._exchanges.popleft()
        if not exchange.keep_alive:
            if exchange is not self._arriving:  # else its sender would miss the answer
                self._close()
        elif self._exchanges:
            self._answer(self._exchanges[0])
        elif self._refusal is not None:
            self._say(*self._refusal)
        self._rest()
        self._parse()
        self.read_on()

    def failed(self, exchange: Exchange) -> None:
        if exchange.started:
            self._close()
        else:
            self._say(500, "internal", "tmon failed here; its log says why")

    def _parse(self) -> None:
        """Parse what has arrived, as long as there aren't requests enough that wait."""
        while self._unparsed and not self._deaf and len(self._exchanges) < 2:
            end = end_of_few_requests(self._unparsed)
            part, self._unparsed = self._unparsed[:end], self._unparsed[end:]
            self._feed(part)

    def _feed(self, part: bytes) -> None:
        self._part_bytes = len(part)
        self._header_bytes += len(part)
        try:
            self._parser.feed_data(part)
        except httptools.HttpParserUpgrade:
            self._deaf = True
        except httptools.HttpParserCallbackError:
            log.exception("a request could not be taken")
            self._refuse(500, "internal", "tmon failed here; its log says why")
        except httptools.HttpParserError:
            self._refuse(400, "invalid_http", "this is not HTTP as it should be")
        if self._awaits in UNBODIED and self._header_bytes > HEADER_BYTES:
            self._refuse_headers()

    def _begin(self, scope: dict[str, Any], *, may_keep_alive: bool) -> None:
        scope["server"], scope["client"] = self._server_address, self._client_address
        scope["state"] = self._app_state
        is_1_1 = scope["http_version"] == "1.1"
        exchange = self.exchange_type(
            self,
            scope,
            self._server.default_headers,
            keep_alive=may_keep_alive and is_1_1 and self._parser.should_keep_alive(),
            wants_continue=self._head.wants_continue and is_1_1,
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

    def _rest(self) -> None:
        """Nothing is arriving: wait for our own answer, or for another request."""
        if self._arriving is not None or self._deaf or self._awaits is Awaits.HEADERS:
            return
        if self._exchanges:
            self._expect(Awaits.NOTHING, NEVER_S)
        else:
            self._expect(Awaits.ANOTHER, self._keep_alive_s)

    def _expect(self, what: Awaits, within_s: float) -> None:
        self._awaits = what
        self._deadline.within(within_s)

    def _late(self) -> None:
        if self._awaits is Awaits.HEADERS:
            self._refuse(408, "too_slow", f"the headers took over {self.header_s:g} s to arrive")
        elif self._awaits is Awaits.BODY:
            self._refuse(408, "too_slow", f"the body took over {self.body_s:g} s to arrive")
        else:
            self._close()

    def _refuse_headers(self) -> None:
        self._refuse(431, "headers_too_large", f"the headers are over {HEADER_BYTES:,} bytes")

    def _refuse(self, status: int, code: str, error: str) -> None:
        """Say why the rest can't be read, and close; answers that are under way go first."""
        if self._deaf:
            return
        self._deaf, self._within_request, self._unparsed = True, False, b""
        arriving, self._arriving = self._arriving, None
        if arriving is not None and not arriving.complete:
            self._exchanges.remove(arriving)
            arriving.disconnect()
        if arriving is not None and arriving.started:
            self._close()
        elif self._exchanges:
            self._refusal = status, code, error
        else:
            self._say(status, code, error)

    def _close(self) -> None:
        """Close when all is sent; nothing that follows is looked at."""
        self._deaf = True
        self._transport.close()

    def _say(self, status: int, code: str, error: str) -> None:
        """The last answer. What still arrives is read, as it would otherwise be lost on the way."""
        if self._transport.is_closing():
            return
        self._deaf = True
        self._count(status)
        self.write(last_answer(status, code, error))
        self._transport.write_eof()
        self._expect(Awaits.CLOSE, LINGER_S)
        self.read_on()


def _address(told: object) -> tuple[Any, ...] | None:
    return told[:2] if isinstance(told, tuple) else None
