"""The secret of a restored database, where `tmon restore` was killed before it was in its place.

Two files can't be renamed at once. So the secret is written first, under a name that has the mark
of its database: once a database is in its place, the secret with its mark is the right one.
"""

import glob
import logging
import os
import stat
from pathlib import Path

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from tmon.core.settings import Settings
from tmon.db import database_file

log = logging.getLogger("tmon.tokens")


def waiting_name(secret: Path, database: Path) -> Path:
    """What the secret of ``database`` is called until that database is in its place.

    Raises:
        sqlite3.DatabaseError: it is no database.
    """
    return secret.with_name(f"{secret.name}.restored-{database_file.mark_of(database)}")


def waiting(secret: Path) -> list[Path]:
    """All secrets that wait beside a station's."""
    return [*secret.parent.glob(f"{glob.escape(secret.name)}.restored-*")]


def complete_restore(settings: Settings) -> None:
    """Put the secret of the present database in its place, if it waits.

    Raises:
        OSError: it can't be renamed.
    """
    secret, db = settings.secret_file, settings.db
    if not waiting(secret) or not db.exists():
        return
    try:
        restored = waiting_name(secret, db)
        status = restored.lstat()
    except (sqlite3.DatabaseError, FileNotFoundError):  # they are of other databases
        return
    if stat.S_ISREG(status.st_mode) and status.st_uid in (os.geteuid(), db.stat().st_uid):
        restored.replace(secret)
        log.warning("%s is that of the restored %s now: `tmon restore` was killed", secret, db)
