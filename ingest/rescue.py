"""What a writing process saves when its files were exchanged, before it ends."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from ingest import identity
from ingest.errors import LogCut, Overwritten, Replaced
from ingest.open_files import OpenFiles


def rescue(files: OpenFiles, error: Replaced) -> str:
    """Keep what was committed to files that are no longer in their place.

    Files that took their place are left alone. Afterwards the connection must not be closed:
    SQLite would write to, or remove, what is at its paths now.

    Returns:
        What happened and where the readings are, for the log.
    """
    at = f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}"
    try:
        if isinstance(error, LogCut | Overwritten):
            done = _give_up(files, at)
        elif files.database_is_in_place():
            done = _put_log_back(files, at)
        else:
            done = _keep_database(files, at)
    except OSError as failure:
        done = f"what was acknowledged can't be saved: {failure}"
    return f"{error}; {done} (docs/backup.md)"


def _put_log_back(files: OpenFiles, at: str) -> str:
    """The database is in its place: the next start reads the rest from the log.

    If another process has begun a new log, all of this one was in the database.
    """
    log = identity.log_of(files.path)
    if not files.log_is_at(log):
        copy = identity.free_name(log, f".replaced-{at}")
        _copy(files.log, copy)
        if identity.log_is_indexed(files.path):
            return f"the log that was removed is kept as {copy}; start again"
        if log.exists():
            identity.set_log_aside(files.path, at)
        copy.rename(log)
    identity.index_of(files.path).unlink(missing_ok=True)
    return "nothing acknowledged is lost; start again"


def _give_up(files: OpenFiles, at: str) -> str:
    """Half of what belongs together is destroyed: the rest must not damage what is there now."""
    lost = "what no backup has is lost"
    if not files.log_is_at(identity.log_of(files.path)):
        return lost
    return f"{lost}; what is left of the log is kept as {identity.set_log_aside(files.path, at)}"


def _keep_database(files: OpenFiles, at: str) -> str:
    """Another file is in its place, or none: keep the old one, and its log beside it."""
    database = files.present_name()
    if database is None:
        database = identity.free_name(files.path, f".replaced-{at}")
        _copy(files.database, database)
    log, beside = identity.log_of(files.path), identity.log_of(database)
    if files.log_is_at(log) and log != beside:
        beside.hardlink_to(log)  # which never overwrites a log
        log.unlink()
        identity.forget_database(files.log)
        identity.index_of(files.path).unlink(missing_ok=True)
    elif not files.log_is_at(beside):
        _copy(files.log, beside)
    return f"all that was acknowledged is in {database}"


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
