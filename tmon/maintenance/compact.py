"""`tmon compact`: the database written anew, without gaps and in pages of today's size."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, NamedTuple

from tmon.db.connect import PAGE_BYTES, open_database, sqlite3
from tmon.db.identity import new_mark
from tmon.maintenance import copies
from tmon.maintenance.restore import LOGS, Occupied, fold_log, resemble, unused
from tmon.maintenance.shelf import need_room, sync_folder, workshop

WORKSHOP = ".tmon-compact"
STEPS_EACH = 100_000  # SQLite's, between two signs of progress

Progress = Callable[[int], AbstractContextManager[Any]]


class Compacted(NamedTuple):
    """The file's size before and after."""

    before_bytes: int
    after_bytes: int


def compact(path: Path, progress: Progress) -> Compacted:
    """Put a rebuilt copy in the database's place, once it is known to hold the same rows.

    Raises:
        Occupied: somebody has the database open, or wrote to it meanwhile.
        TmonError: there is no room, or the copy isn't sound. Nothing was changed.
    """
    open_database(path).close()  # brought up to date, if it is one of ours
    fold_log(path)
    with workshop(path.parent, WORKSHOP) as work:
        with unused(path):
            before = path.stat()
        need_room(work, before.st_size)
        draft = work / "draft.db"
        with progress(before.st_size) as bar:
            rows = _rebuild(path, draft, bar.update)
        copies.check(draft, rows, lambda _rows: None)
        copies.settle(draft)
        resemble(path, draft)
        with unused(path):
            if _written(path.stat()) != _written(before):
                raise Occupied(f"{path} was written to meanwhile; run it again")
            for suffix in LOGS:
                path.with_name(path.name + suffix).unlink(missing_ok=True)  # empty: see fold_log
            draft.rename(path)
            sync_folder(path.parent)
    return Compacted(before.st_size, path.stat().st_size)


def _rebuild(path: Path, draft: Path, advance: Callable[[int], object]) -> copies.Rows:
    """Write the copy; returns how many rows each table has."""
    done_bytes = 0

    def tell() -> int:
        nonlocal done_bytes
        if draft.exists():
            advance(draft.stat().st_size - done_bytes)
            done_bytes = draft.stat().st_size
        return 0

    with open_database(path) as db:
        db.execute(f"pragma page_size = {PAGE_BYTES}")
        db.conn.set_progress_handler(tell, STEPS_EACH)
        db.execute("vacuum into ?", [str(draft)])
        rows = copies.count(db)
    with closing(sqlite3.connect(str(draft), isolation_level=None)) as copy:
        copy.execute(f"pragma user_version = {new_mark()}")  # no log of the old file fits it
    return rows


def _written(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns
