"""From the process that takes readings to the one that writes them, and back."""

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from ingest.errors import ApiError, Damaged, DiskFull, Locked, Overloaded, Unavailable
from ingest.frames import Failure, Reply, frame, replies_in
from ingest.reading import Batch, Receipt

BACKLOG_READINGS = 100_000  # a few seconds' work, and 20 MB
HANDOVER_BATCHES = 8  # the writer begins while the rest of a busy round is parsed

_FAILURES: dict[str, type[ApiError]] = {
    error.code: error for error in (Unavailable, Locked, DiskFull, Damaged)
}

log = logging.getLogger("tmon.handover")


class Waiting(Struct, frozen=True):
    """The promise of a receipt, and how many readings it is for."""

    receipt: "asyncio.Future[Receipt]"
    readings: int


class Handover(asyncio.Protocol):
    """Hands batches to the writer, and waits for their receipts.

    What arrives while the event loop goes round once is handed over together.
    """

    def __init__(self, on_reply: Callable[[Reply], object]) -> None:
        self._on_reply = on_reply
        self._loop = asyncio.get_running_loop()
        self._replies = replies_in()
        self._gathered: list[Batch] = []
        self._waiting: deque[Waiting] = deque()
        self._backlog = 0
        self._closing = False
        self._over = self._loop.create_future()

    @classmethod
    async def over(cls, line: socket.socket, on_reply: Callable[[Reply], object]) -> "Handover":
        """One over a socket that leads to a writer; ``on_reply`` hears all that it says."""
        loop = asyncio.get_running_loop()
        _, handover = await loop.create_connection(lambda: cls(on_reply), sock=line)
        return handover

    @property
    def backlog(self) -> int:
        """How many readings wait for their commit."""
        return self._backlog

    async def store(self, batch: Batch) -> Receipt:
        """Store one batch durably.

        Raises:
            Overloaded: too many readings wait already; nothing was stored.
            Unavailable: the database can't be written now; nothing was stored.
        """
        readings = max(1, batch.size)
        if self._backlog and self._backlog + readings > BACKLOG_READINGS:
            raise Overloaded("too many readings are waiting to be stored; try again in a second")
        self._backlog += readings
        if not self._gathered:
            self._loop.call_soon(self._send)
        self._gathered.append(batch)
        if len(self._gathered) >= HANDOVER_BATCHES:
            self._send()
        waiting = Waiting(self._loop.create_future(), readings)
        self._waiting.append(waiting)
        return await waiting.receipt

    async def close(self) -> None:
        """Wait until what was handed over is stored, and the writer has ended."""
        self._closing = True
        self._send()
        self._transport.write_eof()
        await self._over

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for reply in self._replies.feed(data):
            self._on_reply(reply)
            for result in reply.results:
                self._settle(self._waiting.popleft(), result)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it is over, anyhow
        """Without the writer nothing can be acknowledged, and its log says what befell it."""
        if not self._closing:
            log.critical("the writing process ended; so does this one")
            os._exit(1)
        self._over.set_result(None)

    def _send(self) -> None:
        if self._gathered:
            batches, self._gathered = self._gathered, []
            self._transport.write(frame(batches))

    def _settle(self, waiting: Waiting, result: Receipt | Failure) -> None:
        self._backlog -= waiting.readings
        if waiting.receipt.cancelled():
            return
        if isinstance(result, Failure):
            waiting.receipt.set_exception(_FAILURES[result.code](result.error))
        else:
            waiting.receipt.set_result(result)
