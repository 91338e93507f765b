"""The devices of gateways: whose node each is; what isn't anybody's yet is kept for the owner."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec.structs import replace
from sqlite_utils import Database

from tmon.core.errors import InvalidBody
from tmon.core.reading import Batch, Gateway, Node, Receipt
from tmon.db import nodes
from tmon.db.connect import open_database, open_for_reading
from tmon.db.devices import MOST_ID, Device, Devices, Waiting, is_device_id, path_beside

Store = Callable[[Batch], Awaitable[Receipt]]
NO_DEVICE = (
    "this is a gateway's key, and the request doesn't say which device it is from: "
    "add the device's id to the path, /k/KEY/ID, or use a node's key"
)


class GatewayDevices:
    """Owns the thread that uses the devices' file, which is created when it is first needed."""

    def __init__(self, db: Path) -> None:
        self._db = db
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
            InvalidBody: some are of no device.
        """
        if "" in batches:
            raise InvalidBody(NO_DEVICE)
        if not all(map(is_device_id, batches)):
            raise InvalidBody(f"a device's id must be at most {MOST_ID} printable characters")
        receipts = []
        for device, batch in batches.items():
            node = await self._run(self._node_or_keep, gateway, device, batch)
            if node is not None:
                receipts.append(await store(replace(batch, node=node)))
            else:
                receipts.append(Receipt(len(batch.readings), 0, batch.rejected))
        return Receipt(
            sum(one.accepted for one in receipts),
            sum(one.duplicates for one in receipts),
            [each for one in receipts for each in one.rejected],
        )

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

    async def _run(self, function: Callable[..., Node | None], *arguments: object) -> Node | None:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, function, *arguments)

    @property
    def _devices(self) -> Devices:
        if self._file is None:
            self._file = Devices(path_beside(self._db))
        return self._file

    def _keyless_node(self, device_id: str) -> Node | None:
        device = self._devices.known(device_id)
        return self._node(device) if device is not None and device.keyless else None

    def _node_or_keep(self, gateway: Gateway, device_id: str, batch: Batch) -> Node | None:
        """A device's node; or None, and its readings are kept, unless it is ignored."""
        device = self._devices.known(device_id)
        if device is None and (gateway.names_nodes or gateway.adopts_all):
            device = self._adopt(device_id, batch.received_ms)
        if device is not None and (node := self._node(device)) is not None:
            return node
        if device is None or not device.ignored:
            waiting = [
                Waiting(one.sensor, one.measured_ms, one.value, one.unit, one.timed)
                for one in batch.readings
            ]
            self._devices.keep(gateway.name, device_id, waiting, batch.received_ms)
        return None

    def _adopt(self, device_id: str, received_ms: int) -> Device:
        """Make a device a node of its own, which is called as the device."""
        with open_database(self._db) as db:
            uid = nodes.find_or_make(db, nodes.name_for(device_id)).uid
        self._devices.adopt(device_id, uid, received_ms)
        return Device(device_id, uid)

    def _node(self, device: Device) -> Node | None:
        if self._reader is None:
            self._reader = open_for_reading(self._db)
        known = nodes.find_by_uid(self._reader, device.node_uid or "")
        if known is None:
            return None
        former = nodes.former_names(self._reader, known.uid)
        return Node(known.uid, known.name, known.name, former)
