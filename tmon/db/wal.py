"""SQLite's write-ahead log, made durable beside the commits rather than within each."""

import logging
import os
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from tmon.db import database_file
from tmon.db.open_files import OpenFiles

CHECKPOINT_WAIT_MS = 1000  # for readers, at shutdown; the shutdown has three seconds

log = logging.getLogger("tmon.wal")


class Wal:
    """Owns handles on the files of an open database, to flush its log to the disk.

    COMMIT then only hands its pages to the system, and ``sync`` makes durable all that
    was committed before it: SQLite's ``synchronous=FULL`` in two steps.
    """

    def __init__(self, db: Database, name: Path | None = None) -> None:
        db.execute("pragma synchronous = normal")
        self.files = OpenFiles(db, name)

    def sync(self) -> None:
        """Return when all commits up to now are on the disk.

        Raises:
            OSError: they may never be; what is in the log now can't be relied on.
            Replaced: they are in a file that the next start wouldn't find.
        """
        os.fdatasync(self.files.log)
        self.files.check_log()

    def checkpoint(self, db: Database) -> None:
        """At shutdown, move the whole log into the database file, unless a reader needs it.

        Raises:
            Replaced: the files aren't at their paths any more; nothing was done.
        """
        self.files.check()
        db.execute(f"pragma busy_timeout = {CHECKPOINT_WAIT_MS}")
        try:
            is_busy = db.execute("pragma wal_checkpoint(truncate)").fetchone()[0]
        except sqlite3.Error as error:
            log.warning("the log is kept beside the database for the next start: %s", error)
            return
        if not is_busy:
            database_file.clear_log_in_use(self.files.path)

    def close(self) -> None:
        self.files.close()
