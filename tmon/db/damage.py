"""A damaged database file: nothing is written to it, and it is said once."""

import logging
from pathlib import Path

from sqlite_utils import Database

from tmon.db import identity
from tmon.db.connect import sqlite3
from tmon.db.sqlite_errors import primary_code

ANSWER = "the server's database is damaged; nothing was stored, keep the readings"

log = logging.getLogger("tmon.damage")


class Damage:
    """Owns what is known of damage to a database file.

    It is noted at the file too: to start again would not mend it, and part of such a file can
    often still be written to.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self.is_known = False

    def meet(self, error: object) -> None:
        """Take note of what SQLite says."""
        if self.is_known:
            return
        self.is_known = True
        log.critical(
            "%s is damaged, so nothing is stored any more: %s. "
            "Stop tmon, keep a copy of the file, and restore a backup: docs/backup.md",
            *(self._database, error),
        )
        try:
            identity.note_damage(self._database, str(error))
        except OSError as failure:
            log.warning("a next start won't know of it: %s", failure)

    def look(self, db: Database) -> None:
        """See whether damage that an earlier process met is there still."""
        if identity.damage_of(self._database) is None:
            return
        try:
            found = str(db.execute("pragma quick_check(1)").fetchone()[0])
        except sqlite3.DatabaseError as error:
            found = str(error)
        if found == "ok":
            identity.forget_damage(self._database)
        else:
            self.meet(found)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file isn't what it should be."""
    return primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
