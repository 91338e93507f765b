"""SQLite's write-ahead log, made durable beside the commits rather than within each."""

import os
from pathlib import Path

from sqlite_utils import Database

from ingest.open_files import OpenFiles


class Wal:
    """Owns handles on the files of an open database, to wait for the disk with.

    COMMIT then hands its pages to the system, and ``sync`` makes durable all
    that was committed before: SQLite's ``synchronous=FULL`` in two steps, of which
    the second needs neither the connection nor its thread.
    """

    def __init__(self, db: Database, name: Path | None = None) -> None:
        db.execute("pragma synchronous = normal")
        self.files = OpenFiles(db, name)

    def sync(self) -> None:
        """Return when all commits up to now are on the disk.

        Raises:
            OSError: they may never be; what is in the log now can't be relied on.
            Replaced: they are in a file that a next start wouldn't find.
        """
        os.fdatasync(self.files.log)
        self.files.check_log()

    def close(self) -> None:
        self.files.close()
