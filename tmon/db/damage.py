"""A damaged database file: nothing more is written to it, and it is logged once."""

import logging
from pathlib import Path

from sqlite_utils import Database

from tmon.db import identity
from tmon.db.connect import sqlite3
from tmon.db.sqlite_errors import primary_code

DAMAGED_MESSAGE = "the server's database is damaged; nothing was stored, keep the readings"

log = logging.getLogger("tmon.damage")


class Damage:
    """Owns the knowledge that a database file is damaged.

    It is recorded at the file too: a restart doesn't repair it, and often part of a damaged
    file can still be written to.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self.is_known = False

    def record(self, error: object) -> None:
        """Log and record what SQLite says of the file; once is enough."""
        if self.is_known:
            return
        self.is_known = True
        log.critical(
            "%s is damaged, so nothing is stored any more: %s. "
            "Stop tmon, keep a copy of the file, and restore a backup: docs/backup.md",
            *(self._database, error),
        )
        try:
            identity.set_damage(self._database, str(error))
        except OSError as failure:
            log.warning("a next start won't know of it: %s", failure)

    def recheck(self, db: Database) -> None:
        """See whether the damage that an earlier process recorded is still there."""
        if identity.damage_of(self._database) is None:
            return
        try:
            result = str(db.execute("pragma quick_check(1)").fetchone()[0])
        except sqlite3.DatabaseError as error:
            result = str(error)
        if result == "ok":
            identity.clear_damage(self._database)
        else:
            self.record(result)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file is damaged, or no database at all."""
    return primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
