"""Where ingest's batches go on several machines: into the streams, in place of the file."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from secrets import token_hex
from time import monotonic

import msgspec
import nats.errors
from msgspec import Struct
from nats.aio.client import Client

from tmon.core.errors import ApiError, DiskFull, Overloaded, Unavailable
from tmon.core.reading import Batch, Receipt
from tmon.core.settings import Settings
from tmon.store.messages import Reply
from tmon.stream.availability import Availability
from tmon.stream.batch_parts import BATCH_BYTES, encoded_parts
from tmon.stream.connection import ATTEMPT_S, connect, describe
from tmon.stream.messages import (
    PARTITIONS,
    encode_readings,
    partition_of,
    subject,
)
from tmon.stream.streams import awaited, check_existence
from tmon.stream.trouble import Trouble

ANSWER_S = 4.0  # for the stream's acknowledgement; then the sender is told to keep its readings
PAUSE_S = 0.1  # before the next attempt
DOWN_S = 1.0  # without a connection: then nothing more is taken
CLOSE_S = 3.0
BACKLOG_READINGS = 100_000  # 20 MB

NOBODY = "no NATS server answers; nothing was stored, keep the readings"
FULL = {10077, 10023, 10047}  # error codes: of a stream's limit, and of the servers' storage

log = logging.getLogger("tmon.handover")


class PendingBatch(Struct):
    """A batch that waits for its acknowledgement."""

    encoded: msgspec.Raw
    receipt: Receipt
    since_s: float
    acknowledged: "asyncio.Future[Receipt]"
    sender_closed: Callable[[], bool]

    @property
    def readings(self) -> int:
        """At least 1: an empty batch is work too."""
        return self.receipt.size or 1


class Lane:
    """One partition's batches, of which one message is under way at a time."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.queue: deque[PendingBatch] = deque()
        self.sent: list[PendingBatch] = []
        self.task: asyncio.Task[None] | None = None

    @property
    def oldest_s(self) -> float | None:
        """Since when its oldest batch waits."""
        for pending in (*self.sent[:1], *list(self.queue)[:1]):
            return pending.since_s
        return None


