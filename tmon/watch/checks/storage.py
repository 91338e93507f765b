"""T08, T09, T11, T13, T14, T17: disk, log, damage, SQLite, secret; the database isn't opened."""

import shutil
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

LOW_SHARE, LOW_BYTES = 0.10, 5 * GIB  # both: a tenth of a large disk is plenty
CRITICAL_SHARE, CRITICAL_BYTES = 0.02, 100 * MIB
OVER_FACTOR = 1.2  # an incident lasts until so much more than LOW is free

WAL_BYTES = 256 * MIB  # it usually has 16: tmon/db/checkpoint.py
WAL_CRITICAL_BYTES = GIB
WAL_OVER_BYTES = WAL_BYTES // 2

WAITING_BYTES = 32 * MIB  # ingest makes a checkpoint at 16 MiB
WAITING_OVER_BYTES = WAITING_BYTES // 2
WAITING_PAUSE_S = 2.0  # twice as long as a statement of Datasette may take

HEADER_BYTES = 100  # of the -shm file

# SQLite versions with the WAL-reset bug, from the first to the first without
# (https://sqlite.org/wal.html#walresetbug; two older branches have the fix too).
WAL_RESET_BUG = (
    ((3, 7, 0), (3, 44, 6)),
    ((3, 45, 0), (3, 50, 7)),
    ((3, 51, 0), (3, 51, 3)),
)


class WalIndex(NamedTuple):
    """The state of the write-ahead log, from SQLite's ``-shm`` file."""

    salt: bytes  # changes each time the log restarts
    checkpointed: int  # frames that are in the database file
    waiting_bytes: int  # of the frames that aren't


def check(settings: Settings) -> Iterator[Finding]:
    """All of them, for the station of these settings."""
    disk = shutil.disk_usage(settings.db.absolute().parent)
    yield from check_disk(disk.free, disk.total)
    yield from check_log(log_of(settings.db))
    yield from check_damage(settings.db)
    yield from check_readers(index_of(settings.db))
    yield from check_library(sqlite3.sqlite_version_info)
    if settings.secret is None:
        yield from check_secret(settings.secret_file)


def check_disk(free: int, total: int) -> Iterator[Finding]:
    """T08; in bytes, as users other than root can use them."""
    share = free / max(total, 1)
    critical = free < CRITICAL_BYTES or (share < CRITICAL_SHARE and free < LOW_BYTES)
    low = share < LOW_SHARE and free < LOW_BYTES
    if critical or (share < OVER_FACTOR * LOW_SHARE and free < OVER_FACTOR * LOW_BYTES):
        yield Finding(
            "T08",
            Severity.CRITICAL if critical else Severity.WARNING,
            f"{humanize.size(free)} free, {share:.0%} of the disk",
            subject="disk",
            meets_threshold=critical or low,
        )


def check_log(path: Path) -> Iterator[Finding]:
    """T09; without open connections there is no log."""
    log_bytes = path.stat().st_size if path.exists() else 0
    if log_bytes > WAL_OVER_BYTES:
        yield Finding(
            "T09",
            Severity.CRITICAL if log_bytes > WAL_CRITICAL_BYTES else Severity.WARNING,
            f"{humanize.size(log_bytes)} not yet in the database file, usually 16 MiB",
            subject="write-ahead log",
            meets_threshold=log_bytes > WAL_BYTES,
        )


def check_damage(db: Path) -> Iterator[Finding]:
    """T11, if ingest noted it at the file; it stores nothing more there."""
    if damage := damage_of(db):
        yield Finding("T11", Severity.CRITICAL, f"ingest met damage: {damage}", subject="database")


def check_readers(path: Path, pause_s: float = WAITING_PAUSE_S) -> Iterator[Finding]:
    """T17. Look twice, because every reader delays a checkpoint for a moment."""
    first = wal_index(path)
    if first is None or first.waiting_bytes <= WAITING_OVER_BYTES:
        return
    sleep(pause_s)
    second = wal_index(path)
    if second and second[:2] == first[:2] and second.waiting_bytes > WAITING_OVER_BYTES:
        yield Finding(
            "T17",
            Severity.WARNING,
            f"a reader holds an old state of the file: {humanize.size(second.waiting_bytes)}"
            " of the log can't be written back",
            subject="write-ahead log",
            meets_threshold=second.waiting_bytes > WAITING_BYTES,
        )


def wal_index(path: Path) -> WalIndex | None:
    """Read a ``-shm`` file (https://sqlite.org/walformat.html); None if there is none.

    A child process reads it: if this process closed the file, it would lose the locks that
    its own connections have on it.
    """
    command = ["head", "-c", str(HEADER_BYTES), str(path)]
    header = subprocess.run(command, capture_output=True, check=False).stdout  # noqa: S603
    if len(header) < HEADER_BYTES:
        return None
    page_bytes, frames = struct.unpack_from("=HI", header, 14)
    (checkpointed,) = struct.unpack_from("=I", header, 96)
    page_bytes = 65_536 if page_bytes == 1 else page_bytes
    return WalIndex(header[32:40], checkpointed, (frames - checkpointed) * page_bytes)


def check_library(version: tuple[int, ...]) -> Iterator[Finding]:
    """T13."""
    if any(first <= version < fixed for first, fixed in WAL_RESET_BUG):
        text = ".".join(map(str, version))
        reason = (
            f"version {text}: tmon avoids the bug; other programs that write to the file may not"
        )
        yield Finding("T13", Severity.WARNING, reason, subject="SQLite")


def check_secret(path: Path) -> Iterator[Finding]:
    """T14; there is no secret before the first token."""
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
