"""Insert the readings of batches, in a transaction of the caller's."""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from operator import attrgetter, itemgetter

from msgspec import Struct
from sqlite_utils import Database

from tmon.core.reading import Batch, Reading, Receipt, Refusal, Rejection, rejection
from tmon.core.units import POWER_ON_C
from tmon.db.connect import sqlite3
from tmon.store.ids import Ids
from tmon.store.refusals import check_power_on, check_unit, conflict, pruned
from tmon.store.sensors import Sensor, Sensors

REJECTED_KEPT_PER_BATCH = 100
CROWD_MS = 60_000  # how far untimed readings of one millisecond may be moved ahead
# One statement of many rows takes a tenth less than as many of one row. Sizes are
# powers of two, so that a few prepared statements suffice.
LARGEST_INSERT = 2048


Row = tuple[int, int, float]  # sensor, measured_ms, value
_VALUE = itemgetter(2)  # of a row; faster than a loop
_COLUMNS = attrgetter("sensor", "measured", "value", "code", "error", "raw")  # of a Rejection


class BatchResult(Struct):
    """The rows of one batch, and what became of them so far."""

    rejected: list[Rejection]
    rows: list[tuple[Row, Reading]] = []  # with what each was made of
    doubtful: list[tuple[Row, Reading]] = []  # inserted last, compared with the readings before
    stored: list[Row] = []
    duplicates: int = 0

    def reject(self, reading: Reading, refusal: Refusal) -> None:
        self.rejected.append(rejection(reading.index, reading.sent or reading, refusal))

    def receipt(self) -> Receipt:
        in_order = sorted(self.rejected, key=lambda each: each.index)
        return Receipt(len(self.stored), self.duplicates, in_order)


