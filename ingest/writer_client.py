"""From the process that takes readings to the one that writes them, and back."""

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
from tmon.store.messages import COMMIT_READINGS, Failure, Frames, Reply, encode, frame

PATIENCE_S = 10.0  # senders wait so long for an answer; many give up soon after
BACKLOG_READINGS = 100_000  # 20 MB
HANDOVER_BATCHES = 32  # the writer begins while the rest of a busy round is parsed
END_S = 0.5  # to learn how the writing process ended
CLOSE_S = 3.0  # after the six seconds in which requests may end (tmon/serve/server.py)

# What the writer holds is stored, even if its senders have gone meanwhile. So it gets what
# keeps it busy, and on a slow disk less: a transaction that is written, and the next.
WINDOW_READINGS = 2 * COMMIT_READINGS
WINDOW_S = 2.0

SMALL_READINGS = 1_000  # a transaction of fewer takes about as long: its time is the disk's sync
KEPT = 0.5  # of what earlier transactions say, at each new one

_FAILURES: dict[str, type[ApiError]] = {
    error.code: error for error in (Unavailable, Locked, DiskFull, Damaged)
}

log = logging.getLogger("tmon.handover")


class Waiting(Struct):
    """A batch that waits for its receipt; ``encoded`` until it is handed over."""

    encoded: msgspec.Raw | None
    size: int
    readings: int  # in the backlog, where an empty batch is work too
    since_s: float
    receipt: "asyncio.Future[Receipt]"
    may_be_gone: Callable[[], bool]
    queued: bool  # the writer had enough to do when it came


class CommitRate:
    """How many readings are committed a second, while there are readings to commit."""

    def __init__(self) -> None:
        self._readings = self._seconds = 0.0

    def add(self, readings: int, seconds: float) -> None:
        self._readings = KEPT * self._readings + max(readings, SMALL_READINGS)
        self._seconds = KEPT * self._seconds + seconds

    def readings_in(self, seconds: float) -> float:
        """How many that is in so many seconds; infinite while nothing is known."""
        return self._readings / self._seconds * seconds if self._seconds else math.inf


