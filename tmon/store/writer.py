"""The writer: group commit in the one process that writes."""

import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain
from select import POLLIN, poll
from time import monotonic
from typing import Generic, Protocol, TypeVar

from sqlite_utils import Database

from tmon.core.errors import Damaged, DiskFull, Locked, Replaced, Unavailable
from tmon.core.reading import Batch, Receipt
from tmon.core.time import now_ms
from tmon.db.connect import sqlite3
from tmon.db.damage import DAMAGED_MESSAGE, Damage, is_damage
from tmon.db.sqlite_errors import primary_code
from tmon.db.wal import Wal
from tmon.store.commit import Store
from tmon.store.hours import close_due_hours
from tmon.store.messages import (
    COMMIT_READINGS,
    Failure,
    MessageReader,
    Reply,
    batch_reader,
    encode_message,
)
from tmon.store.waiting_devices import WaitingDevices

TICK_S = 0.25  # a token that another process revokes is refused after this at the latest
FLUSH_EVERY_S = 60.0  # last_received_ms, clock_skew_s and devices_waiting are for people
RECEIVE_BYTES = 1024 * 1024
DAMAGED = Failure(Damaged.code, DAMAGED_MESSAGE)
NOT_SAVED = Failure(
    Damaged.code,
    "the server's database was removed, and there is no room to save it: nothing was stored, "
    "keep the readings",
)

log = logging.getLogger("tmon.writer")


class Item(Protocol):
    """What is committed as a whole, such as a batch."""

    @property
    def size(self) -> int:
        """How many readings it has."""


T = TypeVar("T", bound=Item)
T_contra = TypeVar("T_contra", bound=Item, contravariant=True)


class ItemStore(Protocol[T_contra]):
    """Stores items durably; ``Store`` says what the methods do."""

    def commit(self, items: Sequence[T_contra], /) -> list[Receipt]: ...
    def set_aside(self, item: T_contra, error: Exception, /) -> Receipt | Failure: ...
    def notice_foreign_change(self) -> None: ...
    def check_files(self) -> None: ...
    def flush_last_seen(self) -> None: ...


class BatchStore(Store):
    """Stores batches of ingest."""

    def set_aside(self, batch: Batch, error: Exception) -> Failure:
        """What becomes of a batch that fails alone: its sender is told."""
        log.error("a batch of %s can't be stored", batch.node.name, exc_info=error)
        reason = f"the batch could not be stored: {type(error).__name__}"
        return Failure(Unavailable.code, reason, lasting=False)


