"""Facts in the database file itself, without its log, and the attribute "its log is in use".

SQLite does the reading: opening and closing the file any other way would drop the locks that
this process holds on it.
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

LOG_IN_USE_ATTRIBUTE = "user.tmon.log-in-use"


def connect_uri(path: Path, options: str, **settings: Any) -> sqlite3.Connection:
    """Connect with SQLite's URI options, such as ``mode=ro&immutable=1``."""
    uri = f"{path.absolute().as_uri()}?{options}"
    connection: sqlite3.Connection = sqlite3.connect(uri, uri=True, **settings)
    return connection


def mark_of(database: Path) -> int:
    """The file's mark (``user_version``), without what its log says.

    Raises:
        sqlite3.DatabaseError: the file is no database.
    """
    with _without_log(database) as conn:
        # Else a file that a checkpoint is about to make longer would be called malformed.
        conn.execute("pragma writable_schema = on")
        return int(conn.execute("pragma user_version").fetchone()[0])


def is_short(database: Path) -> bool:
    """Whether the file is shorter than its first page says: amid a checkpoint, or by damage.

    Raises:
        sqlite3.DatabaseError: the file is no database.
    """
    with _without_log(database) as conn:
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
    with _without_log(database) as conn:
        conn.execute("pragma writable_schema = on")  # else a short file is malformed
        conn.execute("pragma page_count")  # reads the first page
        return int(conn.execute("pragma page_size").fetchone()[0])


def set_log_in_use(database: Path, changed_ns: int) -> None:
    """Record at the file that its log holds commits which the file doesn't.

    Args:
        database: the file.
        changed_ns: its modification time; a checkpoint changes that, which outdates the record.

    Raises:
        OSError: the file system has no extended attributes.
    """
    os.setxattr(database, LOG_IN_USE_ATTRIBUTE, str(changed_ns).encode())


def clear_log_in_use(database: Path) -> None:
    """Remove the record: the log was written back."""
    with suppress(OSError):  # there may be none
        os.removexattr(database, LOG_IN_USE_ATTRIBUTE)


def is_log_in_use(database: Path) -> bool:
    """Whether the file's log was in use, and the file wasn't written to since."""
    try:
        noted = os.getxattr(database, LOG_IN_USE_ATTRIBUTE)
    except OSError:
        return False
    return noted == str(database.stat().st_mtime_ns).encode()


@contextmanager
def _without_log(database: Path) -> Iterator[sqlite3.Connection]:
    """Open the file alone, as if it had no log."""
    with closing(connect_uri(database, "mode=ro&immutable=1")) as conn:
        yield conn
