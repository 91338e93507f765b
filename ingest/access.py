"""The access log: one line a request. Without it, connections use the plain classes."""

import logging
from collections import deque
from time import monotonic
from typing import Any

from ingest.exchange import Exchange
from ingest.http import HttpConnection
from tmon.core.logs import redacted

PATH_CHARACTERS = 400  # of path and query
CLIENT_CLOSED = 499  # nginx's status for a client that didn't wait for the response

log = logging.getLogger("tmon.access")


def connection_type() -> type[HttpConnection]:
    """The connection that logs its requests, if level info is on."""
    return LoggedConnection if log.isEnabledFor(logging.INFO) else HttpConnection


class LoggedExchange(Exchange):
    """An exchange that knows when it began and how much it sent."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._began_s = monotonic()
        self._sent_bytes = 0

    def _write(self, body: bytes, *, more: bool) -> None:
        self._sent_bytes += len(body)
        super()._write(body, more=more)

    def log_request(self, status: int) -> None:
        """Log the request, its status, and its node."""
        path: str = self.scope["raw_path"].decode()
        if query := self.scope["query_string"]:
            path += "?" + query.decode("ascii", "backslashreplace")
        fields = {
            "method": self.scope["method"],
            "path": redacted(path[: 4 * PATH_CHARACTERS])[:PATH_CHARACTERS],  # without tokens
            "status": status,
            "ms": round(1000 * (monotonic() - self._began_s), 1),
            "bytes": self._sent_bytes,
        }
        line = "%(method)s %(path)s %(status)d %(ms)s ms %(bytes)d bytes"
        if node := self.scope.get("node"):  # set by the handler that authenticated it
            fields["node"] = node.name
            line += " %(node)s"
        log.info(line, fields, extra={"fields": fields})


class LoggedConnection(HttpConnection):
    """A connection that logs each request once: answered, failed, refused or given up."""

    exchange_type = LoggedExchange
    _exchanges: deque[LoggedExchange]  # type: ignore[assignment]

    def response_complete(self, exchange: Exchange) -> None:
        self._exchanges[0].log_request(exchange.status)
        super().response_complete(exchange)

    def response_failed(self, exchange: Exchange) -> None:
        if not exchange.started:
            exchange.status = 500
        super().response_failed(exchange)  # closes, so that connection_lost logs it

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        while self._exchanges:
            exchange = self._exchanges.popleft()
            exchange.log_request(exchange.status or CLIENT_CLOSED)

    def _respond_and_close(self, status: int, code: str, error: str) -> None:
        super()._respond_and_close(status, code, error)
        if status != 500:  # logged as its exchange's status
            log.info("refused %d %s", status, code, extra={"fields": {"status": status}})
