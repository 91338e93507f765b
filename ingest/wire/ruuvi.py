"""Ruuvi Gateway: the tags it has heard, as raw advertisements in data format 5, or decoded.

Source: ruuvi/ruuvi.gateway_esp.c main/http_json.c.
"""

from starlette.responses import PlainTextResponse, Response

from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.wire import Wire, WireRequest
from tmon.core.device_times import seconds_ms
from tmon.core.reading import Node, Receipt
from tmon.core.ruuvi import FIELDS, Sequences, decoded, sequence_of
from tmon.db.devices import MOST_ID

RATE_S = 60  # we ask the gateway to send once a minute: by itself it sends every ten seconds


class Ruuvi(Wire):
    """A measurement that is repeated has the same sequence number: it is stored once.

    Also if two gateways receive a tag; but each that is a node has the tag's readings as its own.
    """

    name = "ruuvi"

    def __init__(self) -> None:
        self._sequences = Sequences()

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
            measured_ms = seconds_ms(tag.get("timestamp"))
            sequence = sequence_of(fields)
            if sequence is not None and len(address) <= MOST_ID:
                number, at_ms = (
                    (owner + address.upper(), sequence),
                    measured_ms or batch.received_ms,
                )
                if self._sequences.is_stored(number, at_ms):
                    continue
                request.sequences[number] = at_ms
            batch.device = str(address)
            for field, name, unit in FIELDS:
                if field in fields:
                    batch.add(name, fields[field], unit, measured_ms)

    def success(self, request: WireRequest, receipt: Receipt, notes: list[str]) -> Response:
        """What is stored now needs not be stored again; only then is its number remembered."""
        self._sequences.remember(request.sequences)
        return PlainTextResponse("OK\n", headers={"X-Ruuvi-Gateway-Rate": str(RATE_S)})
