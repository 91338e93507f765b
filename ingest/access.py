"""One line in the log for each request; where nobody wants it, connections know nothing of it."""

import logging
from collections import deque
from time import monotonic
from typing import Any

from starlette.types import Scope

from ingest.exchange import Exchange
from ingest.http import HttpConnection
from tmon.core.logs import redacted

ASKED_CHARACTERS = 400  # of path and query
GONE = 499  # nginx's number for who didn't wait for the answer

log = logging.getLogger("tmon.access")


def connection_type() -> type[HttpConnection]:
    """The connection that tells what it answered, if level info is on."""
    return LoggedConnection if log.isEnabledFor(logging.INFO) else HttpConnection


class LoggedExchange(Exchange):
    """An exchange that knows when it began and how much it sent."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._began_s = monotonic()
        self._sent_bytes = 0

    def _framed(self, body: bytes, *, more: bool) -> bytes:
        self._sent_bytes += len(body)
        return super()._framed(body, more=more)

    def tell(self, status: int) -> None:
        """Log what was asked for, what was answered, and for which node."""
        fields = {
            "method": self.scope["method"],
            "path": _asked_for(self.scope),
            "status": status,
            "ms": round(1000 * (monotonic() - self._began_s), 1),
            "bytes": self._sent_bytes,
        }
        line = "%(method)s %(path)s %(status)d %(ms)s ms %(bytes)d bytes"
        if node := self.scope.get("node"):  # as its handler identified it
            fields["node"] = node.name
            line += " %(node)s"
        log.info(line, fields, extra={"fields": fields})


class LoggedConnection(HttpConnection):
    """A connection that logs each request once: answered, failed, refused, or nobody there."""

    exchange_type = LoggedExchange
    _exchanges: deque[LoggedExchange]  # type: ignore[assignment]

    def answered(self, exchange: Exchange) -> None:
        self._exchanges[0].tell(exchange.status)
        super().answered(exchange)

    def failed(self, exchange: Exchange) -> None:
        if not exchange.started:
            exchange.status = 500
        super().failed(exchange)  # which closes

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        while self._exchanges:
            exchange = self._exchanges.popleft()
            exchange.tell(exchange.status or GONE)

    def _say(self, status: int, code: str, error: str) -> None:
        super()._say(status, code, error)
        if status != 500:  # which is an exchange's
            log.info("refused %d %s", status, code, extra={"fields": {"status": status}})


def _asked_for(scope: Scope) -> str:
    """Path and query as they were sent, without what opens a door, and cut."""
    path: str = scope["raw_path"].decode()
    if query := scope["query_string"]:
        path += "?" + query.decode("ascii", "backslashreplace")
    return redacted(path[: 4 * ASKED_CHARACTERS])[:ASKED_CHARACTERS]
