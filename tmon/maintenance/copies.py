"""A database copied as it is at one instant, and a copy checked as a whole."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.db.connect import (
    APPLICATION_ID,
    BUSY_TIMEOUT_S,
    RefusedDatabase,
    refuse_foreign_log,
    refuse_no_file,
    sqlite3,
)
from tmon.db.identity import new_mark

PAGES_EACH = 4_096  # 16 MB between two signs of progress
OPS_EACH = 1_000_000  # SQLite's steps between two signs of progress while it checks
OPS_A_ROW = 30  # that a check takes of them, as counted on `readings` with its index

# SQLite's message may quote what is damaged, which Python takes for UTF-8; and what somebody has
# written into the schema can be a name with a NUL, which Python doesn't take within SQL.
UNREADABLE = (sqlite3.DatabaseError, ValueError)

Rows = Mapping[str, int]  # how many each table has
Advance = Callable[[int], object]  # told how much further it is, in parts of `length`


class Unsound(TmonError):
    """A copy is not what it should be, and is not to be relied on."""


class Uncopied(TmonError):
    """No copy could be made."""


class Snapshot:
    """A database as it is at one instant, while others go on writing.

    All that is asked of it is of that instant: SQLite keeps the log from being
    begun anew as long as this is open, so it should be short.
    """

    def __init__(self, db: Database) -> None:
        db.execute("begin")  # and nothing else may end it: a step of the copy would begin again
        self._db = db
        self.rows = count(db)
        pages, page_bytes = (_pragma(db, name) for name in ("page_count", "page_size"))
        self.size_bytes = int(pages) * int(page_bytes)

    @property
    def was_sent_to(self) -> bool:
        """Whether any node has sent to it, with a token."""
        sent = "select 1 from nodes where last_received_ms is not null limit 1"
        return self._db.execute(sent).fetchone() is not None

    def end(self) -> None:
        """Let the log begin anew."""
        self._db.execute("rollback")

    def copy(self, draft: Path, advance: Advance, pages_each: int = PAGES_EACH) -> None:
        """Write it to a new file, page by page; ``advance`` hears of bytes."""
        page_bytes = int(_pragma(self._db, "page_size"))
        left = self.size_bytes // page_bytes

        def stepped(_status: int, remaining: int, _total: int) -> None:
            nonlocal left
            advance((left - remaining) * page_bytes)
            left = remaining

        with closing(sqlite3.connect(str(draft), isolation_level=None)) as copy:
            for setting in ("journal_mode = off", "synchronous = off"):  # see `settle`
                copy.execute(f"pragma {setting}")
            self._db.conn.backup(copy, pages=pages_each, progress=stepped)
            copy.execute(f"pragma user_version = {new_mark()}")


@contextmanager
def snapshot(path: Path) -> Iterator[Snapshot]:
    """What ``path`` holds now.

    Raises:
        RefusedDatabase: no such file, or no tmon database.
        Uncopied: it can't be read, or the copy not be written.
    """
    if not path.exists():
        raise RefusedDatabase(f"{path}: no such database; set TMON_DB to the one to copy")
    refuse_no_file(path)
    try:
        with closing(_for_reading(path)) as conn:
            db = Database(conn, execute_plugins=False)
            if _pragma(db, "application_id") != APPLICATION_ID:
                raise RefusedDatabase(f"{path}: not a tmon database; set TMON_DB to another file")
            yield Snapshot(db)
    except UNREADABLE as error:
        raise Uncopied(f"{path} can't be copied: {error}; nothing was kept") from error


def count(db: Database) -> Rows:
    """How many rows each table has."""
    tables = "select name from sqlite_master where type = 'table' order by name"
    names = [name for (name,) in db.execute(tables).fetchall()]
    return {
        name: db.execute(f"select count(*) from {quoted(name)}").fetchone()[0] for name in names
    }


def quoted(name: str) -> str:
    """A table's or an index's name within SQL, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def compact(path: Path, draft: Path) -> None:
    """Write it anew to a file in which nothing is left of what was deleted.

    It is in no WAL mode, so that it can be opened where nothing can be written. The first file
    isn't opened read-only, as SQLite 3.40 then can't copy a table with generated columns.
    """
    with closing(_open(path, "mode=rw")) as conn:
        conn.execute("vacuum into ?", [str(draft)])


def settle(path: Path) -> str:
    """Have a file on the disk, and read it back from there: its SHA-256, in hex."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, rows: Rows | None, advance: Advance) -> None:
    """Read the whole copy as SQLite does.

    Args:
        path: a file that nobody has open.
        rows: how many each table should have, where that is known.
        advance: told now and then how many rows further it is, about.

    Raises:
        Unsound: it is damaged, has other rows, or isn't a tmon database.
    """
    try:
        with closing(open_unchanging(path)) as conn:
            conn.set_progress_handler(lambda: _go_on(advance), OPS_EACH)
            _check(Database(conn, execute_plugins=False), rows)
    except UNREADABLE as error:
        raise Unsound(f"it is damaged: {error}") from error


def _check(db: Database, rows: Rows | None) -> None:
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise Unsound("it is not a tmon database")
    found = str(_pragma(db, "integrity_check(1)"))
    if found != "ok":
        raise Unsound(f"it is damaged: {' '.join(found.split())}")
    astray = db.execute("pragma foreign_key_check").fetchone()
    if astray:
        raise Unsound(f"it is damaged: a row of {astray[0]} refers to one of {astray[2]} not there")
    if rows is not None and count(db) != rows:
        raise Unsound("it hasn't the rows that the database has")


def _go_on(advance: Advance) -> int:
    advance(OPS_EACH // OPS_A_ROW)
    return 0  # else SQLite would stop


def _for_reading(path: Path) -> sqlite3.Connection:
    """As a program that might write: only such a one removes the log when it was the last."""
    refuse_foreign_log(path)
    where = f"{path.absolute().as_uri()}?mode=rw"
    conn = sqlite3.connect(where, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    conn.execute("pragma query_only = on")
    return conn


def open_unchanging(path: Path) -> sqlite3.Connection:
    """A file that is read as it is: without locks, and with no log made beside it.

    Nor does it call what has side effects, whatever its schema says.
    """
    return _open(path, "mode=ro&immutable=1")


def _open(path: Path, how: str) -> sqlite3.Connection:
    """Open a file whose schema may be somebody else's."""
    conn = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)
    for setting in ("trusted_schema = off", "cell_size_check = on"):
        conn.execute(f"pragma {setting}")
    return conn


def _pragma(db: Database, name: str) -> int | str:
    value: int | str = db.execute(f"pragma {name}").fetchone()[0]
    return value
