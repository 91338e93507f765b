"""The table ``chores``: when each maintenance job ran last, and what came of it."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlite_utils import Database


class JobRun(NamedTuple):
    """A job's last run: when it ended, Unix milliseconds, and its result."""

    done_ms: int
    outcome: str


GOOD = "ok"  # the result of a job that found nothing wrong
COMPARISON = "compare"  # the job of `tmon compare --remember`

JobRuns = Mapping[str, JobRun]  # by the job's name


def load_job_runs(db: Database) -> dict[str, JobRun]:
    """The last run of each job."""
    rows = db.execute("select name, done_ms, outcome from chores")
    return {name: JobRun(done_ms, outcome) for name, done_ms, outcome in rows}


def save_job_runs(db: Database, runs: JobRuns) -> None:
    """Record these runs, within the caller's transaction."""
    db.conn.executemany(
        "insert into chores (name, done_ms, outcome) values (?, ?, ?)"
        " on conflict (name) do update set done_ms = excluded.done_ms, outcome = excluded.outcome",
        [(name, *run) for name, run in runs.items()],
    )
