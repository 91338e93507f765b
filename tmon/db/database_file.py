"""What a database's own file says, whatever its log says, and what is noted at it.

It is read by SQLite: closing the file any other way would drop this process's locks on it.
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

LOG_IN_USE_ATTRIBUTE = "user.tmon.log-in-use"


def mark_of(database: Path) -> int:
    """The mark in the file itself, whatever its log says.

    Raises:
        sqlite3.DatabaseError: the file is no database.
    """
    with _opened_alone(database) as conn:
        # Else a file that a checkpoint is about to make longer would be called malformed.
        conn.execute("pragma writable_schema = on")
        return int(conn.execute("pragma user_version").fetchone()[0])


def is_short(database: Path) -> bool:
    """Whether the file is shorter than its first page says: a checkpoint makes it so, or damage.

    Raises:
        sqlite3.DatabaseError: the file is no database.
    """
    with _opened_alone(database) as conn:
        try:
            conn.execute("pragma page_count")
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_CORRUPT:
                raise
            return True
    return database.stat().st_size % page_bytes_of(database) != 0


def page_bytes_of(database: Path) -> int:
    """The size of the file's pages.

    Raises:
        sqlite3.DatabaseError: the file is no database.
    """
    with _opened_alone(database) as conn:
        conn.execute("pragma writable_schema = on")  # else one that is short is malformed
        conn.execute("pragma page_count")  # reads the first page
        return int(conn.execute("pragma page_size").fetchone()[0])


def note_log_in_use(database: Path, changed_ns: int) -> None:
    """Note at the file that its log has what the file hasn't.

    Args:
        database: the file.
        changed_ns: when the file was last written to: a checkpoint makes the note outdated.

    Raises:
        OSError: the file system can't do that.
    """
    os.setxattr(database, LOG_IN_USE_ATTRIBUTE, str(changed_ns).encode())


def forget_log_in_use(database: Path) -> None:
    """Remove the note: the log was written back."""
    with suppress(OSError):  # there may be none
        os.removexattr(database, LOG_IN_USE_ATTRIBUTE)


def notes_log_in_use(database: Path) -> bool:
    """Whether the file was in use with a log, and was not written to since."""
    try:
        noted = os.getxattr(database, LOG_IN_USE_ATTRIBUTE)
    except OSError:
        return False
    return noted == str(database.stat().st_mtime_ns).encode()


@contextmanager
def _opened_alone(database: Path) -> Iterator[sqlite3.Connection]:
    """The file itself, whatever its log says."""
    uri = f"{database.absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as conn:
        yield conn
