"""Client of the writing process: sends it batches, and receives their receipts."""

import asyncio
import logging
import math
import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from time import monotonic, sleep

import msgspec
from msgspec import Struct

from tmon.core.errors import ApiError, Damaged, DiskFull, Locked, Overloaded, Unavailable
from tmon.core.reading import Batch, Receipt
from tmon.store.messages import (
    COMMIT_READINGS,
    Failure,
    MessageReader,
    Reply,
    encode_batch,
    encode_message,
)

MAX_WAIT_S = 10.0  # for a receipt; many senders give up soon after
BACKLOG_READINGS = 100_000  # 20 MB
MESSAGE_BATCHES = 32  # so that the writer begins while the rest of a busy loop round is parsed
EXIT_S = 0.5  # to learn how the writing process ended
CLOSE_S = 3.0  # after the six seconds in which requests may end (tmon/serve/server.py)

# The writer stores all that it was sent, even if the senders have gone. So it is sent just
# enough to keep it busy: the transaction that it writes, and the next; less on a slow disk.
WINDOW_READINGS = 2 * COMMIT_READINGS
WINDOW_S = 2.0

SMALL_READINGS = 1_000  # a smaller transaction takes as long: its time is the disk's sync
DECAY = 0.5  # weight of all earlier transactions, at each new one

_FAILURES: dict[str, type[ApiError]] = {
    error.code: error for error in (Unavailable, Locked, DiskFull, Damaged)
}

log = logging.getLogger("tmon.handover")


class PendingBatch(Struct):
    """A batch that waits for its receipt; ``encoded`` until it is sent to the writer."""

    encoded: msgspec.Raw | None
    size: int
    readings: int  # at least 1: an empty batch is work too
    since_s: float
    receipt: "asyncio.Future[Receipt]"
    sender_closed: Callable[[], bool]
    queued: bool  # the writer's window was full when it came


class CommitRate:
    """Readings committed a second, averaged over the time in which there was work."""

    def __init__(self) -> None:
        self._readings = self._seconds = 0.0

    def add(self, readings: int, seconds: float) -> None:
        self._readings = DECAY * self._readings + max(readings, SMALL_READINGS)
        self._seconds = DECAY * self._seconds + seconds

    def readings_in(self, seconds: float) -> float:
        """How many are committed in that time; infinite while the rate is unknown."""
        return self._readings / self._seconds * seconds if self._seconds else math.inf


