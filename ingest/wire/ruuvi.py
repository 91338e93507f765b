"""Ruuvi Gateway: the tags it has heard, as raw advertisements in data format 5, or decoded.

Source: ruuvi/ruuvi.gateway_esp.c main/http_json.c.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.responses import PlainTextResponse, Response

from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.wire import Wire, WireRequest
from tmon.core.device_times import seconds_ms
from tmon.core.reading import Node, Receipt, Refusal, check_measured
from tmon.core.ruuvi import FIELDS, decoded, sequence_of
from tmon.db.devices import MOST_ID

RATE_S = 60  # we ask the gateway to send once a minute: by itself it sends every ten seconds


class Ruuvi(Wire):
    """A measurement that is repeated has the same sequence number, and so gets the same time.

    It is stored once, also if two gateways receive a tag; but each that is a node has the tag's
    readings as its own. How strong the signal was is that of the first.
    """

    name = "ruuvi"

    def takes(self, request: WireRequest) -> bool:
        return b'"gw_mac"' in request.body[:4000]

    def parse(self, request: WireRequest, batch: BatchBuilder) -> None:
        batch.device_in_names = True
        owner = f"{batch.sender.id} " if isinstance(batch.sender, Node) else ""
        data = request.json.get("data") if isinstance(request.json, dict) else None
        tags = data.get("tags") if isinstance(data, dict) else None
        for address, tag in tags.items() if isinstance(tags, dict) else ():
            if not isinstance(tag, dict):
                continue
            fields = {**tag, **decoded(str(tag.get("data", "")))}
            measured_ms = _measured_ms(tag, batch)
            sequence = sequence_of(fields)
            if sequence is not None and len(address) <= MOST_ID:
                number = owner + address.upper(), sequence
                request.numbered[number] = measured_ms
                if number in request.repeated:
                    measured_ms = request.repeated[number]
                    fields.pop("rssi", None)
            batch.device = str(address)
            for field, name, unit in FIELDS:
                if field in fields:
                    batch.add(name, fields[field], unit, measured_ms)

    def success(self, request: WireRequest, receipt: Receipt, notes: list[str]) -> Response:
        return PlainTextResponse("OK\n", headers={"X-Ruuvi-Gateway-Rate": str(RATE_S)})


def _measured_ms(tag: Mapping[str, Any], batch: BatchBuilder) -> int:
    """When a tag was received; now, where the gateway's clock isn't set."""
    measured_ms = seconds_ms(tag.get("timestamp"))
    with suppress(Refusal):
        if measured_ms is not None:
            check_measured(measured_ms, batch.received_ms)
            return measured_ms
    return batch.received_ms
