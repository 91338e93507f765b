"""HTTP for uvicorn: httptools parses, an ASGI app responds, and every sender has limits.

uvicorn's own protocol takes twice the time for a small request, and limits
neither headers nor how long a request may take to arrive.
"""

import asyncio
import logging
import math
from collections import deque
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from ingest.deadline import TICK_S, Awaiting, Deadline
from ingest.exchange import Exchange, closing_response
from ingest.limits import BODY_S, DRAIN_BYTES, HEADER_BYTES, HEADER_S, LINGER_S, UNREAD_BYTES
from ingest.request import RequestHead, address_of, end_of_few_requests
from ingest.sending import SendingProtocol

log = logging.getLogger("tmon.http")


class HttpConnection(SendingProtocol):
    """One connection, with any number of requests, one after the other.

    From the connection, and again from each request's first byte on, the
    headers have ten seconds and 16 KiB; the body has thirty, even if the app
    doesn't read it. That time is paused while we don't read. Then the connection
    is closed; so it is if its responses are read at less than 2 KiB/s on average.
    """

    header_s = HEADER_S
    body_s = BODY_S
    tick_s = TICK_S
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
        self._count_status = app_state.get("answered", lambda _: None)
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._exchanges: deque[Exchange] = deque()  # the app runs for the first
        self._arriving: Exchange | None = None
        self._again = b""  # the head of a request that is to be parsed anew
        self._unparsed = b""  # requests behind those that wait for their response
        self._within_request = False
        self._refusal: tuple[int, str, str] | None = None  # sent after the earlier responses
        self._awaiting = Awaiting.HEADERS
        self._reading = True
        self._discarding = False  # what arrives now is read and thrown away

    # Called by the transport, and `shutdown` by the server.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._server.connections.add(self)  # type: ignore[arg-type]
        self._server_address = address_of(transport.get_extra_info("sockname"))
        self._client_address = address_of(transport.get_extra_info("peername"))
        self._header_bytes = 0
        self.start_sending()
        self._deadline = Deadline(self._loop, self._on_timeout, self.abort_if_unread, self.tick_s)
        self._wait_for(Awaiting.HEADERS, self.header_s)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the cause is no matter
        self._server.connections.discard(self)
        self._deadline.stop()
        for exchange in self._exchanges:
            exchange.disconnect()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        if not self._discarding:
            self._unparsed += data
            self._parse()

    def eof_received(self) -> bool:
        """Whether to stay open: the sender may have sent everything and wait for the response."""
        if self._within_request:
            self._refuse(400, "incomplete", "the connection ended before the request did")
        elif self._exchanges and self._refusal is None:
            self._exchanges[-1].sender_closed()
        return bool(self._exchanges) and self._awaiting is not Awaiting.CLOSE

    def shutdown(self) -> None:
        """Close once the requests that have arrived are answered."""
        if self._exchanges:
            self._exchanges[-1].keep_alive = False
        else:
            self._close()

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self._exchanges and not self._exchanges[-1].keep_alive:
            self._discarding = True  # that request was the last
        if self._discarding:
            return
        self._head = RequestHead()
        self._within_request = True
        if self._awaiting is not Awaiting.HEADERS:
            self._header_bytes = 0
            self._wait_for(Awaiting.HEADERS, self.header_s)

    def on_url(self, url: bytes) -> None:
        self._head.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._arriving is None:  # else it is a trailer, which came after the checks
            self._head.add(name, value)

    def on_headers_complete(self) -> None:
        if self._discarding:
            return
        self._drained_bytes = 0
        self._wait_for(Awaiting.BODY, self.body_s)
        version, upgrade = self._parser.get_http_version(), self._parser.should_upgrade()
        method = self._parser.get_method().decode()
        if max(self._header_bytes, self._part_bytes) > HEADER_BYTES < self._head.size_bytes:
            self._refuse_headers()
        elif error := self._head.error(method, version):
            self._refuse(400, "invalid_http", error)
        elif upgrade and method not in ("GET", "HEAD"):  # httptools would skip its body
            self._again = self._head.without_upgrade(method, version)
        else:
            self._begin_exchange(self._head.scope(method, version), may_keep_alive=not upgrade)

    def on_body(self, body: bytes) -> None:
        self._header_bytes = 0
        if self._arriving is None:
            return
        if not self._arriving.complete:
            self._arriving.feed_body(body)
            self.update_reading()
            return
        self._drained_bytes += len(body)
        if self._drained_bytes > DRAIN_BYTES:
            self._close()

    def on_message_complete(self) -> None:
        self._within_request = False
        arrived, self._arriving = self._arriving, None
        if arrived is not None:
            arrived.feed_end()
            self._wait_for_next()
            if arrived.complete and not arrived.keep_alive:
                self._close()

    # Called by exchanges.

    def update_reading(self) -> None:
        """Pause or resume reading the socket, by how much the app hasn't read yet."""
        unread = self._arriving.unread_bytes if self._arriving else 0
        reading = self._discarding or (len(self._exchanges) < 2 and unread <= UNREAD_BYTES)
        if reading == self._reading or self._transport.is_closing():
            return
        self._reading = reading
        if reading:
            self._deadline.resume()
            self._transport.resume_reading()
        else:
            self._deadline.pause()
            self._transport.pause_reading()

    def response_complete(self, exchange: Exchange) -> None:
        self._server.total_requests += 1
        self._count_status(exchange.status)
        self._exchanges.popleft()
        if not exchange.keep_alive:
            if exchange is not self._arriving:  # else the sender would miss the response
                self._close()
        elif self._exchanges:
            self._run_app(self._exchanges[0])
        elif self._refusal is not None:
            self._respond_and_close(*self._refusal)
        self._wait_for_next()
        self._parse()
        self.update_reading()

    def response_failed(self, exchange: Exchange) -> None:
        if exchange.started:
            self._close()
        else:
            self._respond_and_close(500, "internal", "tmon failed here; its log says why")

    def _parse(self) -> None:
        """Parse what has arrived, until two requests wait for their response."""
        while self._unparsed and not self._discarding and len(self._exchanges) < 2:
            end = end_of_few_requests(self._unparsed)
            part, self._unparsed = self._unparsed[:end], self._unparsed[end:]
            self._part_bytes = len(part)
            self._header_bytes += len(part)
            try:
                self._parser.feed_data(part)
            except httptools.HttpParserUpgrade as upgrade:
                again, self._again, self._header_bytes = self._again, b"", 0
                self._discarding = not again
                self._parser = httptools.HttpRequestParser(self)
                self._unparsed = again + part[upgrade.args[0] :] + self._unparsed
            except httptools.HttpParserCallbackError:
                log.exception("a request could not be taken")
                self._refuse(500, "internal", "tmon failed here; its log says why")
            except httptools.HttpParserError:
                self._refuse(400, "invalid_http", "this is not HTTP as it should be")
            if self._header_bytes > HEADER_BYTES and (
                self._awaiting is Awaiting.HEADERS or self._awaiting is Awaiting.BODY
            ):  # of a body, these bytes are chunk sizes and trailers
                self._refuse_headers()

    def _begin_exchange(self, scope: dict[str, Any], *, may_keep_alive: bool) -> None:
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
            self._run_app(exchange)
        else:
            self.update_reading()

    def _run_app(self, exchange: Exchange) -> None:
        task = self._loop.create_task(exchange.run(self._app))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    def _wait_for_next(self) -> None:
        """If no request is arriving, wait for our response, or else for the next request."""
        if self._arriving is not None or self._discarding or self._awaiting is Awaiting.HEADERS:
            return
        if self._exchanges:
            self._wait_for(Awaiting.RESPONSE, math.inf)
        else:
            self._wait_for(Awaiting.NEXT_REQUEST, self._keep_alive_s)

    def _wait_for(self, what: Awaiting, timeout_s: float) -> None:
        self._awaiting = what
        self._deadline.set(timeout_s)

    def _on_timeout(self) -> None:
        if self._awaiting is Awaiting.HEADERS:
            self._refuse(408, "too_slow", f"the headers took over {self.header_s:g} s to arrive")
        elif self._awaiting is Awaiting.BODY:
            self._refuse(408, "too_slow", f"the body took over {self.body_s:g} s to arrive")
        else:
            self._close()

    def _refuse_headers(self) -> None:
        self._refuse(431, "headers_too_large", f"the headers are over {HEADER_BYTES:,} bytes")

    def _refuse(self, status: int, code: str, error: str) -> None:
        """Respond with an error and close, once earlier requests have their responses."""
        if self._discarding:
            return
        self._discarding, self._within_request, self._unparsed = True, False, b""
        arriving, self._arriving = self._arriving, None
        if arriving is not None and not arriving.complete:
            self._exchanges.remove(arriving)
            arriving.disconnect()
        if arriving is not None and arriving.started:
            self._close()
        elif self._exchanges:
            self._refusal = status, code, error
        else:
            self._respond_and_close(status, code, error)

    def _close(self) -> None:
        """Close when all is sent; discard what still arrives."""
        self._discarding = True
        self._transport.close()

    def _respond_and_close(self, status: int, code: str, error: str) -> None:
        """Send a last response. Read on meanwhile: a reset would discard that response."""
        if self._transport.is_closing():
            return
        self._discarding = True
        self._count_status(status)
        self.write(closing_response(status, code, error))
        self._transport.write_eof()
        self._wait_for(Awaiting.CLOSE, LINGER_S)
        self.update_reading()
