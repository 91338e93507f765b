"""The values of the bucket ``tmon-nodes`` as one of the NATS servers has them, in order."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, Header

from tmon.stream.bucket import BUCKET_SUBJECT
from tmon.stream.connection import ANSWER_S, ATTEMPT_S
from tmon.stream.streams import BUCKET_STREAM

QUIET_HEARTBEATS = 2  # then a server sends nothing more by itself
SILENT_HEARTBEATS = 3  # without any the consumer is made anew: its server is gone, or forgot it
UNUSED_S = 30.0  # then the servers remove it
RETRY_S = 0.5
AT_ONCE = 1_000
FLOW_CONTROL = "$JS.FC."  # asks whether what was sent is here: else pings wait behind all of it
ATTEMPTS = 20  # to get a server that no other feed has; NATS picks any, of two at least

log = logging.getLogger("tmon.directory")


class Value(NamedTuple):
    """One value; its revision is larger than that of all earlier ones."""

    name: str
    revision: int
    data: bytes


class Feed:
    """Owns a consumer of the bucket; makes it anew, maybe on another server, when it is lost.

    The values come in order. A server leaves out what it finds damaged in its file, and doesn't
    say so; then there are fewer than it has announced, and all are asked for again.
    """

    def __init__(
        self,
        client: Client,
        others: Sequence["Feed"],
        heartbeat_s: float,
        begin: Callable[[datetime], None],
        take: Callable[["Feed", Sequence[Value]], None],
    ) -> None:
        """Read from another server than the others.

        ``begin`` is called when the bucket is another one than before, ``take`` with what came,
        at each heartbeat with nothing.
        """
        self._client = client
        self._js = client.jetstream(timeout=ANSWER_S)
        self._others = others
        self._heartbeat_s = heartbeat_s
        self._begin = begin
        self._take = take
        self.server: str | None = None  # whose files are read
        self.created: datetime | None = None  # when the bucket was made
        self.pending = 0  # values that are yet to come, as the server has said
        self.is_complete = False  # all came that there were
        self.lost = 0  # values that never come from this server
        self._quiet = 0  # heartbeats since the last value
        self._seen = 0  # the revision of that

    @property
    def is_short(self) -> bool:
        """Whether fewer values came than there are."""
        return bool(self.pending) and self._quiet >= QUIET_HEARTBEATS

    def give_up(self) -> None:
        """Go on without the values that are missing."""
        self.lost, self.pending, self.is_complete = self.pending, 0, True

    def begin_anew(self) -> None:
        """Begin with the first value again, soon."""
        self.created, self._seen, self.is_complete = None, 0, False

    async def follow(self) -> None:
        """Hand values over as they come, until the consumer is lost.

        Raises:
            NotFoundError: there is no bucket.
            nats.errors.Error, OSError, TimeoutError: NATS doesn't answer.
        """
        asked = self._client.jetstream(timeout=ATTEMPT_S)
        created = (await asked.stream_info(BUCKET_STREAM)).created
        if created and created != self.created:
            self.begin_anew()
            self.created = created
            self._begin(created)
        self.server = None
        arrived: list[Msg] = []
        wake = asyncio.Event()

        async def on_message(message: Msg) -> None:
            if message.reply.startswith(FLOW_CONTROL):
                await message.respond(b"")
                return
            arrived.append(message)
            wake.set()

        begun, self._quiet = self._seen, 0
        inbox = await self._consume()
        subscription = await self._client.subscribe(inbox, cb=on_message)
        try:
            expected = 1
            self._hand_over([])
            while expected and self.created == created:
                async with asyncio.timeout(SILENT_HEARTBEATS * self._heartbeat_s):
                    await wake.wait()
                wake.clear()
                while arrived and expected:
                    taken, arrived[:AT_ONCE] = arrived[:AT_ONCE], []
                    expected = self._take_messages(taken, expected)
                    await asyncio.sleep(0)  # requests are answered meanwhile
                if self.is_short:
                    self._seen = begun
                    return
        finally:
            with suppress(nats.errors.Error):  # without a connection
                await subscription.unsubscribe()

    async def _consume(self) -> str:
        """Let a server that no other feed has send what is new; returns where to."""
        policy, start = DeliverPolicy.LAST_PER_SUBJECT, None
        if self._seen:
            policy, start = DeliverPolicy.BY_START_SEQUENCE, self._seen + 1
        for _ in range(ATTEMPTS):
            config = ConsumerConfig(
                deliver_subject=self._client.new_inbox(),
                deliver_policy=policy,
                opt_start_seq=start,
                filter_subject=f"{BUCKET_SUBJECT}>",
                ack_policy=AckPolicy.NONE,
                idle_heartbeat=self._heartbeat_s,
                flow_control=True,
                inactive_threshold=UNUSED_S,
                mem_storage=True,
                num_replicas=1,
            )
            made = await self._js.add_consumer(BUCKET_STREAM, config)
            server = made.cluster.leader if made.cluster else None
            if server is None or server not in {other.server for other in self._others}:
                break
            await self._js.delete_consumer(BUCKET_STREAM, made.name)
        self.server, self.pending, self.lost = server, made.num_pending or 0, 0
        return str(config.deliver_subject)

    def _take_messages(self, messages: Sequence[Msg], expected: int) -> int:
        """Hand values over.

        Args:
            messages: values, and heartbeats.
            expected: the number that the next value has, of those for this consumer.

        Returns:
            The same after them; 0 if one is missing.
        """
        values = []
        is_missing = False
        for message in messages:
            if not message.reply:  # a heartbeat
                last = (message.headers or {}).get(Header.LAST_CONSUMER, "0")
                is_missing = int(last) != expected - 1
                self._quiet += 1
                continue
            place = message.metadata
            is_missing = place.sequence.consumer != expected
            if is_missing:
                break
            name = message.subject.removeprefix(BUCKET_SUBJECT)
            values.append(Value(name, place.sequence.stream, message.data))
            expected += 1
            self._seen = place.sequence.stream
            self.pending, self._quiet = place.num_pending or 0, 0
        self._hand_over(values)
        return 0 if is_missing else expected

    def _hand_over(self, values: Sequence[Value]) -> None:
        self.is_complete = self.is_complete or not self.pending
        self._take(self, values)
