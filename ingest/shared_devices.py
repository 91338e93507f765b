"""The devices of gateways where the station is on several machines: one node on all of them.

What is decided about a device is in the bucket of NATS; this machine's devices' file has it too.
What waits until something is decided is in this file alone, and is stored from here.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from ingest.devices import GatewayDevices, NodeOf, Store
from tmon.core.errors import InvalidName, TmonError
from tmon.core.reading import Batch, Gateway, Node
from tmon.core.settings import Settings
from tmon.core.tasks import end
from tmon.core.time import now_ms
from tmon.db.device_decisions import Decision, write, write_all
from tmon.db.devices import Devices, path_beside
from tmon.stream.adoption import Adoption, NotAdopted
from tmon.stream.directory import Directory

NOT_YET = "a device of the gateway %s isn't a node yet, and waits: %s"
LATER = "what waits of devices can't be stored now"
RETRY_S = 2.0

log = logging.getLogger("tmon.devices")


class SharedDevices(GatewayDevices):
    """Writes what the directory tells into the devices' file, before that is used.

    Args:
        settings: the station's.
        node_of: finds a node by its uid.
        directory: knows what is decided.
        store: stores a batch of what waited.
        retry_s: after it couldn't.
    """

    def __init__(
        self,
        settings: Settings,
        node_of: NodeOf,
        directory: Directory,
        store: Store,
        retry_s: float = RETRY_S,
    ) -> None:
        super().__init__(settings.db, settings.adopt_limit, node_of)
        self._settings = settings
        self._directory = directory
        self._adoption = Adoption(directory)
        self._store = store
        self._retry_s = retry_s
        self._due: list[Decision | None] = []  # not in the file yet; None: all of them
        self._filled: Devices | None = None  # the file that has all before
        self._decided = asyncio.Event()

    async def start(self, on_change: Callable[[], object]) -> None:
        """Begin to follow the directory; return once all that it has is known.

        Args:
            on_change: is called after each change of nodes and keys.

        Raises:
            CannotConnect: the servers don't take us.
        """
        await self._directory.start(self._settings, on_change, self.decided)
        self._following = asyncio.create_task(self._follow())

    def decided(self, decisions: Sequence[Decision] | None) -> None:
        """Note what was decided; None: all may be different."""
        self._due += [None] if decisions is None else decisions
        self._decided.set()

    async def node_without_key(self, device: str) -> Node | None:
        """The node of a device whose id alone the owner has allowed."""
        decision = self._directory.decisions.get(device)
        if decision is None or not (decision.keyless and decision.node_uid):
            return None
        return self._node_of(decision.node_uid)

    async def close(self) -> None:
        await end([self._following])
        await super().close()

    @contextmanager
    def _opened(self) -> Iterator[Devices]:
        with super()._opened() as devices:
            self._write_due(devices)
            yield devices

    def _write_due(self, devices: Devices) -> None:
        """Write what isn't in the file yet; if that fails, it stays due."""
        due = [*self._due]
        if None in due or devices is not self._filled:
            write_all(devices, [*self._directory.decisions.values()], now_ms())
        elif due:
            write(devices, [one for one in due if one is not None], now_ms())
        self._filled = devices
        del self._due[: len(due)]

    async def _adopt(self, gateway: Gateway, batches: Mapping[str, Batch]) -> None:
        """Make nodes of the devices that nothing was decided about, on all machines.

        If that can't be now, their readings wait, and the next one tries again.
        """
        for device_id in await self._run(lambda: self._to_adopt(gateway, batches)):
            try:
                with suppress(InvalidName):  # then it waits
                    may_be = partial(self._may_adopt, gateway, device_id)
                    await self._adoption.adopt(gateway, device_id, may_be)
            except NotAdopted as error:
                self._warn(gateway, NOT_YET, gateway.name, error)
                return

    async def _may_adopt(self, gateway: Gateway, device_id: str) -> bool:
        return bool(await self._run(lambda: self._to_adopt(gateway, [device_id])))

    async def _store_waiting(
        self, known: Mapping[str, Node], batches: Mapping[str, Batch], store: Store
    ) -> None:
        """Leave it to the task that does it for all devices."""

    async def _follow(self) -> None:
        """Until cancelled, store what waits of devices that have become nodes."""
        while True:
            await self._decided.wait()
            self._decided.clear()
            try:
                await self._store_all_waiting()
            except Exception as error:
                expected = isinstance(error, TmonError)
                log.warning("%s: %s", LATER, error, exc_info=None if expected else error)
                await asyncio.sleep(self._retry_s)
                self._decided.set()

    async def _store_all_waiting(self) -> None:
        if not self._directory.decisions and not path_beside(self._db).exists():
            return  # no gateway has sent anything yet
        known = await self._known(await self._use(Devices.adopted_that_wait))
        for device_id, device in known.items():
            if (node := self._node(device)) is not None:
                await self._store_waiting_of(device_id, node, now_ms(), self._store)
