"""Store messages of the streams, and in the same transaction how far they are stored."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from sqlite_utils import Database

from tmon.core.errors import TmonError, Unavailable
from tmon.core.reading import TEXT_LIMIT, Batch, Receipt, Refusal, Rejection, rejection
from tmon.db.connect import sqlite3, transaction
from tmon.db.open_files import OpenFiles
from tmon.store.commit import OpenStore
from tmon.store.insert import Inserter
from tmon.store.messages import Failure
from tmon.stream.messages import (
    Change,
    Message,
    Readings,
    UnknownMessage,
    decode,
    not_stored,
)
from tmon.stream.positions import Positions, first_positions, newest_change, write_positions

READING_BYTES = 40  # of one in a message
NOT_STORED = "not_stored"  # the code of what was acknowledged and can't be stored

log = logging.getLogger("tmon.sink")


class Begin(Struct, frozen=True, array_like=True, tag="begin"):
    """Of an empty file of a new machine: where the cluster began."""

    snapshot: str
    largest_sensor: int
    largest_rejected: int
    created: Sequence[str]

    @property
    def size(self) -> int:
        return 0


class Portion(Struct, frozen=True, array_like=True, tag="portion"):
    """Messages of one partition, one after the other; ``first`` is the sequence of the first.

    With each is when the stream took it, in Unix milliseconds.
    """

    partition: int
    first: int
    messages: Sequence[tuple[int, bytes]]

    @property
    def size(self) -> int:
        """About how many readings it has."""
        return 1 + sum(len(data) for _, data in self.messages) // READING_BYTES


class Arrived(Struct, frozen=True):
    """A message with its place; None if it can't be read."""

    partition: int
    sequence: int
    at_ms: int
    message: Message | None

    @property
    def batches(self) -> Sequence[Batch]:
        return self.message.batches if isinstance(self.message, Readings) else ()


