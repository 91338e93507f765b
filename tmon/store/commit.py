"""Batches into the database: the one place that writes readings."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from operator import attrgetter, itemgetter

from msgspec import Struct
from sqlite_utils import Database

from tmon.core.reading import Batch, Reading, Receipt, Refusal, Rejection, rejection
from tmon.core.units import POWER_ON_C
from tmon.db.connect import after_commit, sqlite3, transaction
from tmon.db.open_files import OpenFiles
from tmon.store.refusals import check_power_on, check_unit, conflict, pruned
from tmon.store.sensors import Sensor, Sensors

REJECTED_KEPT_PER_BATCH = 100
REJECTED_KEPT = 100_000
FRESH_MS = 86_400_000  # `tmon prune` keeps two days at least: so old a reading is never beyond it
CROWD_MS = 60_000  # how far ahead a sensor without times may come by sending several a millisecond
# One statement of many rows takes a tenth less than as many of one row. Sizes are
# powers of two, so that few prepared statements do.
LARGEST_INSERT = 2048


Row = tuple[int, int, float]  # sensor, measured_ms, value
_MEASURED_MS, _VALUE = itemgetter(1), itemgetter(2)  # of a row; faster than a loop
_COLUMNS = attrgetter("sensor", "measured", "value", "code", "error")  # of a Rejection


class Sorted(Struct, frozen=True):
    """A batch's readings by what can be done with them."""

    rows: list[Row]
    readings: list[Reading]  # what each row came from
    rejected: list[Rejection]
    doubtful: list[tuple[Row, Reading]]  # to be compared with the readings before them
    stored: list[Row]  # those that were new