class Writer(Generic[T]):
    """Owns the store; commits the items that its socket brings, and then replies.

    What comes during a commit makes the next transaction, so transactions grow with the
    load.
    """

    def __init__(
        self,
        db: Database,
        wal: Wal,
        sock: socket.socket,
        reader: MessageReader[list[tuple[int, T]]],
        store: Callable[[Callable[[], object]], ItemStore[T]],
    ) -> None:
        self._db = db
        self._store = store(self._on_foreign_change)
        self._waiting_devices = WaitingDevices(db, wal.files.path)
        self._wal = wal
        self._sock = sock
        self._arrivals = poll()  # select() can't wait for the 1,024th open file
        self._arrivals.register(sock, POLLIN)
        self._reader = reader
        self._waiting: deque[tuple[int, T]] = deque()
        self._last_number = 0
        self._unanswered: set[int] = set()
        self._trouble: str | None = None
        self._damage = Damage(wal.files.path)
        self._others_wrote = False
        self._checked_s = self._flushed_s = self._close_hours_at_s = monotonic()

    def run(self) -> None:
        """Until the other end closes the socket.

        Raises:
            Replaced: the database's files aren't at their paths any more.
        """
        self._damage.recheck(self._db)
        if self._damage.is_known:
            self._trouble = "damaged"
        while self._receive(0 if self._waiting else TICK_S):
            self._commit_some()
            self._run_periodic()
        while self._waiting:
            self._commit_some()
        self._run_periodic(last=True)

    @property
    def has_damage(self) -> bool:
        """Whether the database is damaged: then even closing it must not write to it."""
        return self._damage.is_known

    def refuse(self, seconds: float) -> bool:
        """Store nothing more; for some seconds fail all batches that wait or come.

        Returns:
            False if the other end has closed the socket.
        """
        until_s = monotonic() + seconds
        try:
            while True:
                results = [(number, NOT_SAVED) for number in sorted(self._unanswered)]
                self._sock.sendall(encode_message(Reply([*results], trouble=NOT_SAVED)))
                self._unanswered.clear()
                self._waiting.clear()
                left_s = until_s - monotonic()
                if left_s <= 0 or not self._receive(left_s):
                    return left_s <= 0
        except ConnectionError:
            return False

    def _receive(self, timeout_s: float) -> bool:
        """Queue the batches that come; False if the other end has closed the socket."""
        if not self._arrivals.poll(1000 * timeout_s):
            return True
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except ConnectionResetError:  # the other end was killed before it read what we sent
            return False
        for number, batch in chain.from_iterable(self._reader.feed(data)):
            if number != self._last_number + 1:
                raise ValueError(f"batch {number} came after {self._last_number}")
            self._last_number = number
            self._unanswered.add(number)
            self._waiting.append((number, batch))
        return bool(data)

    def _commit_some(self) -> None:
        """Commit one transaction's worth of batches, and reply."""
        group: list[tuple[int, T]] = []
        readings = 0
        while self._waiting and readings < COMMIT_READINGS:
            group.append(self._waiting.popleft())
            readings += group[-1][1].size
        if not group:
            return
        began_s = monotonic()
        results = self._commit([batch for _, batch in group])
        self._wal.sync()
        reply = Reply([], readings=readings, took_s=monotonic() - began_s)
        if isinstance(results[-1], Failure) and results[-1].lasting:
            # The batches that wait would fail in the same way, only later.
            reply = Reply([], trouble=results[-1])
            group += self._waiting
            results += [results[-1]] * len(self._waiting)
            self._waiting.clear()
        for (number, batch), result in zip(group, results, strict=True):
            if isinstance(result, Receipt) and result.size != batch.size:
                raise ValueError(f"a receipt of {result.size} for a batch of {batch.size}")
            reply.results.append((number, result))
        self._reply(reply)

    def _reply(self, reply: Reply) -> None:
        reply.others_wrote, self._others_wrote = self._others_wrote, False
        with suppress(ConnectionError):  # the other end is gone
            self._sock.sendall(encode_message(reply))
        self._unanswered.difference_update([number for number, _ in reply.results])

    def _on_foreign_change(self) -> None:
        self._others_wrote = True

    def _run_periodic(self, *, last: bool = False) -> None:
        """Check the files, write when nodes were last seen, and close hours, when it is time."""
        now = monotonic()
        try:
            if last or now - self._checked_s > TICK_S:
                self._checked_s = now
                self._store.check_files()
                self._store.notice_foreign_change()
                if self._others_wrote:
                    self._reply(Reply([]))
            if (last or now - self._flushed_s > FLUSH_EVERY_S) and not self._trouble:
                self._flushed_s = now
                self._store.flush_last_seen()
                self._waiting_devices.flush()
            if now > self._close_hours_at_s and not self._trouble:
                self._close_hours_at_s = now + FLUSH_EVERY_S  # if it fails
                close_due_hours(self._db, now_ms())
                self._close_hours_at_s = now + TICK_S
        except sqlite3.Error as error:
            if is_damage(error):
                if not self._damage.is_known:  # say so at once, without a batch that fails
                    self._reply(Reply([], trouble=DAMAGED))
                self._note_damage(error)
            elif not self._damage.is_known:
                log.warning("hours and when nodes were last heard are written later: %s", error)

    def _commit(self, batches: Sequence[T]) -> list[Receipt | Failure]:
        if self._damage.is_known:
            return [DAMAGED] * len(batches)
        try:
            receipts = self._store.commit(batches)
        except Replaced:
            raise
        except Exception as error:
            # Integrity and data errors are of one batch; others would fail any batch.
            is_of_batch = isinstance(error, sqlite3.IntegrityError | sqlite3.DataError)
            if isinstance(error, sqlite3.DatabaseError) and not is_of_batch:
                return [self._lasting_failure(error)] * len(batches)
            if len(batches) > 1:  # one bad batch never fails the others
                return [self._commit([batch])[0] for batch in batches]
            return [self._store.set_aside(batches[0], error)]
        self._set_trouble(None)
        return [*receipts]

    def _lasting_failure(self, error: sqlite3.DatabaseError) -> Failure:
        if is_damage(error):
            self._note_damage(error)
            return DAMAGED
        self._set_trouble(str(error))
        code = primary_code(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            reason = "another program holds the database's write lock; try again"
            return Failure(Locked.code, reason)
        if code == sqlite3.SQLITE_FULL:
            reason = "the server's disk is full; nothing was stored, keep the readings"
            return Failure(DiskFull.code, reason)
        return Failure(Unavailable.code, "the database can't be written now; try again")

    def _note_damage(self, error: sqlite3.Error) -> None:
        self._damage.record(error)
        self._trouble = str(error)

    def _set_trouble(self, trouble: str | None) -> None:
        """Log when trouble begins, changes or ends, but not at each commit that fails."""
        if trouble == self._trouble:
            return
        if trouble:
            log.error("readings can't be stored: %s", trouble)
        else:
            log.warning("readings are stored again")
        self._trouble = trouble


def batch_writer(db: Database, wal: Wal, sock: socket.socket) -> Writer[Batch]:
    """The writer of a station: ingest sends it batches."""
    return Writer(
        db,
        wal,
        sock,
        batch_reader(),
        lambda on_foreign_change: BatchStore(db, wal.files, on_foreign_change=on_foreign_change),
    )
