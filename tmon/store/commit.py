"""Store batches in the database: the only code that inserts readings."""

from collections.abc import Callable, Iterable, Sequence
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
FRESH_MS = 86_400_000  # a newer reading can't be pruned: `tmon prune` keeps at least two days
CROWD_MS = 60_000  # how far untimed readings of one millisecond may be moved ahead
# One statement of many rows takes a tenth less than as many of one row. Sizes are
# powers of two, so that a few prepared statements suffice.
LARGEST_INSERT = 2048


Row = tuple[int, int, float]  # sensor, measured_ms, value
_MEASURED_MS, _VALUE = itemgetter(1), itemgetter(2)  # of a row; faster than a loop
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


class Store:
    """Owns the writing connection; each ``commit`` is one durable transaction.

    With ``imports`` the readings are a file's: those that are refused are not kept in ``rejected``.
    ``on_stored`` gets the rows that are new, within the transaction that stores them.
    ``on_foreign_change`` is called when another connection has changed the database.
    """

    def __init__(
        self,
        db: Database,
        files: OpenFiles | None = None,
        *,
        imports: bool = False,
        on_foreign_change: Callable[[], object] = lambda: None,
        on_stored: Callable[[list[Row]], object] | None = None,
    ) -> None:
        self._db = db
        self._imports = imports
        self._on_foreign_change = on_foreign_change
        self._on_stored = on_stored
        self._sensors = Sensors(db, imports=imports)
        self._last_seen: dict[str, tuple[int, float | None]] = {}
        self._version = self._data_version()
        self._files = files or OpenFiles(db)

    def commit(self, batches: Sequence[Batch]) -> list[Receipt]:
        """Store all batches; returns a receipt for each.

        Raises:
            sqlite3.Error: nothing of any of them was stored.
            Replaced: the same, and the database must be opened again first.
        """
        self._files.check()
        receipts = self._commit_fast(batches) or self._commit_slow(batches)
        for batch in batches:
            self._last_seen[batch.node.uid] = (batch.received_ms, batch.clock_skew_s)
        return receipts

    def notice_foreign_change(self) -> None:
        """Empty the cache of sensors if another connection has written since."""
        version = self._data_version()
        if version != self._version:
            self._version = version
            self._sensors.invalidate()
            self._on_foreign_change()

    def check_files(self) -> None:
        """Check that the database's files are still at their paths.

        Raises:
            Replaced: they are not; nothing can be stored until they are opened again.
        """
        self._files.check()
        self._files.check_paths()

    def flush_last_seen(self) -> None:
        """Write when each node last sent something, and how far its clock is off."""
        if not self._last_seen:
            return
        rows = [(received, skew, uid) for uid, (received, skew) in self._last_seen.items()]
        with transaction(self._db):
            self._db.conn.executemany(
                "update nodes set last_received_ms = ?, clock_skew_s = coalesce(?, clock_skew_s)"
                " where uid = ?",
                rows,
            )
        self._last_seen.clear()

    def _data_version(self) -> int:
        return int(self._db.execute("pragma data_version").fetchone()[0])

    def _commit_fast(self, batches: Sequence[Batch]) -> list[Receipt] | None:
        """Store batches whose readings are all valid, new and of cached sensors.

        None, and nothing stored, if one isn't. A cached sensor may be a moment out of
        date, which matters only to old readings: they may be pruned at this moment.
        """
        if any(batch.rejected for batch in batches):
            return None
        try:
            rows = [
                self._row(self._sensors.cached(batch.node, reading), reading)
                for batch in batches
                for reading in batch.readings
            ]
            if POWER_ON_C in map(_VALUE, rows):
                return None
            fresh_from_ms = min((batch.received_ms for batch in batches), default=0) - FRESH_MS
            fresh = min(map(_MEASURED_MS, rows), default=fresh_from_ms) >= fresh_from_ms
            if fresh and len(rows) <= LARGEST_INSERT and self._on_stored is None:
                self._insert_new(rows)  # one statement is a transaction of its own
                after_commit(self._db)
            else:
                with transaction(self._db):  # from here on nobody else can change a sensor
                    if self._data_version() != self._version:
                        return None
                    self._insert_new(rows)
                    if self._on_stored is not None:
                        self._on_stored(rows)
        except (KeyError, Refusal, sqlite3.IntegrityError):
            return None
        return [Receipt(len(batch.readings), 0, ()) for batch in batches]

    def _commit_slow(self, batches: Sequence[Batch]) -> list[Receipt]:
        """Store what can be stored of each batch, and reject the rest."""
        try:
            with transaction(self._db):
                self.notice_foreign_change()
                self._sensors.invalidate_empty()
                results = [self._prepare(batch) for batch in batches]
                if not self._insert_all(results):
                    for result in results:
                        for row, reading in result.rows:
                            self._insert_one(result, row, reading)
                for result in results:
                    self._insert_doubtful(result)
                receipts = [result.receipt() for result in results]
                stored = [row for result in results for row in result.stored]
                if self._on_stored is not None:
                    self._on_stored(stored)
                if not self._imports:
                    self._store_rejected(zip(batches, receipts, strict=True))
        except BaseException:
            self._sensors.invalidate()  # those made in this transaction don't exist
            raise
        self._sensors.mark_nonempty({row[0] for row in stored})
        return receipts

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
                self._insert_new([row for result in results for row, _ in result.rows])
        except sqlite3.IntegrityError:
            return False
        for result in results:
            result.stored.extend(row for row, _ in result.rows)
        return True

    def _insert_new(self, rows: list[Row]) -> None:
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
            (batch.received_ms, batch.node.name, batch.gateway, *_COLUMNS(one))
            for batch, receipt in receipts
            for one in receipt.rejected[:REJECTED_KEPT_PER_BATCH]
        ]
        if not rows:
            return
        self._db.conn.executemany(
            "insert into rejected"
            " (received_ms, node, gateway, sensor, measured, value, code, reason, raw)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        self._db.execute(
            "delete from rejected where id <= (select max(id) from rejected) - ?", [REJECTED_KEPT]
        )


@cache
def _insert_sql(size: int) -> str:
    """Insert up to ``size`` rows; rows of zeros fill it up, as no sensor has the id 0."""
    return (
        "insert into readings (sensor, measured_ms, value)"
        " select column1, column2, column3"
        f" from (values {','.join(['(?,?,?)'] * size)}) where column1"
    )
