"""The devices of gateways: whose node each is; what isn't anybody's yet is kept for the owner."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TypeVar

from msgspec.structs import replace

from tmon.core.errors import (
    DiskFull,
    InvalidBody,
    InvalidName,
    Locked,
    Overloaded,
    RefusedDatabase,
    TooFast,
    Unavailable,
)
from tmon.core.reading import Batch, Gateway, Node, Receipt, Refusal, rejection
from tmon.core.recent import Recent
from tmon.db import nodes
from tmon.db.connect import open_database, sqlite3
from tmon.db.devices import (
    MOST_ID,
    PART,
    Device,
    Devices,
    Waiting,
    is_device_id,
    path_beside,
    timed,
)
from tmon.db.numbered import Number, first_times
from tmon.db.sqlite_errors import primary_code
from tmon.store.refusals import conflict

T = TypeVar("T")
Store = Callable[[Batch], Awaitable[Receipt]]
NodeOf = Callable[[str], Node | None]
NO_DEVICE = (
    "this is a gateway's key, and the request doesn't say which device it is from: "
    "add the device's id to the path, /k/KEY/ID, or use a node's key"
)
BAD_DEVICE = f"a device's id must be at most {MOST_ID} printable characters"
LIMIT_REACHED = (
    "%d devices of the gateway %s are nodes: further ones wait (`tmon device list`), unless "
    "TMON_ADOPT_LIMIT is higher"
)
LOGGED_S = 3_600.0  # a line for a gateway in this time
LOGGED_GATEWAYS = 1_000
MOST_WAIT_S = 10.0  # for others' turn; many senders give up soon after
FAILURES = {sqlite3.SQLITE_FULL: DiskFull, sqlite3.SQLITE_BUSY: Locked}

log = logging.getLogger("tmon.devices")


class GatewayDevices:
    """Owns the thread that uses the devices' file, which is created when it is first needed.

    ``adopt_limit``: how many of a gateway become nodes by themselves. ``node_of``: finds a node.
    """

    def __init__(self, db: Path, adopt_limit: int, node_of: NodeOf) -> None:
        self._db = db
        self._adopt_limit = adopt_limit
        self._node_of = node_of
        self._logged: Recent[str, float] = Recent(LOGGED_GATEWAYS)
        self._thread = ThreadPoolExecutor(1, "devices")
        self._file: Devices | None = None

    async def store(self, gateway: Gateway, batches: Mapping[str, Batch], store: Store) -> Receipt:
        """Store the readings of adopted devices, and keep those of devices that aren't.

        What is kept counts as accepted: it is stored once the owner adopts its device.

        Args:
            gateway: the sender.
            batches: by the ids of devices.
            store: stores a batch of a node.

        Raises:
            InvalidBody: all are of no device.
        """
        valid = {one: batch for one, batch in batches.items() if is_device_id(one)}
        if batches and not valid:
            raise InvalidBody(NO_DEVICE if "" in batches else BAD_DEVICE)
        if gateway.adopts_all or gateway.names_nodes:
            await self._adopt(gateway, valid)
        known, receipts = await self._nodes_and_kept(gateway, valid)
        receipts += [_refused(one, batches[one]) for one in batches.keys() - valid.keys()]
        if gateway.adopts_all or gateway.names_nodes:
            await self._store_waiting(known, batches, store)
        # All at once, so that they share a commit; and none is left alone if another one fails.
        stored = await asyncio.gather(
            *(
                store(replace(batches[device], node=node, gateway=gateway.name))
                for device, node in known.items()
            ),
            return_exceptions=True,
        )
        for one in stored:
            if isinstance(one, BaseException):
                raise one
            receipts.append(one)
        merged = Receipt.merged(receipts)
        return replace(merged, rejected=sorted(merged.rejected, key=lambda each: each.index))

    async def node_without_key(self, device: str) -> Node | None:
        """The node of a device whose id alone the owner has allowed."""
        if not path_beside(self._db).exists():
            return None
        known = await self._use(lambda devices: devices.known(device))
        return self._node(known) if known is not None and known.keyless else None

    async def repeated(self, measured: Mapping[Number, int], now_ms: int) -> dict[Number, int]:
        """The first times of those measurements that were received before."""
        return await self._use(lambda devices: first_times(devices, measured, now_ms))

    async def zones(self, device_ids: Iterable[str]) -> dict[str, str]:
        """The zones that the owner has set for the nodes of devices."""
        known = await self._known(device_ids)
        found = {one: self._node(device) for one, device in known.items()}
        return {device: node.timezone for device, node in found.items() if node is not None}

    async def close(self) -> None:
        if self._file is not None:
            self._thread.submit(self._file.close)
        self._thread.shutdown()

    async def _nodes_and_kept(
        self, gateway: Gateway, batches: Mapping[str, Batch]
    ) -> tuple[dict[str, Node], list[Receipt]]:
        """Each adopted device's node; the receipts of others, whose readings are kept."""
        found: dict[str, Node] = {}
        receipts: list[Receipt] = []
        left = batches
        while left:  # the owner may adopt one in between
            known = await self._known(left)
            for device_id, device in known.items():
                if (node := self._node(device)) is not None:
                    found[device_id] = node
            left = {one: batch for one, batch in left.items() if one not in found}
            kept = await self._keep(gateway, left, known) if left else {}
            receipts += [receipt for receipt in kept.values() if receipt is not None]
            left = {one: left[one] for one, receipt in kept.items() if receipt is None}
        return found, receipts

    def _node(self, device: Device | None) -> Node | None:
        return self._node_of(device.node_uid) if device and device.node_uid else None

    async def _adopt(self, gateway: Gateway, batches: Mapping[str, Batch]) -> None:
        """Make nodes of the devices that nothing was decided about."""
        await self._run(lambda: self._adopt_here(gateway, batches))

    async def _store_waiting(
        self, known: Mapping[str, Node], batches: Mapping[str, Batch], store: Store
    ) -> None:
        """Store what waited of devices that became nodes by themselves; what is too fast, later."""
        with suppress(TooFast):
            for device in await self._use(Devices.adopted_that_wait):
                if device in known:
                    at_ms = batches[device].received_ms
                    await self._store_waiting_of(device, known[device], at_ms, store)

    async def _store_waiting_of(
        self, device: str, node: Node, received_ms: int, store: Store
    ) -> None:
        """Store what waits of a device, and forget it then: after a kill it is stored again."""
        while part := await self._use(lambda devices: devices.waiting(device, PART)):
            await store(Batch(node, received_ms, timed(part)))
            await self._use(partial(Devices.forget, device_id=device, readings=part))

    async def _known(self, device_ids: Iterable[str]) -> dict[str, Device | None]:
        return await self._use(lambda devices: {one: devices.known(one) for one in device_ids})

    async def _keep(
        self, gateway: Gateway, batches: Mapping[str, Batch], known: Mapping[str, Device | None]
    ) -> dict[str, Receipt | None]:
        """Keep readings of devices that aren't adopted, unless they are ignored.

        None in place of a receipt: the owner has decided otherwise than is ``known``.
        """
        return await self._use(
            lambda devices: {
                one: _kept(devices, gateway, one, batch, known[one])
                for one, batch in batches.items()
            }
        )

    async def _use(self, use: Callable[[Devices], T]) -> T:
        """Call a function with the devices' file, in the thread."""

        def call() -> T:
            with self._opened() as devices:
                return use(devices)

        return await self._run(call)

    async def _run(self, function: Callable[[], T]) -> T:
        """Call a function in the thread.

        Raises:
            Overloaded: others took too long before it.
        """
        since_s = monotonic()

        def call() -> T:
            if monotonic() - since_s > MOST_WAIT_S:
                raise Overloaded("the devices' file is busy; try again later")
            return function()

        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    @contextmanager
    def _opened(self) -> Iterator[Devices]:
        """The devices' file; opened again if it isn't what is at its path.

        Raises:
            Unavailable: it can't be used. The database may be fine all the same.
        """
        path = path_beside(self._db)
        try:
            if self._file is not None and not self._file.is_at(path):
                self._file.close()
                self._file = None
            self._file = self._file or Devices(path)
            yield self._file
        except (sqlite3.DatabaseError, OSError) as error:
            log.warning("%s can't be used: %s", path, error)
            code = primary_code(error) if isinstance(error, sqlite3.Error) else 0
            failure = FAILURES.get(code, Unavailable)
            raise failure("the devices' file can't be used now; nothing was stored") from error

    def _to_adopt(self, gateway: Gateway, device_ids: Iterable[str]) -> list[str]:
        """The devices that nothing was decided about; no more than may become nodes."""
        with self._opened() as devices:
            new = [one for one in device_ids if devices.known(one) in (None, Device(one))]
            room = self._adopt_limit - devices.adopted_of(gateway.name) if new else 0
        if len(new) > room:
            self._warn(gateway, LIMIT_REACHED, self._adopt_limit, gateway.name)
        return new[: max(room, 0)]

    def _adopt_here(self, gateway: Gateway, batches: Mapping[str, Batch]) -> None:
        """Make nodes of the devices that nothing was decided about, called as the devices.

        A device whose id isn't to be trusted doesn't become a node that somebody else is.
        """
        if not (new := self._to_adopt(gateway, batches)):
            return
        try:
            with open_database(self._db) as db, self._opened() as devices:
                for device_id in new:
                    with suppress(InvalidName):  # then it waits
                        name = nodes.name_for(device_id)
                        is_used = nodes.is_used(db, name) and not gateway.names_nodes
                        uid = "" if is_used else nodes.find_or_make(db, name).uid
                        if uid and (gateway.names_nodes or not devices.has_node(uid)):
                            now_ms = batches[device_id].received_ms
                            devices.adopt(device_id, uid, now_ms, gateway=gateway.name)
        except RefusedDatabase as error:
            log.warning("no node can be made: %s", error)
            raise Unavailable("no node can be made now; nothing was stored") from error

    def _warn(self, gateway: Gateway, text: str, *arguments: object) -> None:
        """Log a line about a gateway, at most once an hour."""
        now_s, about = monotonic(), f"{gateway.name} {text}"
        logged_s = self._logged.get(about)
        if logged_s is None or now_s - logged_s >= LOGGED_S:
            self._logged.set(about, now_s)
            log.warning(text, *arguments)


def _kept(
    devices: Devices, gateway: Gateway, device_id: str, batch: Batch, decided: Device | None
) -> Receipt | None:
    """Keep what a device has sent; None if something else was decided about it meanwhile."""
    if decided is not None and decided.ignored:
        return Receipt(len(batch.readings), 0, batch.rejected)
    sent = batch.readings
    waiting = [Waiting(one.sensor, one.measured_ms, one.value, one.unit, one.timed) for one in sent]
    if not devices.keep(gateway.name, device_id, waiting, batch.received_ms, decided):
        return None
    rejected = [
        rejection(sent[place].index, sent[place], conflict(sent[place], value))
        for place, value in devices.conflicts(device_id, waiting)
    ]
    return Receipt(len(sent) - len(rejected), 0, [*batch.rejected, *rejected])


def _refused(device: str, batch: Batch) -> Receipt:
    """The readings of what can't be a device are rejected; others of the request are stored."""
    refusal = Refusal("invalid_device", BAD_DEVICE if device else NO_DEVICE)
    rejected = [rejection(one.index, one.sent or one, refusal) for one in batch.readings]
    return Receipt(0, 0, [*batch.rejected, *rejected])
