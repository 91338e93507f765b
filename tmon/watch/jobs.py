"""Checks of the whole file: they take long, so they run daily or weekly and are remembered."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core import words
from tmon.db.connect import sqlite3
from tmon.db.station import DAY_MS, Chore, Chores
from tmon.maintenance import rollup

GOOD = "ok"
QUICK_CHECK, INTEGRITY_CHECK = "quick_check", "integrity_check"
RECENT_HOURS, ALL_HOURS = "rollup_check_lately", "rollup_check"
RECENT_MS = 2 * DAY_MS
MOST_CHARACTERS = 200  # of what SQLite says about a damaged file


class Job(NamedTuple):
    """What it is, how often it runs, what it calls, and which job includes it."""

    name: str
    title: str
    every_ms: int
    run: Callable[[Database, int], str]
    included_in: str = ""


def run_due(
    db: Database,
    last_done: Chores,
    now_ms: int,
    say: Callable[[str], None],
    *,
    run_all: bool = False,
) -> Iterator[tuple[str, Chore]]:
    """Run the jobs that are due, or all; but none if a job that includes it has just run.

    Args:
        db: open for reading.
        last_done: the jobs' last runs.
        now_ms: the time of the check.
        say: called with a job's title before it runs.
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
            say(job.title)
            yield job.name, Chore(now_ms, job.run(db, now_ms))


def _pragma(db: Database, name: str) -> str:
    try:
        said = [row[0] for row in db.execute(f"pragma {name}(10)")]
    except sqlite3.OperationalError:
        raise  # a file that can't be read may still be sound
    except sqlite3.DatabaseError as error:
        said = [str(error)]
    return GOOD if said == ["ok"] else " ".join("; ".join(said).split())[:MOST_CHARACTERS]


def _compare_hours(db: Database, since_ms: int | None) -> str:
    count = rollup.differences(db, since_ms)
    return f"{words.some(count, 'hour')} not what the readings say" if count else GOOD


# Those that include others come first.
JOBS = (
    Job(
        INTEGRITY_CHECK,
        "checking the whole file",
        7 * DAY_MS,
        lambda db, _: _pragma(db, "integrity_check"),
    ),
    Job(
        QUICK_CHECK,
        "checking the file",
        DAY_MS,
        lambda db, _: _pragma(db, "quick_check"),
        included_in=INTEGRITY_CHECK,
    ),
    Job(
        ALL_HOURS,
        "comparing all hours with their readings",
        7 * DAY_MS,
        lambda db, _: _compare_hours(db, None),
    ),
    Job(
        RECENT_HOURS,
        "comparing the last hours with their readings",
        DAY_MS,
        lambda db, now_ms: _compare_hours(db, now_ms - RECENT_MS),
        included_in=ALL_HOURS,
    ),
)
