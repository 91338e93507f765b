"""Finish a restore that was killed between renaming the database and renaming its secret.

Two files can't be renamed at once. So `tmon restore` first writes the secret under a name with
its database's mark: once a database is in its place, the secret with its mark is the right one.
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


def pending_name(secret: Path, database: Path) -> Path:
    """The name of ``database``'s secret until that database is in its place.

    Raises:
        sqlite3.DatabaseError: it is no database.
    """
    return secret.with_name(f"{secret.name}.restored-{database_file.mark_of(database)}")


def pending_secrets(secret: Path) -> list[Path]:
    """All such secrets beside the station's own."""
    return [*secret.parent.glob(f"{glob.escape(secret.name)}.restored-*")]


def complete_restore(settings: Settings) -> None:
    """If the present database's secret is pending, rename it to the station's secret.

    Raises:
        OSError: it can't be renamed.
    """
    secret, db = settings.secret_file, settings.db
    if not pending_secrets(secret) or not db.exists():
        return
    try:
        pending = pending_name(secret, db)
        status = pending.lstat()
    except (sqlite3.DatabaseError, FileNotFoundError):  # they are of other databases
        return
    if stat.S_ISREG(status.st_mode) and status.st_uid in (os.geteuid(), db.stat().st_uid):
        pending.replace(secret)
        log.warning("%s is that of the restored %s now: `tmon restore` was killed", secret, db)