class WriterClient(asyncio.Protocol):
    """Sends numbered batches to the writer and resolves each with its receipt.

    The writer has at most two seconds' work; the rest waits here, where a batch is
    dropped if its sender disconnects. What arrives in one round of the event loop is
    sent as one message. An impossible reply ends the process before it acknowledges
    anything.
    """

    def __init__(
        self, on_reply: Callable[[Reply], object], clock: Callable[[], float] = monotonic
    ) -> None:
        self._on_reply = on_reply
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._replies = MessageReader(Reply)
        self._queue: deque[PendingBatch] = deque()
        self._sent: dict[int, PendingBatch] = {}  # by number
        self._sent_readings = 0
        self._last_number = 0
        self._backlog = 0
        self._rate = CommitRate()
        self._capacity: float = math.inf  # readings that are committed in MAX_WAIT_S
        self._window: float = SMALL_READINGS  # readings at the writer before we stop sending
        self._busy_since_s = 0.0  # since when the writer works on what it has
        self._closing = False
        self._closed = self._loop.create_future()

    @classmethod
    async def connect(
        cls,
        sock: socket.socket,
        on_reply: Callable[[Reply], object],
        clock: Callable[[], float] = monotonic,
    ) -> "WriterClient":
        """A client on a socket that is connected to a writer; ``on_reply`` gets each reply."""
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: cls(on_reply, clock), sock=sock)
        return client

    @property
    def backlog(self) -> int:
        """How many readings wait for their commit."""
        return self._backlog

    @property
    def oldest_waiting_s(self) -> float:
        """How long the oldest batch at the writer has waited; 0 if there is none."""
        for pending in self._sent.values():
            return self._clock() - pending.since_s
        return 0.0  # what isn't sent yet came in this round of the event loop

    def check_capacity(self) -> None:
        """Check that another batch would be stored while its sender waits.

        Raises:
            Overloaded: the backlog takes over ten seconds already.
        """
        is_stuck = self._sent and self._clock() - self._busy_since_s > MAX_WAIT_S
        if is_stuck or self._backlog > self._capacity:
            raise Overloaded("what waits to be stored takes over 10 s; try again later")

    async def check_health(self) -> None:
        """Nothing: how long the oldest batch has waited says all."""

    async def store(
        self, batch: Batch, sender_closed: Callable[[], bool] = lambda: False
    ) -> Receipt:
        """Store one batch durably.

        Args:
            batch: the readings.
            sender_closed: whether the sender may have disconnected. Then the batch is dropped
                if it had to queue and isn't sent to the writer yet.

        Raises:
            Overloaded: the backlog is too large, or the sender has left; nothing was stored.
            Unavailable: the database can't be written now; nothing was stored.
        """
        encoded = encode_batch(batch)  # first of all: a batch that can't be encoded fails alone
        self.check_capacity()
        size = batch.size
        pending = PendingBatch(
            encoded,
            size,
            size or 1,
            self._clock(),
            self._loop.create_future(),
            sender_closed,
            queued=self._sent_readings >= self._window,
        )
        if self._backlog and self._backlog + pending.readings > BACKLOG_READINGS:
            raise Overloaded("too many readings wait to be stored; try again in a few seconds")
        self._backlog += pending.readings
        if not self._queue:
            self._loop.call_soon(self._send_queued)
        self._queue.append(pending)
        if len(self._queue) >= MESSAGE_BATCHES:
            self._send_queued()
        return await pending.receipt

    async def close(self, limit_s: float = CLOSE_S) -> None:
        """Wait until everything is stored and the writer has ended, but not for long."""
        self._closing = True
        self._send_queued()
        self._transport.write_eof()
        await asyncio.wait([self._closed], timeout=limit_s)
        if not self._closed.done():
            log.critical("the writing process is stuck; what it has was not acknowledged")
            self._transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Resolve batches; end the process if the writer sent what can't be right."""
        sent = len(self._sent)
        stored = 0  # readings that were stored, or found to be there
        try:
            for reply in self._replies.feed(data):
                self._on_reply(reply)
                for number, result in reply.results:
                    stored += self._resolve(number, result)
                while reply.trouble and self._queue:
                    self._drop(self._queue.popleft(), _error(reply.trouble))
        except Exception:
            log.critical("the writing process sent what can't be right", exc_info=True)
            os._exit(1)
        now_s = self._clock()
        if stored:
            self._rate.add(stored, now_s - self._busy_since_s)
            self._capacity = self._rate.readings_in(MAX_WAIT_S)
            in_window = self._rate.readings_in(WINDOW_S)
            self._window = max(SMALL_READINGS, min(WINDOW_READINGS, in_window))
        if len(self._sent) != sent:
            self._busy_since_s = now_s
        self._send_queued()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the cause is logged
        """End the process: without the writer nothing can be acknowledged."""
        if not self._closing:
            log.critical("the writing process %s, so this one ends too", _how_writer_ended())
            os._exit(1)
        self._closed.set_result(None)

    def _send_queued(self) -> None:
        """Send as many batches as the writer's window takes; when closing, all."""
        if self._queue and not self._sent:
            self._busy_since_s = self._clock()
        numbered = []
        while self._queue and (self._closing or self._sent_readings < self._window):
            pending = self._queue.popleft()
            if pending.receipt.done() or (pending.queued and pending.sender_closed()):
                self._drop(pending, Overloaded("it took too long; send it again"))
                continue
            self._last_number += 1
            self._sent[self._last_number] = pending
            self._sent_readings += pending.readings
            numbered.append((self._last_number, pending.encoded))
            pending.encoded = None
        if numbered:
            self._transport.write(encode_message(numbered))

    def _resolve(self, number: int, result: Receipt | Failure) -> int:
        """Give one batch its result; returns how many readings were stored.

        Raises:
            KeyError: no batch waits under that number, or the failure's code is unknown.
            ValueError: the receipt is of another number of readings.
        """
        pending = self._sent.pop(number)
        self._sent_readings -= pending.readings
        if isinstance(result, Failure):
            self._drop(pending, _error(result))
            return 0
        self._backlog -= pending.readings
        if result.size != pending.size:
            raise ValueError(f"a receipt of {result.size} for a batch of {pending.size}")
        if not pending.receipt.done():
            pending.receipt.set_result(result)
        return pending.readings

    def _drop(self, pending: PendingBatch, error: ApiError) -> None:
        self._backlog -= pending.readings
        if not pending.receipt.done():
            pending.receipt.set_exception(error)


def _error(failure: Failure) -> ApiError:
    return _FAILURES[failure.code](failure.error)


def _how_writer_ended() -> str:
    """How the writing process, a child of this one, ended."""
    until_s = monotonic() + EXIT_S
    while monotonic() < until_s:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            break
        if ended is None:  # its files are closed a moment before it has ended
            sleep(0.01)
            continue
        if ended.si_code == os.CLD_EXITED:
            break
        name = signal.Signals(ended.si_status).name
        hint = " (was tmon.db-shm cut short, or is the disk failing?)" if name == "SIGBUS" else ""
        return f"was killed by {name}{hint}"
    return "ended"
