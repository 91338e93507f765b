"""`tmon compact`: rewrite the database without gaps, in pages of today's size."""

import os
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from tmon.db.connect import PAGE_BYTES, open_database, sqlite3
from tmon.db.identity import new_mark
from tmon.maintenance import snapshot
from tmon.maintenance.backup_dir import InUse, fsync_dir, require_free_space, staging_dir
from tmon.maintenance.restore import LOGS, copy_mode_and_owner, exclusive

STAGING_NAME = ".tmon-compact"
OPS_PER_STEP = 100_000  # SQLite's VM steps between two updates of the progress bar


class Compacted(NamedTuple):
    """The file's size before and after."""

    before_bytes: int
    after_bytes: int


def compact(path: Path, progress: snapshot.Progress) -> Compacted:
    """Replace the database with a rewritten copy that is known to hold the same rows.

    Raises:
        InUse: somebody has the database open, or wrote to it meanwhile.
        TmonError: there is no room, or the copy isn't sound. Nothing was changed.
    """
    open_database(path, in_cluster=True).close()  # migrate it, if it is one of ours
    with staging_dir(path.parent, STAGING_NAME) as staging:
        with exclusive(path):
            before = path.stat()
        require_free_space(staging, before.st_size)
        draft = staging / "draft.db"
        with progress(before.st_size) as bar:
            rows = _rewrite(path, draft, bar.update)
        snapshot.check_copy(draft, rows, lambda _rows: None)
        snapshot.flush_and_hash(draft)
        copy_mode_and_owner(path, draft)
        with exclusive(path):
            if _version(path.stat()) != _version(before):
                raise InUse(f"{path} was written to meanwhile; run it again")
            for suffix in LOGS:
                path.with_name(path.name + suffix).unlink(missing_ok=True)  # empty since above
            draft.rename(path)
            fsync_dir(path.parent)
    return Compacted(before.st_size, path.stat().st_size)


def _rewrite(path: Path, draft: Path, advance: snapshot.Advance) -> snapshot.RowCounts:
    """Write the copy; returns how many rows each table has."""
    done_bytes = 0

    def update() -> int:
        nonlocal done_bytes
        if draft.exists():
            advance(draft.stat().st_size - done_bytes)
            done_bytes = draft.stat().st_size
        return 0

    with open_database(path, in_cluster=True) as db:
        db.execute(f"pragma page_size = {PAGE_BYTES}")
        db.conn.set_progress_handler(update, OPS_PER_STEP)
        db.execute("vacuum into ?", [str(draft)])
        rows = snapshot.count_rows(db)
    with closing(sqlite3.connect(str(draft), isolation_level=None)) as copy:
        copy.execute(f"pragma user_version = {new_mark()}")  # so that no old log fits it
    return rows


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns
