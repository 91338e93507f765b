"""collectd's plugin write_http, with ``Format JSON``: lists of values, as its daemon gathers them.

Source: collectd's write_http(5) and src/utils/format_json/format_json.c.
"""

from starlette.responses import PlainTextResponse, Response

from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.wire import Wire, WireRequest
from tmon.core.device_times import seconds_ms
from tmon.core.errors import ApiError, InvalidBody
from tmon.core.reading import Refusal, clip

EXPECTED = "objects with values and dsnames"
# Of types.db, those with one unit whatever the plugin.
UNITS = {"temperature": "°C", "humidity": "%", "percent": "%", "voltage": "V", "current": "A"}


class Collectd(Wire):
    """A sensor is called as collectd calls its files: ``df-root/df_complex-used``."""

    name = "collectd"

    def takes(self, request: WireRequest) -> bool:
        return request.body[:1] == b"[" and b'"dsnames"' in request.body[:4000]

    def parse(self, request: WireRequest, batch: BatchBuilder) -> None:
        good = [one for one in request.json if _has_values(one)]
        if not good:
            raise InvalidBody(f"expected a list of {EXPECTED}")
        for odd in (one for one in request.json if not _has_values(one)):
            refusal = Refusal("invalid_reading", f"expected {EXPECTED}")
            batch.reject(refusal, value=clip(str(odd)[:1000]))
        for one in good:
            batch.device = str(one.get("host", ""))
            name = "/".join(_with_instance(one, part) for part in ("plugin", "type"))
            measured_ms = seconds_ms(one.get("time"))
            for source, value in zip(one["dsnames"], one["values"], strict=False):
                sensor = name if source == "value" else f"{name}/{source}"
                batch.add(sensor, value, UNITS.get(str(one.get("type"))), measured_ms)

    def failure(self, error: ApiError) -> Response:
        """The daemon logs an error, and drops what it sent."""
        return PlainTextResponse(f"{error}\n", error.status)


def _has_values(one: object) -> bool:
    lists = (one.get("dsnames"), one.get("values")) if isinstance(one, dict) else (None,)
    return all(isinstance(each, list) for each in lists)


def _with_instance(one: dict[str, object], part: str) -> str:
    instance = one.get(f"{part}_instance")
    return f"{one.get(part)}-{instance}" if instance else str(one.get(part))