class Publisher:
    """Publishes batches; each is acknowledged once the stream has it on a majority's disks.

    What comes while a message of its partition is under way makes the next one, so that
    messages grow with the load and stay in order. A message that isn't acknowledged is
    published again with the same id, by which the servers know it.
    """

    def __init__(
        self,
        client: Client,
        on_reply: Callable[[Reply], object],
        clock: Callable[[], float] = monotonic,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._client = client
        self._answer_s = answer_s
        self._on_reply = on_reply
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._lanes = [Lane(partition) for partition in range(PARTITIONS)]
        self._backlog = 0
        self._down_since_s: float | None = None
        self._availability = Availability(client, clock)
        self._trouble = Trouble(log, "readings can't be published", "readings are published again")

    @classmethod
    async def connect(
        cls,
        settings: Settings,
        on_reply: Callable[[Reply], object],
        clock: Callable[[], float] = monotonic,
        answer_s: float = ANSWER_S,
    ) -> "Publisher":
        """A publisher that is connected; ``on_reply`` gets the receipts of each message.

        Raises:
            CannotConnect: the servers don't take us, or have no streams.
        """
        client = await connect(settings, "ingest")
        await awaited(lambda: check_existence(client), "ingest")
        return cls(client, on_reply, clock, answer_s)

    @property
    def is_connected(self) -> bool:
        """Whether a server is there."""
        return bool(self._client.is_connected)

    @property
    def backlog(self) -> int:
        """How many readings wait for their acknowledgement."""
        return self._backlog

    @property
    def oldest_waiting_s(self) -> float:
        """How long the oldest batch has waited; 0 if there is none."""
        waiting = [lane.oldest_s for lane in self._lanes if lane.oldest_s is not None]
        return self._clock() - min(waiting) if waiting else 0.0

    def check_capacity(self) -> None:
        """Check that another batch could be published.

        Raises:
            Unavailable: no server is connected.
        """
        if self._is_down():
            raise Unavailable(NOBODY)

    async def check_health(self) -> None:
        """Check that a reading would be acknowledged, also if none was sent lately.

        Raises:
            Unavailable: no stream would take it.
        """
        self.check_capacity()
        await self._availability.check()

    def _is_down(self) -> bool:
        """Whether no server was there for so long that waiting is no use."""
        if self.is_connected:
            self._down_since_s = None
            return False
        if self._down_since_s is None:
            self._down_since_s = self._clock()
        return self._clock() - self._down_since_s > DOWN_S

    async def store(
        self, batch: Batch, sender_closed: Callable[[], bool] = lambda: False
    ) -> Receipt:
        """Publish one batch.

        Returns:
            what is known without the database: duplicates and conflicts are found by the sinks.

        Raises:
            Overloaded: the backlog is too large, or the sender has left; nothing was stored.
            Unavailable: no majority of the servers took it in time. It may have been stored all
                the same, which a second time shows.
        """
        parts = encoded_parts(batch)
        self.check_capacity()
        size = batch.size or 1
        if self._backlog and self._backlog + size > BACKLOG_READINGS:
            raise Overloaded("too many readings wait to be stored; try again in a few seconds")
        lane = self._lanes[partition_of(batch.node.uid)]
        pending = [
            PendingBatch(encoded, receipt, self._clock(), self._loop.create_future(), sender_closed)
            for encoded, receipt in parts
        ]
        self._backlog += sum(one.readings for one in pending)
        lane.queue.extend(pending)
        if lane.task is None:
            lane.task = self._loop.create_task(self._publish_queued(lane))
        if len(pending) == 1:
            return await pending[0].acknowledged
        return Receipt.merged(await asyncio.gather(*(one.acknowledged for one in pending)))

    async def close(self, limit_s: float = CLOSE_S) -> None:
        """Wait for what is under way, but not for long; then disconnect."""
        tasks = [lane.task for lane in self._lanes if lane.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=limit_s)
        for task in tasks:
            task.cancel()
        await self._client.close()

    async def _publish_queued(self, lane: Lane) -> None:
        """Publish a partition's batches until none waits."""
        try:
            while lane.queue:
                lane.sent = self._next_message(lane.queue)
                if lane.sent:
                    began_s = self._clock()
                    error = await self._publish(lane)
                    self._resolve(lane.sent, error, self._clock() - began_s)
                    lane.sent = []
        finally:
            lane.task = None

    def _next_message(self, queue: deque[PendingBatch]) -> list[PendingBatch]:
        """Take the batches of the next message from the queue."""
        taken: list[PendingBatch] = []
        size = 0
        while queue and size + len(queue[0].encoded) <= BATCH_BYTES:
            pending = queue.popleft()
            if pending.acknowledged.done() or pending.sender_closed():
                self._fail(pending, Overloaded("it took too long; send it again"))
                continue
            size += len(pending.encoded) + 1
            taken.append(pending)
        return taken

    async def _publish(self, lane: Lane) -> ApiError | None:
        """Publish one message, again until it is acknowledged or its sender has waited enough."""
        message = encode_readings([one.encoded for one in lane.sent])
        headers = {"Nats-Msg-Id": token_hex(12)}
        until_s = lane.sent[0].since_s + self._answer_s
        while (left_s := until_s - self._clock()) > 0:
            error = await self._attempt(lane.partition, message, headers, min(left_s, ATTEMPT_S))
            self._availability.note(acknowledged=error is None)
            if error is None:
                self._trouble.end(lane.partition)
                return None
            self._trouble.begin(lane.partition, error.description)
            if error.err_code in FULL:
                return DiskFull("the streams are full; nothing was stored, keep the readings")
            if self._is_down():
                return Unavailable(NOBODY)
            await self._availability.leave_server_that_is_alone(lane.sent[0].since_s)
            await asyncio.sleep(PAUSE_S)
        return Unavailable("no majority of the NATS servers took it in time; keep the readings")

    async def _attempt(
        self, partition: int, message: bytes, headers: dict[str, str], timeout_s: float
    ) -> "StreamError | None":
        """Publish a message once; why it wasn't acknowledged, if it wasn't."""
        if not self.is_connected:  # the client would keep it, and send it later
            return StreamError("no server is connected")
        try:
            answer = await self._client.request(
                subject(partition), message, timeout_s, headers=headers
            )
            return _decoder.decode(answer.data).error
        except (nats.errors.Error, OSError, TimeoutError, msgspec.MsgspecError) as error:
            return StreamError(describe(error))

    def _resolve(self, batches: list[PendingBatch], error: ApiError | None, took_s: float) -> None:
        """Give the batches of a message what became of it."""
        if error is not None:
            for pending in batches:
                self._fail(pending, error)
            return
        results = [(number, pending.receipt) for number, pending in enumerate(batches)]
        readings = sum(pending.readings for pending in batches)
        self._on_reply(Reply([*results], readings=readings, took_s=took_s))
        for pending in batches:
            self._backlog -= pending.readings
            if not pending.acknowledged.done():
                pending.acknowledged.set_result(pending.receipt)

    def _fail(self, pending: PendingBatch, error: ApiError) -> None:
        self._backlog -= pending.readings
        if not pending.acknowledged.done():
            pending.acknowledged.set_exception(error)


class StreamError(Struct, frozen=True):
    """Why a stream doesn't take a message."""

    description: str = ""
    err_code: int = 0


class Acknowledgement(Struct, frozen=True):
    """A stream's answer to a message: where it stands, or why it doesn't."""

    seq: int = 0
    error: StreamError | None = None


_decoder = msgspec.json.Decoder(Acknowledgement)
