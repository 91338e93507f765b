"""Group commit: the one process that writes."""

import logging
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from select import select
from time import monotonic

from sqlite_utils import Database

from tmon.core.errors import ApiError, Damaged, DiskFull, Locked, Replaced, Unavailable
from tmon.core.reading import Batch, Receipt
from tmon.db.connect import sqlite3
from tmon.db.damage import ANSWER, Damage, is_damage
from tmon.db.nodes import now_ms
from tmon.db.sqlite_errors import primary_code
from tmon.db.wal import Wal
from tmon.store.commit import Store
from tmon.store.hours import close_some
from tmon.store.messages import COMMIT_READINGS, Failure, Reply, batches_in, frame

TICK_S = 0.25  # how soon a token revoked by another process is refused here
FLUSH_EVERY_S = 60.0  # last_received_ms and clock_skew_s are for people
LISTEN_BYTES = 1024 * 1024
NOT_SAVED = (
    "the server's database was removed, and there is no room to save it: nothing was stored, "
    "keep the readings"
)

log = logging.getLogger("tmon.writer")


class Writer:
    """Owns the store; commits what its line brings, and answers when that is on the disk.

    What comes while the disk is waited for makes the next transaction, so
    transactions grow with the load.
    """

    def __init__(self, db: Database, wal: Wal, line: socket.socket) -> None:
        self._db = db
        self._store = Store(db, wal.files, on_foreign_change=self._note_others)
        self._wal = wal
        self._line = line
        self._frames = batches_in()
        self._waiting: deque[tuple[int, Batch]] = deque()
        self._last_number = 0
        self._unanswered: set[int] = set()
        self._trouble: str | None = None
        self._damage = Damage(wal.files.path)
        self._others_wrote = False
        self._noticed_s = self._flushed_s = self._close_at_s = monotonic()

    def run(self) -> None:
        """Until the other end of the line is closed.

        Raises:
            Replaced: the database's files aren't in their place any more.
        """
        self._damage.look(self._db)
        if self._damage.is_known:
            self._trouble = "damaged"
        while self._listen(0 if self._waiting else TICK_S):
            self._commit_some()
            self._now_and_then()
        while self._waiting:
            self._commit_some()
        self._now_and_then(last=True)

    @property
    def has_damage(self) -> bool:
        """Whether the database is damaged: it must not be written to, by closing it either."""
        return self._damage.is_known

    def refuse(self, seconds: float) -> bool:
        """Store nothing more; for some seconds answer 503 to all that waits and comes.

        Returns:
            False at the end of the line.
        """
        until_s = monotonic() + seconds
        trouble = _failure(Damaged, NOT_SAVED)
        try:
            while True:
                results = [(number, trouble) for number in sorted(self._unanswered)]
                self._line.sendall(frame(Reply([*results], trouble=trouble)))
                self._unanswered.clear()
                self._waiting.clear()
                left_s = until_s - monotonic()
                if left_s <= 0 or not self._listen(left_s):
                    return left_s <= 0
        except ConnectionError:
            return False

    def _listen(self, patience_s: float) -> bool:
        """Take in what comes; False at the end of the line."""
        if not select([self._line], [], [], patience_s)[0]:
            return True
        try:
            data = self._line.recv(LISTEN_BYTES)
        except ConnectionResetError:  # the other end was killed before it read what we sent
            return False
        for number, batch in chain.from_iterable(self._frames.feed(data)):
            if number != self._last_number + 1:
                raise ValueError(f"batch {number} came after {self._last_number}")
            self._last_number = number
            self._unanswered.add(number)
            self._waiting.append((number, batch))
        return bool(data)

    def _commit_some(self) -> None:
        group = self._next_group()
        if not group:
            return
        began_s = monotonic()
        results = self._commit([batch for _, batch in group])
        self._wal.sync()
        reply = Reply([], readings=sum([batch.size for _, batch in group]))
        reply.took_s = monotonic() - began_s
        if isinstance(results[-1], Failure) and results[-1].lasting:
            # Who waits already would wait for the same thing, and longer.
            reply = Reply([], trouble=results[-1])
            group += self._waiting
            results += [results[-1]] * len(self._waiting)
            self._waiting.clear()
        reply.results = _numbered(group, results)
        self._reply(reply)

    def _next_group(self) -> list[tuple[int, Batch]]:
        group: list[tuple[int, Batch]] = []
        readings = 0
        while self._waiting and readings < COMMIT_READINGS:
            group.append(self._waiting.popleft())
            readings += group[-1][1].size
        return group

    def _reply(self, reply: Reply) -> None:
        reply.others_wrote, self._others_wrote = self._others_wrote, False
        with suppress(ConnectionError):  # nobody is there to be told
            self._line.sendall(frame(reply))
        self._unanswered.difference_update([number for number, _ in reply.results])

    def _note_others(self) -> None:
        self._others_wrote = True

    def _now_and_then(self, *, last: bool = False) -> None:
        now = monotonic()
        try:
            if last or now - self._noticed_s > TICK_S:
                self._noticed_s = now
                self._store.check_files()
                self._store.notice_others()
                if self._others_wrote:
                    self._reply(Reply([]))
            if (last or now - self._flushed_s > FLUSH_EVERY_S) and not self._trouble:
                self._flushed_s = now
                self._store.flush_heard()
            if now > self._close_at_s and not self._trouble:
                self._close_at_s = now + FLUSH_EVERY_S  # if it fails
                close_some(self._db, now_ms())
                self._close_at_s = now + TICK_S
        except sqlite3.Error as error:
            if is_damage(error):
                if not self._damage.is_known:  # nobody need send anything to hear of it
                    self._reply(Reply([], trouble=_failure(Damaged, ANSWER)))
                self._meet(error)
            elif not self._damage.is_known:
                log.warning("hours and when nodes were last heard are written later: %s", error)

    def _commit(self, batches: Sequence[Batch]) -> list[Receipt | Failure]:
        if self._damage.is_known:
            return [_failure(Damaged, ANSWER)] * len(batches)
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

    def _one_by_one(self, batches: Sequence[Batch], error: Exception) -> list[Receipt | Failure]:
        """One bad batch never fails its neighbours."""
        if len(batches) > 1:
            return [self._commit([batch])[0] for batch in batches]
        log.error("a batch of %s can't be stored", batches[0].node.name, exc_info=error)
        told = f"the batch could not be stored: {type(error).__name__}"
        return [Failure(Unavailable.code, told, lasting=False)]

    def _unavailable(self, error: sqlite3.DatabaseError) -> Failure:
        if is_damage(error):
            self._meet(error)
            return _failure(Damaged, ANSWER)
        self._tell(str(error))
        code = primary_code(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return _failure(Locked, "another program holds the database's write lock; try again")
        if code == sqlite3.SQLITE_FULL:
            told = "the server's disk is full; nothing was stored, keep the readings"
            return _failure(DiskFull, told)
        return _failure(Unavailable, "the database can't be written now; try again")

    def _meet(self, damage: sqlite3.Error) -> None:
        self._damage.meet(damage)
        self._trouble = str(damage)

    def _tell(self, trouble: str | None) -> None:
        """Log when trouble begins, changes or ends, not at each commit that it fails."""
        if trouble == self._trouble:
            return
        if trouble:
            log.error("readings can't be stored: %s", trouble)
        else:
            log.warning("readings are stored again")
        self._trouble = trouble


def _numbered(
    group: Sequence[tuple[int, Batch]], results: Sequence[Receipt | Failure]
) -> list[tuple[int, Receipt | Failure]]:
    """Each result with the number of its batch.

    Raises:
        ValueError: a receipt that can't be its batch's; it must not be sent.
    """
    numbered = []
    for (number, batch), result in zip(group, results, strict=True):
        if isinstance(result, Receipt) and result.size != batch.size:
            raise ValueError(f"a receipt of {result.size} for a batch of {batch.size}")
        numbered.append((number, result))
    return numbered


def _failure(kind: type[ApiError], error: str) -> Failure:
    return Failure(kind.code, error)


def _is_lasting(error: sqlite3.DatabaseError) -> bool:
    """Whether it would fail any batch: the lock, the disk, the file; not what is in this one."""
    return not isinstance(error, sqlite3.IntegrityError | sqlite3.DataError)
