"""Checks of the whole file: they take long, so they run daily or weekly and are remembered."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core import humanize
from tmon.core.time import DAY_MS
from tmon.db.connect import sqlite3
from tmon.db.job_runs import GOOD, JobRun, JobRuns
from tmon.maintenance import rollup

QUICK_CHECK, INTEGRITY_CHECK = "quick_check", "integrity_check"  # the pragmas' names too
RECENT_HOURS, ALL_HOURS = "rollup_check_lately", "rollup_check"
RECENT_MS = 2 * DAY_MS
MOST_CHARACTERS = 200  # of what SQLite says about a damaged file


class Job(NamedTuple):
    """What it is, how often it runs, and which job includes it."""

    name: str
    title: str
    every_ms: int
    included_in: str = ""


# Those that include others come first.
JOBS = (
    Job(INTEGRITY_CHECK, "checking the whole file", 7 * DAY_MS),
    Job(QUICK_CHECK, "checking the file", DAY_MS, INTEGRITY_CHECK),
    Job(ALL_HOURS, "comparing all hours with their readings", 7 * DAY_MS),
    Job(RECENT_HOURS, "comparing the last hours with their readings", DAY_MS, ALL_HOURS),
)


def run_due(
    db: Database,
    last_done: JobRuns,
    now_ms: int,
    progress: Callable[[str], None],
    *,
    run_all: bool = False,
) -> Iterator[tuple[str, JobRun]]:
    """Run the jobs that are due, or all; but none if a job that includes it has just run.

    Args:
        db: open for reading.
        last_done: the jobs' last runs.
        now_ms: the time of the check.
        progress: called with a job's title before it runs.
        run_all: run them all, due or not.

    Yields:
        A job's name and its outcome, ``ok`` or what is wrong.
    """
    done: set[str] = set()
    for job in JOBS:
        times = [
            last_done[name].done_ms for name in (job.name, job.included_in) if name in last_done
        ]
        is_due = not times or now_ms - max(times) >= job.every_ms
        if job.included_in not in done and (is_due or (run_all and not job.included_in)):
            done.add(job.name)
            progress(job.title)
            yield job.name, JobRun(now_ms, _outcome(job, db, now_ms))


def _outcome(job: Job, db: Database, now_ms: int) -> str:
    if job.name in (ALL_HOURS, RECENT_HOURS):
        count = rollup.count_differing_hours(
            db, now_ms - RECENT_MS if job.name == RECENT_HOURS else None
        )
        return f"{humanize.pluralize(count, 'hour')} not what the readings say" if count else GOOD
    try:
        said = [row[0] for row in db.execute(f"pragma {job.name}(10)")]
    except sqlite3.OperationalError:
        raise  # a file that can't be read may still be sound
    except sqlite3.DatabaseError as error:
        said = [str(error)]
    return GOOD if said == ["ok"] else " ".join("; ".join(said).split())[:MOST_CHARACTERS]
