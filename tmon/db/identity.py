"""Which write-ahead log belongs to which database file.

SQLite applies whatever lies at ``<db>-wal`` to whatever lies at ``<db>``. If one of the two
was exchanged for another, that damages the database. So the writing process notes at the log,
as an extended attribute, which database it is of; whoever opens the database compares.

A database file is known by its inode, and by its mark: a random ``user_version``. Each copy
that `tmon backup` makes gets a mark of its own.
"""

import fcntl
import os
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from tmon.db import database_file

# SQLite's file format: the log begins with magic, version, page size, checkpoints, salt 1, ...
LOG_HEADER = struct.Struct(">IIIII12x")
LOG_SALTS, INDEX_SALTS = slice(16, 24), slice(32, 40)
LOG_MAGIC = (0x377F0682, 0x377F0683)
FRAME_HEADER_BYTES = 24  # in front of each page; the page's number comes first
NO_FRAME = (b"", b"\0\0\0\0")  # beyond the end, or in a hole
MARK_OFFSET = 60  # of `user_version` in page 1

NOTE_ATTRIBUTE = "user.tmon.database"
DAMAGE_ATTRIBUTE = "user.tmon.damage"
RESETS = 1 << 26  # salt 1 grows by one each time the log begins anew; a new log's is random


class LogId(Struct, frozen=True):
    """A log file, from its creation until it is removed."""

    inode: int
    salt: int

    def is_later(self, noted: "LogId") -> bool:
        """Whether this is the noted log, perhaps begun anew since then."""
        return self.inode == noted.inode and (self.salt - noted.salt) % (1 << 32) < RESETS


class Note(Struct, frozen=True):
    """A database file and its log, as the writing process had them open.

    A copy of the log may have a copy of its note, so that names the log too.
    """

    database_inode: int
    mark: int
    log: LogId


def beside(database: Path, suffix: str) -> Path:
    """A companion of the database file; a symbolic link's is where the link leads to."""
    real = database.resolve()
    return real.with_name(real.name + suffix)


def log_of(database: Path) -> Path:
    """The write-ahead log."""
    return beside(database, "-wal")


def index_of(database: Path) -> Path:
    """The log's index, which all who have the database open share."""
    return beside(database, "-shm")


def new_mark() -> int:
    """A mark that no other file has."""
    return 1 + secrets.randbelow((1 << 31) - 1)


def write_note(log: int, note: Note) -> None:
    """Note at an open log which database it is of.

    Raises:
        OSError: the file system can't do that.
    """
    os.setxattr(log, NOTE_ATTRIBUTE, msgspec.json.encode(note))


def forget_database(log: int) -> None:
    """Remove the note from an open log: it goes with a copy of its database now."""
    with suppress(OSError):  # there may be none
        os.removexattr(log, NOTE_ATTRIBUTE)


def note_damage(database: Path, told: str) -> None:
    """Note at the file that it is damaged, as SQLite told, for later starts and checks.

    Raises:
        OSError: the file system can't do that.
    """
    os.setxattr(database, DAMAGE_ATTRIBUTE, told.encode())


def damage_of(database: Path) -> str | None:
    """What was noted; None where the file was sound when it was last written to."""
    try:
        return os.getxattr(database, DAMAGE_ATTRIBUTE).decode()
    except OSError:
        return None


def forget_damage(database: Path) -> None:
    """Remove the note: the file was found sound."""
    os.removexattr(database, DAMAGE_ATTRIBUTE)


def has_foreign_log(database: Path) -> bool:
    """Whether the log at the database's path was written for another file than the database.

    Where nothing is noted the log is trusted, as SQLite does. An empty or missing database has
    no log: SQLite would delete it.

    Raises:
        OSError: the log can't be read.
    """
    with open_log(database) as log:
        return log is not None and is_foreign(database, log)


