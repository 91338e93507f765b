"""Requests of devices that speak another wire than ours: authenticate, parse, store, respond."""

import logging
import re
from collections.abc import Callable, Iterator
from time import monotonic

from starlette.responses import Response
from starlette.types import Receive, Scope

from ingest import credentials
from ingest.auth import Authenticator
from ingest.body import is_compressed, limited_body
from ingest.devices import GatewayDevices
from ingest.readiness import check_ready
from ingest.refused import keep_refused
from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.collectd import Collectd
from ingest.wire.emoncms import Emoncms
from ingest.wire.flat import Flat
from ingest.wire.influx import Influx
from ingest.wire.lorawan import LoRaWAN
from ingest.wire.makers import Makers
from ingest.wire.original import Original
from ingest.wire.ruuvi import Ruuvi
from ingest.wire.sensor_community import SensorCommunity
from ingest.wire.thingspeak import ThingSpeak
from ingest.wire.weather import Weather
from ingest.wire.wire import Wire, WireRequest
from tmon.core.errors import ApiError, Forbidden, Revoked, Unauthorized, UnknownMethod
from tmon.core.reading import Batch, Gateway, Node, Receipt, clip
from tmon.core.recent import Recent

# The first that takes a request has it; the last takes whatever else comes with a key in its path.
WIRES: tuple[type[Wire], ...] = (
    *(Influx, Original, Weather, Emoncms, ThingSpeak),
    *(SensorCommunity, LoRaWAN, Ruuvi, Collectd, Makers, Flat),
)

LOGGED_S = 60.0  # one line for an address in this time
LOGGED_ADDRESSES = 1_000  # whose last line is remembered
SEARCHED_BYTES = 65_536  # a larger body is searched for a key only at its ends

log = logging.getLogger("tmon.wires")


class WireRequests:
    """Responds to requests on other wires; remembers which addresses were logged lately.

    Args:
        devices: of gateways, and those that carry no key.
        count: called with each wire's name and what became of a request.
        clock: seconds.
    """

    def __init__(
        self,
        devices: GatewayDevices,
        count: Callable[[str, str], object],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._devices = devices
        self._wires = [wire() for wire in WIRES]
        self._count = count
        self._clock = clock
        self._logged: Recent[str, float] = Recent(LOGGED_ADDRESSES)

    async def respond(self, scope: Scope, receive: Receive) -> Response | None:
        """The response to a request; None if its path is nobody's.

        Raises:
            sqlite3.Error: the database can't be read.
        """
        path, key = credentials.split_key(re.sub("//+", "/", scope["path"]))
        wire = self.wire_of(path)
        headers = dict(scope["headers"])
        request = WireRequest(scope["method"], path, scope["query_string"], headers)
        if wire is None and not key and next(in_head(request), None) is None:
            return None
        request.wire = wire
        if wire is not None and (probed := wire.probe(request)) is not None:
            return probed
        try:
            receipt, notes = await self._store(scope, receive, request, key)
        except ApiError as error:
            wire = request.wire or self._wires[-1]
            if request.sender is not None:
                await keep_refused(scope, request.sender, error, request.shown)
            if isinstance(error, Unauthorized | Revoked):
                self._log(scope, wire)
            self._count(wire.name, error.code)
            response = wire.failure(error)
            if error.retry_after_s is not None:
                response.headers["Retry-After"] = str(error.retry_after_s)
            return response
        wire = request.wire or self._wires[-1]
        self._count(wire.name, "stored")
        return wire.success(request, receipt, notes)

    async def _store(
        self, scope: Scope, receive: Receive, request: WireRequest, key: bytes
    ) -> tuple[Receipt, list[str]]:
        """Store a request's readings; the receipt, and notes for the answer."""
        state, headers = scope["state"], request.headers
        if request.method not in (request.wire or self._wires[-1]).methods:
            raise UnknownMethod("use another method here")
        authenticator: Authenticator = state["authenticator"]
        found = [key] if key else [*in_head(request)]
        sender = request.sender = authenticator.first_valid(found) if found else None
        check_ready(state)
        body = await limited_body(headers, receive)
        packed = is_compressed(headers)
        if sender is None:
            if len(body) > SEARCHED_BYTES:
                found = [*credentials.at_ends(body)]
            elif not packed:
                request.body = body
                found = [*credentials.in_fields(request.fields)]
            sender = None if found else await self._without_key(request)
            if sender is None:
                sender = request.sender = authenticator.first_valid(found)
        builder = BatchBuilder(sender, state["now_ms"]())
        await state["parser"].parse(
            body, lambda data: self.parse(request, data, builder), packed=packed
        )
        check_claim(authenticator, builder)
        closed = scope["extensions"]["tmon.sender"]

        async def store(batch: Batch) -> Receipt:
            receipt: Receipt = await state["store"](batch, lambda: closed.closed)
            return receipt

        if isinstance(sender, Gateway):
            return await self._devices.store(sender, builder.batches(), store), builder.notes
        scope["node"] = sender
        receipts = [await store(part) for part in builder.parts(sender)]
        return Receipt.merged(receipts), builder.notes

    async def _without_key(self, request: WireRequest) -> Node | None:
        """The node of a device that can't carry a key, if the owner has allowed its id."""
        device = request.wire and request.wire.keyless_device(request)
        return await self._devices.node_without_key(device) if device else None

    def wire_of(self, path: str) -> Wire | None:
        """The wire that a path is the own one of."""
        return next((one for one in self._wires if one.takes_path(path)), None)

    def parse(self, request: WireRequest, body: bytes, batch: BatchBuilder) -> None:
        """Add a request's readings, by the wire that its path or its contents tell."""
        request.body = body
        if request.wire is None:
            request.wire = next(one for one in self._wires if one.takes(request))
        request.wire.parse(request, batch)

    def _log(self, scope: Scope, wire: Wire) -> None:
        """Log that a key isn't valid, at most once a minute for each address."""
        address, now_s = str((scope["client"] or ["?"])[0]), self._clock()
        logged_s = self._logged.get(address)
        if logged_s is not None and now_s - logged_s < LOGGED_S:
            return
        self._logged.set(address, now_s)
        log.warning("%s, %s: no valid key or token", address, wire.name)


def check_claim(authenticator: Authenticator, builder: BatchBuilder) -> None:
    """Refuse a request that names another node than its key's: one of the two is a mistake."""
    name, sender = builder.claimed_node, builder.sender
    is_other = name and isinstance(sender, Node) and not sender.is_called(name)
    if is_other and authenticator.is_node(name):
        raise Forbidden(f"this key is {sender.name}'s, and can't send for {clip(name)!r}")


def in_head(request: WireRequest) -> Iterator[bytes]:
    yield from credentials.in_fields(request.query)
    yield from credentials.in_headers(request.headers)
