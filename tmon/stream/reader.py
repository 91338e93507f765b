"""One partition's messages in order, from a sequence on, whatever breaks meanwhile."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import api

from tmon.core.errors import TmonError
from tmon.stream.connection import ANSWER_S, ATTEMPT_S, CannotConnect, describe
from tmon.stream.messages import VERSION, is_change, is_intact, stream_name, version_of
from tmon.stream.positions import Position
from tmon.stream.sink_store import Portion
from tmon.stream.streams import StreamState, all_states, state_of
from tmon.stream.trouble import Trouble

FETCH_MESSAGES = 2_000
FETCH_BYTES = 2_000_000  # two of the largest messages
LEAST_BYTES = 1_000_000  # of messages that wait here; when there is less, more is fetched
PORTION_BYTES = 400_000  # about 10,000 readings: a transaction
HEARTBEAT_S = 1.0  # from the server, while it has no message
SILENT_S = 3.0  # then the consumer is gone
EXPIRES_S = 30.0  # of a fetch
UNUSED_S = 60.0  # then the server removes the consumer
RETRY_S = 0.5
NO_RESPONDERS = "503"  # the client reads other headers as its description
PATIENCE_S = 10.0  # a server that has just become a stream's leader may not have it all yet

NANOSECONDS = 1_000_000_000

log = logging.getLogger("tmon.sink")


class RefusedStream(TmonError):
    """A stream that this file can't go on with; the message says why and what to do."""


class Missing(RefusedStream):
    """The same, but a server that has just become the stream's leader may have it soon."""


def check_stream(state: StreamState | None, position: Position, sequence: int) -> None:
    """Check that a file which has a stream up to ``sequence`` can go on with it.

    Raises:
        RefusedStream: it is another station's, or was made again.
        Missing: messages are missing.
    """
    name = stream_name(position.partition)
    again = "what was in it is lost; docs/cluster.md says how to begin again"
    if state is None:
        raise RefusedStream(f"{name} was deleted: {again}")
    if state.snapshot.id != position.snapshot:
        raise RefusedStream(
            f"{name} is of another station than this file: set TMON_STREAM to this one's servers, "
            "or TMON_DB to another file"
        )
    if state.created != position.created:
        raise RefusedStream(
            f"{name} was deleted and made again on {state.created:.19}, and this file knows that "
            f"of {position.created:.19}: {again}"
        )
    if state.first > sequence + 1:
        raise Missing(
            f"{name} begins with message {state.first}, and this file needs {sequence + 1}: it "
            "was away for too long; restore a backup of another machine's file"
        )
    if state.last < sequence:
        raise Missing(
            f"{name} ends with message {state.last}, and this file has {sequence} already: the "
            "servers have lost messages; docs/cluster.md says what to do"
        )


def check_streams(states: Sequence[StreamState], positions: Sequence[Position]) -> None:
    """Check that a file can go on with all streams; its positions are no newer than they.

    Raises:
        RefusedStream, Missing: as ``check_stream``.
    """
    for state, position in zip(states, positions, strict=True):
        check_stream(state, position, position.sequence)


async def checked_states(
    client: Client, positions: Sequence[Position], patience_s: float
) -> list[StreamState]:
    """All streams, with which a file can go on that has these positions; without any, all.

    Raises:
        RefusedStream, Missing: as ``check_stream``; for what is missing it has waited.
        CannotConnect: no answer, or a stream is missing.
    """
    until_s = monotonic() + patience_s
    while True:
        states = await all_states(client)
        try:
            if positions:
                check_streams(states, positions)
        except Missing:
            if monotonic() > until_s:
                raise
            await asyncio.sleep(RETRY_S)
        else:
            return states