def set_foreign_log_aside(database: Path, at: str) -> Path | None:
    """Move a log that belongs to another file out of SQLite's way; its new name.

    Args:
        database: the file.
        at: the time, for the name.

    Raises:
        OSError: it can't be renamed.
    """
    with open_log(database) as log:
        if log is None:
            return None
        fcntl.flock(log, fcntl.LOCK_EX)  # another process may be about to do the same
        if not is_at(log_of(database), os.fstat(log)) or not is_foreign(database, log):
            return None
        return set_log_aside(database, at)


def set_log_aside(database: Path, at: str) -> Path:
    """Give the log a name by which SQLite doesn't find it, and remove its index."""
    log = log_of(database)
    aside = free_name(log, f".replaced-{at}")
    log.rename(aside)
    index_of(database).unlink(missing_ok=True)
    return aside


def free_name(path: Path, suffix: str) -> Path:
    """``path`` with a suffix, and a number where there is such a file already."""
    free, count = path.with_name(path.name + suffix), 1
    while free.exists():
        count += 1
        free = path.with_name(f"{path.name}{suffix}-{count}")
    return free


def file_id(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file that a path leads to now."""
    try:
        status = os.stat(path)  # noqa: PTH116 - in half the time that Path takes
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def is_at(path: Path, status: os.stat_result) -> bool:
    """Whether a path leads to the file of this status."""
    return file_id(path) == (status.st_dev, status.st_ino)


def log_id(log: int) -> LogId | None:
    """Which log is open; None where it has not begun."""
    header = log_header(log)
    return LogId(os.fstat(log).st_ino, LOG_HEADER.unpack(header)[4]) if header else None


def log_is_indexed(database: Path) -> bool:
    """Whether the index describes the log at the database's path, by their salts.

    Closing the index drops this process's locks on it: only for an end.
    """
    with open_log(database) as log:
        header = log_header(log) if log is not None else b""
    try:
        index = index_of(database).read_bytes()
    except FileNotFoundError:
        return False
    return bool(header) and index[INDEX_SALTS] == header[LOG_SALTS]


@contextmanager
def open_log(database: Path) -> Iterator[int | None]:
    """The log, opened for reading; None where there is none."""
    try:
        log = os.open(log_of(database), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield log
    finally:
        os.close(log)


def log_header(log: int) -> bytes:
    """The header of an open log; empty where there is none."""
    header = os.pread(log, LOG_HEADER.size, 0)
    is_whole = len(header) == LOG_HEADER.size and LOG_HEADER.unpack(header)[0] in LOG_MAGIC
    return header if is_whole else b""


def frame_bytes(header: bytes) -> int:
    """How long each frame of a log with this header is."""
    return FRAME_HEADER_BYTES + int(LOG_HEADER.unpack(header)[2])


def marks_in(log: int) -> Iterator[int]:
    """The marks of page 1 in an open log, such as an owner's own ``pragma user_version``."""
    for start in range(LOG_HEADER.size, os.fstat(log).st_size, frame_bytes(log_header(log))):
        if os.pread(log, 4, start) == b"\0\0\0\1":
            mark = os.pread(log, 4, start + FRAME_HEADER_BYTES + MARK_OFFSET)
            yield int.from_bytes(mark, "big", signed=True)


def is_foreign(database: Path, log: int) -> bool:
    """Whether an open log was written for another file than the database; see above."""
    found = log_id(log)
    if found is None:
        return False
    if not database.exists() or not database.stat().st_size:
        return True
    note = read_note(log)
    if note is None or not found.is_later(note.log):
        return False
    if database.stat().st_ino != note.database_inode:
        return True
    try:
        mark = database_file.mark_of(database)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_NOTADB:
            raise
        return True
    return mark != note.mark and mark not in marks_in(log)


def read_note(log: int) -> Note | None:
    """What was noted at an open log; None where nothing was."""
    try:
        return msgspec.json.decode(os.getxattr(log, NOTE_ATTRIBUTE), type=Note)
    except (OSError, msgspec.DecodeError):
        return None
