"""Devices of gateways that become nodes by themselves, on a station on several machines."""

import asyncio
from collections.abc import Awaitable, Callable

import nats.errors

from tmon.core.errors import TmonError
from tmon.core.reading import Gateway
from tmon.db import nodes
from tmon.db.device_decisions import Decision
from tmon.stream.change_log import (
    ChangeLog,
    NotChanged,
    PerhapsChanged,
    StoredLater,
    UnreadableChange,
)
from tmon.stream.connection import describe
from tmon.stream.directory import Directory
from tmon.stream.entries import of_device, of_new_node
from tmon.stream.messages import Statement, partition_of

LIMIT_S = 4.0  # for one device, with the wait for others'; senders wait for their answer
POLL_S = 0.005
FAILURES = (NotChanged, PerhapsChanged, StoredLater, UnreadableChange, nats.errors.Error)


class NotAdopted(TmonError):
    """The device isn't a node, or not yet."""


class Adoption:
    """Makes nodes of devices, one after the other; each is a change of the whole station.

    It needs no file: in its turn the directory knows the nodes as they are.
    """

    def __init__(self, directory: Directory, limit_s: float = LIMIT_S) -> None:
        self._directory = directory
        self._limit_s = limit_s
        self._lock = asyncio.Lock()

    async def adopt(
        self, gateway: Gateway, device_id: str, may_be: Callable[[], Awaitable[bool]]
    ) -> None:
        """Make a node of a device, called as the device, and wait until we know it.

        A device whose id isn't to be trusted doesn't become a node that is there already.

        Args:
            gateway: which has sent it.
            device_id: the device's.
            may_be: asked in our turn: whether nothing is decided about the device.

        Raises:
            InvalidName: no node can be called that.
            NotAdopted: NATS, or others' changes, took too long.
        """
        name = nodes.name_for(device_id)
        try:
            async with asyncio.timeout(self._limit_s), self._lock:
                log = self._directory.change_log()
                await log.acquire(lambda: self._directory.complete_change, self._limit_s)
                try:
                    is_free = gateway.names_nodes or not nodes.exists(self._directory.db, name)
                    if is_free and await may_be():
                        await self._make(log, gateway.name, device_id, name)
                finally:
                    if log.is_held:
                        await log.release()
        except (*FAILURES, TimeoutError) as error:
            raise NotAdopted(describe(error)) from error

    async def _make(self, log: ChangeLog, gateway: str, device_id: str, name: str) -> None:
        """Make the change, in our turn."""
        number = log.next_number
        statements: list[Statement] = []
        entries = []
        if nodes.exists(self._directory.db, name):
            uid = nodes.find(self._directory.db, name).uid
        else:
            uid = nodes.new_uid()
            statements.append(nodes.insert_statement(name, uid))
            entries.append(of_new_node(uid, name, number))
        entries.append(of_device(Decision(device_id, gateway, uid), number))
        after = await log.after_last()
        await log.commit(statements, after, partition_of(uid), entries)
        while self._directory.complete_change < number:
            await asyncio.sleep(POLL_S)
