"""Group commit: the one thread that writes."""

import asyncio
import logging
import os
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic

from msgspec import Struct

from ingest.errors import (
    ApiError,
    DiskFull,
    Locked,
    Overloaded,
    Replaced,
    TmonError,
    Unavailable,
)
from ingest.reading import Batch, Receipt
from ingest.schema import sqlite3
from ingest.store import Store

BACKLOG_READINGS = 100_000  # about a second's work, and 20 MB
COMMIT_READINGS = 10_000  # a transaction's size: one request's at most, or many small ones
TICK_S = 0.25  # how soon a token revoked by another process is refused here
FLUSH_EVERY_S = 60.0  # last_received_ms and clock_skew_s are for people

log = logging.getLogger("tmon.writer")


class Waiting(Struct, frozen=True):
    """A batch, and the promise of its receipt."""

    batch: Batch
    receipt: "asyncio.Future[Receipt]"


class Writer:
    """Owns the store and the one thread that uses it.

    ``store`` returns after COMMIT, never before. While one commit goes to disk
    the next one gathers, so commits grow with the load.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Waiting | None] = SimpleQueue()
        self._backlog = 0  # readings; touched by the event loop only
        self._trouble: str | None = None
        self._noticed_s = self._flushed_s = monotonic()
        self._thread = Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

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
        size = _size(batch)
        if self._backlog and self._backlog + size > BACKLOG_READINGS:
            raise Overloaded("too many readings are waiting to be stored; try again in a second")
        self._backlog += size
        waiting = Waiting(batch, self._loop.create_future())
        self._queue.put(waiting)
        return await waiting.receipt

    async def close(self) -> None:
        """Store what was taken, then stop."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        """Whatever ends this thread ends the process, and what isn't acknowledged is sent again."""
        try:
            while self._turn():
                pass
            self._store.close()
        except BaseException as error:
            known = isinstance(error, TmonError)
            log.critical("readings can't be stored any more: %s", error, exc_info=not known)
            os._exit(1)

    def _turn(self) -> bool:
        """Commit what waits, if anything does; False after the last."""
        group, more = self._next_group()
        if group:
            results = self._commit([waiting.batch for waiting in group])
            if self._trouble and more:
                # Who waits already would wait for the same thing, and longer.
                rest, more = self._next_group(block=False, most=BACKLOG_READINGS)
                group += rest
                results += [results[-1]] * len(rest)
            self._loop.call_soon_threadsafe(self._answer, group, results)
        self._now_and_then(last=not more)
        return more

    def _now_and_then(self, *, last: bool) -> None:
        now = monotonic()
        try:
            if now - self._noticed_s > TICK_S:
                self._noticed_s = now
                self._store.notice_others()
            if (last or now - self._flushed_s > FLUSH_EVERY_S) and not self._trouble:
                self._flushed_s = now
                self._store.flush_heard()
        except sqlite3.Error as error:
            log.warning("when nodes were last heard is not written down yet: %s", error)

    def _next_group(
        self, *, block: bool = True, most: int = COMMIT_READINGS
    ) -> tuple[list[Waiting], bool]:
        """All that waits, up to ``most`` readings, and whether more may come."""
        group: list[Waiting] = []
        readings = 0
        try:
            while readings < most:
                waiting = self._queue.get(block=block and not group, timeout=TICK_S)
                if waiting is None:
                    return group, False
                group.append(waiting)
                readings += _size(waiting.batch)
        except Empty:
            pass
        return group, True

    def _commit(self, batches: Sequence[Batch]) -> list[Receipt | ApiError]:
        try:
            receipts = self._store.commit(batches)
        except Replaced:
            raise
        except sqlite3.DatabaseError as error:
            if _is_lasting(error):
                return [self._unavailable(error)] * len(batches)
            return self._one_by_one(batches, error)
        except Exception as error:
            return self._one_by_one(batches, error)
        self._tell(None)
        return [*receipts]

    def _one_by_one(self, batches: Sequence[Batch], error: Exception) -> list[Receipt | ApiError]:
        """One bad batch never fails its neighbours."""
        if len(batches) > 1:
            return [self._commit([batch])[0] for batch in batches]
        log.error("a batch of %s can't be stored", batches[0].node.name, exc_info=error)
        return [Unavailable(f"the batch could not be stored: {type(error).__name__}")]

    def _unavailable(self, error: sqlite3.DatabaseError) -> ApiError:
        self._tell(str(error))
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # its primary code
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Locked("another program holds the database's write lock; try again")
        if code == sqlite3.SQLITE_FULL:
            return DiskFull("the server's disk is full; nothing was stored, keep the readings")
        return Unavailable("the database can't be written now; try again")

    def _tell(self, trouble: str | None) -> None:
        """Log when trouble begins, changes or ends, not at each commit that it fails."""
        if trouble == self._trouble:
            return
        if trouble:
            log.error("readings can't be stored: %s", trouble)
        else:
            log.warning("readings are stored again")
        self._trouble = trouble

    def _answer(self, group: list[Waiting], results: list[Receipt | ApiError]) -> None:
        for waiting, result in zip(group, results, strict=True):
            self._backlog -= _size(waiting.batch)
            if waiting.receipt.cancelled():
                continue
            if isinstance(result, ApiError):
                waiting.receipt.set_exception(result)
            else:
                waiting.receipt.set_result(result)


def _size(batch: Batch) -> int:
    return max(1, len(batch.readings) + len(batch.rejected))


def _is_lasting(error: sqlite3.DatabaseError) -> bool:
    """Whether it would fail any batch: the lock, the disk, the file; not what is in this one."""
    return not isinstance(error, sqlite3.IntegrityError | sqlite3.DataError)
