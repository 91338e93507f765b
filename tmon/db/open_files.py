"""Watch the files of an open database, to notice when somebody replaces them."""

import logging
import os
import weakref
from contextlib import suppress
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from tmon.core.errors import LogCut, LogReplaced, Overwritten, Replaced
from tmon.db import database_file, identity

_log = logging.getLogger("tmon.files")


class OpenFiles:
    """Owns handles on the files that a connection has open, and notices when they are replaced.

    SQLite doesn't notice. It keeps using the files that it has open: what it commits then is lost
    when it closes them, or damages the file that took their place.

    Args:
        db: the open database.
        name: the path that it was opened by, where that may be a symbolic link.

    """

    def __init__(self, db: Database, name: Path | None = None) -> None:
        db.execute("select 1 from sqlite_master limit 1").fetchone()  # opens the log
        self.path = Path(db.execute("pragma database_list").fetchone()[2])
        self._name = str((name or self.path).absolute())
        self.log_path = identity.log_of(self.path)
        self.index_path = identity.index_of(self.path)
        # O_PATH: closing any other handle on the database would drop SQLite's locks.
        self.database = os.open(self.path, os.O_PATH | os.O_CLOEXEC)
        self.log = os.open(self.log_path, os.O_RDONLY | os.O_CLOEXEC)
        # When nobody has this object any more, it is called too.
        self.close = weakref.finalize(self, _close, self.database, self.log)
        self._database_id, self._log_id = (
            (status.st_dev, status.st_ino) for status in map(os.fstat, (self.database, self.log))
        )
        self._index_id = identity.file_id(self.index_path)
        self._changed_ns = 0
        self._size_bytes = os.fstat(self.database).st_size
        self._mark = database_file.mark_of(self.path)
        self._noted = False
        self._remember_log(identity.log_header(self.log), os.fstat(self.log).st_size)

    def check(self) -> None:
        """Before each commit: are the files at their paths still the open ones?

        Raises:
            Replaced: one of them isn't.
            sqlite3.DatabaseError: the database's file isn't a database any more.
        """
        try:
            status = os.stat(self._name)  # noqa: PTH116 - takes half as long as Path.stat
            at_path = os.lstat(self.path)  # a link here would give the next start another log
        except (FileNotFoundError, NotADirectoryError):
            raise _replaced(self._name) from None
        for found in (status, at_path):
            if (found.st_dev, found.st_ino) != self._database_id:
                raise _replaced(self._name)
        if (status.st_mtime_ns, status.st_size) != (self._changed_ns, self._size_bytes):
            self._check_database(status)
        if identity.file_id(self.log_path) != self._log_id:
            raise LogReplaced(f"{self.log_path} was removed or replaced while it was written to")
        if not self.index_is_in_place():  # with another index, others don't see our locks
            raise LogReplaced(f"{self.index_path} was removed or replaced while it was in use")
        if not self._noted:
            self._noted = self._note()

    def check_paths(self) -> None:
        """Will processes that open the database now use the log that is open here?

        Raises:
            Replaced: the path leads to the same file by another name, which has another log.
        """
        if not self._is_same_path():
            raise _replaced(self._name)

    def check_log(self) -> None:
        """After a commit: has anybody cut the log short?

        SQLite cuts it only when it restarts the log, which changes the header.

        Raises:
            LogReplaced: the log was removed.
            LogCut: it is shorter than it was.
        """
        status = os.fstat(self.log)  # before the header, which may be new already
        header = os.pread(self.log, identity.LOG_HEADER.size, 0)
        if not status.st_nlink:
            raise LogReplaced(f"{self.log_path} was removed while it was written to")
        if not self._is_whole(header, status.st_size):
            # Or another process has restarted it between the two calls above.
            status = os.fstat(self.log)
            header = os.pread(self.log, identity.LOG_HEADER.size, 0)
            if not self._is_whole(header, status.st_size):
                raise LogCut(f"{self.log_path} was cut short while it was written to")
        self._remember_log(header, status.st_size)

    def _is_whole(self, header: bytes, size: int) -> bool:
        if header and header == self._log_header:
            return os.pread(self.log, 4, self._last_frame) not in identity.NO_FRAME
        self._noted = False  # the log was restarted
        return not size or bool(identity.log_header(self.log))

    def database_is_in_place(self) -> bool:
        """Whether the database's path still leads to the open file."""
        return identity.is_at(Path(self._name), os.fstat(self.database)) and self._is_same_path()

    def _is_same_path(self) -> bool:
        return Path(self._name).resolve() == self.path

    def log_is_at(self, path: Path) -> bool:
        """Whether a path leads to the log that is open here."""
        return identity.is_at(path, os.fstat(self.log))

    def index_is_in_place(self) -> bool:
        """Whether the index at its path is the one that is in use here."""
        return identity.file_id(self.index_path) == self._index_id

    def others_use_another_log(self) -> bool:
        """Whether another process has opened the database with a new log."""
        database = self.current_path()
        if database is None or self.log_is_at(identity.log_of(database)):
            return False
        if identity.file_id(identity.index_of(database)) not in (None, self._index_id):
            return True
        return database != self.path and identity.log_of(database).exists()

    def current_path(self) -> Path | None:
        """Where the open database file is now; None where it was removed."""
        path = Path(f"/proc/self/fd/{self.database}").readlink()
        return path if identity.is_at(path, os.fstat(self.database)) else None

    def _remember_log(self, header: bytes, size: int) -> None:
        """Keep the header, and where the last whole frame begins."""
        frame_bytes = identity.frame_bytes(header) if header else 1
        frames = (size - identity.LOG_HEADER.size) // frame_bytes
        self._log_header = header if frames > 0 else b""  # an empty log can't be compared
        self._last_frame = identity.LOG_HEADER.size + (frames - 1) * frame_bytes

    def _check_database(self, status: os.stat_result) -> None:
        """The file was written to: by a checkpoint, or by somebody who copied another over it."""
        mark = database_file.mark_of(self.path)
        if mark != self._mark:
            if mark not in identity.marks_in(self.log):
                raise Overwritten(f"{self.path} was overwritten with another file while in use")
            self._mark = mark
            self._noted = False
        # A checkpoint shortens the file only to the length in its first page.
        if status.st_size < self._size_bytes and database_file.is_short(self.path):
            error = sqlite3.DatabaseError(f"{self.path} was cut short while in use")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        self._changed_ns, self._size_bytes = status.st_mtime_ns, status.st_size
        if self._noted:
            self._set_log_in_use()

    def _note(self) -> bool:
        """Set the log's note; False while the log is empty."""
        log = identity.log_id(self.log)
        if log is None:
            return False
        try:
            note = identity.Note(self._database_id[1], self._mark, log)
            identity.write_note(self.log, note)
            self._set_log_in_use()
        except OSError as error:
            _log.info("the log is trusted at a next start, as it can't be marked: %s", error)
        return True

    def _set_log_in_use(self) -> None:
        with suppress(OSError):  # no extended attributes: `_note` logs that
            database_file.set_log_in_use(self.path, self._changed_ns)


def _replaced(path: str) -> Replaced:
    return Replaced(f"{path} was removed or replaced while it was written to")


def _close(*handles: int) -> None:
    for handle in handles:
        os.close(handle)
