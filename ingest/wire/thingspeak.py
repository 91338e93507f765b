"""ThingSpeak: ``/update`` for one entry of up to eight fields, ``bulk_update`` for many.

Sources: mathworks/thingspeak-arduino src/ThingSpeak.h; mathworks.com/help/thingspeak.
"""

import re
from datetime import UTC
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.wire import NO_STORE, Wire, WireRequest
from tmon.core.errors import ApiError, InvalidBody
from tmon.core.reading import Receipt, Refusal, clip
from tmon.core.time import parse_zone

_UPDATE = re.compile(r"/update(?:\.json|\.xml)?/?")
_BULK = re.compile(r"/channels/[0-9]+/bulk_update\.(json|csv)/?")
ENTRY = "an object with created_at or delta_t"
FIELDS = [f"field{number}" for number in range(1, 9)]
PLACES = {"lat": "latitude", "long": "longitude", "elevation": "elevation"}


class ThingSpeak(Wire):
    name = "thingspeak"
    methods = frozenset(("GET", "POST"))

    def takes_path(self, path: str) -> bool:
        return bool(_UPDATE.fullmatch(path) or _BULK.fullmatch(path))

    def parse(self, request: WireRequest, batch: BatchBuilder) -> None:
        if not _BULK.fullmatch(request.path):
            _add(request.fields, _time(request.fields, batch), batch)
            return
        updates = _csv(request.fields) if ".csv" in request.path else request.fields.get("updates")
        if not isinstance(updates, list):
            raise InvalidBody(f"expected updates, each {ENTRY}")
        for odd in (one for one in updates if not isinstance(one, dict)):
            refusal = Refusal("invalid_reading", f"expected {ENTRY}")
            batch.reject(refusal, value=clip(str(odd)[:1000]))
        updates = [one for one in updates if isinstance(one, dict)]
        # delta_t: seconds since the entry before; the last one is taken to be of now.
        at_ms = batch.received_ms
        times: list[int | None] = []
        for update in reversed(updates):
            times.append(at_ms if "delta_t" in update else _time(update, batch))
            at_ms -= _milliseconds(update.get("delta_t", 0))
        for update, measured_ms in zip(updates, reversed(times), strict=True):
            _add(update, measured_ms, batch)

    def success(self, request: WireRequest, receipt: Receipt, notes: list[str]) -> Response:
        if _BULK.fullmatch(request.path):
            return _spelt(JSONResponse({"success": True}, 202))
        entry = receipt.accepted + receipt.duplicates  # 0: nothing was stored
        if ".json" in request.path:
            return _spelt(JSONResponse({"entry_id": entry}, headers=NO_STORE))
        return _spelt(PlainTextResponse(str(entry), headers=NO_STORE))

    def failure(self, error: ApiError) -> Response:
        status = 400 if error.status in {401, 403} else error.status
        document = {"status": status, "error": {"error_code": error.code, "message": str(error)}}
        return _spelt(JSONResponse(document, status, headers=NO_STORE))


def _add(fields: dict[str, Any], measured_ms: int | None, batch: BatchBuilder) -> None:
    for field in (*FIELDS, *PLACES):
        if field in fields:
            batch.add(PLACES.get(field, field), fields[field], None, measured_ms)


def _time(fields: dict[str, Any], batch: BatchBuilder) -> int | None:
    """The entry's time; without a zone it is in the entry's own, else UTC."""
    try:
        zone = parse_zone(str(fields.get("timezone") or "UTC"))
    except ValueError:
        zone = UTC
    return batch.time_of(str(fields.get("created_at") or ""), zone)


def _milliseconds(seconds: Any) -> int:
    try:
        return round(float(seconds) * 1000)
    except (ValueError, TypeError, OverflowError):
        raise InvalidBody("delta_t must be a number of seconds") from None


def _csv(fields: dict[str, Any]) -> list[dict[str, str]]:
    """Rows of ``time,field1,...,field8,lat,long,elevation,status``, with | between them."""
    time = "delta_t" if fields.get("time_format") == "relative" else "created_at"
    names = [time, *FIELDS, *PLACES]
    rows = str(fields.get("updates", "")).strip("|").split("|")
    return [dict(zip(names, row.split(","), strict=False)) for row in rows if row]


def _spelt(response: Response) -> Response:
    """The Arduino library looks for ``Content-Length`` in exactly this spelling."""
    response.raw_headers = [
        (b"Content-Length" if name == b"content-length" else name, value)
        for name, value in response.raw_headers
    ]
    return response
