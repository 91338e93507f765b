"""Store batches in the database: the only code that commits readings."""

from collections.abc import Callable, Sequence
from operator import itemgetter

from sqlite_utils import Database

from tmon.core.reading import Batch, Receipt
from tmon.db.connect import after_commit, sqlite3, transaction
from tmon.db.open_files import OpenFiles
from tmon.store.ids import Ids
from tmon.store.insert import LARGEST_INSERT, Inserter, Row

FRESH_MS = 86_400_000  # a newer reading can't be pruned: `tmon prune` keeps at least two days

_MEASURED_MS = itemgetter(1)  # of a row; faster than a loop


class OpenStore:
    """Owns the writing connection, and what was noted of nodes since it was last written.

    ``on_foreign_change`` is called when another connection has changed the database.
    """

    def __init__(
        self,
        db: Database,
        files: OpenFiles | None,
        inserter: Inserter,
        on_foreign_change: Callable[[], object] = lambda: None,
    ) -> None:
        self._db = db
        self._inserter = inserter
        self._on_foreign_change = on_foreign_change
        self._last_seen: dict[str, tuple[int, float | None]] = {}
        self._version = self._data_version()
        self._files = files or OpenFiles(db)

    def notice_foreign_change(self) -> None:
        """Empty the cache of sensors if another connection has written since."""
        version = self._data_version()
        if version != self._version:
            self._version = version
            self._inserter.forget_sensors()
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
        with transaction(self._db):
            self._write_last_seen()
        self._last_seen.clear()

    def _write_last_seen(self) -> None:
        rows = [(received, skew, uid) for uid, (received, skew) in self._last_seen.items()]
        self._db.conn.executemany(
            "update nodes set last_received_ms = ?, clock_skew_s = coalesce(?, clock_skew_s)"
            " where uid = ?",
            rows,
        )

    def _note_seen(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            skew_s = batch.clock_skew_s
            if skew_s is None:  # what an earlier batch told still holds
                skew_s = self._last_seen.get(batch.node.uid, (0, None))[1]
            self._last_seen[batch.node.uid] = (batch.received_ms, skew_s)

    def _data_version(self) -> int:
        return int(self._db.execute("pragma data_version").fetchone()[0])


class Store(OpenStore):
    """Stores the batches of one station; each ``commit`` is one durable transaction.

    With ``imports`` the readings are a file's: those that are refused are not kept in ``rejected``.
    ``on_stored`` gets the rows that are new, within the transaction that stores them.
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
        super().__init__(db, files, Inserter(db, Ids(), imports=imports), on_foreign_change)
        self._on_stored = on_stored

    def commit(self, batches: Sequence[Batch]) -> list[Receipt]:
        """Store all batches; returns a receipt for each.

        Raises:
            sqlite3.Error: nothing of any of them was stored.
            Replaced: the same, and the database must be opened again first.
        """
        self._files.check()
        receipts = self._commit_fast(batches) or self._commit_slow(batches)
        self._note_seen(batches)
        return receipts

    def _commit_fast(self, batches: Sequence[Batch]) -> list[Receipt] | None:
        """Store batches whose readings are all valid, new and of cached sensors.

        None, and nothing stored, if one isn't. A cached sensor may be a moment out of
        date, which matters only to old readings: they may be pruned at this moment.
        """
        rows = self._inserter.rows_of_known(batches)
        if rows is None:
            return None
        fresh_from_ms = min((batch.received_ms for batch in batches), default=0) - FRESH_MS
        fresh = min(map(_MEASURED_MS, rows), default=fresh_from_ms) >= fresh_from_ms
        try:
            if fresh and len(rows) <= LARGEST_INSERT and self._on_stored is None:
                self._inserter.insert_new(rows)  # one statement is a transaction of its own
                after_commit(self._db)
            else:
                with transaction(self._db):  # from here on nobody else can change a sensor
                    if self._data_version() != self._version:
                        return None
                    self._inserter.insert_new(rows)
                    if self._on_stored is not None:
                        self._on_stored(rows)
        except sqlite3.IntegrityError:
            return None
        return [Receipt(len(batch.readings), 0, ()) for batch in batches]

    def _commit_slow(self, batches: Sequence[Batch]) -> list[Receipt]:
        """Store what can be stored of each batch, and reject the rest."""
        try:
            with transaction(self._db):
                self.notice_foreign_change()
                receipts, stored = self._inserter.insert_each(batches)
                if self._on_stored is not None:
                    self._on_stored(stored)
        except BaseException:
            self._inserter.forget_sensors()  # those made in this transaction don't exist
            raise
        return receipts
