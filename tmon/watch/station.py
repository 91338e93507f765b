"""What the checks work on: the database, opened read-only, at one instant."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from tmon.core.settings import Settings
from tmon.core.time import DAY_MS
from tmon.db.connect import open_migrated_for_reading
from tmon.db.job_runs import JobRuns

TOO_OLD_MS, NEW_STATION_MS = 2 * DAY_MS, 7 * DAY_MS


@dataclass(frozen=True)
class Station:
    """The station that is checked, at ``now_ms``."""

    db: Database
    settings: Settings
    now_ms: int
    job_runs: JobRuns

    def overdue_since_ms(self, job: str) -> int | None:
        """Since when a daily job is overdue: two days after its last run.

        A new station has a week for its first. None: it isn't.
        """
        last = self.job_runs.get(job)
        [first_node_ms] = self.db.execute("select min(created_ms) from nodes").fetchone()
        if last is not None:
            due_ms = last.done_ms + TOO_OLD_MS
        elif first_node_ms is not None:
            due_ms = first_node_ms + NEW_STATION_MS
        else:
            return None
        return due_ms if self.now_ms > due_ms else None


@contextmanager
def open_at(path: Path, now_ms: int) -> Iterator[Database]:
    """Open the file read-only, with ``now_ms`` as the time in its views.

    Raises:
        RefusedDatabase: there is none, or it is not of this tmon.
        sqlite3.Error: it can't be read.
    """
    with open_migrated_for_reading(path) as db:
        # The view `latest` defines what is silent, and calls this function for the time.
        db.conn.create_function("unixepoch", 0, lambda: now_ms // 1000, deterministic=True)
        yield db