class Inserter:
    """Owns the cache of sensors; makes rows of readings and inserts them.

    With ``imports`` the readings are a file's: those that are refused are not kept in ``rejected``.
    """

    def __init__(self, db: Database, ids: Ids, *, imports: bool = False) -> None:
        self._db = db
        self._ids = ids
        self._imports = imports
        self._sensors = Sensors(db, ids, imports=imports)

    def forget_sensors(self) -> None:
        """Empty the cache: the database was changed by others, or rolled back."""
        self._sensors.invalidate()

    def rows_of_known(self, batches: Sequence[Batch]) -> list[Row] | None:
        """Rows of batches that need no second look; None if one does.

        Their sensors are cached and all readings are valid. One that exists already makes
        ``insert_new`` fail.
        """
        if any(batch.rejected for batch in batches):
            return None
        try:
            rows = [
                self._row(self._sensors.cached(batch.node, reading), reading)
                for batch in batches
                for reading in batch.readings
            ]
        except (KeyError, Refusal):
            return None
        return None if POWER_ON_C in map(_VALUE, rows) else rows

    def insert_each(self, batches: Sequence[Batch]) -> tuple[list[Receipt], list[Row]]:
        """Insert what can be of each batch, and reject the rest; receipts, and what is new."""
        self._sensors.invalidate_empty()
        results = [self._prepare(batch) for batch in batches]
        if not self._insert_all(results):
            for result in results:
                for row, reading in result.rows:
                    self._insert_one(result, row, reading)
        for result in results:
            self._insert_doubtful(result)
        receipts = [result.receipt() for result in results]
        if not self._imports:
            self._store_rejected(zip(batches, receipts, strict=True))
        stored = [row for result in results for row in result.stored]
        self._sensors.mark_nonempty({row[0] for row in stored})
        return receipts, stored

    def _prepare(self, batch: Batch) -> BatchResult:
        """Make rows of readings; reject those that can't be."""
        result = BatchResult([*batch.rejected])
        for reading in batch.readings:
            try:
                sensor = self._sensors.find_or_make(batch.node, reading)
                row = self._row(sensor, reading)
            except Refusal as refusal:
                result.reject(reading, refusal)
                continue
            doubtful = reading.value == POWER_ON_C and sensor.doubts_85
            (result.doubtful if doubtful else result.rows).append((row, reading))
        return result

    def _row(self, sensor: Sensor, reading: Reading) -> Row:
        if reading.unit != sensor.unit:
            check_unit(reading, sensor)
        if reading.measured_ms < sensor.kept_from_ms:
            raise pruned(reading, sensor)
        return sensor.id, reading.measured_ms, reading.value

    def _insert_all(self, results: list[BatchResult]) -> bool:
        """Insert all rows; False, and none inserted, if one of them exists already."""
        try:
            with self._db.atomic():
                self.insert_new([row for result in results for row, _ in result.rows])
        except sqlite3.IntegrityError:
            return False
        for result in results:
            result.stored.extend(row for row, _ in result.rows)
        return True

    def insert_new(self, rows: list[Row]) -> None:
        """Insert rows.

        Raises:
            sqlite3.IntegrityError: one of them exists already.
        """
        rows.sort()  # neighbours in the file are written together
        for start in range(0, len(rows), LARGEST_INSERT):
            part = rows[start : start + LARGEST_INSERT]
            size = 1 << (len(part) - 1).bit_length()
            values = [*chain.from_iterable(part)]
            self._db.execute(_insert_sql(size), values + [0] * (3 * size - len(values)))

    def _insert_doubtful(self, result: BatchResult) -> None:
        """Insert those doubtful readings that are plausible after the readings before them."""
        plausible = []
        for row, reading in result.doubtful:
            try:
                check_power_on(self._db, sensor=row[0], measured_ms=row[1])
                plausible.append((row, reading))
            except Refusal as refusal:
                result.reject(reading, refusal)
        for row, reading in plausible:
            self._insert_one(result, row, reading)

    def _insert_one(self, result: BatchResult, row: Row, reading: Reading) -> None:
        sensor, measured_ms, value = row
        inserted = self._insert_if_new(row)
        if not inserted and not reading.timed:
            # Two readings without a time that arrive in one millisecond are two readings.
            query = "select max(measured_ms) from readings where sensor = ? and measured_ms <= ?"
            newest_ms = self._db.execute(query, [sensor, measured_ms + CROWD_MS]).fetchone()[0]
            row = (sensor, newest_ms + 1, value)
            inserted = self._insert_if_new(row)
        if inserted:
            result.stored.append(row)
            return
        query = "select value from readings where sensor = ? and measured_ms = ?"
        stored_value = float(self._db.execute(query, [sensor, measured_ms]).fetchone()[0])
        if stored_value == value:
            result.duplicates += 1
        else:
            result.reject(reading, conflict(reading, stored_value))

    def _insert_if_new(self, row: Row) -> bool:
        inserted = self._db.execute(
            "insert into readings (sensor, measured_ms, value) values (?, ?, ?)"
            " on conflict (sensor, measured_ms) do nothing",
            row,
        )
        return bool(inserted.rowcount == 1)

    def _store_rejected(self, receipts: Iterable[tuple[Batch, Receipt]]) -> None:
        rows = [
            (
                *(self._ids.of_rejected(batch.node), batch.received_ms),
                *(batch.node.name, batch.gateway, *_COLUMNS(one)),
            )
            for batch, receipt in receipts
            for one in receipt.rejected[:REJECTED_KEPT_PER_BATCH]
        ]
        if not rows:
            return
        self._db.conn.executemany(
            "insert into rejected"
            " (id, received_ms, node, gateway, sensor, measured, value, code, reason, raw)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        self._ids.trim_rejected(self._db, [row[0] for row in rows])


@cache
def _insert_sql(size: int) -> str:
    """Insert up to ``size`` rows; rows of zeros fill it up, as no sensor has the id 0."""
    return (
        "insert into readings (sensor, measured_ms, value)"
        " select column1, column2, column3"
        f" from (values {','.join(['(?,?,?)'] * size)}) where column1"
    )
