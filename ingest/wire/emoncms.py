"""Emoncms' input API, which emonhub, EmonESP and many sketches speak.

A node of Emoncms is a part of the sensor's name here: one key is one of our nodes.
Source: emoncms/emoncms Modules/input (input_methods.php, input_controller.php).
"""

import json
import re
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from ingest.body import inflate
from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.items import READINGS_LIMIT, check_values
from ingest.wire.wire import NO_STORE, Wire, WireRequest
from tmon.core.device_times import seconds_ms
from tmon.core.errors import ApiError, InvalidBody, TooLarge
from tmon.core.reading import Receipt, Refusal, clip

_PATH = re.compile(r".*/input/(post|bulk)(?:\.json)?(?:/([^/]+))?/?")
ROWS = "rows of [time, node, value, ...]"
MOST_VALUES = 50_000  # emonhub sends 1,000 rows after an outage, and can't send fewer
RIGHT_CLOCK_S = 10  # beside the network's delay and whole seconds
_BARE_KEY = re.compile(r"([{,]\s*)([A-Za-z_][\w.-]*)(\s*:)")  # {power1:100}


class Emoncms(Wire):
    name = "emoncms"
    methods = frozenset(("GET", "POST"))

    def takes_path(self, path: str) -> bool:
        return _PATH.fullmatch(path) is not None

    def parse(self, request: WireRequest, batch: BatchBuilder) -> None:
        found = _PATH.fullmatch(request.path)
        if found and found[1] == "bulk":
            _add_bulk(request, batch)
            return
        fields = request.fields
        node = (found and found[2]) or str(fields.get("node", ""))
        values = _values(fields)
        time = next((values.pop(name) for name in [*values] if name.lower() == "time"), None)
        time = fields.get("time", "now") if time is None else time
        measured_ms = seconds_ms(time) or batch.time_of(str(time))
        for name, value in values.items():
            batch.add(_sensor(node, name), value, None, measured_ms)

    def success(self, request: WireRequest, receipt: Receipt, notes: list[str]) -> Response:
        """Exactly ``ok``: emonhub sends again whatever is answered otherwise."""
        if "fulljson" in request.fields and "/bulk" not in request.path:
            return JSONResponse({"success": True}, headers=NO_STORE)
        return PlainTextResponse("ok", headers=NO_STORE)

    def failure(self, error: ApiError) -> Response:
        """Errors that a repeat can't mend are a 200, as Emoncms' own are."""
        status = 200 if error.status in {400, 413, 415} else error.status
        message = {"success": False, "message": str(error)}
        return JSONResponse(message, status, headers=NO_STORE)


def _values(fields: dict[str, Any]) -> dict[str, Any]:
    """The names and values of a post: JSON, strict or not, or CSV."""
    text = str(fields.get("fulljson", fields.get("json", fields.get("data", ""))))
    if "csv" in fields or not text.lstrip().startswith("{"):
        text = str(fields.get("csv", text))
        if not text.strip():
            raise InvalidBody("send one of fulljson, json, csv or data")
        return {str(place): value for place, value in enumerate(text.split(","), 1)}
    values = _loads(text if "fulljson" in fields else _BARE_KEY.sub(r'\1"\2"\3', text))
    if not isinstance(values, dict):
        raise InvalidBody("expected an object of names and values")
    return values


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidBody(f"this is not JSON: {clip(str(error))}") from None


def _rows(request: WireRequest, query: dict[str, str]) -> list[Any]:
    text = str(query.get("data", ""))
    if query.get("cb") == "1":
        text = inflate(request.body)
    elif query.get("c") == "1":
        try:
            text = inflate(bytes.fromhex(text))
        except ValueError:
            raise InvalidBody("data is not hexadecimal") from None
    check_values(text.encode(errors="replace"))
    rows = _loads(text)
    if not isinstance(rows, list):
        raise InvalidBody(f"expected {ROWS}")
    if len(rows) > READINGS_LIMIT:
        raise TooLarge(f"over {READINGS_LIMIT:,} rows in one request; send fewer")
    return rows


def _add_bulk(request: WireRequest, batch: BatchBuilder) -> None:
    """Rows of ``[time, node, value, ...]``; a value may be null or ``{"name": value}``."""
    batch.limit = MOST_VALUES
    query = {**request.form, **request.query}
    rows = _rows(request, query)
    times = [_row_time(row) for row in rows]
    try:
        known = [time for time in times if time is not None]
        offset_s = _offset_s(query, known, batch.received_ms / 1000)
    except ValueError:
        raise InvalidBody("time, sentat or offset is no number of seconds") from None
    for row, time in zip(rows, times, strict=True):
        if time is None:  # alone: emonhub would send all of them again, for ever
            refusal = Refusal("invalid_reading", f"expected {ROWS}; each time in seconds")
            batch.reject(refusal, value=clip(str(row)[:1000]))
            continue
        measured_ms = seconds_ms(time + offset_s)
        place = 0
        for value in row[2:]:
            named = value.items() if isinstance(value, dict) else [(str(place := place + 1), value)]
            for name, each in named:
                batch.add(_sensor(str(row[1]), name), each, None, measured_ms)


def _row_time(row: object) -> float | None:
    try:
        return float(row[0]) if isinstance(row, list) and len(row) > 1 else None
    except (ValueError, TypeError, OverflowError):
        return None


def _offset_s(query: dict[str, str], times: list[float], now_s: float) -> float:
    """What is added to each row's time to make it Unix seconds."""
    if "sentat" in query:
        # Rows of a clock that is right keep their times, so that a repeat is a duplicate.
        late_s = now_s - float(query["sentat"])
        return 0.0 if abs(late_s) < RIGHT_CLOCK_S else late_s
    if "offset" in query:
        return now_s - float(query["offset"])
    if "time" in query:
        return float(query["time"])
    return now_s - times[-1] if times else 0.0


def _sensor(node: str, name: str) -> str:
    return f"{node}/{name}" if node else name
