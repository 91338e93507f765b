"""Checkpoints: write the log's pages back into the database file."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from tmon.db import identity, log_contents
from tmon.db.database_file import connect_uri

CHECKPOINT_BYTES = 32 * 1024 * 1024  # a page that changes often is then written back once
# Where many nodes send, 32 MB is a second's work, and its checkpoint keeps them waiting for 100 ms.
BUSY_BYTES = 8 * 1024 * 1024
BUSY_S = 60.0  # since the last checkpoint


class WritableDatabase(Database):
    """A database open for writing, which makes checkpoints only while a reader holds the log.

    SQLite 3.7.0 to 3.51.2 can damage the file when another connection restarts the log
    between two steps of a checkpoint (the WAL-reset bug, docs/decisions/0017). No connection can
    restart a log that a reader needs. Where the reader doesn't need it, as all of it was
    written back already, the reader holds the lock without which a checkpoint does nothing.
    So SQLite's automatic checkpoints are off, and ``checkpoint`` takes their place.
    """

    connection_type: type[sqlite3.Connection] = sqlite3.Connection

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        super().__init__(connection, execute_plugins=False)
        self.execute("pragma wal_autocheckpoint = 0")
        self._log_path = identity.log_of(path)
        self._last_checkpoint_s = -math.inf  # on the monotonic clock
        self._reader = connect_uri(path, "mode=ro", isolation_level=None, check_same_thread=False)

    def begin(self) -> None:
        """Begin a transaction that holds the write lock."""
        self.execute("begin immediate")

    def commit(self) -> None:
        """Commit the transaction.

        Raises:
            sqlite3.Error: it can't be written, or an error has ended it before.
        """
        self.execute("commit")

    def checkpoint(self) -> None:
        """Write back all pages that no older reader still needs in the log.

        Raises:
            sqlite3.Error: it can't be written; it stays in the log.
        """
        with self._log_held():
            self.execute("pragma wal_checkpoint(passive)").fetchone()
        self._last_checkpoint_s = monotonic()

    def checkpoint_if_long(self) -> None:
        """After a commit, do what SQLite's automatic checkpoint would do."""
        is_busy = monotonic() - self._last_checkpoint_s < BUSY_S
        with suppress(OSError, sqlite3.Error):  # the commit stands; the next one tries again
            log = os.open(self._log_path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                is_long = log_contents.reaches(log, BUSY_BYTES if is_busy else CHECKPOINT_BYTES)
            finally:
                os.close(log)
            if is_long:
                self.checkpoint()

    def valid_frames(self) -> int:
        """How many frames of the log SQLite finds valid; before 3.51 it writes them back too.

        Raises:
            sqlite3.Error: the database can't be read.
        """
        with self._log_held():
            return int(self.execute("pragma wal_checkpoint(noop)").fetchone()[1])

    @contextmanager
    def _log_held(self) -> Iterator[None]:
        self._reader.execute("begin")
        try:
            self._reader.execute("select 1 from sqlite_master limit 1").fetchone()
            yield
        finally:
            self._reader.rollback()

    def close(self) -> None:
        """Close both connections; the last one to close the file writes the log back."""
        self._reader.close()
        super().close()
