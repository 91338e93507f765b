"""The sink: stores in this machine's file what the streams bring."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import uvloop
from nats.aio.client import Client

from tmon.core import signals
from tmon.core.errors import TmonError
from tmon.core.settings import Settings
from tmon.core.tasks import end
from tmon.db.connect import open_for_reading
from tmon.store.messages import Failure, MessageReader, Reply, encode_message
from tmon.stream.change_log import ChangeLog
from tmon.stream.connection import connect
from tmon.stream.messages import Change, decode, is_change
from tmon.stream.positions import Position, read_positions
from tmon.stream.reader import PATIENCE_S, PartitionReader, RefusedStream
from tmon.stream.sink_store import Begin, Portion
from tmon.stream.streams import StreamState, all_states, awaited, one_snapshot
from tmon.stream.trouble import Trouble

RECEIVE_BYTES = 1024 * 1024
RETRY_S = 1.0  # after the file couldn't be written
CLOSE_S = 6.0

log = logging.getLogger("tmon.sink")


class WriterEnded(TmonError):
    """The writing process ended by itself; its log says why."""


class NotStored(TmonError):
    """The writer couldn't store it now; it stays in the streams."""


class WriterLink:
    """Sends numbered items to the writing process, and waits for their receipts."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._last_number = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def store(self, item: Portion | Begin) -> None:
        """Return once an item is stored.

        Raises:
            NotStored: it wasn't.
        """
        self._last_number += 1
        done = self._waiting[self._last_number] = asyncio.get_running_loop().create_future()
        self._writer.write(encode_message([(self._last_number, item)]))
        await done

    async def receive(self) -> None:
        """Receive replies until the writer ends.

        Raises:
            WriterEnded: always.
        """
        replies = MessageReader(Reply)
        while data := await self._reader.read(RECEIVE_BYTES):
            for reply in replies.feed(data):
                for number, result in reply.results:
                    done = self._waiting.pop(number)
                    if isinstance(result, Failure) and not done.done():
                        done.set_exception(NotStored(result.error))
                    elif not done.done():  # it was cancelled
                        done.set_result(None)
        raise WriterEnded("the writing process has ended, so the sink ends too")

    async def close(self) -> None:
        """Let the writer store what it has, and end."""
        with suppress(OSError, TimeoutError):
            self._writer.write_eof()
            async with asyncio.timeout(CLOSE_S):
                while await self._reader.read(RECEIVE_BYTES):
                    pass
        self._writer.close()


class Sink:
    """Feeds the writer from all partitions; a partition's next portion once one is stored."""

    def __init__(
        self, client: Client, link: WriterLink, positions: Sequence[Position], patience_s: float
    ) -> None:
        trouble = Trouble(log, "readings don't arrive from the streams", "readings arrive again")
        self._link = link
        self._full = Trouble(
            log, "readings can't be stored; they stay in the streams", "they are stored again"
        )
        self._stored = {one.partition: one.sequence for one in positions}
        self._progress = asyncio.Condition()
        self._changes = ChangeLog(client)
        self.readers = [
            PartitionReader(client, one, trouble, patience_s=patience_s) for one in positions
        ]

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            RefusedStream: the file can't go on with a stream.
        """
        tasks = [asyncio.create_task(self._changes.finish_abandoned())]
        for partition, reader in enumerate(self.readers):
            tasks.append(asyncio.create_task(self._feed(partition, reader)))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            await end(tasks)
        for task in done:
            task.result()

    async def _feed(self, partition: int, reader: PartitionReader) -> None:
        while True:
            portion = await reader.next_portion()
            last = portion.first + len(portion.messages) - 1
            if is_change(portion.messages[0][1]) and last > self._stored[partition]:
                await self._wait_for_earlier(portion)
            while not await self._is_stored(portion):
                await asyncio.sleep(RETRY_S)
            async with self._progress:
                self._stored[partition] = max(last, self._stored[partition])
                self._progress.notify_all()

    async def _is_stored(self, portion: Portion) -> bool:
        try:
            await self._link.store(portion)
        except NotStored as error:
            self._full.begin(portion.partition, str(error))
            return False
        self._full.end(portion.partition)
        return True

    async def _wait_for_earlier(self, portion: Portion) -> None:
        """Wait until the other partitions are stored as far as a change's command saw them."""
        message = decode(portion.messages[0][1])
        if not isinstance(message, Change):
            return
        others = {
            partition: sequence
            for partition, sequence in message.after.items()
            if partition != portion.partition
        }
        async with self._progress:
            await self._progress.wait_for(
                lambda: all(self._stored[one] >= sequence for one, sequence in others.items())
            )


def run_sink(settings: Settings, writer: socket.socket) -> None:
    """Store what the streams bring, until a signal.

    Raises:
        RefusedStream: the file can't go on with the streams.
        CannotConnect: the servers don't take us.
        WriterEnded: the writing process ended.
    """
    uvloop.run(_until_signal(settings, writer))


async def _until_signal(settings: Settings, writer: socket.socket) -> None:
    stopping = asyncio.Event()
    for number in signals.STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    signals.unblock()
    await sink_until(stopping, settings, writer)


async def sink_until(
    stopping: asyncio.Event,
    settings: Settings,
    writer: socket.socket,
    patience_s: float = PATIENCE_S,
) -> None:
    """Store what the streams bring, until ``stopping``; see ``run_sink``."""
    link = WriterLink(*await asyncio.open_connection(sock=writer))
    tasks = [
        asyncio.create_task(_sink(settings, link, patience_s)),
        asyncio.create_task(stopping.wait()),
        asyncio.create_task(link.receive()),
    ]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await end(tasks)
    await link.close()
    for task in tasks:
        if not task.cancelled():
            task.result()


async def _sink(settings: Settings, link: WriterLink, patience_s: float) -> None:
    readers: list[PartitionReader] = []

    def reset() -> None:
        for reader in readers:
            reader.reset()

    client = await connect(settings, "sink", reset)
    try:
        positions = await _positions(settings.db, client, link)
        sink = Sink(client, link, positions, patience_s)
        readers.extend(sink.readers)
        await sink.run()
    finally:
        await client.close()


async def _positions(path: Path, client: Client, link: WriterLink) -> list[Position]:
    """The positions of a file; an empty one begins where the cluster did.

    Raises:
        RefusedStream: it can't.
    """
    with open_for_reading(path) as db:
        positions = read_positions(db)
        is_empty = not any(
            db.execute(f"select 1 from {table} limit 1").fetchone()
            for table in ("nodes", "sensors", "rejected")
        )
    if positions:
        return positions
    states = await awaited(lambda: all_states(client), "sink")
    await link.store(begin_of(path, is_empty=is_empty, states=states))
    with open_for_reading(path) as db:
        return read_positions(db)


def begin_of(path: Path, *, is_empty: bool, states: Sequence[StreamState]) -> Begin:
    """Where a file begins that is of no cluster yet.

    Raises:
        RefusedStream: it can't be a file of this one.
    """
    snapshot = one_snapshot(states)
    restore = "restore a backup of another machine's file (`tmon restore`)"
    if not is_empty:
        raise RefusedStream(
            f"{path} isn't a file of this cluster: {restore}, or set TMON_DB to an empty file"
        )
    if not snapshot.is_empty:
        raise RefusedStream(f"{path} is empty, and the cluster began with readings: {restore}")
    if any(state.first > 1 for state in states):
        raise RefusedStream(
            f"{path} is empty, and the streams don't go back to the beginning any more: {restore}"
        )
    return Begin(
        *(snapshot.id, snapshot.largest_sensor, snapshot.largest_rejected),
        [state.created for state in states],
    )