class PartitionReader:
    """Owns a consumer of one stream; gives its messages in order, and each once.

    The servers keep nothing about it: the consumer is made anew, from the last message on, when
    a message is missing or damaged, when it is silent, and after the connection broke. Each reads
    the files of one server, which NATS picks: if those are damaged, another's soon follow.
    """

    def __init__(
        self, client: Client, position: Position, trouble: Trouble, *, patience_s: float
    ) -> None:
        self._client = client
        self._position = position
        self._trouble = trouble
        self._patience_s = patience_s
        self._next = position.last_seen_sequence + 1  # sequence of the next that arrives
        self._buffer: deque[tuple[int, bytes]] = deque()
        self._buffered_bytes = 0
        self._news = asyncio.Event()
        self._subscription: Subscription | None = None
        self._pull = ""  # where to ask the consumer for more; empty: there is none
        self._awaited = 0  # messages that were asked for and haven't arrived
        self._heard_s = 0.0
        self._missing_since_s: float | None = None
        self._missing = ""  # what was missing last

    async def next_portion(self) -> Portion:
        """The next messages: at least one, and a change always alone.

        Raises:
            RefusedStream: the stream can't be read on, or the message is of a newer tmon.
        """
        await self._fetch()
        while not self._buffer:
            self._news.clear()
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._news.wait()
            except TimeoutError:
                if self._awaited and monotonic() - self._heard_s > SILENT_S:
                    self._lose_consumer("the consumer is silent")
            await self._fetch()
        first = self._next - len(self._buffer)
        return Portion(self._position.partition, first, self._take(first))

    def reset(self) -> None:
        """Make the consumer anew: the connection was."""
        self._pull, self._awaited = "", 0
        self._news.set()

    def _take(self, first: int) -> list[tuple[int, bytes]]:
        """Remove the messages of a portion from the buffer."""
        taken: list[tuple[int, bytes]] = []
        size = 0
        while self._buffer and size < PORTION_BYTES:
            data = self._buffer[0][1]
            if taken and is_change(data):
                break
            if version_of(data) > VERSION:
                raise RefusedStream(
                    f"message {first} of {stream_name(self._position.partition)} is of a newer "
                    "tmon: upgrade this one"
                )
            taken.append(self._buffer.popleft())
            size += len(data)
            if is_change(data):
                break
        self._buffered_bytes -= size
        return taken

    async def _fetch(self) -> None:
        """Ask for messages, if few wait here and none are on their way."""
        while not self._awaited and self._buffered_bytes < LEAST_BYTES:
            try:
                if not self._pull:
                    if self._missing_since_s:
                        await asyncio.sleep(RETRY_S)
                    await self._make_consumer()
                await self._ask()
            except Missing:
                since_s = self._missing_since_s = self._missing_since_s or monotonic()
                if monotonic() - since_s > self._patience_s:
                    raise
            except (CannotConnect, nats.errors.Error, OSError, TimeoutError) as error:
                self._lose_consumer(describe(error))
            else:
                return
            await asyncio.sleep(RETRY_S)

    async def _ask(self) -> None:
        request = {
            "batch": FETCH_MESSAGES,
            "max_bytes": FETCH_BYTES,
            "expires": int(EXPIRES_S * NANOSECONDS),
            "idle_heartbeat": int(HEARTBEAT_S * NANOSECONDS),
        }
        self._awaited = FETCH_MESSAGES
        self._heard_s = monotonic()
        reply = self._subscription.subject if self._subscription else ""
        await self._client.publish(self._pull, json.dumps(request).encode(), reply)

    async def _make_consumer(self) -> None:
        """Make a consumer that begins with the next message.

        Raises:
            RefusedStream: the file can't go on with the stream.
            CannotConnect, nats.errors.Error, OSError: not now.
        """
        state = await state_of(self._client.jetstream(timeout=ATTEMPT_S), self._position.partition)
        read = self._next - 1
        if state and read < self._position.sequence:  # what is read again may be gone
            read = self._next = min(max(read, state.first - 1), self._position.sequence)
            self._next += 1
        check_stream(state, self._position, max(read, self._position.sequence))
        if self._missing_since_s and monotonic() - self._missing_since_s > self._patience_s:
            name = stream_name(self._position.partition)
            raise Missing(f"{name}: {self._missing}; docs/cluster.md says what to do")
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        inbox = self._client.new_inbox()
        on_message: Callable[[Msg], Awaitable[None]] = partial(self._on_message, inbox)
        self._subscription = await self._client.subscribe(inbox, cb=on_message)
        config = api.ConsumerConfig(
            ack_policy=api.AckPolicy.NONE,
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._next,
            inactive_threshold=UNUSED_S,
            mem_storage=True,
            num_replicas=1,
        )
        name = stream_name(self._position.partition)
        consumer = await self._client.jetstream(timeout=ANSWER_S).add_consumer(name, config)
        self._pull = f"$JS.API.CONSUMER.MSG.NEXT.{name}.{consumer.name}"

    async def _on_message(self, inbox: str, message: Msg) -> None:
        """Keep a message, if it is the next one; called for each that the consumer sends."""
        if self._subscription is None or self._subscription.subject != inbox or not self._pull:
            return  # of an earlier consumer
        self._heard_s = monotonic()
        if not message.reply.startswith("$JS.ACK."):
            self._on_status(message.headers or {})
            return
        place = message.metadata
        if place.sequence.stream != self._next:
            self._miss(f"message {self._next} is missing")
            return
        if not is_intact(message.data):
            self._miss(f"message {self._next} is damaged")
            return
        self._trouble.end(self._position.partition)
        self._missing_since_s = None
        self._next += 1
        self._awaited -= 1
        at_ms = int(place.timestamp.timestamp() * 1000)
        self._buffer.append((at_ms, message.data))
        self._buffered_bytes += len(message.data)
        self._news.set()

    def _on_status(self, headers: dict[str, str]) -> None:
        """Note what the server says of a fetch: that it goes on, is over, or can't be."""
        status, text = headers.get("Status", ""), headers.get("Description", "")
        if status == "100":  # a heartbeat: it waits for messages after the last one
            if int(headers.get("Nats-Last-Stream", 0)) >= self._next:
                self._miss(f"message {self._next} is missing")
                return
            self._trouble.end(self._position.partition)
            return
        self._awaited = 0
        is_over = status in ("404", "408") or text.endswith(("Batch Completed", "MaxBytes"))
        if not is_over:
            nobody = "no answer" if status == NO_RESPONDERS else f"status {status}"
            self._lose_consumer(text.partition("\n")[0] or nobody)
        self._news.set()

    def _miss(self, reason: str) -> None:
        """Note that the next message didn't come as it should have."""
        self._missing_since_s = self._missing_since_s or monotonic()
        self._missing = reason
        self._lose_consumer(reason)

    def _lose_consumer(self, reason: str) -> None:
        self._trouble.begin(self._position.partition, reason)
        self._pull, self._awaited = "", 0
        self._news.set()
