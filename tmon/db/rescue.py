"""What a writing process saves when its files were exchanged, before it ends."""

import logging
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tmon.core.errors import LogCut, Overwritten, Replaced
from tmon.db import identity, merge
from tmon.db.open_files import OpenFiles

SAVE_EVERY_S = 1.0

log = logging.getLogger("tmon.writer")


def save(files: OpenFiles, error: Replaced, refuse: Callable[[float], bool]) -> None:
    """Keep what was committed, however long there is no room for it: it is nowhere else.

    Afterwards the connection must not be closed: SQLite would write to, or remove, what is at
    its paths now.

    Args:
        files: the open files.
        error: what became of them.
        refuse: answers requests for some seconds; False when no more can come.
    """
    is_open, told = True, False
    while True:
        try:
            log.critical("readings can't be stored any more: %s", _rescue(files, error))
        except OSError as failure:
            if not is_open:
                log.critical("what was acknowledged since the last backup is lost: %s", failure)
                return
            if not told:
                log.critical(
                    "%s; what was acknowledged can't be saved yet: %s. "
                    "tmon tries again each second, so make room, and don't stop it",
                    *(error, failure),
                )
                told = True
            is_open = refuse(SAVE_EVERY_S)
        else:
            return


def _rescue(files: OpenFiles, error: Replaced) -> str:
    """Keep what was committed to files that are no longer in their place.

    Files that took their place are left alone.

    Returns:
        What happened and where the readings are, for the log.

    Raises:
        OSError: there is no room, or no right to write there; nothing was changed.
    """
    at = f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}"
    if isinstance(error, LogCut | Overwritten):
        done = _give_up(files, at)
    elif files.are_opened_anew():
        done = _keep_unmerged(files, at)
    elif files.database_is_in_place():
        done = _put_log_back(files, at)
    else:
        done = _keep_database(files, at)
    return f"{error}; {done} (docs/backup.md)"


def _put_log_back(files: OpenFiles, at: str) -> str:
    """The database is in its place: the next start reads the rest from the log.

    If another process has begun a new log, all of this one was in the database.
    """
    log = files.log_path
    if not files.log_is_at(log):
        copy = identity.free_name(log, f".replaced-{at}")
        _copy(files.log, copy)
        if identity.log_is_indexed(files.path):
            return f"the log that was removed is kept as {copy}; start again"
        if log.exists():
            identity.set_log_aside(files.path, at)
        copy.rename(log)
    if files.index_is_in_place():  # else another process uses that one, with this log
        files.index_path.unlink(missing_ok=True)
    return "nothing acknowledged is lost; start again"


def _give_up(files: OpenFiles, at: str) -> str:
    """Half of what belongs together is destroyed: the rest must not damage what is there now."""
    lost = "what no backup has is lost"
    if not files.log_is_at(files.log_path):
        return lost
    return f"{lost}; what is left of the log is kept as {identity.set_log_aside(files.path, at)}"


def _keep_unmerged(files: OpenFiles, at: str) -> str:
    """Another program has begun another log for the same file, and it removes that by its name.

    So nothing is put where its log is: this one is kept with a copy of the file.
    """
    database = files.present_name()
    if database is None:
        raise FileNotFoundError(f"{files.path} was removed just now")
    copy = merge.unmerged_name(database, at)
    _copy(files.database, copy)
    try:
        _copy(files.log, identity.log_of(copy))
    except OSError:
        copy.unlink()
        raise
    if database != files.path and files.log_is_at(files.log_path):
        files.log_path.unlink()
        files.index_path.unlink(missing_ok=True)
    return (
        f"another program has opened {database} meanwhile, and doesn't see what was stored since; "
        f"nothing acknowledged is lost: it is in {copy}, and the next start adds it"
    )


def _keep_database(files: OpenFiles, at: str) -> str:
    """Another file is in its place, or none: keep the old one, and its log beside it."""
    present = files.present_name()
    database = present or identity.free_name(files.path, f".replaced-{at}")
    if not present:
        _copy(files.database, database)
    try:
        _keep_log_of(files, database)
    except OSError:
        if not present:
            database.unlink()
        raise
    return f"all that was acknowledged is in {database}"


def _keep_log_of(files: OpenFiles, database: Path) -> None:
    log, beside = files.log_path, identity.log_of(database)
    if files.log_is_at(beside):
        return
    if files.log_is_at(log):
        beside.hardlink_to(log)  # which never overwrites a log
        log.unlink()
        identity.forget_database(files.log)
        files.index_path.unlink(missing_ok=True)
    else:
        _copy(files.log, beside)


def _copy(descriptor: int, target: Path) -> None:
    """Write an open file, which may have no name any more, to a new one, durably."""
    with Path(f"/proc/self/fd/{descriptor}").open("rb") as source, target.open("xb") as file:
        try:
            shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            target.unlink()
            raise
