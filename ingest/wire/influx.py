"""InfluxDB's wire: line protocol for versions 1, 2 and 3, and the probes of its clients."""

import re
from contextlib import suppress
from typing import Any

import msgspec
from starlette.responses import Response

from ingest.wire.batch_builder import BatchBuilder, sensor_name
from ingest.wire.values import CONVERSIONS
from ingest.wire.wire import Wire, WireRequest
from tmon.core.errors import ApiError, InvalidBody
from tmon.core.reading import Gateway, Receipt, Refusal, Sender, clip

WRITES = ("/write", "/api/v2/write", "/api/v3/write_lp")
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
}
NS_IN_MS = 1_000_000

# Units that a field's last part names, and units that Home Assistant has as measurements.
_SUFFIXES = {
    "C": "°C",
    "F": "°F",
    "hPa": "hPa",
    "kPa": "kPa",
    "pct": "%",
    "percent": "%",
    "V": "V",
    "mV": "mV",
    "lux": "lx",
    "ppm": "ppm",
    "mm": "mm",
    "in": "in",
    "km_h": "km/h",
    "mi_h": "mph",
    "m_s": "m/s",
}
_SUFFIX = re.compile(r"(.+)_({})".format("|".join(_SUFFIXES)))
_PLAIN_MEASUREMENTS = ("state", "units")  # Home Assistant's for what has no unit
_ESCAPED = re.compile(r"\\([,= \\])")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
# A field's value: a float, an integer with i or u, a boolean or a text.
DIGITS = frozenset("0123456789.")
_INTEGER = re.compile("([-+]?[0-9]{1,20})[iu]")
Field = tuple[str, str | None, str]  # a sensor's name, its unit, and its device behind a gateway
_cache: dict[tuple[str, str, str], Field] = {}  # by sender, head and field
DEVICE_TAGS = ("device", "host", "node", "source", "id")  # which of a gateway's tags says whose
CACHED_FIELDS = 16_384
_BOOLEANS = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), 1.0),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), 0.0),
}