class SinkStore(OpenStore):
    """Stores what the streams bring: each message once, each partition's in order.

    What is stored doesn't depend on which messages come together, so the files of several
    machines are the same once they are at the same positions.
    """

    def __init__(
        self, db: Database, files: OpenFiles, on_foreign_change: Callable[[], object]
    ) -> None:
        self.positions = Positions(db)
        super().__init__(db, files, Inserter(db, self.positions), on_foreign_change)
        # Up to which message of each partition it is noted when nodes were last heard.
        self._seen = {one.partition: one.last_seen_sequence for one in self.positions.all}

    def commit(self, items: Sequence[Portion | Begin]) -> list[Receipt]:
        """Store all items in one transaction.

        Raises:
            sqlite3.Error: nothing of any of them was stored.
            Replaced: the same, and the database must be opened again first.
        """
        self._files.check()
        arrived = [one for item in items if isinstance(item, Portion) for one in _arrived(item)]
        with self._transaction():
            for item in items:
                if isinstance(item, Begin):
                    self._begin(item)
            self._store_in_order([one for one in arrived if not self._is_stored(one)])
        self._note(arrived)
        return [Receipt(item.size, 0, ()) for item in items]

    def set_aside(self, item: Portion | Begin, error: Exception) -> Receipt | Failure:
        """Store what can be of messages that fail together; the rest stands in ``rejected``."""
        if isinstance(item, Begin):
            return Failure(Unavailable.code, f"the file can't begin: {error}", lasting=False)
        try:
            for place, message in enumerate(item.messages):
                self._commit_alone(Portion(item.partition, item.first + place, [message]))
        except sqlite3.DatabaseError as failure:
            return Failure(Unavailable.code, str(failure), lasting=False)
        return Receipt(item.size, 0, ())

    def flush_last_seen(self) -> None:
        """Write when each node last sent something, and up to which messages that is known."""
        if not self._last_seen:
            return
        with self._transaction():
            self._write_last_seen()
            for partition, sequence in self._seen.items():
                self.positions.note_seen(partition, sequence)
        self._last_seen.clear()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One transaction, with the positions as they are; if it fails, none of it is kept."""
        try:
            with transaction(self._db):
                self.notice_foreign_change()
                self.positions.load()
                yield
                self.positions.save()
        except BaseException:
            self._inserter.forget_sensors()  # those made in this transaction don't exist
            raise

    def _begin(self, begin: Begin) -> None:
        if not self.positions.all:
            positions = first_positions(*msgspec.structs.astuple(begin))
            write_positions(self._db, positions)
            self.positions.load()
            self._seen = {one.partition: 0 for one in positions}

    def _is_stored(self, one: Arrived) -> bool:
        return one.sequence <= self.positions.all[one.partition].sequence

    def _store_in_order(self, arrived: Sequence[Arrived]) -> None:
        """Store messages, as many readings at once as changes between them allow."""
        readings: list[Arrived] = []
        for one in arrived:
            self.positions.advance(one.partition, one.sequence)
            if isinstance(one.message, Readings):
                readings.append(one)
                continue
            self._store_readings(readings)
            readings = []
            if isinstance(one.message, Change):
                self._store_change(one, one.message)
            else:
                self._reject_message(one, "a message that can't be read")
        self._store_readings(readings)

    def _store_readings(self, arrived: Sequence[Arrived]) -> None:
        """Store messages as if each came alone, but at once where that is the same."""
        batches = [batch for one in arrived for batch in one.batches]
        rows = self._inserter.rows_of_known(batches)
        if rows is not None:
            try:
                with self._db.atomic():
                    self._inserter.insert_new(rows)
            except sqlite3.IntegrityError:
                pass
            else:
                return
        if len(arrived) == 1:
            self._inserter.insert_each(batches)
            return
        half = len(arrived) // 2
        self._store_readings(arrived[:half])
        self._store_readings(arrived[half:])

    def _store_change(self, one: Arrived, change: Change) -> None:
        """Run a change's statements: all, or none and the change stands in ``rejected``."""
        if change.number <= newest_change(self.positions.all):
            return  # published twice, as a command ended amid it (change_log.py)
        try:
            with self._db.atomic():
                for sql, parameters in change.statements:
                    self._db.conn.execute(sql, parameters)
        except (sqlite3.IntegrityError, sqlite3.DataError) as error:
            self._reject_message(one, f"{not_stored(change.number)}{error}")
        self._inserter.forget_sensors()
        self.positions.note_change(one.partition, change.number)

    def _commit_alone(self, portion: Portion) -> None:
        """Store one message; what of it can't be stored is rejected."""
        try:
            self.commit([portion])
        except Exception as error:
            if not _is_of_message(error):
                raise
            [one] = _arrived(portion)
            log.exception(
                "message %s of partition %s can't be stored whole", one.sequence, one.partition
            )
            with self._transaction():
                self.positions.advance(one.partition, one.sequence)
                for batch in one.batches:
                    self._insert_or_reject(batch)
            self._note([one])

    def _insert_or_reject(self, batch: Batch) -> None:
        try:
            with self._db.atomic():
                self._inserter.insert_each([batch])
        except Exception as error:
            if not _is_of_message(error):
                raise
            self._inserter.forget_sensors()
            self._inserter.insert_each([_all_rejected(batch, error)])

    def _reject_message(self, one: Arrived, reason: str) -> None:
        log.error("message %s of partition %s: %s", one.sequence, one.partition, reason)
        id_ = self.positions.next_rejected(one.partition)
        self._db.execute(
            "insert into rejected (id, received_ms, node, code, reason) values (?, ?, '', ?, ?)",
            [id_, one.at_ms, NOT_STORED, reason[:TEXT_LIMIT]],
        )
        self.positions.trim_rejected(self._db, [id_])

    def _note(self, arrived: Sequence[Arrived]) -> None:
        """Note when nodes were last seen, of messages that were stored earlier as well."""
        for one in arrived:
            if one.sequence > self._seen[one.partition]:
                self._note_seen(one.batches)
                self._seen[one.partition] = one.sequence


def _arrived(portion: Portion) -> Iterator[Arrived]:
    for place, (at_ms, data) in enumerate(portion.messages):
        message: Message | None
        try:
            message = decode(data)
        except UnknownMessage:
            message = None
        yield Arrived(portion.partition, portion.first + place, at_ms, message)


def _is_of_message(error: Exception) -> bool:
    """Whether another message could be stored: the disk and the file are fine."""
    if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError):
        return True
    return not isinstance(error, sqlite3.Error | TmonError | OSError)


def _all_rejected(batch: Batch, error: Exception) -> Batch:
    """A batch of which nothing can be stored."""
    reason = f"it was acknowledged and can't be stored: {error}"
    refusal = Refusal(NOT_STORED, reason[:TEXT_LIMIT])
    rejected: list[Rejection] = [
        *batch.rejected,
        *(rejection(one.index, one.sent or one, refusal) for one in batch.readings),
    ]
    return replace(batch, readings=(), rejected=rejected)
