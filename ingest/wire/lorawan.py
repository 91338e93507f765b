"""LoRaWAN: webhooks of The Things Stack v3 and of ChirpStack v4, with decoded payloads.

Neither knows units: the keys of the decoded object are the sensors' names, behind the device's.
Sources: TheThingsNetwork/lorawan-stack pkg/applicationserver/io/web;
chirpstack/chirpstack src/integration/http.rs.
"""

from collections.abc import Iterator
from typing import Any

from starlette.responses import PlainTextResponse, Response

from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.wire import Wire, WireRequest
from tmon.core.device_times import utc_ms
from tmon.core.device_values import is_number
from tmon.core.errors import ApiError, InvalidBody
from tmon.core.reading import Receipt

UNITS = {
    "temperature": "°C",
    "humidity": "%",
    "pressure": "hPa",
    "battery": None,
    "battery_voltage": "V",
    "illuminance": "lx",
    "co2": "ppm",
}
DEPTH = 4  # of nested objects in a decoded payload
EVENTS = frozenset(("up", "join", "ack", "txack", "log", "status", "location", "integration"))


class LoRaWAN(Wire):
    name = "lorawan"

    def takes(self, request: WireRequest) -> bool:
        head = request.body[:4000]
        is_event = request.query.get("event") in EVENTS and head[:1] not in (b"", b"[")
        return b'"end_device_ids"' in head or b'"deviceInfo"' in head or is_event

    def parse(self, request: WireRequest, batch: BatchBuilder) -> None:
        batch.device_in_names = True
        if request.query.get("event", "up") not in ("up", "status"):
            return  # joins, acknowledgements and the like, whatever their encoding
        if request.body[:1] not in (b"{", b""):
            raise InvalidBody("choose JSON as the integration's encoding, not Protobuf")
        message = request.json if request.body else {}
        if not isinstance(message, dict):
            raise InvalidBody("expected an object")
        if "end_device_ids" in message:
            _add_things_stack(message, batch)
        else:
            _add_chirpstack(message, batch)

    def success(self, request: WireRequest, receipt: Receipt, notes: list[str]) -> Response:
        """Joins, acknowledgements and the like hold no reading, and are fine too."""
        return PlainTextResponse("ok\n")

    def failure(self, error: ApiError) -> Response:
        return PlainTextResponse(f"{error}\n", error.status)


def _add_things_stack(message: dict[str, Any], batch: BatchBuilder) -> None:
    ids, uplink = message["end_device_ids"], message.get("uplink_message")
    if not isinstance(uplink, dict) or message.get("simulated"):
        return
    if isinstance(ids, dict):
        batch.device = str(ids.get("device_id") or ids.get("dev_eui", ""))
    measured_ms = utc_ms(str(uplink.get("received_at", "")))
    _add(uplink.get("decoded_payload"), uplink.get("rx_metadata"), measured_ms, batch)


def _add_chirpstack(message: dict[str, Any], batch: BatchBuilder) -> None:
    info = message.get("deviceInfo")
    info = info if isinstance(info, dict) else {}
    batch.device = str(info.get("deviceName") or info.get("devEui", ""))
    measured_ms = utc_ms(str(message.get("time", "")))
    if "margin" in message:  # a status
        batch.add("margin", message["margin"], "dB", measured_ms)
        if not message.get("batteryLevelUnavailable"):
            level = message.get("batteryLevel")
            batch.add("battery", level, "%", measured_ms)
        return
    _add(message.get("object"), message.get("rxInfo"), measured_ms, batch)


def _add(decoded: object, gateways: object, measured_ms: int | None, batch: BatchBuilder) -> None:
    """Add a decoded payload, and how strong the best gateway received it."""
    for name, value in _numbers(decoded, DEPTH):
        batch.add(name, value, UNITS.get(name.lower()), measured_ms)
    heard = [one for one in gateways if isinstance(one, dict)] if isinstance(gateways, list) else []
    strengths = [one["rssi"] for one in heard if isinstance(one.get("rssi"), int | float)]
    if strengths:
        batch.add("rssi", max(strengths), "dBm", measured_ms)


def _numbers(value: object, depth: int, name: str = "") -> Iterator[tuple[str, object]]:
    """The numbers and booleans of a decoded payload, nested names with a dot between them.

    Many decoders round to text: ``"3.012"``. Other texts are states and the like.
    """
    if isinstance(value, bool | int | float) or (isinstance(value, str) and is_number(value)):
        yield name or "value", value
    elif isinstance(value, dict) and depth:
        for key, each in value.items():
            yield from _numbers(each, depth - 1, f"{name}.{key}" if name else str(key))