class Influx(Wire):
    name = "influxdb"
    methods = frozenset(("POST",))

    def takes_path(self, path: str) -> bool:
        return path.rstrip("/").endswith((*WRITES, "/ping", "/health", "/query"))

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
        return None

    def parse(self, request: WireRequest, batch: BatchBuilder) -> None:
        precision = request.query.get("precision", "")
        unit_ns = PRECISIONS.get(precision)
        if unit_ns is None:
            raise InvalidBody(f"precision {clip(precision)!r} must be one of ns, us, ms, s")
        for number, line in enumerate(request.body.decode(errors="replace").split("\n"), 1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            try:
                _add_line(text, unit_ns, batch)
            except Refusal as refusal:
                named = Refusal(refusal.code, f"line {number}: {refusal.reason}")
                batch.reject(named, value=clip(text))

    def success(self, request: WireRequest, receipt: Receipt, notes: list[str]) -> Response:
        """204; if some lines could not be stored, a 400 that names them: no client repeats it."""
        if not receipt.rejected:
            return Response(status_code=204, headers=VERSION)
        why = "; ".join(each.error for each in receipt.rejected[:NAMED_LINES])
        stored = receipt.accepted + receipt.duplicates
        return _error(400, f"partial write: {stored} points stored, but not these: {why}")

    def failure(self, error: ApiError) -> Response:
        response = _error(error.status, str(error))
        if error.status == 401:  # collectd sends its password only then
            response.headers["WWW-Authenticate"] = 'Basic realm="tmon"'
        return response


def _add_line(line: str, unit_ns: int, batch: BatchBuilder) -> None:
    """Add the numeric fields of one line of line protocol."""
    if "\\" in line or '"' in line:
        head, fields, time = _split(line)
    else:
        head, _, rest = line.partition(" ")
        fields_text, _, time = rest.strip().partition(" ")
        fields = [field.partition("=")[::2] for field in fields_text.split(",")]
    time = time.strip()
    measured_ms = None
    if time:
        if not (time.isascii() and time.removeprefix("-").isdecimal()):
            raise Refusal("invalid_time", f"{clip(time)!r} is no integer time")
        measured_ms = int(time[:30]) * unit_ns // NS_IN_MS
    for field, text in fields:
        value = _value(field, text)
        if value is not None:
            sensor, unit, batch.device = _sensor(head, field, batch.sender)
            if unit in CONVERSIONS:
                batch.add(sensor, text.rstrip("iu"), unit, measured_ms)
            else:
                batch.add_number(sensor, value, unit, measured_ms)


def _value(field: str, text: str) -> float | None:
    """A field's number; None for a text, which is an attribute and not stored.

    Raises:
        Refusal: it is neither.
    """
    if text[-1:] in DIGITS and text.isascii() and "_" not in text:
        with suppress(ValueError):
            return float(text)
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if found := _INTEGER.fullmatch(text):
        return float(found[1])
    if len(text) > 1 and text[0] == text[-1] == '"':
        return None
    raise Refusal("invalid_value", f"field {clip(field)!r} has no number: {clip(text)!r}")


def _split(line: str) -> tuple[str, list[tuple[str, str]], str]:
    """A line with escapes or texts: measurement and tags, fields, and time."""
    head, rest = _until_blank(line)
    rest = rest.strip()
    fields_text, time = _until_blank(rest)
    fields = []
    for part in _parts(fields_text, ","):
        name, *value = _parts(part, "=", 1)
        fields.append((_ESCAPED.sub(r"\1", name), value[0] if value else ""))
    return head, fields, time


def _until_blank(text: str) -> tuple[str, str]:
    first, *rest = _parts(text, " ", 1)
    return first, rest[0] if rest else ""


def _parts(text: str, separator: str, most: int = -1) -> list[str]:
    """Split at a separator that is neither escaped nor within a quoted text."""
    parts, start, at = [], 0, 0
    while at < len(text) and most:
        if text[at] == "\\":
            at += 2
        elif text[at] == '"' and (found := _STRING.match(text, at)):
            at = found.end()
        elif text[at] == separator:
            parts.append(text[start:at])
            at = start = at + 1
            most -= 1
        else:
            at += 1
    return [*parts, text[start:]]


def _sensor(head: str, field: str, sender: Sender) -> Field:
    """The name, unit and device of a series' field, from the cache if they are in it."""
    key = sender.id, head, field
    if (known := _cache.get(key)) is None:
        if len(_cache) >= CACHED_FIELDS:
            _cache.clear()
        known = _cache[key] = _new_sensor(head, field, sender)
    return known


def _new_sensor(head: str, field: str, sender: Sender) -> Field:
    """The name, unit and device of a series' field: by its measurement, tags and field.

    Raises:
        Refusal: a tag or the field's name is empty or repeated.
    """
    measurement, *pairs = (
        [_ESCAPED.sub(r"\1", part) for part in _parts(part, "=", 1)] for part in _parts(head, ",")
    )
    name = "=".join(measurement)
    tags = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    if not name or not field or len(tags) < len(pairs) or not all(tags.values()):
        raise Refusal("invalid_line", f"{clip(head)!r}: a name or a tag is empty or repeated")
    device = ""
    if isinstance(sender, Gateway):
        device = next((tags.pop(tag) for tag in DEVICE_TAGS if tag in tags), "")
    elif tags.get("host", "").casefold() in {
        one.casefold() for one in (sender.name, sender.label, *sender.former)
    }:
        del tags["host"]  # it says nothing that the node doesn't
    if "entity_id" in tags:
        return (*_of_home_assistant(name, tags, field), device)
    unit = None
    if found := _SUFFIX.fullmatch(field):
        field, unit = found[1], _SUFFIXES[found[2]]
    parts = [name, *(tags[key] for key in sorted(tags))]
    if field != "value":
        parts.append(field)
    return sensor_name("/".join(parts)), unit, device


def _of_home_assistant(
    measurement: str, tags: dict[str, str], field: str
) -> tuple[str, str | None]:
    """An entity's state is called as the entity; its attributes have their name behind it."""
    domain, entity = tags.get("domain", "sensor"), tags["entity_id"]
    name = entity if domain == "sensor" else f"{domain}.{entity}"
    if field != "value":
        return sensor_name(f"{name}/{field}"), None
    is_unit = measurement not in (*_PLAIN_MEASUREMENTS, f"{domain}.{entity}")
    return sensor_name(name), measurement if is_unit and len(measurement) <= 32 else None


def _query(request: WireRequest) -> dict[str, Any]:
    """The two statements that clients send before they write."""
    statement = request.query.get("q", "").strip().upper()
    if not statement.startswith("SHOW DATABASES"):
        return {"results": [{"statement_id": 0}]}
    series = {"name": "databases", "columns": ["name"], "values": [["tmon"]]}
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
