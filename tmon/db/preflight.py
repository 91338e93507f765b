"""What is looked at before SQLite opens a database: is the file whole, and its log its own?"""

import fcntl
import filecmp
import glob
import logging
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tmon.core.errors import RefusedDatabase
from tmon.db import database_file, identity, log_contents, merge
from tmon.db.checkpoint import WritableDatabase
from tmon.db.log_contents import LogContents
from tmon.db.sqlite_errors import DAMAGED

log = logging.getLogger("tmon.files")


def set_foreign_log_aside(path: Path) -> None:
    """Rename a log that was written for another file than the database; nothing if it wasn't.

    Raises:
        OSError: it can't be renamed.
    """
    aside = identity.set_foreign_log_aside(path, f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}")
    if aside:
        log.warning(
            "%s-wal was written for another file, which was removed or replaced; it is kept as %s. "
            "docs/backup.md says how to get its readings back",
            *(path, aside),
        )


def place_stray_log(path: Path) -> None:
    """Bring the log of a file that was moved behind a symbolic link to where the file is now."""
    for stray in _stray_logs(path):
        now = _place(path.resolve(), stray, f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}")
        log.warning(
            "%s is a link that leads elsewhere, so nobody would read %s: it is %s now. "
            "docs/backup.md says more",
            *(path, stray, now),
        )


def look_at_log(path: Path) -> LogContents | None:
    """See that the file and its log are whole, before SQLite writes the one to the other.

    Returns:
        What the log has; None where there is nothing in it.

    Raises:
        RefusedDatabase: the file was cut short.
    """
    with identity.open_log(path) as opened:
        contents = log_contents.read(opened) if opened is not None else None
    _refuse_cut(path, contents)
    if contents and contents.header:
        if identity.damage_of(path):
            _keep_log(path, "the database is damaged")
    elif database_file.notes_log_in_use(path):
        log.critical(
            "%s was in use, and its log is gone or empty: readings that were acknowledged may be "
            "missing. If its log (a file that ends in -wal) is anywhere, stop tmon: docs/backup.md",
            path,
        )
        database_file.forget_log_in_use(path)
    return contents if contents and contents.committed else None


def _refuse_cut(path: Path, contents: LogContents | None) -> None:
    size_bytes = path.stat().st_size if path.is_file() else 0
    if not size_bytes or not database_file.is_short(path):
        return
    whole_pages = size_bytes // database_file.page_bytes_of(path)
    if contents and contents.completes(whole_pages):
        return  # a checkpoint was killed; SQLite goes on with it
    if database_file.is_short(path):  # still: nobody else's checkpoint was at work just now
        raise RefusedDatabase(
            f"{path}: its first page is damaged, or pages are missing at its end; {DAMAGED}"
        )


def keep_damaged_log(db: WritableDatabase, path: Path, before: LogContents) -> None:
    """Keep a copy of a log in which transactions lie behind a damaged one: SQLite drops them."""
    valid = db.valid_frames()
    if 0 <= valid < before.committed:
        db.execute("begin immediate")  # when we have the lock, nobody is about to commit them
        db.execute("rollback")
        valid = db.valid_frames()
    with identity.open_log(path) as opened:
        is_same = opened is not None and identity.log_header(opened) == before.header
    if is_same and 0 <= valid < before.committed:
        _keep_log(path, f"{before.committed - valid} of {before.committed} pages in it are lost")


def _keep_log(path: Path, why: str) -> None:
    """Copy the log to a file of its own beside it, unless an earlier start did.

    Raises:
        RefusedDatabase: it can't be copied; what only it has would be dropped.
    """
    log_path = identity.log_of(path)
    earlier = log_path.parent.glob(f"{glob.escape(log_path.name)}.damaged-*")
    if any(filecmp.cmp(log_path, one, shallow=False) for one in earlier):
        return
    kept = identity.free_name(log_path, f".damaged-{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}")
    try:
        shutil.copyfile(log_path, kept)
    except OSError as error:
        kept.unlink(missing_ok=True)
        told = f"{log_path} must be kept, as {why}, and can't be copied: {error}"
        raise RefusedDatabase(told) from error
    log.critical("%s is kept as %s, as %s: docs/backup.md", log_path, kept, why)


def refuse_foreign_log(path: Path) -> None:
    """Don't read a database with the log of another; for who must not move files.

    Raises:
        RefusedDatabase: the log at its path was written for another file.
    """
    if identity.has_foreign_log(path):
        raise RefusedDatabase(
            f"{path}: {identity.log_of(path).name} was written for another file, which was "
            "removed or replaced; start ingest, which sets it aside"
        )


def _stray_logs(database: Path) -> Iterator[Path]:
    """The logs beside the links that lead to a file, where SQLite doesn't look for them."""
    log, link = identity.log_of(database), database
    while link.is_symlink():
        stray = link.with_name(f"{link.name}-wal")
        link = link.parent / link.readlink()
        if stray != log and stray.exists() and stray.stat().st_size:
            yield stray


def _place(database: Path, stray: Path, at: str) -> Path:
    """Put a stray log beside the database if it is of that one, else aside; where it is then.

    Where another program has opened the database or written to it meanwhile, the log would not
    fit any more, or be removed by that program: it is kept with a copy, to be merged.

    Raises:
        OSError: it can't be renamed, or there is no room for the copy.
    """
    log = os.open(stray, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(log, fcntl.LOCK_EX)  # another process may be about to do the same
        place, note = identity.log_of(database), identity.read_note(log)
        is_opened = place.exists() or identity.index_of(database).exists()
        if note is None or identity.is_foreign(database, log):
            place = identity.free_name(stray, f".replaced-{at}")
        elif is_opened or not database_file.notes_log_in_use(database):
            copy = merge.unmerged_name(database, at)
            shutil.copyfile(database, copy)
            place = identity.log_of(copy)
        if identity.is_at(stray, os.fstat(log)):
            place.hardlink_to(stray)  # which never overwrites a log that was begun just now
            stray.unlink()
        stray.with_name(stray.name.removesuffix("-wal") + "-shm").unlink(missing_ok=True)
    finally:
        os.close(log)
    return place