class Handover(asyncio.Protocol):
    """Hands batches to the writer, and waits for their receipts.

    Each batch has a number, and its receipt comes under that number. What the
    writer says that can't be so ends the process before anything is acknowledged.

    What arrives while the event loop goes round once is handed over together.
    The writer has at most two seconds' work; the rest waits here, where a batch
    is dropped if its sender goes away.
    """

    def __init__(
        self, on_reply: Callable[[Reply], object], clock: Callable[[], float] = monotonic
    ) -> None:
        self._on_reply = on_reply
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._replies = Frames(Reply)
        self._queue: deque[Waiting] = deque()
        self._handed: dict[int, Waiting] = {}  # over to the writer, by number
        self._handed_readings = 0
        self._last_number = 0
        self._backlog = 0
        self._rate = CommitRate()
        self._room: float = math.inf  # how many readings are committed while a sender waits
        self._window: float = SMALL_READINGS  # how many the writer may have, or one batch more
        self._busy_since_s = 0.0  # the writer, with what it has now
        self._closing = False
        self._over = self._loop.create_future()

    @classmethod
    async def over(
        cls,
        line: socket.socket,
        on_reply: Callable[[Reply], object],
        clock: Callable[[], float] = monotonic,
    ) -> "Handover":
        """One over a socket that leads to a writer; ``on_reply`` hears all that it says."""
        loop = asyncio.get_running_loop()
        _, handover = await loop.create_connection(lambda: cls(on_reply, clock), sock=line)
        return handover

    @property
    def backlog(self) -> int:
        """How many readings wait for their commit."""
        return self._backlog

    @property
    def oldest_waiting_s(self) -> float:
        """How long the batch that came first of those that wait has waited; 0 if none does."""
        for waiting in self._handed.values():
            return self._clock() - waiting.since_s
        return 0.0  # what isn't handed over yet came in this round of the event loop

    def check_room(self) -> None:
        """Whether another batch would be stored while its sender waits.

        Raises:
            Overloaded: what waits already takes over ten seconds.
        """
        is_stuck = self._handed and self._clock() - self._busy_since_s > PATIENCE_S
        if is_stuck or self._backlog > self._room:
            raise Overloaded("what waits to be stored takes over 10 s; try again later")

    async def store(self, batch: Batch, may_be_gone: Callable[[], bool] = lambda: False) -> Receipt:
        """Store one batch durably.

        Args:
            batch: the readings.
            may_be_gone: whether its sender may have gone away. If so, it is dropped where it
                had to queue and isn't handed over yet.

        Raises:
            Overloaded: too much waits already, or its sender may be gone; nothing was stored.
            Unavailable: the database can't be written now; nothing was stored.
        """
        encoded = encode(batch)  # first of all: a batch that can't be encoded fails alone
        self.check_room()
        size = batch.size
        waiting = Waiting(
            encoded,
            size,
            size or 1,
            self._clock(),
            self._loop.create_future(),
            may_be_gone,
            queued=self._handed_readings >= self._window,
        )
        if self._backlog and self._backlog + waiting.readings > BACKLOG_READINGS:
            raise Overloaded("too many readings wait to be stored; try again in a few seconds")
        self._backlog += waiting.readings
        if not self._queue:
            self._loop.call_soon(self._hand_over)
        self._queue.append(waiting)
        if len(self._queue) >= HANDOVER_BATCHES:
            self._hand_over()
        return await waiting.receipt

    async def close(self, limit_s: float = CLOSE_S) -> None:
        """Wait until what was handed over is stored and the writer has ended, but not for long."""
        self._closing = True
        self._hand_over()
        self._transport.write_eof()
        await asyncio.wait([self._over], timeout=limit_s)
        if not self._over.done():
            log.critical("the writing process is stuck; what it has was not acknowledged")
            self._transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Settle what the writer tells of; if that can't be right, end before anybody hears it."""
        handed = len(self._handed)
        try:
            readings = sum(map(self._settle_all, self._replies.feed(data)))
        except Exception:
            log.critical("the writing process sent what can't be right", exc_info=True)
            os._exit(1)
        now_s = self._clock()
        if readings:
            self._rate.add(readings, now_s - self._busy_since_s)
            self._room = self._rate.readings_in(PATIENCE_S)
            in_window = self._rate.readings_in(WINDOW_S)
            self._window = max(SMALL_READINGS, min(WINDOW_READINGS, in_window))
        if len(self._handed) != handed:
            self._busy_since_s = now_s
        self._hand_over()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it is over, anyhow
        """Without the writer nothing can be acknowledged, and its log says what befell it."""
        if not self._closing:
            log.critical("the writing process %s, so this one ends too", _end_of_writer())
            os._exit(1)
        self._over.set_result(None)

    def _hand_over(self) -> None:
        """Give the writer what it has room for; at the end, everything."""
        if self._queue and not self._handed:
            self._busy_since_s = self._clock()
        numbered = []
        while self._queue and (self._closing or self._handed_readings < self._window):
            waiting = self._queue.popleft()
            if waiting.receipt.done() or (waiting.queued and waiting.may_be_gone()):
                self._drop(waiting, Overloaded("it took too long; send it again"))
                continue
            self._last_number += 1
            self._handed[self._last_number] = waiting
            self._handed_readings += waiting.readings
            numbered.append((self._last_number, waiting.encoded))
            waiting.encoded = None
        if numbered:
            self._transport.write(frame(numbered))

    def _drop(self, waiting: Waiting, error: ApiError) -> None:
        self._backlog -= waiting.readings
        if not waiting.receipt.done():
            waiting.receipt.set_exception(error)

    def _settle_all(self, reply: Reply) -> int:
        """How many readings were stored, or found to be there.

        Raises:
            KeyError: a number that nothing waits under, or a failure that there isn't.
            ValueError: a receipt for another number of readings.
        """
        self._on_reply(reply)
        readings = sum(self._settle(number, result) for number, result in reply.results)
        while reply.trouble and self._queue:
            self._drop(self._queue.popleft(), _error(reply.trouble))
        return readings

    def _settle(self, number: int, result: Receipt | Failure) -> int:
        waiting = self._handed.pop(number)
        self._handed_readings -= waiting.readings
        if isinstance(result, Failure):
            self._drop(waiting, _error(result))
            return 0
        self._backlog -= waiting.readings
        if result.size != waiting.size:
            raise ValueError(f"a receipt of {result.size} for a batch of {waiting.size}")
        if not waiting.receipt.done():
            waiting.receipt.set_result(result)
        return waiting.readings


def _end_of_writer() -> str:
    """How the writing process, this one's child, ended."""
    until_s = monotonic() + END_S
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


def _error(failure: Failure) -> ApiError:
    return _FAILURES[failure.code](failure.error)
