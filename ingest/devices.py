"""The devices of gateways: whose node each is; what isn't anybody's yet is kept for the owner."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import TypeVar

from msgspec.structs import replace
from sqlite_utils import Database

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
from tmon.db.connect import open_database, open_for_reading, sqlite3
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
from tmon.db.sqlite_errors import primary_code
from tmon.store.refusals import conflict

T = TypeVar("T")
Store = Callable[[Batch], Awaitable[Receipt]]
NO_DEVICE = (
    "this is a gateway's key, and the request doesn't say which device it is from: "
    "add the device's id to the path, /k/KEY/ID, or use a node's key"
)
BAD_DEVICE = f"a device's id must be at most {MOST_ID} printable characters"
LOGGED_S = 3_600.0  # a line for a gateway in this time
LOGGED_GATEWAYS = 1_000
MOST_WAIT_S = 10.0  # for others' turn; many senders give up soon after
FAILURES = {sqlite3.SQLITE_FULL: DiskFull, sqlite3.SQLITE_BUSY: Locked}

log = logging.getLogger("tmon.devices")


class GatewayDevices:
    """Owns the thread that uses the devices' file, which is created when it is first needed.

    ``adopt_limit``: how many devices of a gateway become nodes by themselves.
    """

    def __init__(self, db: Path, adopt_limit: int) -> None:
        self._db = db
        self._adopt_limit = adopt_limit
        self._logged: Recent[str, float] = Recent(LOGGED_GATEWAYS)
        self._thread = ThreadPoolExecutor(1, "devices")
        self._file: Devices | None = None
        self._reader: Database | None = None  # of the database, also in that thread alone

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
        found = await self._run(self._nodes_or_keep, gateway, valid)
        known = {device: one for device, one in found.items() if isinstance(one, Node)}
        receipts = [_refused(one, batches[one]) for one in batches.keys() - valid.keys()]
        receipts += [one for one in found.values() if isinstance(one, Receipt)]
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

    async def _store_waiting(
        self, known: Mapping[str, Node], batches: Mapping[str, Batch], store: Store
    ) -> None:
        """Store what waited of devices that became nodes by themselves; what is too fast, later."""
        with suppress(TooFast):
            for device in await self._run(self._adopted_that_wait):
                while device in known and (part := await self._run(self._waiting, device)):
                    batch = Batch(known[device], batches[device].received_ms, timed(part))
                    await store(batch)
                    await self._run(self._forget, device, part)

    async def node_without_key(self, device: str) -> Node | None:
        """The node of a device whose id alone the owner has allowed."""
        if not path_beside(self._db).exists():
            return None
        return await self._run(self._keyless_node, device)

    def close(self) -> None:
        for opened in (self._file, self._reader):
            if opened is not None:
                self._thread.submit(opened.close)
        self._thread.shutdown()

    async def _run(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function in the thread.

        Raises:
            Overloaded: others took too long before it.
        """
        since_s = monotonic()

        def call() -> T:
            if monotonic() - since_s > MOST_WAIT_S:
                raise Overloaded("the devices' file is busy; try again later")
            return function(*arguments)

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

    def _keyless_node(self, device_id: str) -> Node | None:
        with self._opened() as devices:
            device = devices.known(device_id)
        return self._node(device) if device is not None and device.keyless else None

    def _nodes_or_keep(
        self, gateway: Gateway, batches: Mapping[str, Batch]
    ) -> dict[str, Node | Receipt]:
        """Each adopted device's node; the readings of others are kept, unless they are ignored."""
        if gateway.names_nodes or gateway.adopts_all:
            self._adopt(gateway, batches)
        return {one: self._node_or_keep(gateway, one, batches[one]) for one in batches}

    def _node_or_keep(self, gateway: Gateway, device_id: str, batch: Batch) -> Node | Receipt:
        waiting = [
            Waiting(one.sensor, one.measured_ms, one.value, one.unit, one.timed)
            for one in batch.readings
        ]
        while True:  # the owner may adopt it in between
            with self._opened() as devices:
                device = devices.known(device_id)
            if device is not None and (node := self._node(device)) is not None:
                return node
            if device is not None and device.ignored:
                return Receipt(len(batch.readings), 0, batch.rejected)
            with self._opened() as devices:
                if devices.keep(gateway.name, device_id, waiting, batch.received_ms, device):
                    sent = batch.readings
                    rejected = [
                        rejection(sent[place].index, sent[place], conflict(sent[place], value))
                        for place, value in devices.conflicts(device_id, waiting)
                    ]
                    accepted = len(sent) - len(rejected)
                    return Receipt(accepted, 0, [*batch.rejected, *rejected])

    def _adopt(self, gateway: Gateway, batches: Mapping[str, Batch]) -> None:
        """Make nodes of the devices that nothing was decided about, called as the devices.

        A device whose id isn't to be trusted doesn't become a node that somebody else is.
        """
        with self._opened() as devices:
            new = [one for one in batches if devices.known(one) in (None, Device(one))]
            room = self._adopt_limit - devices.adopted_of(gateway.name) if new else 0
        if len(new) > room:
            self._log_limit(gateway)
        if not new or room <= 0:
            return
        try:
            with open_database(self._db) as db, self._opened() as devices:
                for device_id in new[:room]:
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

    def _log_limit(self, gateway: Gateway) -> None:
        now_s, logged_s = monotonic(), self._logged.get(gateway.name)
        if logged_s is None or now_s - logged_s >= LOGGED_S:
            self._logged.set(gateway.name, now_s)
            log.warning(
                "%d devices of the gateway %s are nodes: further ones wait (`tmon device list`), "
                "unless TMON_ADOPT_LIMIT is higher",
                self._adopt_limit,
                gateway.name,
            )

    def _adopted_that_wait(self) -> list[str]:
        with self._opened() as devices:
            return devices.adopted_that_wait()

    def _waiting(self, device_id: str) -> list[Waiting]:
        with self._opened() as devices:
            return devices.waiting(device_id, PART)

    def _forget(self, device_id: str, part: Sequence[Waiting]) -> None:
        with self._opened() as devices:
            devices.forget(device_id, part)

    def _node(self, device: Device) -> Node | None:
        if not device.node_uid:
            return None
        if self._reader is None:
            self._reader = open_for_reading(self._db)
        known = nodes.find_by_uid(self._reader, device.node_uid)
        return nodes.as_sender(self._reader, known, known.name) if known else None


def _refused(device: str, batch: Batch) -> Receipt:
    """The readings of what can't be a device are rejected; others of the request are stored."""
    refusal = Refusal("invalid_device", BAD_DEVICE if device else NO_DEVICE)
    rejected = [rejection(one.index, one.sent or one, refusal) for one in batch.readings]
    return Receipt(0, 0, [*batch.rejected, *rejected])
