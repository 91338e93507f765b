"""What a writing process saves when its files were replaced, before it exits."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tmon.core.errors import LogCut, Overwritten, Replaced
from tmon.db import identity, merge
from tmon.db.open_files import OpenFiles

SAVE_EVERY_S = 1.0

log = logging.getLogger("tmon.writer")


def save(files: OpenFiles, error: Replaced, refuse: Callable[[float], bool]) -> None:
    """Save what was committed, retrying as long as it takes: these files are the only copy.

    Afterwards the connection must not be closed: SQLite would write to, or remove, the files
    that are at its paths now.

    Args:
        files: the open files.
        error: what happened to them.
        refuse: answers requests for so many seconds; False when no more can come.
    """
    is_open, logged = True, False
    while True:
        try:
            log.critical("readings can't be stored any more: %s", _rescue(files, error))
        except OSError as failure:
            if not is_open:
                log.critical("what was acknowledged since the last backup is lost: %s", failure)
                return
            if not logged:
                log.critical(
                    "%s; what was acknowledged can't be saved yet: %s. "
                    "tmon tries again each second, so make room, and don't stop it",
                    *(error, failure),
                )
                logged = True
            is_open = refuse(SAVE_EVERY_S)
        else:
            return


def _rescue(files: OpenFiles, error: Replaced) -> str:
    """Save what was committed to files that were replaced; leave their replacements alone.

    Returns:
        What happened and where the readings are, for the log.

    Raises:
        OSError: there is no room, or no permission to write; nothing was changed.
    """
    if isinstance(error, LogCut | Overwritten):
        # The rest of the log doesn't fit the file at its path, and must not damage it.
        done = "what no backup has is lost"
        if files.log_is_at(files.log_path):
            aside = identity.set_log_aside(files.path)
            done = f"{done}; what is left of the log is kept as {aside}"
    elif files.others_use_another_log():
        done = _keep_unmerged(files)
    elif files.database_is_in_place():
        done = _put_log_back(files)
    else:
        done = _keep_database(files)
    return f"{error}; {done} (docs/backup.md)"


def _put_log_back(files: OpenFiles) -> str:
    """The database is at its path: put the log back, for the next start to read.

    If another process has begun a new log, all of this one is in the database already.
    """
    log = files.log_path
    if not files.log_is_at(log):
        copy = identity.dated_name(log, "replaced")
        _copy(files.log, copy)
        if identity.log_is_indexed(files.path):
            return f"the log that was removed is kept as {copy}; start again"
        if log.exists():
            identity.set_log_aside(files.path)
        copy.rename(log)
    if files.index_is_in_place():  # else another process uses that one, with this log
        files.index_path.unlink(missing_ok=True)
    return "nothing acknowledged is lost; start again"


def _keep_unmerged(files: OpenFiles) -> str:
    """Another program uses a new log for the same file: keep a copy of the file with this log.

    Nothing is put at the new log's path, as that program will remove whatever is there.
    """
    database = files.current_path()
    if database is None:
        raise FileNotFoundError(f"{files.path} was removed just now")
    copy = merge.unmerged_name(database)
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


def _keep_database(files: OpenFiles) -> str:
    """Another file, or none, is at the database's path: keep the open one with its log."""
    current, log = files.current_path(), files.log_path
    database = current or identity.dated_name(files.path, "replaced")
    if not current:
        _copy(files.database, database)
    beside = identity.log_of(database)
    try:
        if files.log_is_at(beside):
            pass
        elif files.log_is_at(log):
            beside.hardlink_to(log)  # unlike a rename, it never overwrites a log
            log.unlink()
            identity.remove_note(files.log)
            files.index_path.unlink(missing_ok=True)
        else:
            _copy(files.log, beside)
    except OSError:
        if not current:
            database.unlink()
        raise
    return f"all that was acknowledged is in {database}"


def _copy(descriptor: int, target: Path) -> None:
    """Copy an open file, which may have no name any more, to a new one, and flush it."""
    with Path(f"/proc/self/fd/{descriptor}").open("rb") as source, target.open("xb") as file:
        try:
            shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            target.unlink()
            raise
