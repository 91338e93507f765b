"""Copy a database as it is at one instant, and check a copy as a whole."""

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.db.connect import (
    APPLICATION_ID,
    BUSY_TIMEOUT_S,
    RefusedDatabase,
    pragma,
    refuse_foreign_log,
    refuse_non_file,
    refuse_other_application,
    sqlite3,
)
from tmon.db.database_file import connect_uri
from tmon.db.identity import new_mark
from tmon.maintenance.backup_dir import UnusableFile

PAGES_PER_STEP = 4_096  # 4 or 16 MB between two calls of `advance`
OPS_PER_STEP = 1_000_000  # SQLite's VM steps between two calls of `advance` during a check
BYTES_PER_OP = 1.1  # that a check reads, as counted on `readings` with its index

# SQLite's message may quote damaged bytes, which Python can't decode; and a planted schema can
# have a name with a NUL, which Python doesn't accept within SQL.
UNREADABLE = (sqlite3.DatabaseError, ValueError)

RowCounts = Mapping[str, int]  # by table
Advance = Callable[[int], object]  # called with the bytes that were done since the last call
Progress = Callable[[int], AbstractContextManager[Any]]  # opens a progress bar of some length


class DamagedCopy(TmonError):
    """A copy is not what it should be, and must not be relied on."""


def copy_snapshot(
    path: Path, draft: Path, advance: Advance, pages_per_step: int = PAGES_PER_STEP
) -> RowCounts:
    """Copy a database as it is at one instant to a new file, page by page, while others write.

    Without the read transaction SQLite would begin anew with each write. It can't restart the log
    meanwhile. The copy has a mark of its own, and isn't flushed to the disk.

    Returns:
        How many rows each table had at that instant.

    Raises:
        RefusedDatabase: no such file, or no tmon database.
        UnusableFile: it can't be read, or the copy can't be written.
    """
    if not path.exists():
        raise RefusedDatabase(f"{path}: no such database; set TMON_DB to the one to copy")
    refuse_non_file(path)
    try:
        refuse_foreign_log(path)
        # Read-write, though nothing is written: a read-only connection that is the last to close
        # leaves the log behind.
        connection = connect_uri(path, "mode=rw", timeout=BUSY_TIMEOUT_S, isolation_level=None)
        with closing(connection) as conn, closing(sqlite3.connect(str(draft))) as copy:
            conn.execute("pragma query_only = on")
            db = Database(conn, execute_plugins=False)
            refuse_other_application(db, path)
            step_bytes = pages_per_step * pragma(db, "page_size")
            conn.execute("begin")  # nothing may end it: the next step would see another instant
            rows = count_rows(db)
            copy.executescript("pragma journal_mode = off; pragma synchronous = off")
            conn.backup(copy, pages=pages_per_step, progress=lambda *_: advance(step_bytes))
            copy.executescript(f"pragma user_version = {new_mark()}")
    except UNREADABLE as error:
        raise UnusableFile(f"{path} can't be copied: {error}; nothing was kept") from error
    return rows


def count_rows(db: Database) -> RowCounts:
    """How many rows each table has."""
    return {name: db.table(name).count for name in db.table_names()}


def vacuum_into(path: Path, draft: Path) -> None:
    """Rewrite a database to a new file that holds nothing of what was deleted.

    The new file isn't in WAL mode, so that it can be opened from a read-only folder. The old one
    isn't opened read-only, as SQLite 3.40 then can't copy a table with generated columns.
    """
    with closing(connect_untrusted(path, "mode=rw")) as conn:
        conn.execute("vacuum into ?", [str(draft)])


def flush_and_hash(path: Path) -> str:
    """Flush a file to the disk, and read it back from there: its SHA-256, in hex."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_copy(path: Path, rows: RowCounts | None, advance: Advance) -> None:
    """Have SQLite check a whole copy, its references and its rows.

    Args:
        path: a file that nobody has open.
        rows: how many each table should have, where that is known.
        advance: called now and then with about how many bytes further the check is.

    Raises:
        DamagedCopy: it is damaged, has other rows, or isn't a tmon database.
    """

    def progress() -> int:
        advance(int(OPS_PER_STEP * BYTES_PER_OP))
        return 0  # another value would interrupt SQLite

    try:
        with closing(connect_untrusted(path)) as conn:
            conn.set_progress_handler(progress, OPS_PER_STEP)
            _check(Database(conn, execute_plugins=False), rows)
    except UNREADABLE as error:
        raise DamagedCopy(f"it is damaged: {error}") from error


def _check(db: Database, rows: RowCounts | None) -> None:
    if pragma(db, "application_id") != APPLICATION_ID:
        raise DamagedCopy("it is not a tmon database")
    result = str(db.execute("pragma integrity_check(1)").fetchone()[0])
    if result != "ok":
        raise DamagedCopy(f"it is damaged: {' '.join(result.split())}")
    violation = db.execute("pragma foreign_key_check").fetchone()
    if violation:
        raise DamagedCopy(
            f"it is damaged: a row of {violation[0]} refers to one of {violation[2]} not there"
        )
    if rows is not None and count_rows(db) != rows:
        raise DamagedCopy("it hasn't the rows that the database has")


def connect_untrusted(path: Path, options: str = "mode=ro&immutable=1") -> sqlite3.Connection:
    """Open a file whose schema may be somebody else's: it may call no function that acts.

    By default it is opened as it is, without locks or a log.
    """
    conn = connect_uri(path, options, isolation_level=None)
    for setting in ("trusted_schema = off", "cell_size_check = on"):
        conn.execute(f"pragma {setting}")
    return conn
