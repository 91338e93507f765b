"""InfluxDB's wire: line protocol for versions 1, 2 and 3, and the probes of its clients."""

from typing import Any

import msgspec
from starlette.responses import Response

from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.line_protocol import AUTO, add_lines
from ingest.wire.wire import Wire, WireRequest
from tmon.core.errors import ApiError, InvalidBody
from tmon.core.reading import Receipt, clip

WRITES = ("/write", "/api/v2/write", "/api/v3/write_lp")
OTHERS = ("/api/v2/", "/api/v3/")  # of InfluxDB's API, which has much that isn't here
VERSION = {"X-Influxdb-Version": "2.7.0-tmon", "X-Influxdb-Build": "tmon"}
NAMED_LINES = 20  # of those that could not be stored
CODES = {401: "unauthorized", 403: "unauthorized", 404: "not found", 413: "request too large"}
# Nanoseconds of each precision; v3 spells them out.
PRECISIONS = {
    **dict.fromkeys(("", "ns", "n", "nanosecond"), 1),
    **dict.fromkeys(("us", "u", "microsecond"), 1_000),
    **dict.fromkeys(("ms", "millisecond"), 1_000_000),
    **dict.fromkeys(("s", "second"), 1_000_000_000),
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "auto": AUTO,
}


class Influx(Wire):
    name = "influxdb"
    methods = frozenset(("POST",))

    def takes_path(self, path: str) -> bool:
        is_known = path.rstrip("/").endswith((*WRITES, "/ping", "/health", "/query"))
        return is_known or any(prefix in path for prefix in OTHERS)

    def probe(self, request: WireRequest) -> Response | None:
        path = request.path.rstrip("/")
        if path.endswith("/ping"):
            # Tasmota writes only if a verbose ping is answered with 200.
            if request.query.get("verbose"):
                return _json({"version": VERSION["X-Influxdb-Version"]}, 200)
            return Response(status_code=204, headers=VERSION)
        if path.endswith("/health"):
            health = {"name": "influxdb", "status": "pass", "version": "2.7.0", "checks": []}
            return _json({**health, "message": "ready for queries and writes"}, 200)
        if path.endswith("/query"):
            return _json(_query(request), 200)
        if not path.endswith(WRITES):
            return _error(404, "tmon only takes writes; send a key or a token as the token")
        return None

    def parse(self, request: WireRequest, batch: BatchBuilder) -> None:
        precision = request.query.get("precision", "")
        unit_ns = PRECISIONS.get(precision)
        if unit_ns is None:
            raise InvalidBody(f"precision {clip(precision)!r} must be one of ns, us, ms, s")
        add_lines(request.body.decode(errors="replace"), unit_ns, batch)

    def success(self, request: WireRequest, receipt: Receipt, notes: list[str]) -> Response:
        """204; if some lines could not be stored, a 400 that names them: no client repeats it.

        But for Telegraf's outputs.http, which repeats whatever isn't 2xx for ever. Unlike its
        outputs for InfluxDB, it names no database.
        """
        is_telegraf = request.headers.get(b"user-agent", b"").startswith(b"Telegraf")
        repeats = is_telegraf and not request.query.keys() & {"db", "bucket"}
        if not receipt.rejected or repeats:
            return Response(status_code=204, headers=VERSION)
        why = "; ".join(each.error for each in receipt.rejected[:NAMED_LINES])
        stored = receipt.accepted + receipt.duplicates
        return _error(400, f"partial write: {stored} points stored, but not these: {why}")

    def failure(self, error: ApiError) -> Response:
        response = _error(error.status, str(error))
        if error.status == 401:  # collectd sends its password only then
            response.headers["WWW-Authenticate"] = 'Basic realm="tmon"'
        return response


def _query(request: WireRequest) -> dict[str, Any]:
    """The two statements that clients send before they write.

    Any database is there: Glances, for one, looks for the one it was told to use.
    """
    statement = request.query.get("q", "").strip().upper()
    if not statement.startswith("SHOW DATABASES"):
        return {"results": [{"statement_id": 0}]}
    names = dict.fromkeys(("tmon", request.query.get("db") or "tmon"))
    series = {"name": "databases", "columns": ["name"], "values": [[name] for name in names]}
    return {"results": [{"statement_id": 0, "series": [series]}]}


def _error(status: int, error: str) -> Response:
    code = CODES.get(status, "invalid" if status < 500 else "unavailable")
    if status == 429:
        code = "too many requests"
    response = _json({"error": error, "code": code, "message": error}, status)
    response.headers["X-Influxdb-Error"] = error.encode("ascii", "replace").decode()[:400]
    return response


def _json(content: object, status: int) -> Response:
    body = msgspec.json.encode(content)
    return Response(body, status, headers=VERSION, media_type="application/json")
