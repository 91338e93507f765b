"""SQLite's write-ahead log, made durable beside the commits rather than within each."""

import os

from sqlite_utils import Database


class Wal:
    """Owns a second handle on the log of an open database, to wait for the disk with.

    COMMIT then hands its pages to the system, and ``sync`` makes durable all
    that was committed before: SQLite's ``synchronous=FULL`` in two steps, of which
    the second needs neither the connection nor its thread.
    """

    def __init__(self, db: Database) -> None:
        db.execute("pragma synchronous = normal")
        path = db.execute("pragma database_list").fetchone()[2]
        db.execute("select 1 from nodes limit 1")  # opens the log
        self._descriptor = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC)

    def sync(self) -> None:
        """Return when all commits up to now are on the disk.

        Raises:
            OSError: they may never be; what is in the log now can't be relied on.
        """
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)
