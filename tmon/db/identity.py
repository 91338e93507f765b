"""Which write-ahead log belongs to which database file.

SQLite applies whatever is at ``<db>-wal`` to whatever is at ``<db>``. If one of the two was
replaced, that damages the database. So the writing process sets an extended attribute on the
log, a note of which database it belongs to, and every process that opens the database checks it.

A database file is identified by its inode and its mark: a random ``user_version``. Each copy
that `tmon backup` makes gets a mark of its own.
"""

import os
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from tmon.db import database_file

# SQLite's file format: the log begins with magic, version, page size, checkpoints, salt 1, ...
LOG_HEADER = struct.Struct(">IIIII12x")
LOG_SALTS, INDEX_SALTS = slice(16, 24), slice(32, 40)
LOG_MAGIC = (0x377F0682, 0x377F0683)
FRAME_HEADER_BYTES = 24  # before each page; it begins with the page's number
NO_FRAME = (b"", b"\0\0\0\0")  # beyond the end, or in a hole
MARK_OFFSET = 60  # of `user_version` in page 1

NOTE_ATTRIBUTE = "user.tmon.database"
DAMAGE_ATTRIBUTE = "user.tmon.damage"
RESETS = 1 << 26  # SQLite adds one to salt 1 each time it restarts the log; a new log's is random


class LogId(Struct, frozen=True):
    """A log file, from its creation until it is removed."""

    inode: int
    salt: int

    def is_later(self, noted: "LogId") -> bool:
        """Whether this is the noted log, perhaps restarted since then."""
        return self.inode == noted.inode and (self.salt - noted.salt) % (1 << 32) < RESETS


class Note(Struct, frozen=True):
    """A log's note: the database file and the log, as the writing process had them open.

    Copying a log may copy its note, so the note identifies the log too.
    """

    database_inode: int
    mark: int
    log: LogId


def beside(database: Path, suffix: str) -> Path:
    """The path of a companion file; where ``database`` is a link, beside the link's target."""
    real = database.resolve()
    return real.with_name(real.name + suffix)


def log_of(database: Path) -> Path:
    """The path of the write-ahead log."""
    return beside(database, "-wal")


def index_of(database: Path) -> Path:
    """The path of the log's index, the shared memory of all who have the database open."""
    return beside(database, "-shm")


def new_mark() -> int:
    """A random mark for a new database file."""
    return 1 + secrets.randbelow((1 << 31) - 1)


def write_note(log: int, note: Note) -> None:
    """Set an open log's note.

    Raises:
        OSError: the file system has no extended attributes.
    """
    os.setxattr(log, NOTE_ATTRIBUTE, msgspec.json.encode(note))


def remove_note(log: int) -> None:
    """Remove an open log's note: it belongs to a copy of its database now."""
    with suppress(OSError):  # there may be none
        os.removexattr(log, NOTE_ATTRIBUTE)


def set_damage(database: Path, message: str) -> None:
    """Record SQLite's message at a damaged file, for later starts and checks.

    Raises:
        OSError: the file system has no extended attributes.
    """
    os.setxattr(database, DAMAGE_ATTRIBUTE, message.encode())


def damage_of(database: Path) -> str | None:
    """The message that was recorded; None where the file isn't known to be damaged."""
    try:
        return os.getxattr(database, DAMAGE_ATTRIBUTE).decode()
    except OSError:
        return None


def clear_damage(database: Path) -> None:
    """Remove the record: the file was checked and is sound."""
    os.removexattr(database, DAMAGE_ATTRIBUTE)


def has_foreign_log(database: Path) -> bool:
    """Whether the log at the database's path was written for another file.

    A log without a note is trusted, as SQLite does. An empty or missing database has
    no log: SQLite would delete it.

    Raises:
        OSError: the log can't be read.
    """
    with open_log(database) as log:
        return log is not None and is_foreign(database, log)


def set_log_aside(database: Path) -> Path:
    """Rename the log so that SQLite doesn't find it, and remove its index; the new name."""
    log = log_of(database)
    aside = dated_name(log, "replaced")
    log.rename(aside)
    index_of(database).unlink(missing_ok=True)
    return aside


def dated_name(path: Path, kind: str) -> Path:
    """A new file's name, such as ``tmon.db.replaced-2026-11-25T030000Z``."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}"
    return free_name(path.with_name(f"{path.name}.{kind}-{now}"))


def free_name(path: Path) -> Path:
    """``path``, with a number added where such a file exists already."""
    free, count = path, 1
    while free.exists():
        count += 1
        free = path.with_name(f"{path.name}-{count}")
    return free


def file_id(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at a path; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - takes half as long as Path.stat
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def is_at(path: Path, status: os.stat_result) -> bool:
    """Whether a path leads to the file with this status."""
    return file_id(path) == (status.st_dev, status.st_ino)


def log_id(log: int) -> LogId | None:
    """The identity of an open log; None where nothing was written to it."""
    header = log_header(log)
    return LogId(os.fstat(log).st_ino, LOG_HEADER.unpack(header)[4]) if header else None


def log_is_indexed(database: Path) -> bool:
    """Whether the index describes the log at the database's path: both have the same salts.

    Closing the index drops this process's locks on it, so call this only before it exits.
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
    """The marks in a log's copies of page 1: the owner may set ``user_version`` too."""
    for start in range(LOG_HEADER.size, os.fstat(log).st_size, frame_bytes(log_header(log))):
        if os.pread(log, 4, start) == b"\0\0\0\1":
            mark = os.pread(log, 4, start + FRAME_HEADER_BYTES + MARK_OFFSET)
            yield int.from_bytes(mark, "big", signed=True)


def is_foreign(database: Path, log: int) -> bool:
    """Whether an open log was written for another file; see ``has_foreign_log``."""
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
    """An open log's note; None where it has none."""
    try:
        return msgspec.json.decode(os.getxattr(log, NOTE_ATTRIBUTE), type=Note)
    except (OSError, msgspec.DecodeError):
        return None
