"""T08, T09, T11, T13, T14, T17: disk, log, damage, library, secret; the file stays closed."""

import os
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import NamedTuple

from tmon.core import humanize
from tmon.core.settings import Settings
from tmon.db.connect import sqlite3
from tmon.db.identity import damage_of, index_of, log_of
from tmon.watch.findings import Finding, Severity

MIB, GIB = 1 << 20, 1 << 30

LITTLE_SHARE, LITTLE_BYTES = 0.10, 5 * GIB  # both: a tenth of a large disk is plenty
NO_SHARE, NO_BYTES = 0.02, 100 * MIB
BACK = 1.2  # times as much free as that, and it is over

WAL_BYTES = 256 * MIB  # usually 16: see tmon/db/checkpoint.py
WAL_CRITICAL_BYTES = GIB
WAL_BACK_BYTES = WAL_BYTES // 2

WAITING_BYTES = 32 * MIB  # ingest writes back what is in the log from 16 MiB on
WAITING_BACK_BYTES = WAITING_BYTES // 2
WAITING_PAUSE_S = 2.0  # twice as long as a statement of Datasette may take

HEADER_BYTES = 100  # of the -shm file

# Which SQLite have the WAL-reset bug: each from the first to before the last
# (https://sqlite.org/wal.html#walresetbug; two older branches were mended as well).
WAL_RESET_BUG = (
    ((3, 7, 0), (3, 44, 6)),
    ((3, 45, 0), (3, 50, 7)),
    ((3, 51, 0), (3, 51, 3)),
)


class LogIndex(NamedTuple):
    """What SQLite's ``-shm`` file says of the log."""

    generation: bytes  # another one each time the log is begun anew
    written_back: int  # frames of it that are in the database file
    waiting_bytes: int  # of those after them


class Space(NamedTuple):
    """What a disk has for somebody who isn't root."""

    free_bytes: int
    total_bytes: int


def space_at(path: Path) -> Space:
    """The disk that a file is on."""
    disk = os.statvfs(path.absolute().parent)
    return Space(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)


def check(settings: Settings) -> Iterator[Finding]:
    """Disk, log, library and secret of a station; and whether ingest met damage."""
    yield from check_disk(space_at(settings.db))
    yield from check_log(log_of(settings.db))
    yield from check_damage(settings.db)
    yield from check_readers(index_of(settings.db))
    yield from check_library(sqlite3.sqlite_version_info)
    if settings.secret is None:
        yield from check_secret(settings.secret_file)


def check_disk(space: Space) -> Iterator[Finding]:
    """T08."""
    free, share = space.free_bytes, space.free_bytes / max(space.total_bytes, 1)
    none_left = free < NO_BYTES or (share < NO_SHARE and free < LITTLE_BYTES)
    little = share < LITTLE_SHARE and free < LITTLE_BYTES
    if none_left or (share < BACK * LITTLE_SHARE and free < BACK * LITTLE_BYTES):
        yield Finding(
            "T08",
            Severity.CRITICAL if none_left else Severity.WARNING,
            f"{humanize.size(free)} free, {share:.0%} of it",
            subject="disk",
            enough=none_left or little,
        )


def check_log(path: Path) -> Iterator[Finding]:
    """T09; a database that nobody has open has no log."""
    log_bytes = path.stat().st_size if path.exists() else 0
    if log_bytes > WAL_BACK_BYTES:
        yield Finding(
            "T09",
            Severity.CRITICAL if log_bytes > WAL_CRITICAL_BYTES else Severity.WARNING,
            f"{humanize.size(log_bytes)} not yet in the database file, usually 16 MiB",
            subject="write-ahead log",
            enough=log_bytes > WAL_BYTES,
        )


def check_damage(db: Path) -> Iterator[Finding]:
    """T11; ingest stores nothing in such a file."""
    if told := damage_of(db):
        yield Finding("T11", Severity.CRITICAL, f"ingest met damage: {told}", subject="database")


def check_readers(path: Path, pause_s: float = WAITING_PAUSE_S) -> Iterator[Finding]:
    """T17: looked at twice, as any reader may hold the log up for a moment."""
    first = log_index(path)
    if first is None or first.waiting_bytes <= WAITING_BACK_BYTES:
        return
    sleep(pause_s)
    second = log_index(path)
    if second and second[:2] == first[:2] and second.waiting_bytes > WAITING_BACK_BYTES:
        yield Finding(
            "T17",
            Severity.WARNING,
            f"a reader holds an old state of the file: {humanize.size(second.waiting_bytes)}"
            " of the log can't be written back",
            subject="write-ahead log",
            enough=second.waiting_bytes > WAITING_BYTES,
        )


def log_index(path: Path) -> LogIndex | None:
    """The header of a ``-shm`` file (https://sqlite.org/walformat.html), None where there is none.

    Another process reads it: as soon as this one closed the file, the locks would be
    gone that its own connections hold on it.
    """
    command = ["head", "-c", str(HEADER_BYTES), str(path)]
    header = subprocess.run(command, capture_output=True, check=False).stdout  # noqa: S603
    if len(header) < HEADER_BYTES:
        return None
    page_bytes, frames = struct.unpack_from("=HI", header, 14)
    (written_back,) = struct.unpack_from("=I", header, 96)
    page_bytes = 65_536 if page_bytes == 1 else page_bytes
    return LogIndex(header[32:40], written_back, (frames - written_back) * page_bytes)


def check_library(version: tuple[int, ...]) -> Iterator[Finding]:
    """T13."""
    if any(first <= version < mended for first, mended in WAL_RESET_BUG):
        told = ".".join(map(str, version))
        yield Finding(
            "T13",
            Severity.WARNING,
            f"tmon keeps clear of the bug in {told}; other programs that write to the file may not",
            subject="SQLite",
        )


def check_secret(path: Path) -> Iterator[Finding]:
    """T14; it is made with the first token."""
    if not path.exists():
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield Finding(
            "T14",
            Severity.CRITICAL,
            f"{path.name} has mode {mode:04o}: others can make tokens with it",
            subject="secret file",
        )
