"""Checks before SQLite opens a database: is the file whole, and is its log its own?"""

import fcntl
import filecmp
import glob
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tmon.core.errors import RefusedDatabase
from tmon.db import database_file, identity, log_contents, merge
from tmon.db.checkpoint import WritableDatabase
from tmon.db.log_contents import LogContents
from tmon.db.sqlite_errors import DAMAGED

log = logging.getLogger("tmon.files")


def set_foreign_log_aside(path: Path) -> None:
    """Rename a log that was written for another file, so that SQLite doesn't apply it.

    Raises:
        OSError: it can't be renamed.
    """
    with identity.open_log(path) as opened:
        if opened is None:
            return
        fcntl.flock(opened, fcntl.LOCK_EX)  # another process may be about to do the same
        is_in_place = identity.is_at(identity.log_of(path), os.fstat(opened))
        if not is_in_place or not identity.is_foreign(path, opened):
            return
        aside = identity.set_log_aside(path)
    log.warning(
        "%s-wal was written for another file, which was removed or replaced; it is kept as %s. "
        "docs/backup.md says how to get its readings back",
        *(path, aside),
    )


def refuse_foreign_log(path: Path) -> None:
    """For callers that must not move files: refuse a database with the log of another.

    Raises:
        RefusedDatabase: the log at its path was written for another file.
    """
    if identity.has_foreign_log(path):
        raise RefusedDatabase(
            f"{path}: {identity.log_of(path).name} was written for another file, which was "
            "removed or replaced; start ingest, which sets it aside"
        )


def adopt_stray_logs(path: Path) -> None:
    """Where ``path`` is a link, bring logs that lie beside the link to where the file is now."""
    for stray in _stray_logs(path):
        now = _adopt(path.resolve(), stray)
        log.warning(
            "%s is a link that leads elsewhere, so nobody would read %s: it is %s now. "
            "docs/backup.md says more",
            *(path, stray, now),
        )


def _stray_logs(database: Path) -> Iterator[Path]:
    """The logs beside the links that lead to a file, where SQLite doesn't look for them."""
    real_log, link = identity.log_of(database), database
    while link.is_symlink():
        stray = link.with_name(f"{link.name}-wal")
        link = link.parent / link.readlink()
        if stray != real_log and stray.exists() and stray.stat().st_size:
            yield stray


def _adopt(database: Path, stray: Path) -> Path:
    """Move a stray log beside its database, or aside if it isn't that one's; the new path.

    Where another program has opened the database or written to it meanwhile, the log wouldn't
    fit any more, or that program would remove it: it is kept with a copy, to be merged.

    Raises:
        OSError: it can't be renamed, or there is no room for the copy.
    """
    opened = os.open(stray, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)  # another process may be about to do the same
        target, note = identity.log_of(database), identity.read_note(opened)
        has_log = target.exists() or identity.index_of(database).exists()
        if note is None or identity.is_foreign(database, opened):
            target = identity.dated_name(stray, "replaced")
        elif has_log or not database_file.is_log_in_use(database):
            copy = merge.unmerged_name(database)
            shutil.copyfile(database, copy)
            target = identity.log_of(copy)
        if identity.is_at(stray, os.fstat(opened)):
            target.hardlink_to(stray)  # unlike a rename, it never overwrites a new log
            stray.unlink()
        stray.with_name(stray.name.removesuffix("-wal") + "-shm").unlink(missing_ok=True)
    finally:
        os.close(opened)
    return target


def check_log(path: Path) -> LogContents | None:
    """Check the file and its log before SQLite writes the log into the file.

    Returns:
        What the log holds; None where it holds no commits.

    Raises:
        RefusedDatabase: the file was cut short.
    """
    with identity.open_log(path) as opened:
        contents = log_contents.read(opened) if opened is not None else None
    _refuse_cut(path, contents)
    if contents and contents.header:
        if identity.damage_of(path):
            _keep_log(path, "the database is damaged")
    elif database_file.is_log_in_use(path):
        log.critical(
            "%s was in use, and its log is gone or empty: readings that were acknowledged may be "
            "missing. If its log (a file that ends in -wal) is anywhere, stop tmon: docs/backup.md",
            path,
        )
        database_file.clear_log_in_use(path)
    return contents if contents and contents.committed else None


def _refuse_cut(path: Path, contents: LogContents | None) -> None:
    """Refuse a file that is shorter than it says, unless the log has the missing pages."""
    size_bytes = path.stat().st_size if path.is_file() else 0
    if not size_bytes or not database_file.is_short(path):
        return
    whole_pages = size_bytes // database_file.page_bytes_of(path)
    if contents and contents.completes(whole_pages):
        return  # a checkpoint was killed; SQLite repeats it
    if database_file.is_short(path):  # still, so it wasn't another process's checkpoint
        raise RefusedDatabase(
            f"{path}: its first page is damaged, or pages are missing at its end; {DAMAGED}"
        )


def keep_damaged_log(db: WritableDatabase, path: Path, before: LogContents) -> None:
    """Copy a log with commits behind a damaged frame, which SQLite is about to drop."""
    valid = db.valid_frames()
    if 0 <= valid < before.committed:
        db.execute("begin immediate")  # with the lock, no other process is about to commit them
        db.execute("rollback")
        valid = db.valid_frames()
    with identity.open_log(path) as opened:
        is_same = opened is not None and identity.log_header(opened) == before.header
    if is_same and 0 <= valid < before.committed:
        _keep_log(path, f"{before.committed - valid} of {before.committed} pages in it are lost")


def _keep_log(path: Path, why: str) -> None:
    """Copy the log to a dated file beside it, unless an earlier start did.

    Raises:
        RefusedDatabase: it can't be copied, and SQLite would drop what it holds.
    """
    log_path = identity.log_of(path)
    earlier = log_path.parent.glob(f"{glob.escape(log_path.name)}.damaged-*")
    if any(filecmp.cmp(log_path, copy, shallow=False) for copy in earlier):
        return
    kept = identity.dated_name(log_path, "damaged")
    try:
        shutil.copyfile(log_path, kept)
    except OSError as error:
        kept.unlink(missing_ok=True)
        raise RefusedDatabase(
            f"{log_path} must be kept, as {why}, and can't be copied: {error}"
        ) from error
    log.critical("%s is kept as %s, as %s: docs/backup.md", log_path, kept, why)