class Store:
    """Owns the writing connection; each ``commit`` is one durable transaction.

    ``on_stored`` is told which rows are new, within the transaction that stores them.
    """

    def __init__(
        self,
        db: Database,
        files: OpenFiles | None = None,
        *,
        keep_rejected: bool = True,
        on_foreign_change: Callable[[], object] = lambda: None,
        on_stored: Callable[[list[Row]], object] | None = None,
    ) -> None:
        self._db = db
        self._keep_rejected = keep_rejected
        self._on_foreign_change = on_foreign_change
        self._on_stored = on_stored
        self._sensors = Sensors(db)
        self._heard: dict[str, tuple[int, float | None]] = {}
        self._version = self._data_version()
        self._files = files or OpenFiles(db)

    def commit(self, batches: Sequence[Batch]) -> list[Receipt]:
        """Store all batches, and say of each what became of its readings.

        Raises:
            sqlite3.Error: nothing of any of them was stored.
            Replaced: nor will anything be, until the database is opened anew.
        """
        self._files.check()
        receipts = self._commit_plainly(batches) or self._commit_carefully(batches)
        for batch in batches:
            self._heard[batch.node.uid] = (batch.received_ms, batch.clock_skew_s)
        return receipts

    def notice_others(self) -> None:
        """Forget what was remembered if another connection has written since."""
        version = self._data_version()
        if version != self._version:
            self._version = version
            self._sensors.forget()
            self._on_foreign_change()

    def check_files(self) -> None:
        """See that the database's files are in their place.

        Raises:
            Replaced: they are not; nothing will be stored until they are opened anew.
        """
        self._files.check()
        self._files.check_paths()

    def flush_heard(self) -> None:
        """Write down when each node was last heard, and how far its clock is off."""
        if not self._heard:
            return
        rows = [(received, skew, uid) for uid, (received, skew) in self._heard.items()]
        with transaction(self._db):
            self._db.conn.executemany(
                "update nodes set last_received_ms = ?, clock_skew_s = coalesce(?, clock_skew_s)"
                " where uid = ?",
                rows,
            )
        self._heard.clear()

    def _data_version(self) -> int:
        return int(self._db.execute("pragma data_version").fetchone()[0])

    def _commit_plainly(self, batches: Sequence[Batch]) -> list[Receipt] | None:
        """The usual case in one statement, which is a transaction of its own.

        None, and nothing stored, unless every reading is good, new, and of a known sensor,
        and no value is to be looked at twice.
        What is remembered of a sensor may be a moment old. That does for its number and unit,
        and for fresh readings; not for old ones, which may be pruned at this moment.
        """
        if any(batch.rejected for batch in batches):
            return None
        try:
            rows = [
                self._row(self._sensors.known(batch.node, reading), reading)
                for batch in batches
                for reading in batch.readings
            ]
            if POWER_ON_C in map(_VALUE, rows):
                return None
            fresh_from_ms = min((batch.received_ms for batch in batches), default=0) - FRESH_MS
            fresh = min(map(_MEASURED_MS, rows), default=fresh_from_ms) >= fresh_from_ms
            if fresh and len(rows) <= LARGEST_INSERT and self._on_stored is None:
                self._insert_new(rows)
                after_commit(self._db)
            elif not self._insert_unless_others_wrote(rows):
                return None
        except (KeyError, Refusal, sqlite3.IntegrityError):
            return None
        return [Receipt(len(batch.readings), 0, ()) for batch in batches]

    def _insert_unless_others_wrote(self, rows: list[Row]) -> bool:
        """Insert if what is remembered holds, which nobody can change while we have the lock."""
        with transaction(self._db):
            holds = self._data_version() == self._version
            if holds:
                self._insert_new(rows)
                self._tell_stored(rows)
        return holds

    def _commit_carefully(self, batches: Sequence[Batch]) -> list[Receipt]:
        try:
            with transaction(self._db):
                self.notice_others()
                self._sensors.forget_empty()
                sorted_ = [self._sort(batch) for batch in batches]
                receipts = self._insert_all(sorted_) or [*map(self._insert_each, sorted_)]
                if any(each.doubtful for each in sorted_):
                    receipts = [*map(self._insert_doubtful, sorted_, receipts)]
                stored = [row for each in sorted_ for row in each.stored]
                self._tell_stored(stored)
                if self._keep_rejected:
                    self._keep(zip(batches, receipts, strict=True))
        except BaseException:
            self._sensors.forget()  # those made in this transaction are gone
            raise
        self._sensors.have_readings({row[0] for row in stored})
        return receipts

    def _sort(self, batch: Batch) -> Sorted:
        sorted_ = Sorted([], [], [*batch.rejected], [], [])
        for reading in batch.readings:
            try:
                sensor = self._sensors.find_or_make(batch.node, reading)
                row = self._row(sensor, reading)
            except Refusal as refusal:
                sorted_.rejected.append(_rejection(reading, refusal))
                continue
            if reading.value == POWER_ON_C and sensor.doubts_85:
                sorted_.doubtful.append((row, reading))
            else:
                sorted_.rows.append(row)
                sorted_.readings.append(reading)
        return sorted_

    def _row(self, sensor: Sensor, reading: Reading) -> Row:
        if reading.unit != sensor.unit:
            check_unit(reading, sensor)
        if reading.measured_ms < sensor.kept_from_ms:
            raise pruned(reading, sensor)
        return sensor.id, reading.measured_ms, reading.value

    def _insert_all(self, sorted_: list[Sorted]) -> list[Receipt] | None:
        """All rows, or none if one of them is there already."""
        try:
            with self._db.atomic():
                self._insert_new([row for each in sorted_ for row in each.rows])
        except sqlite3.IntegrityError:
            return None
        for each in sorted_:
            each.stored.extend(each.rows)
        return [_receipt(len(each.rows), 0, each.rejected) for each in sorted_]

    def _insert_new(self, rows: list[Row]) -> None:
        rows.sort()  # neighbours in the file are written together
        for start in range(0, len(rows), LARGEST_INSERT):
            part = rows[start : start + LARGEST_INSERT]
            size = 1 << (len(part) - 1).bit_length()
            values = [*chain.from_iterable(part)]
            self._db.execute(_insert_sql(size), values + [0] * (3 * size - len(values)))

    def _insert_each(self, batch: Sorted) -> Receipt:
        accepted = duplicates = 0
        rejected = batch.rejected
        for reading, row in zip(batch.readings, batch.rows, strict=True):
            if new := self._insert_if_new(row) or self._insert_next_to(reading, row):
                accepted += 1
                batch.stored.append(new)
            elif (there := self._value(row)) == row[2]:
                duplicates += 1
            else:
                rejected.append(_rejection(reading, conflict(reading, there)))
        return _receipt(accepted, duplicates, rejected)

    def _insert_doubtful(self, batch: Sorted, receipt: Receipt) -> Receipt:
        """Insert the doubtful readings that are plausible, after all that aren't doubtful."""
        good = Sorted([], [], [*receipt.rejected], [], batch.stored)
        for row, reading in batch.doubtful:
            try:
                check_power_on(self._db, sensor=row[0], measured_ms=row[1])
                good.rows.append(row)
                good.readings.append(reading)
            except Refusal as refusal:
                good.rejected.append(_rejection(reading, refusal))
        more = self._insert_each(good)
        return _receipt(
            receipt.accepted + more.accepted,
            receipt.duplicates + more.duplicates,
            [*more.rejected],
        )

    def _insert_if_new(self, row: Row) -> Row | None:
        """The row that was inserted; None if one is there already."""
        inserted = self._db.execute(
            "insert into readings (sensor, measured_ms, value) values (?, ?, ?)"
            " on conflict (sensor, measured_ms) do nothing",
            row,
        )
        return row if inserted.rowcount == 1 else None

    def _insert_next_to(self, reading: Reading, row: Row) -> Row | None:
        """Two that arrive in one millisecond without a time are two readings all the same."""
        if reading.timed:
            return None
        sensor, arrived_ms, value = row
        query = "select max(measured_ms) from readings where sensor = ? and measured_ms <= ?"
        newest_ms = self._db.execute(query, [sensor, arrived_ms + CROWD_MS]).fetchone()[0]
        return self._insert_if_new((sensor, newest_ms + 1, value))

    def _value(self, row: Row) -> float:
        query = "select value from readings where sensor = ? and measured_ms = ?"
        return float(self._db.execute(query, row[:2]).fetchone()[0])

    def _tell_stored(self, rows: list[Row]) -> None:
        if self._on_stored is not None:
            self._on_stored(rows)

    def _keep(self, told: Iterator[tuple[Batch, Receipt]]) -> None:
        rows = [
            (batch.received_ms, batch.node.name, *_COLUMNS(one))
            for batch, receipt in told
            for one in receipt.rejected[:REJECTED_KEPT_PER_BATCH]
        ]
        if not rows:
            return
        self._db.conn.executemany(
            "insert into rejected (received_ms, node, sensor, measured, value, code, reason)"
            " values (?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        self._db.execute(
            "delete from rejected where id <= (select max(id) from rejected) - ?", [REJECTED_KEPT]
        )


@cache
def _insert_sql(size: int) -> str:
    """Insert up to ``size`` rows at once; rows of zeros fill it up, as no sensor has that id."""
    return (
        "insert into readings (sensor, measured_ms, value)"
        " select column1, column2, column3"
        f" from (values {','.join(['(?,?,?)'] * size)}) where column1"
    )


def _rejection(reading: Reading, refusal: Refusal) -> Rejection:
    return rejection(reading.index, reading.sent or reading, refusal)


def _receipt(accepted: int, duplicates: int, rejected: list[Rejection]) -> Receipt:
    return Receipt(accepted, duplicates, sorted(rejected, key=lambda told: told.index))
